"""What is observed, each on its own: a fault in one observer ends that observer, and the recording goes on."""

import contextlib
import signal
from collections.abc import Callable
from typing import Any

from gradaudit.record.settings import in_utf8
from gradaudit.schema import DisabledFacts

# The observers by name, as a user reads them; those that have a file of their own are named there.
LOSSES = "losses"
EVALUATION_LOSSES = "evaluation losses"
LOGGED_LOSSES = "logged losses"
FRAMEWORK_LOSSES = "losses of other frameworks"
COMPILED_LOSSES = "losses inside compiled regions"
HAND_WRITTEN_LOSSES = "hand-written losses"
OPERATION_TRACE = "operations"
OBJECTIVES = "objectives"
LOSS_INPUTS = "loss inputs"
LABEL_COUNTS = "label counts"
ACTIVATIONS_BEFORE_LOSSES = "activations before losses"
OPTIMIZERS = "optimizers"
FRAMEWORK_OPTIMIZERS = "optimizers of other frameworks"
CLOSURES = "closures of optimizers"
PARAMETER_GROUPS = "settings of parameter groups"
SKIPPED_STEPS = "skipped steps"
AMP_SCALES = "AMP scales"
GRADIENT_CLIPPING = "gradient clipping"
GRADIENT_STATISTICS = "gradient statistics"
WEIGHT_STATISTICS = "weight and update statistics"
HISTOGRAM_COUNTS = "histograms"
EMBEDDING_ROWS = "embedding rows and outputs"
WEIGHT_CHECKSUMS = "weight checksums"
STALE_GRADIENTS = "stale gradients"
ACTIVATIONS = "activations"
BATCH_NORM_SIZES = "BatchNorm batch sizes"
BATCHES_PER_EPOCH = "batches per epoch"
NAMES = "names of tensors and modules"
STEADY_STEPS = "steps like the one before"
REQUIRES_GRAD = "changes of requires_grad"


class NotWrittenError(Exception):
    """The files of the recording cannot be made or written, for its cause: no observer's fault, and the end of all."""


class Observers:
    """Which observers of a recording have been ended, and why. Called by every thread."""

    def __init__(self, step: Callable[[], int], tell: Callable[[DisabledFacts], None]) -> None:
        self.disabled: dict[str, DisabledFacts] = {}
        self._step, self._tell = step, tell

    def call(self, observer: str, function: Callable[..., Any], *arguments: Any, default: Any = None) -> Any:
        """What `function` returns; `default` when it fails, now or before: then `observer` is over."""
        if observer in self.disabled:
            return default
        try:
            return function(*arguments)
        except Exception as error:
            if from_a_signal(error) or isinstance(error, NotWrittenError):
                raise
            self.disable(observer, error)
            return default

    def disable(self, observer: str, error: BaseException) -> None:
        """End an observer."""
        if observer not in self.disabled:
            self.disabled[observer] = fault = DisabledFacts(
                observer=observer, reason=reason_of(error), step=self._step()
            )
            with contextlib.suppress(Exception):
                self._tell(fault)


def from_a_signal(error: BaseException) -> bool:
    """Whether a signal handler of the script raised this while we were at work: a time limit, which is the script's."""
    codes = {_code_of(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in codes:
            return True
        trace = trace.tb_next
    return False


def _code_of(handler: Any) -> Any:
    handler = getattr(handler, "func", handler)  # functools.partial
    handler = getattr(handler, "__func__", handler)  # a method
    if not hasattr(handler, "__code__"):
        handler = vars(type(handler)).get("__call__")  # an object that can be called
    return getattr(handler, "__code__", None)


_words = True  # whether what an exception says may be kept


def keep_words(kept: bool) -> None:
    """Whether reasons hold what an exception says: a path of this machine may be in it."""
    global _words
    _words = kept


def reason_of(error: BaseException) -> str:
    """The exception on one line; of what could not be written, the cause."""
    error = error.__cause__ or error if isinstance(error, NotWrittenError) else error
    name = type(error).__name__
    with contextlib.suppress(Exception):
        return in_utf8(f"{name}: {error}".splitlines()[0][:200]) if _words else name
    return name
