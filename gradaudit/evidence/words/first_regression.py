"""Where a regression's first loss comes from, in words, and what to do about it."""

import math

from gradaudit.evidence.words.outcomes import divergence_sentence
from gradaudit.evidence.words.wording import factor, in_code, number
from gradaudit.findings import Action
from gradaudit.signals.activations.input_scale import input_scale
from gradaudit.signals.activations.module_samples import model_inputs
from gradaudit.signals.layers.initialisation import first_rms, output_bias, output_layer
from gradaudit.signals.loss.bad_outcome import BadOutcome
from gradaudit.signals.loss.first_regression import Cause, off_standard
from gradaudit.signals.loss.training_loss import TrainingLoss
from gradaudit.training import Training

_OFF_CENTRE = 0.5  # standard deviations of the target: a mean nearer to 0 is found in a few steps
_MOSTLY = 0.5  # of the outputs: a bias as large as that is what they are
_STANDARD = 2.0  # root mean square: inputs below it need no standardisation


def disease(found: Cause) -> str:
    """The title of a first loss that is too large."""
    if found.too_large:
        return "Untrained outputs too large"
    return "Targets not standardised" if found.raw or found.standardising_helps else "Initial loss too high"


def beside_variance(loss: TrainingLoss, found: Cause) -> str:
    """The first loss beside the variance of the target, in a headline."""
    raw = f" (standard deviation {number(found.deviation)})" if found.raw else ""
    return f"The first loss is {number(loss.first)}, {factor(found.ratio)} times the variance of the target{raw}"


def explanation(loss: TrainingLoss, found: Cause, kept: float | None, outcome: BadOutcome | None) -> str:
    """Where the first loss comes from, and what became of it: of a training that has not coped, how much is `kept`."""
    sentences = [
        f"The target has mean {number(found.mean)} and standard deviation {number(found.deviation)}; the first loss is "
        f"{number(loss.first)}, {factor(found.ratio)} times its variance.",
        in_words(found),
        f"The last loss is {factor(kept)} times the first." if kept is not None and outcome is None else "",
        divergence_sentence(outcome),
    ]
    return " ".join(filter(None, sentences))


def in_words(found: Cause) -> str:
    """The larger of the two, if it is off."""
    outputs, target = number(math.sqrt(found.outputs)), number(math.sqrt(found.target))
    compared = f"The untrained outputs have a root mean square of {outputs} and the target one of {target}"
    if found.too_large:
        return f"{compared}: the outputs are too large for it."
    if found.outputs > found.target:
        return f"{compared}: the target is too small for outputs of order 1."
    return first_errors(found.mean, found.deviation) if found.raw else ""


def first_errors(mean: float, deviation: float) -> str:
    """How large its first errors are, its outputs being near 0."""
    words = (
        "A network starts with outputs of order 1, so its first errors are those of the raw target: "
        f"{number(math.hypot(mean, deviation))} (root mean square)"
    )
    return f"{words}, of which its mean accounts for {number(abs(mean))}." if abs(mean) > deviation else f"{words}."


def advice(loss: TrainingLoss, found: Cause) -> list[Action]:
    """What makes the first loss smaller, the larger cause first, and nothing that is done already."""
    of_target = [
        *_standardise(found.mean, found.deviation),
        *_shifted(loss.training, found.mean, found.deviation),
    ] if found.standardising_helps else []  # fmt: skip
    if of_target and not found.too_large:
        return of_target
    return [*_smaller_outputs(loss.training, found), *of_target]


def standardise_inputs(training: Training, why: str) -> list[Action]:
    """To standardise the inputs; nothing where they are known to be of order 1."""
    size = _input_size(training)
    if size <= _STANDARD:
        return []
    known = f", whose root mean square is {number(size, 2)}" if math.isfinite(size) else ", if that is not done"
    return [Action(text=f"Standardise the inputs{known}: {why}", code="x = (x - x.mean(0)) / x.std(0)")]


def _input_size(training: Training) -> float:
    """The root mean square of the first inputs, sampled or told by the gradient of the first layer; else NaN."""
    samples = model_inputs(training.run)
    if len(samples):
        return math.hypot(float(samples["mean"].iloc[0]), float(samples["std"].iloc[0]))
    found = input_scale(training)
    return found.typical if found is not None else math.nan


def _standardise(mean: float, deviation: float) -> list[Action]:
    """To subtract the mean and divide by the standard deviation, as far as either does anything."""
    shift, scale = off_standard(mean, deviation)
    steps = [f"subtract {number(mean)}"] * shift + [f"divide by {number(deviation)}"] * scale
    if not steps:
        return []
    shifted = f"(y - {float(f'{mean:.3g}'):g})" if shift else "y"
    code = f"y = {shifted}" + (f" / {float(f'{deviation:.3g}'):g}" if scale else "")
    return [Action(text=f"Standardise the target: {' and '.join(steps)}; undo it when predicting", code=code)]


def _shifted(training: Training, mean: float, deviation: float, start: str = "Or start") -> list[Action]:
    """To start the output bias at the mean of the target, where that is far enough from 0 to matter."""
    if not abs(mean) > _OFF_CENTRE * deviation:
        return []
    bias = output_bias(training)
    return [
        Action(
            text=f"{start} {bias.name if bias else 'the output bias'} at the mean of the target, {number(mean)}",
            code=f"nn.init.constant_({in_code(bias.name)}, {float(f'{mean:.3g}'):g})" if bias else "",
        )
    ]


def _smaller_outputs(training: Training, found: Cause) -> list[Action]:
    size = math.sqrt(found.outputs)
    bias = output_bias(training)
    # Weights that are scaled down leave outputs where their bias is.
    by_bias = bias is not None and first_rms(training.run, bias) >= _MOSTLY * size
    if by_bias and abs(found.mean) > _OFF_CENTRE * found.deviation:
        return _shifted(training, found.mean, found.deviation, "Start")
    times = size / found.deviation
    start = output_layer(training)
    inputs = standardise_inputs(training, f"large inputs make outputs as large as {number(size)}")
    what = f"the initial weights of {start.name}" if start is not None else "the initial weights of the output layer"
    smaller = Action(
        text=f"{'Or scale' if inputs else 'Scale'} down {what} {factor(times)} times, to outputs of "
        f"{number(found.deviation)}, the standard deviation of the target",
        code=f"nn.init.normal_({in_code(start.name)}, std={float(f'{start.rms / times:.2g}'):g})" if start else "",
    )
    return [*inputs, smaller]
