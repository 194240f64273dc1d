"""A first loss of a likelihood that is not that of an untrained model, in words: what it is, and what to do."""

import math

from gradaudit.evidence.words.first_regression import standardise_inputs
from gradaudit.evidence.words.outcomes import divergence_sentence
from gradaudit.evidence.words.wording import count, factor, in_code, number, plural, setting
from gradaudit.findings import Action, Comparison, Decides, Measure
from gradaudit.signals.layers.initialisation import Start
from gradaudit.signals.loss.first_likelihood import (
    BelowChance,
    ExpectedStart,
    Mismatch,
    NegativeLikelihood,
    NotAveraged,
    Overconfident,
    UnusedOutputs,
)
from gradaudit.signals.loss.first_loss import CLOSE, ObjectiveFactor
from gradaudit.signals.loss.training_loss import TrainingLoss


def unknown_start(function: str, why: str) -> str:
    """Why it is not known where a loss starts."""
    return {
        "weights": f"the weights of {function} are not known, so neither is its start",
        "trained": "an earlier optimizer trained the model, so its first loss here is not that of a start",
        "scale": f"where {function} starts depends on the scale of the data",
    }[why]


def uniform_in_words(expected: ExpectedStart) -> str:
    """The loss of a uniform prediction: ln 10 = 2.30."""
    return f"{'weighted ' if expected.weighted else ''}ln {expected.classes} = {number(expected.uniform)}"


def reference(found: Mismatch) -> tuple[str, float]:
    """Where the model should start: how a chart calls it, and the loss."""
    if isinstance(found, UnusedOutputs):
        used = math.log(found.used)
        return f"ln {found.used} = {number(used)}", used
    return uniform_in_words(found.expected), found.expected.uniform


def title(found: Mismatch) -> str:
    """The fault by name."""
    match found:
        case NegativeLikelihood():
            return "Negative likelihood loss"
        case NotAveraged():
            accumulated = found.factor.meaning == "micro_steps"
            return "Accumulated loss not divided" if accumulated else "Loss summed over the batch"
        case Overconfident():
            return "Output layer initialised too large" if found.layer else "Overconfident initial predictions"
        case UnusedOutputs():
            return "More outputs than classes"
        case BelowChance():
            return "Initial loss below chance level"


def headline(found: Mismatch) -> str:
    """The first loss, and why it is wrong."""
    expected, first = found.expected, number(found.loss.first)
    match found:
        case NegativeLikelihood():
            return f"The first loss is {first}, but {expected.function} cannot be negative"
        case NotAveraged():
            return _times_uniform(float(found.loss.objective[0]), expected)
        case UnusedOutputs():
            return (
                f"The first loss is {first}, near {uniform_in_words(expected)}, but the labels have only {found.used} "
                f"classes (ln {found.used} = {number(math.log(found.used))})"
            )
        case Overconfident() | BelowChance():
            return _times_uniform(found.loss.first, expected)


def _times_uniform(loss: float, expected: ExpectedStart) -> str:
    return (
        f"The first loss is {number(loss)}, {factor(loss / expected.uniform)} times that of a uniform prediction, "
        f"{uniform_in_words(expected)}"
    )


def explanation(found: Mismatch) -> str:
    """How the first loss comes about, and what became of the training."""
    expected = found.expected
    match found:
        case NegativeLikelihood():
            return (
                f"{expected.function} is minus the logarithm of a probability, so it is never below 0. Either its "
                "input is not a log-probability, or its target is outside [0, 1]."
            )
        case NotAveraged():
            times = factor(found.factor.times)
            sentences = [
                f"The differentiated loss is {times} times the mean loss per target, {number(found.loss.first)}: "
                f"{_looks_like(found.factor)}. Every gradient is {times} times larger than with a mean.",
                # Adam and its kin divide the factor out again, whatever else went wrong.
                "" if found.adaptive else divergence_sentence(found.outcome),
            ]
        case Overconfident():
            sentences = [
                f"The mean loss per target of the first step is {number(found.loss.first)}; a uniform prediction has "
                f"{uniform_in_words(expected)}. The untrained model is confident and wrong: its outputs are too large.",
                _large_layer(found.layer) if found.layer is not None else "",
                _became_of(found),
            ]
        case UnusedOutputs():
            return (
                f"The output layer has {count(expected.classes)} units, and only the first {found.used} of them ever "
                "occur as a label. The model spends its first steps learning that the others do not occur."
            )
        case BelowChance():
            return (
                "At its first step the model predicts better than an untrained one can. Pretrained weights explain it, "
                "and so do a label that leaks into the input and steps taken before recording began."
            )
    return " ".join(filter(None, sentences))


def _became_of(found: Overconfident) -> str:
    if not found.mild or found.below_from is None:
        return divergence_sentence(found.outcome)
    return f"By step {count(found.below_from)} the loss is below that for good: the start cost little."


def _looks_like(times: ObjectiveFactor) -> str:
    amount = count(times.amount)
    if times.meaning == "micro_steps":
        return f"it looks like {amount} accumulated micro-steps without division"
    what = "the number of targets" if times.meaning == "targets" else "the batch size"
    return f"{amount} is {what} of that step, so it looks like reduction='sum'"


def _large_layer(layer: Start) -> str:
    return (
        f"{layer.name} starts with {number(layer.rms)} per element (RMS), {factor(layer.rms / layer.usual)} times "
        f"torch.nn's default for {plural(layer.inputs, 'input')}."
    )


def actions(found: Mismatch) -> list[Action]:
    """What to do about it."""
    expected = found.expected
    match found:
        case NegativeLikelihood():
            log = "log_softmax(logits, dim=1)" if expected.function == "nll_loss" else "logits, and targets in [0, 1]"
            return [
                Action(text=f"Give {expected.function} what it expects: {log}"),
                Action(text="Or pass raw logits to the combined loss", code="loss = F.cross_entropy(logits, target)"),
            ]
        case NotAveraged():
            return _divide(found.factor)
        case Overconfident():
            return [
                _smaller_weights(found.layer),
                *standardise_inputs(found.loss.training, "large inputs make large logits"),
                Action(text="Check that the loss gets logits and that the labels are in the order of the outputs"),
            ]
        case UnusedOutputs():
            return [
                Action(
                    text=f"Give the output layer {found.used} units instead of {count(expected.classes)}",
                    code=f"nn.Linear(features, {found.used})",
                ),
                Action(text="Check that no class is missing from the training labels"),
            ]
        case BelowChance():
            return [
                Action(text="If the model is not pretrained, look for the label, or a copy of it, among the inputs"),
                Action(text=f"Check that {count(expected.classes)} is the number of classes you expect"),
            ]


def _divide(times: ObjectiveFactor) -> list[Action]:
    amount = count(times.amount)
    if times.meaning == "micro_steps":
        code = f"(loss / {times.amount}).backward()"
        return [Action(text=f"Divide each micro-step's loss by {amount}", code=code)]
    return [
        Action(text="Average the loss over the batch", code='criterion = nn.CrossEntropyLoss(reduction="mean")'),
        Action(text=f"Or, to keep the sum, divide the learning rate by {amount}"),
    ]


def _smaller_weights(layer: Start | None) -> Action:
    if layer is None:
        return Action(text="Scale down the initial weights of the output layer, to 0.1 of their size for a start")
    usual = setting(float(f"{layer.usual:.1g}"))
    return Action(
        text=f"Initialise {layer.name} with a standard deviation of {usual} or less instead of "
        f"{setting(float(f'{layer.rms:.2g}'))}",
        code=f"nn.init.normal_({in_code(layer.name)}, std={usual})",
    )


def measures(found: Mismatch, vocabulary: float, soon: float) -> list[Measure]:
    """How it was decided."""
    expected, loss = found.expected, found.loss
    match found:
        case NegativeLikelihood():
            return [_first(loss, "<", 0)]
        case NotAveraged():
            times = found.factor
            return [
                Measure(quantity="first objective", value=loss.objective[0], comparison=">", threshold=expected.high,
                        option=expected.option),
                Measure(quantity=f"distance of objective / mean loss from {count(times.amount)}",
                        value=abs(times.times / times.amount - 1), comparison="<", threshold=CLOSE, unit="fraction"),
            ]  # fmt: skip
        case Overconfident():
            severe = "binary_severe" if expected.option == "binary_excess" else "severe"
            return [
                _first(loss, ">", expected.high, expected.option),
                Measure(quantity="first mean loss per target", value=loss.first, comparison=">",
                        threshold=expected.mild, option="mild", decides="warning", any_of="start"),
                Measure(quantity="share of the run until the loss is below a uniform prediction's", value=found.spent,
                        comparison=">=", threshold=soon, unit="fraction", option="soon", decides="warning",
                        any_of="start"),
                _first(loss, ">", expected.severe, severe, "critical"),
            ]  # fmt: skip
        case UnusedOutputs():
            return [
                _first(loss, ">", found.high, expected.option),
                Measure(quantity="outputs", value=expected.classes, comparison=">=", threshold=2 * found.used,
                        unit="count"),
                Measure(quantity="outputs", value=expected.classes, comparison="<=", threshold=vocabulary,
                        unit="count", option="vocabulary"),
            ]  # fmt: skip
        case BelowChance():
            return [_first(loss, "<", expected.low, "low")]


def _first(
    loss: TrainingLoss, comparison: Comparison, limit: float, option: str = "", decides: Decides = "finding"
) -> Measure:
    return Measure(quantity="first mean loss per target", value=loss.first, comparison=comparison, threshold=limit,
                   option=option, decides=decides)  # fmt: skip
