"""The model overfits: the validation loss rises while the training loss goes on falling.

## What it looks for

The best evaluation of the validation split, with at least `later` evaluations after it. The median of the last three is
compared with the median of the best and its two neighbours: a warning when it lies above by more than `rise` of what
training had gained until then and by more than `share` of the best loss, while the training loss fell by more than
`fell` since. Without such a rise, it is a note when the last three validation losses lie above the training loss by
more than `gap` of the first validation loss. The training loss of that gap is the one measured in evaluation mode; the
running training loss stands in only for models without dropout.

The rise must also be larger than `scatter` times the usual jump from one evaluation to the next (the median second
difference), unless the training loss has fallen by more than `fell_far` since the best: a small validation set is
noisy. Three or four evaluations are enough where each after the best lies above it by more than `few` of it, the last
one most, while the training loss has fallen by more than `fell_far`. Where less than a third of what training gains
before the first evaluation, within two epochs, carries over, it says so, and asks first whether both losses are
measured in the same way.

## Why it matters

After the best evaluation the model memorises the training examples. The last checkpoint is worse than one that the run
has already had, and the steps since then were for nothing.

## What to try

Keep the checkpoint of the best evaluation and stop early, with a patience of `patience` evaluations or more. Then, in
this order: more data or augmentation, weight decay and dropout, a smaller model. Where even the best evaluation is no
better than a constant prediction, no checkpoint is worth keeping: see `no_signal` first.

## When it is wrong

A small validation set is noisy. A cross-entropy can rise from overconfidence while the accuracy still improves: look
at the metric you care about. A validation set from another distribution shows a gap without overfitting, and a count
(Poisson) loss has a gap of 0.4 in healthy runs.
"""

import math
from collections.abc import Iterator

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.lines import training_curve
from gradaudit.evidence.charts.reduce import plain
from gradaudit.evidence.words.early_gap import early_gap, measure_alike
from gradaudit.evidence.words.unclear_loss import unclear_in_words
from gradaudit.evidence.words.validation import more_evaluations, unclear
from gradaudit.evidence.words.wording import count, number, percent, plural
from gradaudit.findings import (
    Action,
    Clean,
    Confidence,
    Finding,
    Lines,
    Mark,
    Measure,
    NotApplicable,
    Severity,
    Skipped,
    Span,
    Verdict,
    ratio,
)
from gradaudit.reading.run import Run
from gradaudit.signals.evaluation.generalisation import (
    FEWEST,
    LEAST_EVALUATIONS,
    Rise,
    TrainingCurve,
    comparison,
    distance_at_end,
    early_stop,
    held_out_rise,
    shortest_patience,
)
from gradaudit.signals.evaluation.held_out_constant import held_out_constant
from gradaudit.signals.evaluation.validation import validation
from gradaudit.signals.loss.progress import NO_BETTER, divergence
from gradaudit.signals.loss.training_loss import adversarial, training_loss
from gradaudit.signals.order_statistics import Floats, median

_GAP_FROM_START = "Train-validation gap from the start"


@diagnoser(worst=Severity.WARNING, needs=("evaluations.mean_loss",), minimum_steps=5)
def overfitting(
    run: Run,
    *,
    rise: float = 0.10,  # healthy runs rise by up to 0.09 of their improvement
    share: float = 0.03,  # a recommender rose by 0.18 of a tiny improvement, and by 1 % of the best loss
    fell: float = 0.01,  # else both losses rise, and that is no overfitting
    scatter: float = 1.5,  # times the usual jump; white noise alone (simulated) stays below it in 19 of 20 runs
    fell_far: float = 0.5,  # a training loss that halves again is memorising, however noisy the evaluations
    later: float = 3,  # evaluations; the median of three ignores one bad one
    gap: float = 0.25,  # small healthy data sets reach 0.26, hence only a note
    few: float = 0.05,  # of the best loss; more than `share`, since three evaluations tell nothing of their noise
    patience: float = 3,  # evaluations; the shortest that the advice on early stopping proposes
) -> Iterator[Verdict]:
    """Compare the last validation losses with the best one, and with the training loss."""
    held_out = validation(run)
    if held_out is None:
        yield unclear(run)
        return
    losses = [training_loss(training) for training in run.trainings]
    if adversarial(run) and all(loss.not_interpretable for loss in losses):
        yield NotApplicable(reason=unclear_in_words(losses[0].not_interpretable))
        return
    finite = numpy.isfinite(held_out.losses)
    steps, values = held_out.steps[finite].astype(float), held_out.losses[finite]
    train = comparison(run, losses)
    seen = (
        held_out_rise(values, train, steps, rise, share, fell, scatter, fell_far, later, few)
        if len(values) >= FEWEST
        else None
    )
    diverged = any(divergence(training) is not None for training in run.trainings)
    clear = seen is not None and seen.clear and not diverged
    if seen is None or (len(values) < LEAST_EVALUATIONS and not clear):
        doubt = "" if seen is None else ", or a rise beyond doubt"
        yield Skipped(
            reason=f"only {plural(len(values), 'finite evaluation')} of the {held_out.name} loss recorded, and this "
            f"check needs {LEAST_EVALUATIONS}{doubt}",
            enable=more_evaluations(held_out, LEAST_EVALUATIONS),
        )
        return
    best, final = seen.best, seen.final
    if clear:
        measures = _measures(seen, float(values[best]), rise, share, fell, scatter, fell_far, later, few)
        judged = [loss for loss in losses if not loss.not_interpretable]
        constant = held_out_constant(run, judged)[0] if judged else math.nan
        blind = constant if values[best] >= NO_BETTER * constant else math.nan
        early = early_gap(run, losses, train, steps, values)
        patient = int(min(patience, seen.later))
        yield _risen(run, held_out.name, train, steps, values, patient, measures, blind, early)
        return
    distance, level = distance_at_end(train, steps, final), float(values[0])
    # A first loss near zero, as of a model that starts as the identity, is no measure for a gap.
    if distance > gap * max(level, final) and level > 0 and not diverged:
        early = early_gap(run, losses, train, steps, values)
        yield _apart(run, held_out.name, train, steps, values, distance, gap, early)
        return
    side = "above" if distance > 0 else "below"
    apart = "" if math.isnan(distance) else f", {number(abs(distance))} {side} the {train.name} there"
    yield Clean(
        measured=f"the last three {held_out.name} losses have a median of {number(final)}{apart}; the best of all is "
        f"{number(float(values[best]))}, {_when(steps[best], _last_step(run))}"
    )


def _measures(
    seen: Rise, best: float, rise: float, share: float, fell: float, scatter: float, fell_far: float, later: float,
    few: float,
) -> list[Measure]:  # fmt: skip
    """What a rise was judged by: of few evaluations nothing tells how they scatter."""
    of_few = math.isfinite(seen.steady)
    # Without a gain the first number is infinite: then any rise is more than enough.
    gained = seen.risen / seen.relative if seen.relative else math.nan
    dropped = "fall of the training loss since"
    large = [
        ratio(("rise", seen.risen), ("best loss", abs(best)), ">", share, unit="fraction", option="share"),
        ratio(("rise", seen.risen), ("usual jump between evaluations", seen.jump), ">", scatter, option="scatter",
              any_of="noise"),
        Measure(quantity=dropped, value=seen.dropped, comparison=">", threshold=fell_far, unit="fraction",
                option="fell_far", any_of="noise"),
    ]  # fmt: skip
    lowest = Measure(
        quantity="lowest rise after the best / best loss", value=seen.steady, comparison=">", threshold=few,
        unit="fraction", option="few",
    )  # fmt: skip
    return [
        ratio(("rise since the best", seen.risen), ("gain until then", gained), ">", rise, unit="fraction",
              option="rise"),
        *([lowest] if of_few else large),
        Measure(quantity=dropped, value=seen.dropped, comparison=">", threshold=fell, unit="fraction", option="fell"),
        Measure(
            quantity="evaluations after the best", value=seen.later, comparison=">=",
            threshold=2 if of_few else later, unit="count", option="" if of_few else "later",
        ),
    ]  # fmt: skip


def _when(step: float, last: float = math.nan) -> str:
    """When an evaluation was made, by the training step before it."""
    of = "" if math.isnan(last) else f" of {count(last)}"
    return f"at step {count(step)}{of}" if step >= 0 else "before the first step"


def _last_step(run: Run) -> int:
    return int(run.steps["global_step"].max())


def _chart(
    run: Run, split: str, train: TrainingCurve, steps: Floats, values: Floats, caption: str, *, shade: bool
) -> Lines:
    best = int(numpy.argmin(values))
    return Lines(
        title=f"Training and {split} loss",
        caption=caption,
        x_label="step",
        y_label="loss",
        series=[
            training_curve(train),
            plain(f"{split} loss", steps, values, role="evaluation"),
        ],
        marks=[
            Mark(
                label=f"best: {number(float(values[best]))} {_when(steps[best])}",
                x=float(max(steps[best], 0)),
                y=float(values[best]),
                role="best",
            )
        ],
        shade_from=float(max(steps[best], 0)) if shade else None,
    )


def _risen(
    run: Run, split: str, train: TrainingCurve, steps: Floats, values: Floats, least: int, measures: list[Measure],
    blind: float, early: str,
) -> Finding:  # fmt: skip
    """`blind` is what always predicting the same gives where the best validation loss is no better, else NaN."""
    best, last = int(numpy.argmin(values)), _last_step(run)
    at = int(max(steps[best], 0))
    few = len(values) < LEAST_EVALUATIONS
    final = float(values[-1]) if few else median(values[-3:])
    above = percent(final / float(values[best]) - 1) if values[best] > 0 else number(final)
    then, now = map(float, train.at(steps[[best, -1]]))
    actions = (
        _stop_early(steps, values, split, last, least)
        if math.isnan(blind)
        else [
            Action(
                text=f"Find out first why nothing carries over: even the best {split} loss is no lower than "
                f"{number(blind)}, that of a constant prediction. No checkpoint of this run is worth keeping"
            )
        ]
    )
    actions.append(Action(text="Train on more data, or augment what there is"))
    actions.append(
        Action(
            text="Regularise: raise weight decay or dropout, or use a smaller model",
            code="torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.1)",
        )
    )
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.HIGH,
        title=_GAP_FROM_START
        if early
        else "Overfitting without generalisation"
        if not math.isnan(blind)
        else f"Overfitting since step {count(at)}"
        if steps[best] >= 0
        else "Overfitting from the start",
        headline=f"The {split} loss is above the training loss from the start, and rises from "
        f"{number(float(values[best]))} to {number(final)}"
        if early
        else f"The {split} loss rises from {number(float(values[best]))} {_when(steps[best])} to {number(final)} while "
        "the training loss falls",
        explanation=f"The best of {count(len(values))} evaluations was {_when(steps[best], last)}; the "
        f"{'last' if few else 'median of the last three'} is {above} above "
        f"it. Meanwhile the {train.name} went from {number(then)} to {number(now)}."
        + (f" {early}" if early else "")
        + (
            ""
            if math.isnan(blind)
            else f" A constant prediction gives {number(blind)}, and no evaluation is clearly better."
        ),
        span=Span(first=at, last=last),
        evidence=[
            _chart(
                run,
                split,
                train,
                steps,
                values,
                (
                    "Up to the mark both losses fall together. In"
                    if best
                    else "No evaluation is better than the first. In"
                )
                + " the shaded part only the training loss falls: what is learned there does not generalise.",
                shade=True,
            )
        ],
        actions=[*(measure_alike() if early else []), *actions],
        measures=measures,
    )


def _stop_early(steps: Floats, values: Floats, split: str, last: int, least: int) -> list[Action]:
    """To keep the best checkpoint, and to end the run soon after it."""
    best = int(numpy.argmin(values))
    patience = shortest_patience(values, max(1, least))
    stop = int(max(steps[early_stop(values, patience)], 0))
    saved = 1 - (stop + 1) / (last + 1)
    kept = f"step {count(steps[best])}" if steps[best] >= 0 else "the start"
    actions = [
        Action(
            text=f"Keep the checkpoint of {kept}: the best {split} loss was there",
            code="if val_loss < best:\n    best = val_loss\n    torch.save(model.state_dict(), 'best.pt')",
        )
    ]
    if stop < last:
        actions.append(
            Action(
                text=f"Stop early: a patience of {patience} evaluations would have ended the run at step "
                f"{count(stop)}, kept {kept} with {number(float(values[best]))} instead of the last "
                f"{number(float(values[-1]))}, and saved {percent(saved)} of the run"
            )
        )
    return actions


def _apart(
    run: Run, split: str, train: TrainingCurve, steps: Floats, values: Floats, distance: float, gap: float, early: str
) -> Finding:
    final = median(values[-3:])
    return Finding(
        severity=Severity.NOTE,
        confidence=Confidence.MEDIUM,
        title=_GAP_FROM_START if early else "Generalisation gap",
        headline=f"The {split} loss ends at {number(final)}, {number(distance)} above the training loss"
        + (", and is above it from the start" if early else ""),
        explanation=(f"{early} " if early else "")
        + f"The gap is {percent(distance / float(values[0]))} of the first {split} loss, "
        f"{number(float(values[0]))}. The {split} loss itself does not rise. Both losses are medians over the "
        f"last three evaluations (training: {train.name.removeprefix('training loss ').strip('()')}).",
        span=Span(first=int(max(steps[0], 0)), last=_last_step(run)),
        evidence=[
            _chart(
                run,
                split,
                train,
                steps,
                values,
                "The gap between the lines is what the model has learned of the training examples only.",
                shade=False,
            )
        ],
        actions=[
            *(measure_alike() if early else []),
            Action(
                text=f"Train on more data, or augment what there is, until the gap is below {percent(gap)} of the "
                f"first loss, {number(gap * float(values[0]))}"
            ),
            Action(text="Check that both splits come from the same distribution"),
        ],
        measures=[
            Measure(
                quantity="gap / first validation loss",
                value=distance / float(values[0]),
                comparison=">",
                threshold=gap,
                option="gap",
            )
        ],
    )
