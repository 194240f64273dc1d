"""Draws evidence: one `match` over its kinds, an Altair chart each, rendered to static SVG here and now."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, assert_never

import altair
import msgspec
from markupsafe import Markup

from gradaudit.findings import AnyEvidence, Distribution, Dots, Heatmap, Lines, Numbers, Ridges
from gradaudit.report.charts import bars, dots, heatmap, lacks, lines, plane, readouts, ridges, tables
from gradaudit.report.charts.marks import Domain, signed
from gradaudit.report.charts.svg import tidy
from gradaudit.report.charts.theme import CONFIG, Frame
from gradaudit.report.model import FigureView, Key, Ramp
from gradaudit.report.text import name, sentence, visible

MOST_KEYS = 12
SHARED = 0.7  # of the run's steps; a chart over fewer has its own axis
Drawing = tuple[altair.LayerChart, Frame]


@dataclass
class Budget:
    """What the charts of a page share.

    `left` are the characters of SVG that it may still take; when they are spent, number tables stand alone.
    """

    left: int = 1_300_000
    steps: Domain | None = None  # those of the run: a chart over most of them has the same axis


def draw(evidence: AnyEvidence, *, narrow: bool, domain: Domain | None = None, height: int = 0) -> Drawing | None:
    """The chart of any evidence and its frame; None for what is a table already."""
    match evidence:
        case Lines():
            size = lines.shape(height, narrow=narrow)
            return lines.draw(evidence, size, domain), size
        case Dots():
            size = dots.shape(evidence, narrow=narrow)
            return dots.draw(evidence, size), size
        case Heatmap():
            return draw_panels([evidence], narrow=narrow)
        case Distribution():
            size = bars.shape(narrow=narrow)
            return bars.draw(evidence, size), size
        case Ridges():
            size = ridges.shape(evidence, narrow=narrow)
            return ridges.draw(evidence, size), size
        case Numbers():
            return None
        case _:
            assert_never(evidence)


def draw_panels(panels: list[Heatmap], *, narrow: bool) -> Drawing:
    """Several heatmaps over the same steps, one under the other, in one colour scale."""
    size = heatmap.shape(panels, narrow=narrow)
    return heatmap.draw(panels, size), size


def figure(
    evidence: AnyEvidence, identifier: str, budget: Budget, *, domain: Domain | None = None, height: int = 0
) -> FigureView:
    """Evidence as the page shows it."""
    if isinstance(evidence, Lines):
        evidence = _from_zero(evidence)
        domain = domain or _shared(evidence, budget.steps)
    panels = [evidence] if isinstance(evidence, Heatmap) else []
    wide, narrow, note = _pictures(
        lambda small: draw(evidence, narrow=small, domain=domain, height=height), evidence, identifier, budget
    )
    table = tables.numbers(evidence)
    if note == lacks.ALL_ZERO:
        table = replace(table, rows=(), left_out=0)  # rows of zeros would say it again
    plot = _read_out(evidence, domain, height) if wide else ""
    budget.left -= len(plot)
    return FigureView(
        identifier, name(evidence.title), sentence(evidence.caption), wide, narrow, table, _keys(evidence),
        _ramp(panels) if wide else None, note, plot,
    )  # fmt: skip


def _from_zero(evidence: Lines) -> Lines:
    """An evaluation before the first step, recorded as after step -1, stands at step 0 as in the charts of the run."""
    early = evidence.x_label == "step" and any(x < 0 for series in evidence.series for x in series.x)
    if not early:
        return evidence
    series = [msgspec.structs.replace(one, x=[max(x, 0.0) for x in one.x]) for one in evidence.series]
    return msgspec.structs.replace(evidence, series=series)


def _shared(evidence: Lines, steps: Domain | None) -> Domain | None:
    """The steps of the run for a chart over most of them; None for one that looks closer."""
    if steps is None or evidence.x_label != "step":
        return None
    first, last = plane.span(evidence)
    return steps if first >= steps[0] and SHARED * steps[1] <= last <= steps[1] + 1 else None


def _read_out(evidence: AnyEvidence, domain: Domain | None, height: int) -> str:
    match evidence:
        case Lines():
            return readouts.of_lines(evidence, domain, height)
        case Dots():
            return readouts.of_dots(evidence)
        case Heatmap():
            return readouts.of_heatmaps([evidence])
        case Distribution():
            return readouts.of_bars(evidence)
        case Ridges():
            return readouts.of_ridges(evidence)
        case Numbers():
            return ""
        case _:
            assert_never(evidence)


def panels_figure(panels: list[Heatmap], title: str, caption: str, identifier: str, budget: Budget) -> FigureView:
    """Several heatmaps as one figure."""
    shown = Numbers(title=title, caption=caption, columns=[], cells=[])
    wide, narrow, note = _pictures(lambda small: draw_panels(panels, narrow=small), shown, identifier, budget)
    ramp = _ramp(panels) if wide else None
    plot = readouts.of_heatmaps(panels) if wide else ""
    budget.left -= len(plot)
    return FigureView(identifier, title, caption, wide, narrow, tables.heatmaps(panels), (), ramp, note, plot)


def _pictures(
    drawing: Callable[[bool], Drawing | None], evidence: AnyEvidence, identifier: str, budget: Budget
) -> tuple[Markup | None, Markup | None, str]:
    """The wide and the narrow picture, or none and the reason. A chart that fails must not cost the report."""
    said = lacks.instead(evidence) if isinstance(evidence, Lines) else ""
    said = dots.instead(evidence) if isinstance(evidence, Dots) else said
    if said:
        return None, None, said
    if budget.left <= 0:
        return None, None, "Not drawn: this page has as many charts as it can hold. Its numbers:"
    found = []
    for small in (False, True):
        try:
            drawn = drawing(small)
            if drawn is None:
                return None, None, ""
            suffix = "n" if small else "w"
            found.append(render(*drawn, f"{identifier}-{suffix}", name(evidence.title), sentence(evidence.caption)))
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
    return Markup(tidy(raw, identifier=identifier, title=title, description=description))


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


def _keys(evidence: AnyEvidence) -> tuple[Key, ...]:
    """The legend: for lines when there are several, for dots when there are several kinds."""
    if isinstance(evidence, Lines) and len(evidence.series) > 1:
        inks = lines.inks(evidence)
        keys = [
            Key(name(series.name), ink.colour, " ".join(map(str, ink.dash)), *lines.swatch(series, ink))
            for series, ink in zip(evidence.series, inks, strict=True)
        ]
        return tuple(keys[:MOST_KEYS])
    if isinstance(evidence, Dots):
        present = {dots.kind(dot) for dot in evidence.dots}
        keys = [Key(kind, colour, "", shape) for kind, (colour, shape) in dots.KINDS.items() if kind in present]
        return tuple(keys) if len(keys) > 1 else ()
    return ()


def _ramp(panels: list[Heatmap]) -> Ramp | None:
    if not panels:
        return None
    low, high = heatmap.scale_of(panels)
    last = len(heatmap.VIRIDIS) - 1
    stops = tuple((f"{i / last:.1f}", f"rgb({r},{g},{b})") for i, (r, g, b) in enumerate(heatmap.VIRIDIS))
    return Ramp(signed(f"1e{low:.0f}"), signed(f"1e{high:.0f}"), name(panels[0].unit), stops, heatmap.special(panels))
