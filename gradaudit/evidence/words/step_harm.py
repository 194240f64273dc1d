"""What steps that are too large have done to the loss and to the weights, in sentences and measures."""

import math

from gradaudit.evidence.words.wording import count, factor, number, percent, setting
from gradaudit.findings import Measure, Severity
from gradaudit.signals.loss.progress import constant_level
from gradaudit.signals.loss.step_harm import Failure, Harm, LittleGain, Overshoot, first_losses, over_constant
from gradaudit.signals.loss.training_loss import TrainingLoss

_SIZE = "largest median update-to-weight ratio"


def harm_sentence(loss: TrainingLoss, harm: Harm | None) -> str:
    """What the steps have done to the loss."""
    match harm:
        case Failure("non_finite", since):
            return f"The run ends in NaN or infinity, first at step {count(since)}."
        case Failure("divergence", since):
            from_to = f"it starts at {number(loss.first)} and ends at {number(loss.last)}"
            return f"The loss diverges at step {count(since)}: {from_to}."
        case Failure():
            return "The loss ends no lower than that of a model that ignores its input."
        case Overshoot("largest", times):
            return f"Within the first ten steps the loss jumps to {factor(times)} times its start."
        case Overshoot(_, times):
            return f"Over the first steps the loss is {factor(times)} times its start."
        case LittleGain("start", share):
            return f"The loss ends at {number(loss.last)}, {percent(share)} of its start."
        case LittleGain():
            level = number(constant_level(loss))
            return f"The loss ends at {number(loss.last)}, and a constant prediction has {level}."
        case None:
            return "The loss shows no harm."


def size_measures(
    top: float, severity: Severity, times: float, *, with_symptom: float, note: float, grown: float
) -> list[Measure]:
    """How large the steps are, and how much the weights have grown by them."""
    growth = Measure(
        quantity="growth of the median weight layer within ten steps", value=times if times > 0 else None,
        comparison=">=", threshold=grown, option="grown", decides="warning",
    )  # fmt: skip
    if severity is Severity.CRITICAL:
        return [
            Measure(quantity=f"{_SIZE}, of a training that fails", value=top, comparison=">=",
                    threshold=with_symptom, option="with_symptom", decides="critical"),
        ]  # fmt: skip
    if top >= note:
        return [Measure(quantity=_SIZE, value=top, comparison=">=", threshold=note, option="note"), growth]
    return [
        Measure(quantity=f"{_SIZE}, where the weights grow at once", value=top, comparison=">=", threshold=with_symptom,
                option="with_symptom"),
        growth,
    ]  # fmt: skip


def harm_measures(
    loss: TrainingLoss, top: float, *, overshoot: float, jump: float, kept: float, alone: float
) -> list[Measure]:
    """What makes it a warning: an early jump of the loss, or larger steps and a loss that keeps its height."""
    middle, highest = first_losses(loss)
    if math.isnan(middle):
        return []
    first = Measure(
        quantity="last loss / first loss", value=loss.last / loss.first, comparison=">=", threshold=kept,
        option="kept", decides="warning", any_of="harm",
    )  # fmt: skip
    constant = Measure(
        quantity="last loss / that of a constant prediction", value=over_constant(loss), comparison=">=",
        threshold=kept, option="kept", decides="warning", any_of="harm",
    )  # fmt: skip
    large = Measure(
        quantity=f"{_SIZE}, of a loss that keeps {setting(kept)} of its start", value=top, comparison=">=",
        threshold=alone, option="alone", decides="warning", any_of="harm",
    )  # fmt: skip
    known = [first] if constant.value is None else [first, constant]
    return [
        Measure(quantity="median loss of steps 1-5 / first loss", value=middle, comparison=">=", threshold=overshoot,
                option="overshoot", decides="warning", any_of="harm"),
        Measure(quantity="largest of the first ten losses / first loss", value=highest, comparison=">=", threshold=jump,
                option="jump", decides="warning", any_of="harm"),
        *([large] if any(each.met for each in known) else known),
    ]  # fmt: skip
