"""The outputs without a gradient: of each layer at the end, and of a dead one over the steps."""

from collections.abc import Sequence

from gradaudit.chart_data import Dot, Dots, Lines, Mark
from gradaudit.evidence.charts.lines import MOST_DOTS
from gradaudit.evidence.charts.reduce import plain, short
from gradaudit.evidence.words.wording import names, percent
from gradaudit.signals.activations.dead_units import SILENT, DeadUnits


def dead_dots(dead: DeadUnits, layers: Sequence[DeadUnits], limit: float) -> Dots:
    """One dot a layer, in depth order, with `dead` flagged; those whose inputs are all zero are left out."""
    before = any(layer.share >= 1 and layer.layer.depth < dead.layer.depth for layer in layers)
    fed = [layer.layer.name for layer in layers if layer.zero_input]
    kept = {id(layer) for layer in sorted(layers, key=lambda layer: layer is not dead)[:MOST_DOTS]}
    return Dots(
        title="Dead outputs of each layer",
        caption=f"The share of a layer's outputs that had no gradient at any of the last {SILENT} recorded steps, the "
        "input of the model at the top and the dead layer marked."
        + (
            " Nothing passes a dead layer on its way back, so the layers before it have no gradient either."
            if before
            else ""
        )
        # The weights behind a dead layer have no gradient, but their outputs have: the bias receives one.
        + (
            f" The weights of {names(fed)} have no gradient because their inputs are all zero; they are left out."
            if fed
            else ""
        ),
        x_label="share of the outputs without a gradient",
        dots=[
            Dot(label=layer.layer.name, value=short(layer.share), group="weight", flagged=layer is dead)
            for layer in layers
            if id(layer) in kept and not layer.zero_input
        ],
        marks=[Mark(label=f"dead from {percent(limit)} on", x=limit)],
        log=False,
    )


def dead_lines(dead: DeadUnits, layers: Sequence[DeadUnits]) -> Lines:
    """The share of the outputs without a gradient over the steps, of `dead` and of the last other layers."""
    others = [layer for layer in layers if layer is not dead and not layer.zero_input][-3:]
    return Lines(
        title="Outputs without a gradient over the steps",
        caption="The share of a layer's outputs whose gradient is exactly zero at a step. Behind a ReLU some are, in "
        "turn; dead ones stay.",
        x_label="step",
        y_label="share of the outputs",
        series=[
            plain(dead.layer.module or dead.layer.name, dead.steps, dead.without, role="flagged"),
            *[plain(layer.layer.module or layer.layer.name, layer.steps, layer.without) for layer in others],
        ],
        marks=[Mark(label="every output has a gradient", y=0.0, role="reference")],
    )
