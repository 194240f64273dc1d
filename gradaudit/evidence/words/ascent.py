"""A training that raises its loss on purpose, or by a sign, in words."""

from gradaudit.evidence.words.optimizers import line_with_rates
from gradaudit.findings import Action
from gradaudit.signals.order_statistics import Floats
from gradaudit.signals.updates.learning_rates import by_hand, optimizer_class
from gradaudit.training import Training


def ascent_sentence(training: Training) -> str:
    """Why the steps go up; of a training that maximizes."""
    if by_hand(training):
        return "The script adds the gradient instead of subtracting it: it raises the loss."
    return f"{optimizer_class(training)} was made with maximize=True: it raises the loss."


def descend(training: Training, rates: Floats) -> Action:
    """To go down instead, with these learning rates [groups]."""
    if by_hand(training):
        return Action(text="Subtract the gradient, if the loss is meant to fall", code="p -= lr * p.grad")
    return Action(
        text="Remove maximize=True: the optimizer raises the loss on purpose", code=line_with_rates(training, rates)
    )
