"""Evidence as figures of a page: its chart, rendered to static SVG here and now, with what explains it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import altair
from markupsafe import Markup

from gradaudit.chart_data import AnyEvidence, Distribution, Dots, Evidence, Heatmap, Lines, Numbers, Ridges
from gradaudit.report.charts.bars import BarChart
from gradaudit.report.charts.chart import Chart, Layout
from gradaudit.report.charts.dots import DotsChart
from gradaudit.report.charts.heatmap import HeatmapChart
from gradaudit.report.charts.lines import LineChart
from gradaudit.report.charts.number_table import NumberTable
from gradaudit.report.charts.primitives import Domain
from gradaudit.report.charts.ridges import RidgesChart
from gradaudit.report.charts.svg import sanitize
from gradaudit.report.charts.theme import CONFIG, Frame
from gradaudit.report.model import FigureView
from gradaudit.report.text import name, sentence, visible

# What shows each kind of evidence. A new kind is a class of findings.py, a file beside this one, and a line here.
CHARTS: dict[type[Evidence], Callable[[Any, Layout], Chart]] = {
    Lines: LineChart.of,
    Dots: lambda evidence, _: DotsChart(evidence),
    Heatmap: lambda evidence, _: HeatmapChart([evidence]),
    Distribution: lambda evidence, _: BarChart(evidence),
    Ridges: lambda evidence, _: RidgesChart(evidence),
    Numbers: lambda evidence, _: NumberTable(evidence),
}


@dataclass
class Budget:
    """What the charts of a page share.

    `left` are the characters of SVG that it may still take; when they are spent, number tables stand alone.
    """

    left: int = 1_300_000
    steps: Domain | None = None  # those of the run: a chart over most of them has the same axis


def chart_of(evidence: AnyEvidence, layout: Layout | None = None) -> Chart:
    """The chart of any evidence."""
    return CHARTS[type(evidence)](evidence, layout or Layout())


def figure(
    evidence: AnyEvidence, identifier: str, budget: Budget, *, domain: Domain | None = None, height: int = 0
) -> FigureView:
    """Evidence as the page shows it; lines over the steps of `domain`, in a plot of `height` px."""
    chart = chart_of(evidence, Layout(domain, budget.steps, height))
    return chart_figure(chart, evidence.title, evidence.caption, identifier, budget)


def chart_figure(chart: Chart, title: str, caption: str, identifier: str, budget: Budget) -> FigureView:
    """A chart as the page shows it, under a title and with a caption."""
    title, caption = name(title), sentence(caption)
    wide, narrow, note = _pictures(chart, title, caption, identifier, budget)
    tooltip = chart.tooltip() if wide else ""
    budget.left -= len(tooltip)
    return FigureView(identifier, title, caption, wide, narrow, chart.table(), chart.legend(), note, tooltip)


def _pictures(
    chart: Chart, title: str, caption: str, identifier: str, budget: Budget
) -> tuple[Markup | None, Markup | None, str]:
    """The wide and the narrow picture, or none and the reason. A chart that fails must not cost the report."""
    placeholder = chart.placeholder()
    if placeholder:
        return None, None, placeholder
    if budget.left <= 0:
        return None, None, "Not drawn: this page has as many charts as it can hold. Its numbers:"
    found = []
    for narrow in (False, True):
        try:
            frame = chart.frame(narrow=narrow)
            if frame is None:
                return None, None, ""
            suffix = "n" if narrow else "w"
            found.append(render(chart.draw(frame), frame, f"{identifier}-{suffix}", title, caption))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of the chart engine is no Exception
            reason = sentence(str(error)).strip()[:200] or type(error).__name__
            return None, None, f"This chart could not be drawn ({reason}). Its numbers:"
    budget.left -= sum(map(len, found))
    return found[0], found[1], ""


def render(chart: altair.LayerChart, size: Frame, identifier: str, title: str, description: str) -> Markup:
    """The SVG of a chart, safe to stand in the page."""
    import vl_convert

    spec = chart.properties(width=size.width, height=size.height).to_dict(validate=False)
    padding = {"left": size.left, "right": size.right, "top": size.top, "bottom": size.bottom}
    spec |= {"config": CONFIG, "padding": padding, "autosize": {"type": "none"}, "background": "transparent"}
    raw = vl_convert.vegalite_to_svg(printable(spec), allowed_base_urls=[])
    return Markup(sanitize(raw, identifier=identifier, title=title, description=description))


def printable(spec: Any) -> Any:
    """A copy of a chart's specification with every text made visible.

    A control character that XML refuses makes the chart engine (vl-convert 1.9) abort the whole process,
    which no `except` can catch; so no text gets past this place.
    """
    if isinstance(spec, str):
        return visible(spec)
    if isinstance(spec, dict):
        return {key: printable(value) for key, value in spec.items()}
    if isinstance(spec, list):
        return [printable(item) for item in spec]
    return spec
