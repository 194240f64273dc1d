"""The steps that findings are about."""

from gradaudit.findings import Span
from gradaudit.training import Training


def recorded_span(training: Training) -> Span:
    """From the first to the last recorded step, in global steps. Raises IndexError where none was recorded."""
    steps = training.recorded_global_steps
    return Span(first=int(steps[0]), last=int(steps[-1]))
