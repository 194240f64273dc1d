"""What an untrained network makes of a regression target that is not standardised."""

import math

from gradaudit.derived.initialisation import output_layer
from gradaudit.derived.wording import number
from gradaudit.run import Run


def first_errors(mean: float, deviation: float) -> str:
    """How large its first errors are, its outputs being near 0."""
    words = (
        "A network starts with outputs of order 1, so its first errors are those of the raw target: "
        f"{number(math.hypot(mean, deviation))} (root mean square)"
    )
    return f"{words}, of which its mean alone makes {number(abs(mean))}." if abs(mean) > deviation else f"{words}."


def output_bias(run: Run, optimizer: int) -> str:
    """The name of the output layer's bias; empty where there is none, or it is not known."""
    start = output_layer(run, optimizer)
    bias = f"{start.name.rpartition('.')[0]}.bias" if start is not None else ""
    return bias if any(tensor.name == bias for tensor in run.meta.tensors) else ""
