"""What became of a training and how long it was, in words."""

from gradaudit.evidence.words.wording import count, setting
from gradaudit.signals.gradients.finiteness import diverged_before, non_finite_onset
from gradaudit.signals.loss.progress import divergence, not_learning
from gradaudit.training import Training

_LEAST_TOLD = 0.01  # epochs


def divergence_sentence(training: Training) -> str:
    """What became of the training, when it is bad enough to call the start its cause; else nothing."""
    broken = non_finite_onset(training)
    if broken is not None and diverged_before(broken):
        return f"Training diverges to NaN or infinity at step {count(broken.step)}."
    away = divergence(training)
    if away is not None:
        return f"Training then diverges at step {count(away)}."
    return "Training then learns nothing." if not_learning(training) else ""


def epochs_in_words(passed: float) -> str:
    """ ", 12 epochs" behind a number of steps; nothing where they are not known, or too few to say anything."""
    return f", {setting(passed)} epochs" if passed >= _LEAST_TOLD else ""
