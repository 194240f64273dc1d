"""How the absolute values of gradients are distributed, drawn: by block of the model, and over time."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy

from gradaudit.chart_data import Heatmap, Ridge, Ridges, Zone
from gradaudit.evidence.charts.reduce import blocks, short
from gradaudit.evidence.words.run_facts import optimizer_name
from gradaudit.evidence.words.wording import names, number, percent
from gradaudit.reading.run import Run
from gradaudit.schema import TensorFacts
from gradaudit.signals.gradients.distributions import (
    HIGHEST,
    LOST,
    LOWEST,
    SUBNORMAL,
    Floats,
    Histograms,
    gradient_counts,
    share_below,
)
from gradaudit.signals.layers.layers import weight_layers
from gradaudit.training import Training

_JOINED = 2  # quarter-octave bins to a bin that is drawn
_LEAST_STEPS = 6  # histograms over time that make a picture
_MOST_COLUMNS = 280
_LEAST_ELEMENTS = 50  # of a block or a tensor: fewer have no distribution to draw
_OUTSIDE = 0.02  # of a layer's elements below the axis over time: a few far ones would flatten the rest
_LEAST_SHARE = 1e-3  # of the elements: less is a handful of a sample


def gradient_ridges(run: Run, flagged: set[str]) -> Ridges | None:
    """The distribution of the last recorded gradients in each block of the model; None without histograms."""
    training = _main_training(run)
    by_step = gradient_counts(training) if training is not None else {}
    if training is None or not by_step:
        return None
    step, counts = list(by_step.items())[-1]
    tensors = [t for t, chosen in zip(training.tensors, weight_layers(training), strict=True)
               if chosen and t.id in counts and counts[t.id].sum()]  # fmt: skip
    if not tensors:
        return None
    labels = blocks([tensor.name for tensor in tensors])
    members = [(label, [t for _, t in pairs]) for label, pairs in groupby(zip(labels, tensors, strict=True), _first)]
    small = [label for label, block in members if sum(tensor.elements for tensor in block) < _LEAST_ELEMENTS]
    members = [(label, block) for label, block in members if label not in small]
    if not members:
        return None
    sums = [_weighed(counts, block) for _, block in members]
    low, high = _range(sums)
    ridges = [
        Ridge(
            label=label,
            shares=[short(float(value)) or 0.0 for value in _joined(total, low, high)],
            remark=_remark(total),
            flagged=any(tensor.name in flagged for tensor in block),
        )
        for (label, block), total in zip(members, sums, strict=True)
    ]
    caption = [
        f"One ridge for each block of weight matrices{_whose(training)}, the input at the top: how its gradient "
        f"elements at step {_everywhere(training, step):,} are spread over sizes, each ridge to its own height. "
        "Where ridges drift sideways from top to bottom the gradient grows or shrinks on its way."
    ]
    if low / 4 < SUBNORMAL:
        shaded = "lose, or keep with few digits" if low / 4 < LOST else "keep with few digits"
        caption.append(f"The shaded sizes are those that float16 would {shaded}.")
    if any(ridge.flagged for ridge in ridges):
        caption.append("A red outline is a block that a finding names.")
    if small:
        caption.append(f"Not drawn, for having fewer than {_LEAST_ELEMENTS} elements: {names(small, 4)}.")
    return Ridges(
        title="Distribution of the gradients",
        caption=" ".join(caption),
        x_label="absolute value of a gradient element",
        first=low / 4,
        width=_JOINED / 4,
        ridges=ridges,
        zones=[
            Zone(start=None, end=LOST, label="zero in fp16", role="lost"),
            Zone(start=LOST, end=SUBNORMAL, label="fp16 subnormal", role="weak"),
        ],
    )


def gradients_over_time(run: Run) -> list[Heatmap]:
    """The distribution over the steps, for the first, the middle and the last weight matrix; empty when too few."""
    training = _main_training(run)
    by_step = gradient_counts(training) if training is not None else {}
    if training is None or len(by_step) < _LEAST_STEPS:
        return []
    layers = [t for t, chosen in zip(training.tensors, weight_layers(training), strict=True)
              if chosen and t.elements >= _LEAST_ELEMENTS]  # fmt: skip
    chosen = [layers[i] for i in sorted({0, len(layers) // 2, len(layers) - 1})] if layers else []
    own = list(by_step)
    steps = numpy.asarray([_everywhere(training, step) for step in own])
    last = int(run.steps["global_step"].max()) + 1
    columns = numpy.linspace(0, last, min(_MOST_COLUMNS, max(len(steps), 60)), endpoint=False)
    # Histograms are sparse: each stands until the next one.
    at = numpy.clip(numpy.searchsorted(steps, columns, side="right") - 1, 0, None)
    shown = [own[i] for i in at]
    return [panel for tensor in chosen if (panel := _panel(tensor, by_step, shown, last)) is not None]


def _everywhere(training: Training, step: int) -> int:
    """The global step of one of this optimizer's steps; other optimizers have steps between."""
    frame = training.steps
    found = frame.loc[frame["step"] == step, "global_step"]
    return int(found.iloc[-1]) if len(found) else step


def _whose(training: Training) -> str:
    return f" that {optimizer_name(training)} trains" if len(training.run.trainings) > 1 else ""


def _panel(tensor: TensorFacts, by_step: dict[int, Histograms], at: Sequence[int], last: int) -> Heatmap | None:
    empty = numpy.zeros(HIGHEST - LOWEST)
    columns = [by_step[step].get(tensor.id, empty) for step in at]
    if not any(column.sum() for column in columns):
        return None
    low, high = _range([sum(column / max(column.sum(), 1.0) for column in columns)], _OUTSIDE)
    shares = numpy.stack([_joined(column, low, high) for column in columns], axis=1)[::-1]
    exponents = [(low + _JOINED * i) / 4 for i in range(len(shares))][::-1]
    with numpy.errstate(divide="ignore"):
        logs = numpy.where(shares >= _LEAST_SHARE, numpy.log10(shares), numpy.nan)
    sizes = [number(2.0**exponent, 2) for exponent in exponents]
    decade = [f"1e{math.floor(exponent * math.log10(2))}" for exponent in exponents]
    return Heatmap(
        title=tensor.name,
        caption="Size of the gradient elements, large ones at the top.",
        rows=sizes,
        first_step=0,
        last_step=last,
        values=[[None if math.isnan(value) else round(float(value), 2) for value in row] for row in logs],
        groups=decade,
        unit="share of the elements",
        empty="below a thousandth of the elements",
    )


def _main_training(run: Run) -> Training | None:
    """The training with the most weight matrices."""
    return max(run.trainings, key=lambda training: int(weight_layers(training).sum()), default=None)


def _first(pair: tuple[str, TensorFacts]) -> str:
    return pair[0]


def _weighed(counts: Mapping[int, Floats], tensors: Sequence[TensorFacts]) -> Floats:
    """Counts over several tensors, each as many as it has elements, whether all of them were counted or a sample."""
    return numpy.asarray(
        sum(counts[tensor.id] / counts[tensor.id].sum() * tensor.elements for tensor in tensors), dtype=float
    )


def _range(sums: Sequence[Floats], below: float = 5e-4) -> tuple[int, int]:
    """The bins (from, to; whole octaves) of every distribution but a share of `below`, and the largest 0.05 %."""
    low, high = HIGHEST, LOWEST
    for total in sums:
        if total.sum():
            passed = numpy.cumsum(total) / total.sum()
            low = min(low, LOWEST + int(numpy.searchsorted(passed, below)))
            high = max(high, LOWEST + int(numpy.searchsorted(passed, 1 - 5e-4)) + 1)
    return 4 * math.floor(low / 4) - 4, 4 * math.ceil(high / 4) + 4


def _joined(counts: Floats, low: int, high: int) -> Floats:
    """[drawn bins] shares of all counts between two bins."""
    low, high = max(low, LOWEST), min(high, HIGHEST)
    part = counts[low - LOWEST : high - LOWEST]
    return numpy.asarray(part.reshape(-1, _JOINED).sum(axis=1) / max(counts.sum(), 1e-300))


def _remark(counts: Floats) -> str:
    lost = share_below(counts, LOST)
    return f"{percent(lost)} zero in fp16" if lost >= 1e-3 else ""
