"""Charts of one dot a weight layer, from the input at the top to the output at the bottom."""

import math
from collections.abc import Collection

import numpy

from gradaudit.chart_data import Dot, Dots, Mark
from gradaudit.evidence.charts.lines import MOST_DOTS
from gradaudit.evidence.charts.reduce import short
from gradaudit.evidence.words.wording import setting
from gradaudit.signals.layers.layer_profile import Quantity
from gradaudit.signals.layers.layers import comparable_layers, weight_layers
from gradaudit.signals.order_statistics import Floats, Integers, median, medians
from gradaudit.signals.updates.ratios import gradient_ratio, last_half, update_ratio
from gradaudit.training import Training


def eps_dots(training: Training, columns: Integers, rms: Floats, flagged: set[str], eps: float) -> Dots:
    """The running RMS of the gradient of some layers, `columns` and `rms` [layers], against eps."""
    every = math.ceil(len(columns) / MOST_DOTS)
    tensors = training.tensors
    return Dots(
        title="Running gradient RMS by layer, last half",
        caption="What the optimizer divides by, before eps is added; from the input at the top to the output at the "
        "bottom.",
        x_label="root of the running mean of squared gradients",
        dots=[
            Dot(
                label=tensors[int(column)].name,
                value=short(float(size)) if size > 0 else None,
                group=tensors[int(column)].role,
                flagged=tensors[int(column)].name in flagged,
            )
            for column, size in zip(columns[::every], rms[::every], strict=True)
        ],
        marks=[Mark(label="eps", x=eps)],
    )


def cosine_dots(training: Training, cosines: Floats, flagged: Integers, others: Integers, threshold: float) -> Dots:
    """The cosine of successive gradients, [tensors], of the layers in some columns and of an even choice of others."""
    tensors = training.tensors
    layers = numpy.union1d(flagged, others)
    every = math.ceil(len(layers) / MOST_DOTS)
    shown = sorted({*layers[::every].tolist(), *flagged.tolist()})
    return Dots(
        title="Cosine of successive gradients by layer, steps 2 to 60",
        caption="The median absolute cosine, from the input at the top to the output at the bottom. Layers that "
        "learn get much the same gradient at successive steps.",
        x_label="|cosine|",
        dots=[
            Dot(
                label=tensors[i].name,
                value=short(float(cosines[i])) if cosines[i] > 0 else None,
                group=tensors[i].role,
                flagged=i in flagged,
            )
            for i in shown
        ],
        marks=[Mark(label=f"threshold {setting(threshold)}", x=threshold)],
    )


def ratio_dots(training: Training, quantity: Quantity, flagged: Collection[str]) -> Dots:
    """One dot a weight layer, in depth order; of very many layers the flagged ones and an even choice of the others."""
    values = update_ratio(training) if quantity == "update" else gradient_ratio(training)
    middle = medians(values[last_half(training)])
    marked = set(flagged)
    all_layers = [
        Dot(
            label=tensor.name,
            value=short(float(value)) if value > 0 else None,
            group=tensor.role,
            flagged=tensor.name in marked,
        )
        for tensor, value, take in zip(training.tensors, middle, weight_layers(training), strict=True)
        if take
    ]
    every = math.ceil(len(all_layers) / MOST_DOTS)
    kept = [dot for index, dot in enumerate(all_layers) if dot.flagged or index % every == 0][: 2 * MOST_DOTS]
    typical = median(middle[comparable_layers(training)])
    return Dots(
        title=f"{quantity.capitalize()}-to-weight ratio by layer",
        caption="The median over the last half of the run, from the input at the top to the output at the bottom. "
        "Layers that learn at the same rate lie under each other; each decade is a factor of ten.",
        x_label=f"|{quantity}| / |weight|",
        dots=kept,
        marks=[Mark(label="median layer", x=short(typical), role="reference")] if typical > 0 else [],
    )
