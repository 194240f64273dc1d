"""What rose first at a spike of the loss, in words."""

from gradaudit.evidence.words.wording import count
from gradaudit.signals.loss.first_crossings import Crossings
from gradaudit.signals.loss.training_loss import TrainingLoss
from gradaudit.signals.updates.learning_rates import is_adaptive, optimizer_class
from gradaudit.training import Training


def order_in_words(training: Training, loss: TrainingLoss, crossings: Crossings) -> str:
    """What rose first and what that says, as a sentence; where it is not known, why."""

    def at(index: int | None) -> str:
        return f"step {count(loss.steps[index])}" if index is not None else "no step"

    name = optimizer_class(training)
    match crossings.first:
        case "update":
            moments = f"the moments of {name} were stale" if is_adaptive(training) else "momentum had built up"
            return (
                f"The updates left their usual size first, at {at(crossings.update)}, before the loss at "
                f"{at(crossings.loss)} and the gradient at {at(crossings.gradient)}: {moments}."
            )
        case "gradient":
            return (
                f"The gradient left its usual size first, at {at(crossings.gradient)}, and the loss followed at "
                f"{at(crossings.loss)}: that batch, or those just before, moved the weights too far."
            )
        case "batch":
            return (
                f"Gradient and loss left their usual size together at {at(crossings.loss)}, and no update did before: "
                "it is the batch of that step that is unlike the others."
            )
        case "loss":
            return f"The loss left its usual range at {at(crossings.loss)}, before the gradient and the updates."
        case "unclear":
            return "No single loss around it is far outside its usual range, so what rose first is not known."
        case _:
            return (
                "Whether the updates, the gradient or the loss rose first is not known: statistics were not recorded "
                "at every step around it."
            )
