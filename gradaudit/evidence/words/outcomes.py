"""What became of a training and how long it was, in words."""

from gradaudit.evidence.words.wording import count, setting
from gradaudit.signals.loss.bad_outcome import BadOutcome

_LEAST_TOLD = 0.01  # epochs


def divergence_sentence(outcome: BadOutcome | None) -> str:
    """What became of a training that went wrong; nothing of one that did not."""
    if outcome is None:
        return ""
    if outcome.step is None:
        return "Training then learns nothing."
    if outcome.kind == "diverged":
        return f"Training then diverges at step {count(outcome.step)}."
    return f"Training diverges to NaN or infinity at step {count(outcome.step)}."


def epochs_in_words(passed: float) -> str:
    """ ", 12 epochs" behind a number of steps; nothing where they are not known, or too few to say anything."""
    return f", {setting(passed)} epochs" if passed >= _LEAST_TOLD else ""
