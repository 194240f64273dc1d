"""Where a regression's first loss comes from, a target that is not standardised or outputs that are too large, and what
to do about it."""

import math
from dataclasses import dataclass

from gradaudit.derived.initialisation import output_layer
from gradaudit.derived.input_scale import input_scale
from gradaudit.derived.module_samples import loss_inputs, model_inputs
from gradaudit.derived.training_loss import TrainingLoss
from gradaudit.derived.wording import factor, in_code, number
from gradaudit.findings import Action
from gradaudit.reading.run import Run

_HELPS = 2.0  # times: a target whose standardisation takes less off the ratio of loss to variance is not the cause
_OFF_CENTRE = 0.5  # standard deviations of the target: a mean nearer to 0 is found in a few steps
_NOTHING = 0.05  # of a standard deviation, by which to shift a target, or of 1, by which to scale it
_STANDARD = 2.0  # root mean square: inputs below it need no standardisation


@dataclass(frozen=True)
class Cause:
    """What a first loss is made of."""

    ratio: float  # the loss over the variance of the target
    mean: float  # of the target
    deviation: float
    outputs: float  # mean square of the untrained outputs
    raw: bool  # the target is spread too far
    standardising_helps: bool  # the target is off, and its standardisation takes most of the ratio away
    too_large: bool  # the outputs are, for this target and for one that is standardised

    @property
    def target(self) -> float:
        """Mean square of the target."""
        return self.mean**2 + self.deviation**2


def cause(run: Run, loss: TrainingLoss, mean: float, deviation: float, variance: float, spread: float) -> Cause:
    """Tell a target that is not standardised from outputs that are too large."""
    ratio, raw = loss.first / deviation**2, deviation > spread
    outputs = _first_outputs(run, loss, mean**2 + deviation**2)
    # Outputs that stay as they are beside a target of mean 0 and variance 1 leave a ratio of their square and 1.
    left = outputs + 1
    helps = bool(_standardise(mean, deviation)) and (raw or ratio > _HELPS * left)
    larger = outputs > mean**2 + deviation**2
    return Cause(ratio, mean, deviation, outputs, raw, helps, larger and (left > variance or not helps))


def _first_outputs(run: Run, loss: TrainingLoss, target: float) -> float:
    """The mean square of the outputs at the first step: sampled, or what `target`, its own, leaves of the loss."""
    samples = loss_inputs(run, loss.facts.id) if loss.facts is not None else None
    if samples is not None and len(samples) and int(samples["step"].iloc[0]) == int(loss.steps[0]):
        sampled = float(samples["mean"].iloc[0]) ** 2 + float(samples["std"].iloc[0]) ** 2
        if math.isfinite(sampled):
            return sampled
    return max(0.0, loss.first - target)


def in_words(found: Cause) -> str:
    """The larger of the two, if it is off."""
    outputs, target = number(math.sqrt(found.outputs)), number(math.sqrt(found.target))
    sizes = f"The untrained outputs have a root mean square of {outputs} and the target one of {target}"
    if found.too_large:
        return f"{sizes}: the outputs are too large for it."
    if found.outputs > found.target:
        return f"{sizes}: the target is too small for outputs of order 1."
    return first_errors(found.mean, found.deviation) if found.raw else ""


def first_errors(mean: float, deviation: float) -> str:
    """How large its first errors are, its outputs being near 0."""
    words = (
        "A network starts with outputs of order 1, so its first errors are those of the raw target: "
        f"{number(math.hypot(mean, deviation))} (root mean square)"
    )
    return f"{words}, of which its mean alone makes {number(abs(mean))}." if abs(mean) > deviation else f"{words}."


def advice(run: Run, loss: TrainingLoss, found: Cause) -> list[Action]:
    """What makes the first loss smaller, the larger cause first, and nothing that is done already."""
    of_target = [
        *_standardise(found.mean, found.deviation),
        *_shifted(run, loss.optimizer, found.mean, found.deviation),
    ] if found.standardising_helps else []  # fmt: skip
    if of_target and not found.too_large:
        return of_target
    return [*_smaller_outputs(run, loss.optimizer, found), *of_target]


def standardise_inputs(run: Run, optimizer: int, why: str) -> list[Action]:
    """To standardise the inputs; nothing where they are known to be of order 1."""
    size = _input_size(run, optimizer)
    if size <= _STANDARD:
        return []
    known = f", whose root mean square is {number(size, 2)}" if math.isfinite(size) else ", if that is not done"
    return [Action(text=f"Standardise the inputs{known}: {why}", code="x = (x - x.mean(0)) / x.std(0)")]


def _input_size(run: Run, optimizer: int) -> float:
    """The root mean square of the first inputs, sampled or told by the gradient of the first layer; else NaN."""
    samples = model_inputs(run)
    if len(samples):
        return math.hypot(float(samples["mean"].iloc[0]), float(samples["std"].iloc[0]))
    found = input_scale(run, optimizer)
    return found.typical if found is not None else math.nan


def _standardise(mean: float, deviation: float) -> list[Action]:
    """To subtract the mean and divide by the standard deviation, as far as either does anything."""
    shift = abs(mean) > _NOTHING * deviation
    scale = abs(math.log(deviation)) > _NOTHING
    steps = [f"subtract {number(mean)}"] * shift + [f"divide by {number(deviation)}"] * scale
    if not steps:
        return []
    shifted = f"(y - {float(f'{mean:.3g}'):g})" if shift else "y"
    code = f"y = {shifted}" + (f" / {float(f'{deviation:.3g}'):g}" if scale else "")
    return [Action(text=f"Standardise the target: {' and '.join(steps)}; undo it when predicting", code=code)]


def _shifted(run: Run, optimizer: int, mean: float, deviation: float) -> list[Action]:
    """To start the output bias at the mean of the target, where that is far enough from 0 to matter."""
    if not abs(mean) > _OFF_CENTRE * deviation:
        return []
    bias = _output_bias(run, optimizer)
    return [
        Action(
            text=f"Or start {bias or 'the output bias'} at the mean of the target, {number(mean)}",
            code=f"nn.init.constant_({in_code(bias)}, {float(f'{mean:.3g}'):g})" if bias else "",
        )
    ]


def _smaller_outputs(run: Run, optimizer: int, found: Cause) -> list[Action]:
    size = math.sqrt(found.outputs)
    times = size / found.deviation
    start = output_layer(run, optimizer)
    inputs = standardise_inputs(run, optimizer, f"large inputs make outputs as large as {number(size)}")
    what = f"the initial weights of {start.name}" if start is not None else "the initial weights of the output layer"
    smaller = Action(
        text=f"{'Or scale' if inputs else 'Scale'} down {what} {factor(times)} times, to outputs of "
        f"{number(found.deviation)}, the standard deviation of the target",
        code=f"nn.init.normal_({in_code(start.name)}, std={float(f'{start.rms / times:.2g}'):g})" if start else "",
    )
    return [*inputs, smaller]


def _output_bias(run: Run, optimizer: int) -> str:
    """The name of the output layer's bias; empty where there is none, or it is not known."""
    start = output_layer(run, optimizer)
    bias = f"{start.name.rpartition('.')[0]}.bias" if start is not None else ""
    return bias if any(tensor.name == bias for tensor in run.meta.tensors) else ""
