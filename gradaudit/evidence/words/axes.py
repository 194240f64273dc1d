"""Shapes and axes, in words and in code."""

import math

from gradaudit.chart_data import Numbers
from gradaudit.evidence.words.wording import count
from gradaudit.schema import ViewFacts

MEANINGS = {
    "channels": (
        "Channel axis mixed up",
        "Each row is made of neighbouring positions of one channel, and not of the channels of one position.",
    ),
    "axes": (
        "Axes swapped by a view",
        "The numbers of one example, or of one time, go to others: each label meets other inputs.",
    ),
    "heads": (
        "Attention heads mixed up",
        "The axis of heads is cut out of that of time: each head sees a part of the sequence, with all features.",
    ),
}


def permuted(view: ViewFacts) -> str:
    """The line that moves the axis which a view mixes up."""
    if view.fault == "heads":
        b, heads, t, d = view.after if len(view.after) == 4 else (0, 0, 0, 0)
        return f"q = q.view({b}, {t}, {heads}, {d}).transpose(1, 2)"
    behind = ", ".join(str(axis) for axis in range(2, len(view.before)))
    moved = f"permute(0, {behind}, 1)" if view.fault == "channels" else "transpose(0, 1)"
    return f"out = out.{moved}.reshape({', '.join(['-1', *(str(size) for size in view.after[1:])])})"


def shape(sizes: list[int] | tuple[int, ...]) -> str:
    """A shape as torch prints it."""
    return f"({', '.join(str(size) for size in sizes)})"


def shapes_table(rows: list[tuple[str, list[int] | tuple[int, ...]]]) -> Numbers:
    """Shapes by name, and how many numbers each holds."""
    return Numbers(
        title="Shapes",
        caption="As autograd noted them at the first graph that was looked at.",
        columns=["", "shape", "numbers"],
        cells=[[name, shape(sizes), count(math.prod(sizes))] for name, sizes in rows],
    )
