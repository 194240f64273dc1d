"""How large the inputs of the first layer are, step by step, as its gradient tells."""

import numpy

from gradaudit.chart_data import Lines, Mark
from gradaudit.evidence.charts.reduce import plain
from gradaudit.evidence.words.wording import count, plural, setting
from gradaudit.signals.activations.input_scale import ROUNDING, InputScale

_SHOWN = 200  # recorded steps


def size_chart(found: InputScale, name: str, limit: float) -> Lines:
    """The estimate at each of the first recorded steps, beside `limit`; `name` is that of the layer."""
    return Lines(
        title="Size of the inputs",
        caption="The gradient norm of the first layer's weights over that of its bias and the root of its number "
        "of inputs: an estimate of the root mean square of the inputs. Standardised ones have 1." + _not_drawn(found),
        x_label="step",
        y_label="estimated size",
        series=[plain(name, found.steps[:_SHOWN], found.estimates[:_SHOWN], role="flagged")],
        marks=[Mark(label=setting(limit), y=limit), Mark(label="standardised", y=1.0, role="reference")],
        log=True,
    )


def _not_drawn(found: InputScale) -> str:
    """Which of the steps have no point in the chart or do not count, and why."""
    steps = len(found.values[:_SHOWN])
    above = int(found.above[:_SHOWN].sum())
    none = int(numpy.isnan(found.values[:_SHOWN]).sum()) - above
    words = []
    if len(found.values) > steps:
        words.append(f" Of the {count(len(found.values))} recorded steps the first {count(steps)} are shown.")
    if above:
        words.append(
            f" At {count(above)} of the {plural(steps, 'step')} the estimate is above {count(ROUNDING)}: there "
            "the gradient of the bias is so small that rounding may decide, and they do not count."
        )
    if none:
        words.append(f" At {count(none)} of them the bias has next to no gradient, and nothing can be estimated.")
    return "".join(words)
