"""Hugging Face's Trainer: it evaluates with the functions that train, on a new DataLoader each time."""

import contextlib
import functools
from typing import Any

from gradaudit.record import hooks, session
from gradaudit.record.observe.evaluation.splits import told
from gradaudit.record.observers import FRAMEWORK_LOSSES
from gradaudit.record.patches import Patch, replace

_SPLITS = {"eval": "validation", "test": "test", "train": "train"}


def install(module: Any) -> list[Patch]:
    """Wrap Trainer.evaluation_loop of the module transformers.trainer, which evaluate and predict call."""
    original = module.Trainer.evaluation_loop

    @functools.wraps(original)
    def evaluation_loop(self: Any, *args: Any, **kwargs: Any) -> Any:
        recording = session.current()
        if recording is None:
            return original(self, *args, **kwargs)
        names = session.unlocked_call(FRAMEWORK_LOSSES, _names, args, kwargs)
        before = recording.gathered.book.observed
        with told(names[1]) if names is not None else contextlib.nullcontext():
            output = original(self, *args, **kwargs)
        if names is not None and recording.gathered.book.observed == before:
            # A loss that is written by hand, whose value the Trainer tells.
            session.guarded_call(FRAMEWORK_LOSSES, _log, output, *names)
        return output

    return [replace(module.Trainer, "evaluation_loop", evaluation_loop)]


def _names(args: Any, kwargs: Any) -> tuple[str, str]:
    """The prefix of the evaluation's metrics, and the split that it stands for."""
    # The fifth argument after self, "eval", "test", or "eval_NAME" of one data set of several.
    prefix = str(kwargs.get("metric_key_prefix", args[4] if len(args) > 4 else "eval"))
    return prefix, _SPLITS.get(prefix) or prefix.removeprefix("eval_")


def _log(output: Any, prefix: str, split: str) -> None:
    name = "_".join((prefix, "loss"))
    value = dict(output.metrics or {}).get(name)
    if isinstance(value, float):
        session.guarded(hooks.on_logged_loss, value, split, max(1, int(output.num_samples or 1)))
