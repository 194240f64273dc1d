"""What every report shows without any finding: curves, heatmaps and the parameter table, reduced."""

import math
from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy

from gradaudit.audit.loss_ends import Ends, loss_ends, word
from gradaudit.chart_data import Heatmap, Mark, Ridges, Series, Value
from gradaudit.evidence.charts.distributions import gradient_ridges, gradients_over_time
from gradaudit.evidence.charts.heatmap import gradient_heatmap
from gradaudit.evidence.charts.reduce import banded, plain, short
from gradaudit.evidence.charts.run_curves import gap, late_update_ratio, layer_update_ratios, update_ratio_steps
from gradaudit.evidence.words.run_facts import optimizer_name, run_facts
from gradaudit.evidence.words.wording import number
from gradaudit.reading.run import Run
from gradaudit.schema import LossFacts
from gradaudit.signals.evaluation.validation import validation
from gradaudit.signals.gradients.finiteness import bad_losses, bad_norms
from gradaudit.signals.gradients.gradient_scale import Track, edges, median
from gradaudit.signals.loss.minor_term import shown_loss
from gradaudit.signals.loss.spike_score import loss_spike_score, norm_spike_score
from gradaudit.training import Training

if TYPE_CHECKING:
    import pandas

Floats = numpy.ndarray[Any, numpy.dtype[numpy.float64]]

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

SPARK_POINTS = 30
NORM_BUCKETS = 160  # of the gradient norm; its spikes are in the band
MOST_RATES = 6  # learning-rate lines that can be told apart


class ParameterRow(Value, frozen=True, kw_only=True):
    """One line of the parameter table; numbers are medians over the last half of the run."""

    name: str
    elements: int
    role: str
    gradient_rms: float | None  # per element
    update_ratio: float | None  # |update| / |weight|
    weight_norm: float | None
    spark: list[float | None] = []  # log10 gradient RMS over the run, at most 30 points
    flagged: bool = False


class Overview(Value, frozen=True, kw_only=True):
    """The run at a glance."""

    steps: int
    seconds: float  # from the first step to the last
    parameters: int
    tensors: int
    first_loss: float | None  # None where several optimizers have losses of their own: `ends` tells them apart
    last_loss: float | None  # mean of the last 10 % of steps
    loss_name: str  # "mean_loss" of which function, or "objective"
    loss: list[Series]  # training: one series an optimizer, with band
    evaluations: list[Series]
    uniform: Mark | None  # ln(N), the loss of a uniform prediction
    best_evaluation: Mark | None
    learning_rate: list[Series]  # one a parameter group, equal ones merged
    gradient_norm: list[Series]
    clip_threshold: float | None
    matrices: Heatmap | None
    vectors: Heatmap | None  # norms and biases
    table: list[ParameterRow]
    facts: list[tuple[str, str]]
    validation: str = ""  # the series of `evaluations` that is judged; empty where that is not clear
    non_finite_losses: int = 0  # steps whose loss was NaN or infinite
    first_non_finite: int | None = None  # the first of them
    weight_decay: list[float] = []  # of the parameter groups at the first step, equal ones merged
    last_non_finite: str = ""  # NaN, Inf or -Inf where that is the last loss
    gap: list[Series] = []  # validation minus training loss
    layer_update_ratios: list[Series] = []  # update-to-weight ratio of the layers
    norm_steps: int = 0  # steps with a gradient norm
    update_ratio_steps: int = 0  # steps with updates, of the optimizer in `update_pace`
    distributions: Ridges | None = None  # of the gradients, by block
    distributions_over_time: list[Heatmap] = []  # first, middle and last layer
    ends: list[Ends] = []  # of the training loss: one an optimizer that has a loss of its own
    update_ratio: float | None = None  # median over the layers of `update_pace`, each over the last half of the run
    loss_spike_score: Share | None = None  # share of the losses far above those before; None of too few
    norm_spike_score: Share | None = None  # the same of the gradient norms
    skipped_unseen: int = 0  # steps that a GradScaler skipped for NaN or Inf, and at which no tensor was recorded


def overview(run: Run, flagged: set[str]) -> Overview:
    """Reduce `run` to what the pages draw; rows of tensors named in `flagged` keep their own line."""
    steps = run.steps
    column = "mean_loss" if any(shown_loss(training) == "mean_loss" for training in run.trainings) else "objective"
    function = _loss_function(run, steps) if column == "mean_loss" else None
    ends = loss_ends(run)
    broken = bad_losses(run, steps)
    bad = steps[broken]
    tracks = [Track(training) for training in run.trainings]
    end = int(steps["global_step"].max()) + 1
    return Overview(
        steps=len(steps),
        seconds=_seconds(steps["time"].to_numpy(dtype=float)),
        parameters=sum(tensor.elements for tensor in run.meta.tensors),
        tensors=len(run.meta.tensors),
        first_loss=ends[0].first if len(ends) == 1 else None,
        last_loss=ends[0].last if len(ends) == 1 else None,
        loss_name=function.function if function else column,
        loss=[_loss(training) for training in run.trainings],
        evaluations=_evaluations(run),
        uniform=_uniform(function),
        best_evaluation=_best(run),
        validation=held_out.name if (held_out := validation(run)) is not None else "",
        learning_rate=_learning_rates(run),
        gradient_norm=_gradient_norms(run),
        weight_decay=_weight_decay(run),
        clip_threshold=_clip_threshold(steps),
        matrices=gradient_heatmap(tracks, flagged, end, matrices=True),
        vectors=gradient_heatmap(tracks, flagged, end, matrices=False),
        table=_table(tracks, flagged),
        facts=run_facts(run),
        non_finite_losses=len(bad),
        first_non_finite=int(bad["global_step"].iloc[0]) if len(bad) else None,
        last_non_finite=word(float(steps[column].iloc[-1])) if broken[-1:].any() else "",
        gap=gap(run),
        layer_update_ratios=layer_update_ratios(run, flagged),
        norm_steps=sum(len(_with_norm(training)) for training in run.trainings),
        update_ratio_steps=update_ratio_steps(run),
        distributions=gradient_ridges(run, flagged),
        distributions_over_time=gradients_over_time(run),
        ends=ends,
        update_ratio=late_update_ratio(run),
        loss_spike_score=short(score) if (score := loss_spike_score(run)) is not None else None,
        norm_spike_score=short(score) if (score := norm_spike_score(run)) is not None else None,
        skipped_unseen=int((steps["skipped"].fillna(False).astype(bool) & ~steps["recorded"].astype(bool)).sum()),
    )


def _seconds(times: Floats) -> float:
    """From the first step to the last, as far as a clock told."""
    known = times[numpy.abs(times) < 1e15]
    return float(numpy.ptp(known)) if len(known) else 0.0


def _named(training: Training, name: str) -> str:
    """`name`, and which optimizer's when there are several."""
    return name if len(training.run.trainings) == 1 else f"{name}, {optimizer_name(training)}"


def _loss(training: Training) -> Series:
    """The training loss of one optimizer: the mean loss if any was seen that is no small term, else the objective."""
    steps = training.steps
    y = steps[shown_loss(training)].to_numpy(dtype=float)
    return banded(_named(training, "train"), steps["global_step"], y, bad=bad_losses(training.run, steps))


def _loss_function(run: Run, steps: "pandas.DataFrame") -> LossFacts | None:
    """The loss function behind most training steps."""
    used = steps["loss"][steps["loss"] >= 0]
    return run.loss_facts(int(used.mode().iloc[0])) if len(used) else None


def _uniform(function: LossFacts | None) -> Mark | None:
    """The loss of a uniform prediction: ln N, and ln 2 for binary targets."""
    if function is None:
        return None
    classes = 2 if function.function.startswith("binary_cross_entropy") else function.classes
    if classes < 2:
        return None
    label = f"ln({classes:,}) = {math.log(classes):.2f} · uniform prediction"
    return Mark(label=label, y=short(math.log(classes)), role="reference")


def _evaluations(run: Run) -> list[Series]:
    """One series for each split, validation first; an evaluation before the first step stands at step 0."""
    chosen = validation(run)
    found = []
    for split, rows in run.evaluations.groupby("split", sort=True):
        x = rows["after_step"].clip(lower=0).to_numpy(dtype=float)
        name = chosen.name if chosen is not None and chosen.split == split else _called(str(split))
        y = rows["mean_loss"].to_numpy(dtype=float)
        # A pass that saw no valid target has no loss.
        bad = ~numpy.isfinite(y) & ~((rows["targets"].to_numpy() == 0) & numpy.isnan(y))
        found.append(plain(name, x, y, role="evaluation", bad=bad))
    first = chosen.name if chosen is not None else ""
    return sorted(found, key=lambda series: (series.name != first, series.name.startswith("train")))


def _called(split: str) -> str:
    """What a split is called that is not known to be validation's."""
    if split == "train":
        return "train, evaluated"  # beside the running training loss, which is drawn as "train"
    return f"unnamed split{split.removeprefix('evaluation')}" if split.startswith("evaluation") else split


def split_kind(name: str) -> str:
    """One word for the names that a validation split goes by, else the name."""
    return "validation" if name.lower().startswith(("val", "dev")) else name


def _best(run: Run) -> Mark | None:
    """The least validation loss."""
    chosen = validation(run)
    if chosen is None or len(chosen.losses) < 2 or not numpy.isfinite(chosen.losses).any():
        return None
    # What is drawn is rounded and thinned out: equal there, another evaluation may be the best one.
    at = int(numpy.argmin(numpy.where(numpy.isfinite(chosen.losses), chosen.losses, numpy.inf)))
    x, y = float(max(chosen.steps[at], 0)), short(float(chosen.losses[at]), 6) or 0.0
    return Mark(label=f"best {chosen.name} {number(y)} · step {x:,.0f}", x=x, y=y, role="best")


def _learning_rates(run: Run) -> list[Series]:
    """One series for each distinct learning rate over the run, named after its parameter groups."""
    found: list[Series] = []
    for training in run.trainings:
        steps, rates = training.steps, training.learning_rates
        groups: dict[bytes, list[int]] = {}
        for group in range(rates.shape[1]):
            groups.setdefault(sha256(rates[:, group].tobytes()).digest(), []).append(group)
        for members in list(groups.values())[: MOST_RATES - len(found)]:
            several = f"group{'s' if len(members) > 1 else ''} {_ranges(members)}" if len(groups) > 1 else ""
            name = _named(training, several or "learning rate")
            found.append(plain(name, steps["global_step"], rates[:, members[0]]))
    return found


def _weight_decay(run: Run) -> list[float]:
    rows = [training.steps["weight_decay"] for training in run.trainings]
    values = [float(value) for row in rows if len(row) and row.iloc[0] is not None for value in row.iloc[0]]
    return sorted({short(value) or 0.0 for value in values if math.isfinite(value)})


def _ranges(numbers: Sequence[int]) -> str:
    """ "0, 2–5" for [0, 2, 3, 4, 5]."""
    text: list[str] = []
    first = previous = numbers[0]
    for following in [*numbers[1:], None]:
        if following is None or following != previous + 1:
            text.append(str(first) if first == previous else f"{first}–{previous}")
            first = following if following is not None else first
        previous = following if following is not None else previous
    return ", ".join(text)


def _with_norm(training: Training) -> "pandas.DataFrame":
    """The steps whose gradient norm is known. A step without statistics is no gap; a recorded NaN is."""
    steps = training.steps
    known = steps["recorded"].astype(bool) | numpy.isfinite(steps["gradient_norm"].to_numpy(dtype=float))
    found: pandas.DataFrame = steps[known]
    return found


def _gradient_norms(run: Run) -> list[Series]:
    found = []
    for training in run.trainings:
        steps = _with_norm(training)
        norm = steps["gradient_norm"].to_numpy(dtype=float)
        if numpy.isfinite(norm).any():
            name, bad = _named(training, "gradient norm"), bad_norms(steps)
            found.append(banded(name, steps["global_step"], norm, buckets=NORM_BUCKETS, log=True, bad=bad))
    return found


def _clip_threshold(steps: "pandas.DataFrame") -> float | None:
    """The max_norm of clip_grad_norm_ that was used most; None without it."""
    clipped = steps["clip_threshold"][steps["clip_kind"] == 1].dropna()
    return float(clipped.mode().iloc[0]) if len(clipped) else None


def _table(tracks: Sequence[Track], flagged: set[str]) -> list[ParameterRow]:
    """One row for each tensor that was recorded, in depth order."""
    table = []
    for track in tracks:
        if not len(track.steps):
            continue
        late = track.late
        weight = track.matrix("weight_norm")[late]
        update = track.matrix("update_norm")[late]
        ratio = median(numpy.divide(update, weight, out=numpy.full_like(update, numpy.nan), where=weight > 0))
        rms = median(numpy.where(track.bad, numpy.nan, track.rms)[late])
        weight = median(weight)
        spark, _, _ = track.reduced(edges([track], SPARK_POINTS, track.steps[-1] + 1))
        for i, tensor in enumerate(track.tensors):
            table.append(
                ParameterRow(
                    name=tensor.name,
                    elements=tensor.elements,
                    role=tensor.role,
                    gradient_rms=short(float(rms[i])),
                    update_ratio=short(float(ratio[i])),
                    weight_norm=short(float(weight[i])),
                    spark=[None if math.isnan(value) else round(float(value), 2) for value in spark[:, i]],
                    flagged=tensor.name in flagged,
                )
            )
    return table
