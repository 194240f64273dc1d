"""Thresholds of diagnosers that other rules go by, too, as the user set them."""

from gradaudit.reading.run import Run


def threshold(run: Run, name: str, default: float) -> float:
    """The value of "diagnoser.threshold" in this analysis: `default`, unless the user changed it.

    What one diagnoser calls steep, another must not call even: both go by one number. `default` is that of the
    diagnoser, to which a test holds it.

    >>> threshold(run, "vanishing_gradient.decades", 3.0)  # under --set vanishing_gradient.decades=8
    8.0
    """
    return run.thresholds.get(name, default)
