"""How saturated the activations of a model are: all of them at the end, and some over the steps."""

from collections.abc import Iterable, Sequence

from gradaudit.chart_data import Dot, Dots, Lines, Mark
from gradaudit.evidence.charts.lines import MOST_DOTS
from gradaudit.evidence.charts.reduce import plain, short
from gradaudit.evidence.words.wording import percent
from gradaudit.signals.activations.module_samples import SAMPLES
from gradaudit.signals.activations.saturation import Saturation

_MOST_LINES = 6


def saturation_dots(every: Sequence[Saturation], flagged: Sequence[Saturation], limits: Iterable[float]) -> Dots:
    """One dot an activation, in the order of the model: the share of its outputs that is saturated at the end."""
    marked = {each.module.id for each in flagged}
    return Dots(
        title="Saturated outputs of each activation",
        caption=f"The share of an activation's outputs where it is flat, the median of its last {SAMPLES} samples, the "
        "input of the model at the top. What is saturated is marked.",
        x_label="share of the outputs saturated",
        dots=[
            Dot(
                label=f"{each.module.name or each.module.module_class}.output",
                value=short(each.last),
                group="activation",
                flagged=each.module.id in marked,
            )
            for each in every[:MOST_DOTS]
        ],
        marks=[Mark(label=f"saturated above {percent(limit)}", x=limit) for limit in dict.fromkeys(limits)],
        log=False,
    )


def saturation_lines(flagged: Sequence[Saturation], limit: float, *, estimated: bool) -> Lines:
    """The share of each over the steps, as sampled or `estimated`."""
    return Lines(
        title="Saturated outputs over the steps",
        caption="The share of outputs where the activation is flat, as gradients or the loss's input tell."
        if estimated
        else "The share of sampled outputs where the activation is flat.",
        x_label="step",
        y_label="share saturated",
        series=[
            plain(each.module.name or each.module.module_class, each.steps, each.shares, role="flagged")
            for each in flagged[:_MOST_LINES]
        ],
        marks=[Mark(label=f"saturated above {percent(limit)}", y=limit)],
    )
