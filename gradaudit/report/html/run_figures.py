"""The charts that every page shows: loss, learning rate, gradient norm, and every layer at every step."""

from gradaudit.audit.overview import Overview
from gradaudit.chart_data import Lines, Mark, Series
from gradaudit.evidence.charts.run_curves import GAP_TO_EVALUATED
from gradaudit.evidence.words.wording import plural
from gradaudit.report.charts.figures import Budget, chart_figure, figure
from gradaudit.report.charts.heatmap import HeatmapChart
from gradaudit.report.charts.primitives import Domain, spans_decades
from gradaudit.report.model import FigureView, TableView
from gradaudit.report.text import name, quantity

MOST_FLAT = 3  # learning rates told in a sentence
LOW, MOST_LOW = 0.011, 0.15  # of the peak; share of a schedule that may lie below it on a linear axis


def run_figures(overview: Overview, budget: Budget) -> tuple[FigureView, ...]:
    """Loss, learning rate and gradient norm over the same steps."""
    domain = budget.steps = _steps(overview)
    figures = []
    if overview.loss or overview.evaluations:
        figures.append(figure(loss_chart(overview), "figure-loss", budget, domain=domain))
    if overview.gap:
        figures.append(figure(gap_chart(overview), "figure-gap", budget, domain=domain, height=90))
    if overview.learning_rate:
        figures.append(_rate_figure(overview, budget, domain))
    if overview.gradient_norm:
        figures.append(figure(gradient_norm_chart(overview), "figure-norm", budget, domain=domain, height=150))
    if overview.layer_update_ratios:
        figures.append(figure(update_ratio_chart(overview), "figure-update-ratio", budget, domain=domain, height=150))
    return tuple(figures)


def _rate_figure(overview: Overview, budget: Budget, domain: Domain) -> FigureView:
    """The learning rates as a chart; as a sentence where none of them changes."""
    said = flat_rates(overview)
    if said:
        return FigureView("figure-rate", "Learning rate", "", None, None, TableView((), ()), note=said)
    return figure(learning_rate_chart(overview), "figure-rate", budget, domain=domain, height=90)


def _steps(overview: Overview) -> Domain:
    series = (*overview.loss, *overview.evaluations, *overview.learning_rate, *overview.gradient_norm)
    last = max((x for one in series for x in one.x), default=0.0)
    return (0.0, max(last + 1, float(overview.steps)))


def loss_chart(overview: Overview) -> Lines:
    """Training and validation loss, the loss of a uniform prediction, the best validation loss, the first NaN."""
    first = overview.first_non_finite
    marks = [mark for mark in (overview.uniform, overview.best_evaluation) if mark is not None]
    if first is not None:
        marks.append(Mark(label="first NaN or Inf", x=float(first)))
    log = spans_decades(v for one in overview.loss for v in (*one.low, *one.high))
    words = ["Band: the least and the greatest training loss of each slice of steps, so that no spike is hidden."]
    words.append("Line: its centred smoothing." if not overview.evaluations else "Solid: its centred smoothing.")
    words += [f"Dashed: {'validation' if overview.validation else 'evaluations'}."] if overview.evaluations else []
    if overview.uniform is not None:
        words.append("Grey: the loss of a uniform prediction.")
    words += ["The axis is logarithmic."] if log else []
    if first is not None:
        bad = plural(overview.non_finite_losses, "step")
        words.append(f"The loss was NaN or infinite at {bad}, first at step {first:,}.")
    unit = "loss" if overview.loss_name in ("objective", "mean_loss") else f"loss ({overview.loss_name})"
    return Lines(
        title="Loss",
        caption=" ".join(words),
        x_label="step",
        y_label=unit,
        series=[*overview.loss, *overview.evaluations],
        marks=marks,
        log=log,
    )


def _mostly_low(series: list[Series]) -> bool:
    """Whether a good part of positive rates would lie on the floor of a linear axis, as after a collapse or a spike.

    The end of a cosine schedule spans decades, too, but over few steps.
    """
    values = [v for one in series for v in one.y if v is not None]
    low = sum(v <= LOW * max(values) for v in values)
    return bool(values) and min(values) > 0 and low > MOST_LOW * len(values)


def gap_chart(overview: Overview) -> Lines:
    """How far the validation loss lies above the training loss."""
    return Lines(
        title="Gap",
        caption=" ".join([_gap_of(overview), *_gap_reading(overview)]),
        x_label="step",
        y_label="gap (validation minus training loss)",
        series=[*overview.gap],
        marks=[Mark(label="", y=0.0, role="reference")],
    )


def _gap_of(overview: Overview) -> str:
    """What is taken from what."""
    train = "training loss as evaluated" if overview.gap[0].name == GAP_TO_EVALUATED else "training loss"
    return f"Validation minus {train} at each evaluation."


def _gap_reading(overview: Overview) -> list[str]:
    """What the area means; it may also grow because training diverges, and lie below zero."""
    values = [y for series in overview.gap for y in series.y if y is not None]
    words = (
        [
            "Above zero the model does worse on validation data than on the training data: an area there that keeps "
            "growing while the training loss falls is what overfitting looks like."
        ]
        if any(y > 0 for y in values)
        else []
    )
    return [*words, "Below zero it does better on the validation data."] if any(y < 0 for y in values) else words


def update_ratio_chart(overview: Overview) -> Lines:
    """How much of each weight one step changes."""
    named = [series.name for series in overview.layer_update_ratios if series.role == "flagged"]
    return Lines(
        title="Update-to-weight ratio",
        caption="The size of one step's update over the size of the weights, of all weight matrices: the line is the "
        "median layer, the ribbons hold the middle half and 90 %."
        + (" Layers of a finding by name." if named else "")
        + _recorded(overview.update_ratio_steps, overview),
        x_label="step",
        y_label="|update| / |weight|",
        series=[*overview.layer_update_ratios],
        log=True,
    )


def _recorded(steps: int, overview: Overview) -> str:
    """At how many steps a chart has values, where that is not all."""
    return f" Recorded at {steps:,} of {overview.steps:,} steps." if 0 < steps < overview.steps else ""


def over_time_figure(overview: Overview, budget: Budget) -> FigureView | None:
    """How the gradient elements of three layers are spread over sizes, step by step; None when that is not known."""
    panels = overview.distributions_over_time
    if not panels:
        return None
    caption = (
        "Large gradient elements at the top; the colour is the share of the elements of that size. A bright band that "
        "sinks is a layer whose gradients shrink. The axis leaves out the smallest 2 % of all elements."
    )
    which = {1: "One layer", 2: "The first and the last layer"}.get(len(panels), "The first, middle and last layer")
    return chart_figure(HeatmapChart(panels), which, caption, "figure-times", budget)


def learning_rate_chart(overview: Overview) -> Lines:
    """The learning rate of each group of parameters that has its own."""
    log = _mostly_low(overview.learning_rate)
    words = ["One line for each distinct learning rate."] if len(overview.learning_rate) > 1 else []
    return Lines(
        title="Learning rate",
        caption=" ".join([*words, *(["The axis is logarithmic."] if log else [])]),
        x_label="step",
        y_label="learning rate",
        series=[*overview.learning_rate],
        log=log,
    )


def flat_rates(overview: Overview) -> str:
    """What the learning rates are where none changes; empty where one does, or where they are too many to tell."""
    found = []
    for series in overview.learning_rate:
        values = set(series.y)
        if len(values) != 1 or None in values:
            return ""
        found.append((series.name, quantity(series.y[0])))
    if len(found) > MOST_FLAT:
        return ""
    if len(found) == 1:
        return f"Learning rate: {found[0][1]} at every step."
    return f"Learning rate: {'; '.join(f'{name(label)} {value}' for label, value in found)}; the same at every step."


def gradient_norm_chart(overview: Overview) -> Lines:
    """The norm over all gradients before clipping, and the threshold of the clipping."""
    clip = overview.clip_threshold
    label = f"clipped to {quantity(clip)}"
    return Lines(
        title="Global gradient norm",
        caption="The norm over all gradients, before clipping. Band: least and greatest of each slice; "
        "line: centred smoothing of the logarithm."
        + (" Dashed: what lies above is scaled down to this norm." if clip else "")
        + _recorded(overview.norm_steps, overview),
        x_label="step",
        y_label="global gradient norm",
        series=[*overview.gradient_norm],
        marks=[Mark(label=label, y=clip, role="reference")] if clip else [],
        log=True,
    )


def layers_figure(overview: Overview, budget: Budget) -> FigureView | None:
    """Every layer at every step; None when no tensor was recorded."""
    panels = [panel for panel in (overview.matrices, overview.vectors) if panel is not None and panel.rows]
    if not panels:
        return None
    caption = (
        "One row for each parameter tensor, the input at the top, over all steps. The colour is the size of the "
        "gradient per element, after clipping: each decade is one step of the scale, so a fade from top to bottom is "
        "a signal that grows or shrinks on its way through the model."
    )
    if any("tensors)" in row for panel in panels for row in panel.rows):
        caption += " Neighbouring tensors share a row, which shows their median."
    if overview.skipped_unseen:
        caption += (
            f" A GradScaler found NaN or Inf and skipped {plural(overview.skipped_unseen, 'step')}; no tensor was "
            "recorded there, so none is marked."
        )
    return chart_figure(HeatmapChart(panels), "Every layer, every step", caption, "figure-layers", budget)
