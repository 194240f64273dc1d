"""Why a loss does not say how training goes, in words."""

from gradaudit.evidence.words.wording import factor, number, percent
from gradaudit.signals.loss.moving_target import Movement
from gradaudit.signals.loss.training_loss import Unclear

_REASONS = {
    "small term": "{function} is about {share} of what is minimised, and where the sum of all terms should start and "
    "end is not known",
    "compiled": "{told}",
    "no function seen": "no torch.nn.functional loss was seen, so it is not known what the objective measures",
    "unknown function": "what {function} should start at and tend to is not known",
    "adversarial": "several optimizers minimise different losses in turn, as in adversarial training",
    "contrastive": "each batch has its own classes, as in contrastive training",
    "negative objective": "the objective is negative where the loss is not, as in policy gradients and under learned "
    "weights",
    "moving targets": "its targets move while the model learns, as in reinforcement learning: {movement}",
    "several terms": "{function} is one of several terms, or weighted: what is minimised is {first} times it at first "
    "and {last} times at the end{per}",
}


def unclear_in_words(unclear: Unclear | None) -> str:
    """The reason as a sentence without its full stop; empty where the loss does say how training goes."""
    if unclear is None:
        return ""
    return _REASONS[unclear.why].format(
        function=unclear.function,
        share=percent(unclear.share),
        told=unclear.told,
        movement=movement_in_words(unclear.movement),
        first=factor(unclear.first),
        last=factor(unclear.last),
        per="" if unclear.unit == "1" else f", per {unclear.unit.removeprefix('1 / ')}",
    )


def movement_in_words(movement: Movement | None) -> str:
    """How the targets moved; empty where they did not."""
    if movement is None:
        return ""
    if movement.what == "trained":
        return "what they are held against is trained, too"
    return f"their {movement.what} goes from {number(movement.before)} to {number(movement.after)}"
