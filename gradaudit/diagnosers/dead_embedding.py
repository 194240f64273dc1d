"""An embedding table, or part of it, does not learn.

## What it looks for

First, exactly: a table of which not one bit changed over the run, by its checksum; and why, as far as the record knows:
in no optimizer, without a gradient, a learning rate of 0. A table that no step looks up is a note; one whose
requires_grad is False at every step, or a copy of a trained one, is left alone. A table that changes although none of
its rows ever had a gradient is changed by weight decay alone, and is a warning. Then its relative update-to-weight
ratio: the median of the table over that of the median weight layer, divided by the square root of the share of rows
that a step hits, since only those change. Below `slow` it is a warning over at least `least_steps` steps, and below
`far` the confidence is high. So is a ratio below 0.1 that is less than `apart` of another table's. Under adaptive
optimizers, such as Adam, the update per element is compared with another table's, since the ratio says no more there
than how large a table started; tables that start at zero are left out of the comparison. Rows are looked at last, as a
note: more than `never_hit` of a table of at least `large` rows without a single gradient; more than `stopped` of the
rows that were hit, and at least `stopped_rows`, without one for 20 times their usual interval.

## Why it matters

The layers on top adapt to random vectors and the loss still falls, so the curve hardly shows it. What the vocabulary
could have carried is lost.

## What to try

Pass the table's parameters to the optimizer, and remove `detach()` and `no_grad` from its lookup. With SGD and a loss
averaged over the batch a row receives about 1/batch of the gradient: use Adam or Adagrad, or a larger learning rate for
the table.

## When it is wrong

A table that was frozen by mistake, with requires_grad=False, is taken for one that is fixed on purpose, as pretrained
vectors and positions made of sines are, and is not found. Rows of a byte vocabulary that the text never uses are
healthy (63 % were measured), and so are rows that belong to one part of the data when it is not shuffled. Rows are
counted by their gradients, since weight decay changes rows that nothing looks up; a table that is tied to the output
layer has a gradient in every row, looked up or not. The slowest healthy table measured has a relative update-to-weight
ratio of 0.038, which is close to `slow`, 0.02 unless set with `--set dead_embedding.slow`.
"""

import math
from collections.abc import Iterator

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.lines import distance_chart
from gradaudit.evidence.charts.reduce import plain
from gradaudit.evidence.charts.rows import hits_chart, movement_chart, reach_chart
from gradaudit.evidence.words.last_tenth import end_unknown
from gradaudit.evidence.words.table import why_unchanged
from gradaudit.evidence.words.wording import count, factor, in_code, number, percent, plural, setting
from gradaudit.evidence.words.wording import times as times_in_words
from gradaudit.findings import (
    Action,
    AnyEvidence,
    Clean,
    Confidence,
    Finding,
    Lines,
    Measure,
    NotApplicable,
    Severity,
    Skipped,
    Span,
    Verdict,
)
from gradaudit.schema import TensorFacts
from gradaudit.signals.embeddings.embedding_rows import RowHistory, row_history
from gradaudit.signals.embeddings.embedding_update_ratio import (
    EmbeddingUpdateRatio,
    embedding_update_ratio,
    table_speeds,
)
from gradaudit.signals.layers.layers import comparable_layers
from gradaudit.signals.layers.unchanged import LEAST_STEPS, Reason, column_of, never_moved, reason_unchanged
from gradaudit.signals.order_statistics import medians_across
from gradaudit.signals.updates.learning_rates import is_adaptive, optimizer_class, recorded_learning_rates
from gradaudit.signals.updates.ratios import update_ratio
from gradaudit.signals.updates.weight_growth import weight_decays
from gradaudit.training import Training

_MEANT: dict[Reason, str] = {
    "copy": "a copy of a trained one",
    "fixed": "frozen, and in no optimizer",
    "frozen": "frozen, with requires_grad=False at every step",
}
_FAR_BEHIND = 0.1  # of the layers' update ratio: above it a table that lags behind another still learns


@diagnoser(per="training", worst=Severity.CRITICAL, needs=("tensors.has_grad",))
def dead_embedding(
    training: Training,
    *,
    slow: float = 0.02,  # healthy tables stay above 0.038, faulty ones below 0.017: narrow
    far: float = 0.003,  # below it the confidence is high
    apart: float = 0.05,  # of another table's update ratio; healthy tables stay above 0.12, faulty ones below 0.022
    least_steps: float = 100,  # all faulty tables were found by then, without a false alarm
    never_hit: float = 0.5,  # a healthy byte vocabulary has 0.63, hence only a note
    large: float = 1000,  # rows; small tables often have rows to spare
    stopped: float = 0.05,  # not measured; a row at its usual rate is silent for 20 intervals with probability e^-20
    stopped_rows: float = 10,  # fewer are likely rare rows
) -> Iterator[Verdict]:
    """Judge each embedding table: did it move, how fast, and which rows."""

    def judged(table: TensorFacts, ratio: EmbeddingUpdateRatio | None, share: float) -> Iterator[Verdict]:
        history = row_history(training, table.id)
        if never_moved(training, table, history):
            told = why_unchanged(training, table)
            if told is None:
                what = _MEANT.get(reason_unchanged(training, table), "")
                yield Clean(measured=f"none of the {count(table.shape[0])} rows of {table.name} changes: it is {what}")
            else:
                yield _unmoved(training, table, history, *told)
            return
        if history is not None and history.tracked and not history.ever_hit and history.moved:
            yield _decaying(training, table, history)
            return
        long_enough = len(training.steps) >= least_steps
        said = False
        if ratio is not None and long_enough and ratio.relative < slow:
            said = True
            yield _slow(training, table, history, ratio, slow, far)
        elif ratio is not None and long_enough and ratio.relative < _FAR_BEHIND and share < apart:
            said = True
            yield _slow(training, table, history, ratio, apart, far, share)
        early = history and end_unknown("the rows", history.last_step, int(training.steps["step"].max()) + 1)
        if history is not None and not early:
            for finding in _rows(training, table, history, never_hit, large, stopped, stopped_rows):
                said = True
                yield finding
        if not said and early:
            yield early
        elif not said:
            speed = f" {number(ratio.relative, 2)} times as fast as the other layers" if ratio is not None else ""
            hit = f"; {count(history.ever_hit)} of {plural(history.tracked, 'row')} were used" if history else ""
            yield Clean(measured=f"{table.name} learns{speed}{hit}{_tied(table)}")

    tables = [t for t in training.tensors if t.role == "embedding" and not training.run.frozen_on_purpose(t)]
    recorded = training.recorded
    if not tables:
        yield NotApplicable(reason="the model has no embedding table")
    elif not len(recorded) or recorded[-1] - recorded[0] + 1 < LEAST_STEPS:
        yield Skipped(
            reason=f"tensor statistics span fewer than {LEAST_STEPS} steps",
            enable="train longer, or record more often",
        )
    else:
        update_ratios = {table.id: embedding_update_ratio(training, table.id) for table in tables}
        speeds = table_speeds(training, update_ratios)
        for table in tables:
            fastest = max((speed for other, speed in speeds.items() if other != table.id), default=0.0)
            share = speeds[table.id] / fastest if table.id in speeds and fastest > 0 else math.nan
            yield from judged(table, update_ratios[table.id], share)


def _unmoved(
    training: Training, table: TensorFacts, history: RowHistory | None,
    severity: Severity, reason: str, actions: list[Action],
) -> Finding:  # fmt: skip
    steps = training.recorded_global_steps
    exact = history is not None and history.same_checksum
    what = (
        f"Not one bit of its {plural(table.elements, 'weight')} differs between the first and the last record."
        if exact
        else "None of the sampled weights changed at any recorded step."
    )
    hits = (
        f" {count(history.ever_hit)} of its {plural(history.tracked, 'row')} had a gradient."
        if history is not None and history.ever_hit
        else ""
    )
    rows = table.shape[0] if table.shape else 0
    return Finding(
        severity=severity,
        confidence=Confidence.CERTAIN if exact else Confidence.HIGH,
        title="Embedding never updated",
        headline=f"None of the {plural(rows, 'row')} of {table.name} changes in {plural(int(steps[-1]) + 1, 'step')}",
        explanation=f"{what}{hits} {reason}",
        span=Span(first=int(steps[0]), last=int(steps[-1])),
        tensors=[table.name],
        evidence=[_movement(training, table), *reach_chart(training, history)],
        actions=actions,
        measures=[
            Measure(
                quantity="rows that differ from the start",
                value=history.moved if history else 0,
                comparison="==",
                threshold=0,
                unit="count",
            )
        ],
    )


def _decaying(training: Training, table: TensorFacts, history: RowHistory) -> Finding:
    steps = training.recorded_global_steps
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.HIGH,
        title="Embedding without a gradient",
        headline=f"None of the {plural(history.tracked, 'row')} of {table.name} ever receives a gradient",
        explanation=f"Still {plural(history.moved, 'row')} changed, by {_moved_alone(history)}: {_mover(training)}.",
        span=Span(first=int(steps[0]), last=int(steps[-1])),
        tensors=[table.name],
        evidence=[_movement(training, table), *reach_chart(training, history)],
        actions=[
            Action(text="Look up without torch.no_grad() and detach(), and with tokens other than the padding_idx"),
            Action(
                text="Leave tables out of the weight decay",
                code=f"{{'params': [{in_code(table.name)}], 'weight_decay': 0.0}}",
            ),
        ],
        measures=[
            Measure(quantity="rows with a gradient", value=history.ever_hit, comparison="==", threshold=0, unit="count")
        ],
    )


def _mover(training: Training) -> str:
    """What changes rows that have no gradient."""
    decay = float(weight_decays(training).max(initial=0.0))
    if decay > 0:
        return f"a weight decay of {setting(decay)} changes rows without a gradient, too"
    return "not the optimizer, which has no weight decay, but something in the script (max_norm renormalises rows)"


def _moved_alone(history: RowHistory) -> str:
    """How far the rows without a gradient have moved, in words."""
    moved = history.movement[0] if history.movement else math.nan
    return f"{percent(moved)} of their norm (median)" if math.isfinite(moved) else "a little"


def _tied(table: TensorFacts) -> str:
    return f"; it is tied to {', '.join(table.aliases)}, whose gradient reaches every row" if table.aliases else ""


def _movement(training: Training, table: TensorFacts) -> Lines:
    caption = (
        "How far the weights are from their first values, over the size of those. The distance of a table that learns "
        "grows as that of the layers above it."
    )
    return distance_chart(training, [table], caption)


def _slow(
    training: Training, table: TensorFacts, history: RowHistory | None, ratio: EmbeddingUpdateRatio, slow: float,
    far: float,
    share: float = math.nan,
) -> Finding:  # fmt: skip
    steps = training.recorded_global_steps
    column = column_of(training, table)
    ratios = update_ratio(training)
    times = 1 / ratio.relative if ratio.relative > 0 else math.inf
    layers = comparable_layers(training)
    evidence: list[AnyEvidence] = [
        Lines(
            title="Update-to-weight ratio",
            caption="The table beside the median weight layer. What was judged is their ratio, divided by the square "
            "root of the share of rows that a step hits.",
            x_label="step",
            y_label="|update| / |weight|",
            series=[
                plain(table.name, steps, ratios[:, column], role="flagged"),
                plain("median weight layer", steps, medians_across(ratios[:, layers])),
            ],
            log=True,
        )
    ]
    if history is not None and history.hits:
        evidence += movement_chart(history) or [hits_chart(history, flagged=set())]
    rates = recorded_learning_rates(training)[:, column]
    rate = float(rates[numpy.isfinite(rates)].max()) if numpy.isfinite(rates).any() else math.nan
    actions = []
    if not is_adaptive(training):
        actions.append(
            Action(
                text=f"Train the table with Adam or Adagrad: with {optimizer_class(training)} a row receives only its "
                "share of a batch's mean gradient",
                code=f"torch.optim.Adagrad([{in_code(table.name)}], lr=0.01)",
            )
        )
    if rate > 0:
        larger = rate * 10 ** max(1, min(2, round(math.log10(times)))) if math.isfinite(times) else 100 * rate
        actions.append(
            Action(
                text=f"Give the table its own learning rate: {setting(larger)} instead of {setting(rate)}",
                code=f"{{'params': [{in_code(table.name)}], 'lr': {setting(larger)}}}",
            )
        )
    actions.append(Action(text="Look for a multiplier that shrinks the table's output, and so its gradient"))
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.HIGH if ratio.relative < far else Confidence.MEDIUM,
        title="Embedding learns too slowly",
        headline=f"Rows of {table.name} change {times_in_words(times)} times less per update than the median layer",
        explanation=f"The update-to-weight ratio is {number(ratio.table)} for the table and {number(ratio.layers)} "
        "for the "
        f"median weight layer. A step hits {percent(ratio.hit_share)} of the rows, which alone explains a factor of "
        f"{factor(1 / math.sqrt(ratio.hit_share))}."
        + (
            f" Another table, measured in the same way, learns {times_in_words(1 / share)} times as fast."
            if share > 0
            else ""
        ),
        span=Span(first=int(steps[0]), last=int(steps[-1])),
        tensors=[table.name],
        evidence=evidence,
        actions=actions,
        measures=[
            *([] if math.isnan(share) else [
                Measure(quantity="update per element / fastest table's" if is_adaptive(training)
                        else "update-to-weight ratio, table / fastest table's",
                        value=share, comparison="<", threshold=slow, option="apart")]),
            Measure(quantity="update-to-weight ratio, table / median layer / sqrt(share of rows hit)",
                    value=ratio.relative, comparison="<", threshold=slow if math.isnan(share) else _FAR_BEHIND,
                    option="slow" if math.isnan(share) else ""),
        ],
    )  # fmt: skip


def _examples(rows: list[int]) -> str:
    shown = ", ".join(str(row) for row in rows[:6])
    return f", for example {'row' if len(rows) == 1 else 'rows'} {shown}" if rows else ""


def _rows(
    training: Training,
    table: TensorFacts,
    history: RowHistory,
    never_hit: float,
    large: float,
    stopped: float,
    stopped_rows: float,
) -> Iterator[Finding]:
    steps = training.recorded_global_steps
    span = Span(first=int(steps[0]), last=int(steps[-1]))
    share = history.never_hit / history.tracked if history.tracked else 0.0
    if share > never_hit and history.rows >= large:
        yield Finding(
            severity=Severity.NOTE,
            confidence=Confidence.HIGH,
            title="Unused embedding rows",
            headline=f"No gradient ever reaches {percent(share)} of the rows of {table.name}",
            explanation=f"{count(history.never_hit)} of {plural(history.tracked, 'row')} were not hit once"
            f"{_examples(history.never_hit_rows)}. "
            + (
                f"Still they changed by {_moved_alone(history)}: {_mover(training)}."
                if history.movement and history.movement[0] > 0
                else "They keep their initial values."
            ),
            span=span,
            tensors=[table.name],
            evidence=[hits_chart(history, {0}), *reach_chart(training, history)],
            actions=[
                Action(text="Check that the vocabulary was built from this data"),
                Action(
                    text=f"A table of {count(max(history.ever_hit, 1))} rows, plus one for unknown tokens, would "
                    "hold all "
                    "that occurs"
                ),
            ],
            measures=[
                Measure(
                    quantity="rows never hit",
                    value=share,
                    comparison=">",
                    threshold=never_hit,
                    unit="fraction",
                    option="never_hit",
                ),
                Measure(
                    quantity="rows of the table",
                    value=history.rows,
                    comparison=">=",
                    threshold=large,
                    unit="count",
                    option="large",
                ),
            ],
        )
    stopped_share = history.stopped / history.ever_hit if history.ever_hit else 0.0
    if stopped_share > stopped and history.stopped >= stopped_rows:
        yield Finding(
            severity=Severity.NOTE,
            confidence=Confidence.MEDIUM,
            title="Dead embedding rows",
            headline=f"Gradients stop reaching {plural(history.stopped, 'row')} of {table.name}, "
            f"{percent(stopped_share)} of those ever hit",
            explanation="Each had a gradient at five steps or more and then none for 20 times its usual interval"
            f"{_examples(history.stopped_rows)}.",
            span=span,
            tensors=[table.name],
            evidence=[hits_chart(history, set()), *reach_chart(training, history)],
            actions=[
                Action(
                    text=f"Check that the data is shuffled: else rows such as these {count(history.stopped)} come in "
                    "bursts"
                ),
                Action(text="Look for a layer above that died for these inputs"),
            ],
            measures=[
                Measure(
                    quantity="rows that stopped / rows ever hit",
                    value=stopped_share,
                    comparison=">",
                    threshold=stopped,
                    unit="fraction",
                    option="stopped",
                ),
                Measure(
                    quantity="rows that stopped",
                    value=history.stopped,
                    comparison=">=",
                    threshold=stopped_rows,
                    unit="count",
                    option="stopped_rows",
                ),
            ],
        )
