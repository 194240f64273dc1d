"""An embedding table, or part of it, does not learn.

## What it looks for

First, exactly: a table of which not one bit changed over the run, by its checksum, or by a look at each element of a
small one; and why, as far as the record knows: in no optimizer, without a gradient, a learning rate of 0. A table that
no step looks up is a note; one whose requires_grad is False at every step, or a copy of a trained one, is left alone. A
table that changes although none of its rows ever had a gradient is changed by weight decay alone, and is a warning.
Then its relative update-to-weight ratio: the median of the table over that of the median weight layer, divided by the
square root of the share of rows that a step hits, since only those change. Below `slow` it is a warning over at least
`least_steps` steps, and below `far` the confidence is high. So is a ratio below 0.1 that is less than `apart` of
another table's. Under adaptive optimizers, such as Adam, the update per element is compared with another table's, since
the ratio says no more there than how large a table started; tables that start at zero are left out of the comparison.
Rows are looked at last, as a note: more than `never_hit` of a table of at least `large` rows without a single gradient;
more than `stopped` of the rows that were hit, and at least `stopped_rows`, without one for 20 times their usual
interval.

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

from collections.abc import Iterator

import msgspec

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.embedding_tables import table_movement, table_update_ratio
from gradaudit.evidence.charts.rows import hits_chart, movement_chart, reach_chart
from gradaudit.evidence.spans import recorded_span
from gradaudit.evidence.words import rows as row_words
from gradaudit.evidence.words import table as table_words
from gradaudit.evidence.words.last_tenth import end_unknown
from gradaudit.evidence.words.wording import percent, plural, times
from gradaudit.findings import Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped
from gradaudit.schema import TensorFacts
from gradaudit.signals.embeddings.embedding_rows import DeadRows, NoGradient, RowHistory, UnusedRows, row_history
from gradaudit.signals.embeddings.embedding_update_ratio import (
    EmbeddingUpdateRatio,
    embedding_update_ratio,
    share_of_fastest,
)
from gradaudit.signals.embeddings.table_state import SlowTable, UnchangedTable, slow_table, unchanged_table
from gradaudit.signals.layers.unchanged import LEAST_STEPS, Reason, is_unchanged
from gradaudit.training import Training

_FAR_BEHIND = 0.1  # of the layers' update ratio: above it a table that lags behind another still learns


class Limits(msgspec.Struct, frozen=True):
    """From where on a table is too slow, and how many of its rows may have no gradient."""

    slow: float = 0.02  # healthy tables stay above 0.038, faulty ones below 0.017: narrow
    far: float = 0.003  # below it the confidence is high
    apart: float = 0.05  # of another table's update ratio; healthy tables stay above 0.12, faulty ones below 0.022
    least_steps: float = 100  # all faulty tables were found by then, without a false alarm
    never_hit: float = 0.5  # a healthy byte vocabulary has 0.63, hence only a note
    large: float = 1000  # rows; small tables often have rows to spare
    stopped: float = 0.05  # not measured; a row at its usual rate is silent for 20 intervals with probability e^-20
    stopped_rows: float = 10  # fewer are likely rare rows


class Unchanged(Judged, frozen=True):
    """Nothing ever changes the table."""

    state: UnchangedTable
    severity: Severity
    history: RowHistory | None


class MeantToStay(Judged, frozen=True):
    """Nothing ever changes the table, as it was set up."""

    state: UnchangedTable


class Slow(Judged, frozen=True):
    """The update-to-weight ratio is far below that of the layers, or of another table."""

    state: SlowTable
    behind_another: bool  # it is another table that it is far behind
    is_far_behind: bool
    history: RowHistory | None


class Learning(Judged, frozen=True):
    """The table learns, and so do its rows."""

    table: TensorFacts
    ratio: EmbeddingUpdateRatio | None
    history: RowHistory | None


Kind = Unchanged | MeantToStay | NoGradient | Slow | UnusedRows | DeadRows | Learning


@diagnoser(per="training", worst=Severity.CRITICAL, needs=("tensors.has_grad",))
def dead_embedding(training: Training, limits: Limits) -> Iterator[Kind | NotApplicable | Skipped]:
    """Judge each embedding table: did it move, how fast, and which rows."""
    tables = [t for t in training.tensors if t.role == "embedding" and not training.run.frozen_on_purpose(t)]
    recorded = training.recorded
    if not tables:
        yield NotApplicable(reason="the model has no embedding table")
        return
    if not len(recorded) or recorded[-1] - recorded[0] + 1 < LEAST_STEPS:
        yield Skipped(reason="tensor statistics span fewer than 5 steps", enable="train longer, or record more often")
        return
    shares = share_of_fastest(training, [table.id for table in tables])
    for table in tables:
        yield from _judged(training, table, shares[table.id], limits)


def _judged(training: Training, table: TensorFacts, share: float, limits: Limits) -> Iterator[Kind | Skipped]:
    history = row_history(training, table.id)
    if is_unchanged(training, table, history):
        state = unchanged_table(training, table, history)
        severity = _severity(state)
        yield MeantToStay(state) if severity is None else Unchanged(state, severity, history)
        return
    if history is not None and history.tracked and not history.ever_hit and history.moved:
        yield NoGradient(table.name, history)
        return
    ratio = embedding_update_ratio(training, table.id)
    found: list[Kind | Skipped] = []
    if ratio is not None and len(training.steps) >= limits.least_steps:
        slow = ratio.relative < limits.slow
        if slow or (ratio.relative < _FAR_BEHIND and share < limits.apart):
            state_of = slow_table(training, table, ratio, share)
            found.append(Slow(state_of, not slow, ratio.relative < limits.far, history))
    early = history and end_unknown("the rows", history.last_step, int(training.steps["step"].max()) + 1)
    if history is not None and not early:
        found += _rows(table.name, history, limits)
    yield from found or [early or Learning(table, ratio, history)]


def _severity(state: UnchangedTable) -> Severity | None:
    """How bad it is that a table does not change; None where it is meant."""
    of_reason: dict[Reason, Severity] = {
        "idle": Severity.NOTE,
        "unused": Severity.NOTE,
        "not owned": Severity.NOTE if state.most_are_outside else Severity.WARNING,
        "rate zero": Severity.CRITICAL,
        "no gradient": Severity.CRITICAL if state.use in ("cut off", "cut off by no_grad") else Severity.WARNING,
        "zero gradient": Severity.WARNING,
        "no effect": Severity.CRITICAL,
    }
    return of_reason.get(state.reason)


def _rows(table: str, history: RowHistory, limits: Limits) -> Iterator[UnusedRows | DeadRows]:
    if history.never_hit_share > limits.never_hit and history.rows >= limits.large:
        yield UnusedRows(table, history)
    if history.stopped_share > limits.stopped and history.stopped >= limits.stopped_rows:
        yield DeadRows(table, history)


@dead_embedding.tell
def _meant(found: MeantToStay) -> Clean:
    return Clean(measured=table_words.stays(found.state))


@dead_embedding.tell
def _learning(found: Learning) -> Clean:
    return Clean(measured=table_words.learns(found.table, found.ratio, found.history))


@dead_embedding.tell
def _unchanged(found: Unchanged, training: Training) -> Finding:
    state, history, table = found.state, found.history, found.state.table
    rows, steps = table.shape[0] if table.shape else 0, recorded_span(training).last + 1
    return Finding(
        severity=found.severity,
        confidence=Confidence.CERTAIN if state.is_exact else Confidence.HIGH,
        title="Embedding never updated",
        headline=f"None of the {plural(rows, 'row')} of {table.name} changes in {plural(steps, 'step')}",
        explanation=table_words.unchanged_explanation(state, history, training),
        span=recorded_span(training),
        tensors=[table.name],
        evidence=[table_movement(training, table.name), *reach_chart(training, history)],
        actions=table_words.unchanged_actions(state, training),
        measures=[
            Measure(quantity="rows that differ from the start", value=history.moved if history else 0,
                    comparison="==", threshold=0, unit="count"),
        ],
    )  # fmt: skip


@dead_embedding.tell
def _no_gradient(found: NoGradient, training: Training) -> Finding:
    table, history = found.table, found.history
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.HIGH,
        title="Embedding without a gradient",
        headline=f"None of the {plural(history.tracked, 'row')} of {table} ever receives a gradient",
        explanation=f"Still {plural(history.moved, 'row')} changed, by {row_words.changed_alone(training, history)}.",
        span=recorded_span(training),
        tensors=[table],
        evidence=[table_movement(training, table), *reach_chart(training, history)],
        actions=row_words.attach_actions(table),
        measures=[
            Measure(quantity="rows with a gradient", value=history.ever_hit, comparison="==", threshold=0, unit="count")
        ],
    )


@dead_embedding.tell
def _slow(found: Slow, training: Training, limits: Limits) -> Finding:
    state, history, table = found.state, found.history, found.state.table
    rows = movement_chart(history) or [hits_chart(history, set())] if history is not None and history.hits else []
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.HIGH if found.is_far_behind else Confidence.MEDIUM,
        title="Embedding learns too slowly",
        headline=f"Rows of {table.name} change {times(state.times)} times less per update than the median layer",
        explanation=table_words.slow_explanation(state, behind_another=found.behind_another),
        span=recorded_span(training),
        tensors=[table.name],
        evidence=[table_update_ratio(training, table), *rows],
        actions=table_words.slow_actions(state, training),
        measures=_slow_measures(found, limits),
    )


def _slow_measures(found: Slow, limits: Limits) -> list[Measure]:
    relative, share, behind = found.state.ratio.relative, found.state.share_of_fastest, found.behind_another
    quantity = "update per element" if found.state.is_adaptive else "update-to-weight ratio, table"
    of_layers = Measure(
        quantity="update-to-weight ratio, table / median layer / sqrt(share of rows hit)", value=relative,
        comparison="<", threshold=_FAR_BEHIND if behind else limits.slow, option="" if behind else "slow",
    )  # fmt: skip
    of_fastest = Measure(quantity=f"{quantity} / fastest table's", value=share, comparison="<",
                         threshold=limits.apart, option="apart")  # fmt: skip
    return [of_fastest, of_layers] if behind else [of_layers]


@dead_embedding.tell
def _unused_rows(found: UnusedRows, training: Training, limits: Limits) -> Finding:
    history = found.history
    return Finding(
        severity=Severity.NOTE,
        confidence=Confidence.HIGH,
        title="Unused embedding rows",
        headline=f"No gradient ever reaches {percent(history.never_hit_share)} of the rows of {found.table}",
        explanation=row_words.unused_explanation(history, training),
        span=recorded_span(training),
        tensors=[found.table],
        evidence=[hits_chart(history, {0}), *reach_chart(training, history)],
        actions=row_words.unused_actions(history),
        measures=[
            Measure(quantity="rows never hit", value=history.never_hit_share, comparison=">",
                    threshold=limits.never_hit, unit="fraction", option="never_hit"),
            Measure(quantity="rows of the table", value=history.rows, comparison=">=", threshold=limits.large,
                    unit="count", option="large"),
        ],
    )  # fmt: skip


@dead_embedding.tell
def _dead_rows(found: DeadRows, training: Training, limits: Limits) -> Finding:
    history = found.history
    return Finding(
        severity=Severity.NOTE,
        confidence=Confidence.MEDIUM,
        title="Dead embedding rows",
        headline=f"Gradients stop reaching {plural(history.stopped, 'row')} of {found.table}, "
        f"{percent(history.stopped_share)} of those ever hit",
        explanation=row_words.dead_explanation(history),
        span=recorded_span(training),
        tensors=[found.table],
        evidence=[hits_chart(history, set()), *reach_chart(training, history)],
        actions=row_words.dead_actions(history),
        measures=[
            Measure(quantity="rows that stopped / rows ever hit", value=history.stopped_share, comparison=">",
                    threshold=limits.stopped, unit="fraction", option="stopped"),
            Measure(quantity="rows that stopped", value=history.stopped, comparison=">=",
                    threshold=limits.stopped_rows, unit="count", option="stopped_rows"),
        ],
    )  # fmt: skip
