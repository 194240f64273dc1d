"""Thresholds of diagnosers that other rules go by, too: as the user set them."""

from gradaudit.training import Training


def threshold(training: Training, name: str, default: float) -> float:
    """The value of "diagnoser.threshold" in this analysis; `default` unless the user changed it.

    What one diagnoser calls steep, another must not call even: both go by one number. `default` is that of the
    diagnoser, which a test holds to it.
    """
    return training.run.thresholds.get(name, default)
