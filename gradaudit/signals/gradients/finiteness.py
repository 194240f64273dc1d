"""Where NaN and infinities first appear, and whether the run was already running away."""

from typing import TYPE_CHECKING, Literal

import msgspec
import numpy

from gradaudit.reading.run import Run
from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.signals.order_statistics import Mask, largest, median
from gradaudit.signals.thresholds import threshold
from gradaudit.signals.updates.ratios import median_update_ratio
from gradaudit.training import Training, signal

if TYPE_CHECKING:
    import pandas

BEFORE = 10  # steps looked at before the first non-finite number
RISE = 3.0  # times the first loss: it rose to this before
FAST = 0.3  # median update-to-weight ratio; healthy runs peak below in 398 of 404 cases


class NonFiniteOnset(msgspec.Struct, frozen=True):
    """The first non-finite number of one optimizer's training."""

    training: Training
    step: int  # global
    where: Literal["loss", "gradient", "weight"]
    what: Literal["NaN", "infinite"]
    tensors: tuple[str, ...]  # in depth order: those with a non-finite gradient, else weight, at the first such record
    tensors_step: int | None  # the recorded step they were seen at, not always `step`
    loss_finite: bool  # at the step of the first non-finite gradient or weight
    steps_with: int  # steps whose loss, or recorded statistics, were not finite
    recovered: bool  # weights stayed finite and the run ended with finite losses
    rise: float  # greatest loss in the steps before, over the first loss
    update_ratio: float  # greatest median update-to-weight ratio in the steps before
    before_step: bool = False  # it is a weight, and was so before the step began


def bad_gradients(training: Training) -> Mask:
    """[recorded steps, tensors]: the gradient held NaN or Inf."""
    bad: Mask = numpy.nan_to_num(training.matrix("gradient_nan")) > 0
    return numpy.asarray(bad | (numpy.nan_to_num(training.matrix("gradient_inf")) > 0))


def bad_weights(training: Training) -> Mask:
    """[recorded steps, tensors]: the sampled weights held NaN or Inf before the step, or the step made them so."""
    present = training.matrix("has_grad") > 0
    weights, updates = training.matrix("weight_norm"), training.matrix("update_norm")
    # An empty tensor has no norm to speak of.
    filled = numpy.asarray([tensor.elements > 0 for tensor in training.tensors], dtype=bool)
    return numpy.asarray(present & (~numpy.isfinite(weights) | ~numpy.isfinite(updates)) & filled)


def bad_losses(run: Run, steps: "pandas.DataFrame") -> Mask:
    """[steps]: the loss became NaN or infinite. A loss that was not seen does not count."""
    objective = steps["objective"].to_numpy(dtype=float)
    seen = steps["micro_steps"].to_numpy() > 0
    if any(fault.observer == "objectives" for fault in run.meta.disabled):
        seen = seen & numpy.isinf(objective)  # where it ended, NaN stands for a loss that nobody read
    return numpy.asarray((seen & ~numpy.isfinite(objective)) | _bad_means(steps))


def _bad_means(steps: "pandas.DataFrame") -> Mask:
    """[steps] bool: the mean loss of a loss function that was seen with targets is NaN or infinite.

    NaN also means "none was seen": without a target, a column that never held a number says nothing.
    """
    mean = steps["mean_loss"].to_numpy(dtype=float)
    known = numpy.isfinite(mean).any() | (steps["targets"].to_numpy(dtype=float) > 0)
    return numpy.asarray((steps["loss"].to_numpy(dtype=float) >= 0) & known & ~numpy.isfinite(mean))


def bad_norms(steps: "pandas.DataFrame") -> Mask:
    """[steps] bool: the norm of the gradient was recorded, and is NaN or infinite."""
    norms = steps["gradient_norm"].to_numpy(dtype=float)
    return numpy.asarray(steps["recorded"].to_numpy(dtype=bool) & ~numpy.isfinite(norms))


def skipped_at(training: Training) -> Mask:
    """[recorded steps]: the GradScaler skipped this step."""
    frame = training.steps
    skipped = frame.loc[frame["skipped"].fillna(False).to_numpy(dtype=bool), "step"].to_numpy()
    return numpy.isin(training.recorded, skipped)


@signal
def non_finite_onset(training: Training, before: int = BEFORE) -> NonFiniteOnset | None:
    """The first non-finite loss, gradient or weight at a step that was taken, or None.

    A gradient that overflowed at a step which the GradScaler skipped does not count.
    """
    frame = training.steps
    steps = frame["global_step"].to_numpy(dtype=numpy.int64)
    taken = ~frame["skipped"].fillna(False).to_numpy(dtype=bool)
    objective = frame["objective"].to_numpy(dtype=float)
    mean = frame["mean_loss"].to_numpy(dtype=float)
    bad_loss = taken & bad_losses(training.run, frame)
    gradients, weights = bad_gradients(training), bad_weights(training)
    skipped = skipped_at(training)[:, None]
    gradients, weights = gradients & ~skipped, weights & ~skipped
    recorded = training.recorded_global_steps
    bad_rows = (gradients | weights).any(axis=1)
    loss_step = int(steps[numpy.argmax(bad_loss)]) if bad_loss.any() else None
    row = int(numpy.argmax(bad_rows)) if bad_rows.any() else None
    if loss_step is None and row is None:
        return None
    tensors_step = int(recorded[row]) if row is not None else None
    first = min(step for step in (loss_step, tensors_step) if step is not None)
    where: Literal["loss", "gradient", "weight"] = "loss"
    at = int(numpy.argmax(bad_loss))
    infinite = numpy.isinf(objective[at]) or numpy.isinf(mean[at])
    tensors: tuple[str, ...] = ()
    before_step = False
    if row is not None:
        # A step that breaks leaves its weights broken; those that were so when it began broke without it.
        earlier = weights[row] & ~numpy.isfinite(training.matrix("weight_norm")[row])
        before_step = bool(earlier.any()) and first == tensors_step
        at_gradient = bool(gradients[row].any()) and not before_step
        which = earlier if before_step else gradients[row] if at_gradient else weights[row]
        tensors = tuple(t.name for t, bad in zip(training.tensors, which, strict=True) if bad)
        if before_step or loss_step is None or (tensors_step is not None and tensors_step < loss_step):
            where = "gradient" if at_gradient else "weight"
            infinite = not _has_nan(training, where, row)
    rise, update_ratio = _lead_up(training, first, before)
    tail = objective[-max(5, len(objective) // 10) :]
    return NonFiniteOnset(
        training=training,
        step=first,
        where=where,
        what="infinite" if infinite else "NaN",
        tensors=tensors,
        tensors_step=tensors_step,
        loss_finite=loss_step is None or loss_step > first,
        steps_with=int(numpy.union1d(steps[bad_loss], recorded[bad_rows]).size),
        recovered=not weights.any() and bool(numpy.isfinite(tail).all()) and not bad_loss[-len(tail) :].any(),
        rise=rise,
        update_ratio=update_ratio,
        before_step=before_step,
    )


def _has_nan(training: Training, where: str, row: int) -> bool:
    """Whether a recorded step holds NaN, and not infinities only."""
    if where == "gradient":
        return bool((numpy.nan_to_num(training.matrix("gradient_nan")[row]) > 0).any())
    present = training.matrix("has_grad")[row] > 0
    return bool(numpy.isnan(training.matrix("weight_norm")[row][present]).any())


def _lead_up(training: Training, first: int, before: int) -> tuple[float, float]:
    loss = training_loss(training)
    near = (loss.steps >= first - before) & (loss.steps < first)
    top = largest(loss.values[near])
    start = loss.first
    rise = top / start if numpy.isfinite(start) and start > 0 else float("nan")
    recorded = training.recorded_global_steps
    # The step itself counts: a weight that the step made infinite was finite before it.
    update_ratio = largest(median_update_ratio(training)[(recorded >= first - before) & (recorded <= first)])
    return float(rise), update_ratio


def diverged_before(broken: NonFiniteOnset) -> bool:
    """Whether the loss or the updates had grown before the first non-finite number: divergence, not a bad operation."""
    run = broken.training.run
    fast = broken.update_ratio > threshold(run, "non_finite.fast", FAST)
    return fast or broken.rise > threshold(run, "non_finite.rise", RISE)


def typical_loss_before(broken: NonFiniteOnset, before: int = BEFORE) -> float:
    """Median loss of the steps before the first non-finite number; NaN when it is the first step."""
    loss = training_loss(broken.training)
    return median(loss.values[(loss.steps >= broken.step - before) & (loss.steps < broken.step)])
