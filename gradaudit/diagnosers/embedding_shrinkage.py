"""Weight decay shrinks an embedding table, and the layers behind it receive smaller and smaller inputs.

## What it looks for

The norm of each embedding table over the run. It ends below `shrunk` of its start, it falls steadily (a rank
correlation of at most -`steady` with the step), and the weight decay of its parameter group can have taken `explained`
of that or more: learning rate times decay, summed over the steps, against the logarithm of what is left. Where decay
passes the optimizer's own scaling, as in Adam, any decay can. It is a note, and says whether the gradient of the table
grew meanwhile.

## Why it matters

Most rows of a table have no gradient at most steps, and decay takes its share of them at each. Behind a normalisation
layer a smaller input changes nothing but its gradient, which grows as one over the size of the input: small embeddings
make large gradients in the first layers, and these make spikes. Without one, rare rows fade into each other.

## What to try

Exclude embeddings from weight decay, as with biases and normalisation. Initialise them smaller, where a table that
began at a standard deviation of 1 only shrinks to the size that it needs. A normalisation layer right behind the
embedding makes the layers after it independent of its size.

## When it is wrong

Tables made by torch start at a standard deviation of 1 and may be meant to shrink: in the laboratory a recommender
ended better with 14 % of it than without decay and worse with 6 %, a word model better with 4 % and worse with 1 %.
Where all weights shrink, `excessive_weight_decay` says so. A penalty in the loss, or code that scales the table, is not
seen.
"""

import math
from collections.abc import Iterator

import msgspec
import numpy

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.embedding_tables import shrinking_norms, table_gradients
from gradaudit.evidence.words.optimizers import rate_in_words
from gradaudit.evidence.words.wording import in_code, names, number, percent, setting, times
from gradaudit.findings import (
    Action,
    Clean,
    Confidence,
    Finding,
    Measure,
    NotApplicable,
    Severity,
    Skipped,
    Span,
    ratio,
)
from gradaudit.signals.layers.layers import embeddings, zero_initialised
from gradaudit.signals.order_statistics import Floats, Integers, median, rank_correlation
from gradaudit.signals.updates.learning_rates import optimizer_class, peak_rates
from gradaudit.signals.updates.weight_growth import decay_paths, norms_over_first, weight_decays
from gradaudit.training import Training

_GROWN = 2.0  # times: from here on a gradient is said to have grown


class Limits(msgspec.Struct, frozen=True):
    """From where on a table is too small, and when weight decay is why."""

    shrunk: float = 0.3  # of the first norm; none is published; in the laboratory harm began between 0.14 and 0.01
    steady: float = 0.9  # Spearman's: a table that decays falls at every step
    explained: float = 0.5  # of the logarithm of what is left: less decay than that is not its cause


class Shrunk(Judged, frozen=True):
    """Tables that weight decay makes smaller and smaller; the numbers are those of the first one."""

    tables: tuple[str, ...]  # the one that lost most, then the others in depth order
    columns: tuple[int, ...]  # where each is in the matrices of the training
    left: float  # last norm / first
    trend: float  # rank correlation of norm and step
    weight_decay: float
    peak_rate: float  # greatest learning rate of its parameter group; NaN where none is known
    decay_path: float  # what decay alone takes off the logarithm of a weight; NaN where that is not known
    gradient_growth: float  # times, from the second fifth of the recorded steps to the last; NaN where not known
    gradient_grows: bool
    span: Span


class Kept(Judged, frozen=True):
    """No table shrinks steadily under a decay that explains it; this is the one that ends smallest."""

    table: str
    left: float  # last norm / first


@diagnoser(
    per="training",
    worst=Severity.NOTE,
    needs=("tensors.weight_norm",),
    minimum_steps=100,
    explains=("gradient_growth", "loss_spike", "no_learning", "no_signal"),
)
def embedding_shrinkage(training: Training, limits: Limits) -> Iterator[Shrunk | Kept | NotApplicable | Skipped]:
    """Follow the norm of every embedding table under weight decay."""
    tensors, decays = training.tensors, weight_decays(training)
    tables = _trained_tables(training)
    if not len(tables):
        yield NotApplicable(reason="no embedding table is trained")
        return
    if not any(decays[tensors[i].group] > 0 for i in tables):
        yield NotApplicable(reason="the embedding tables have no weight decay")
        return
    left = norms_over_first(training)
    known = numpy.isfinite(left[:, tables]).all(axis=1)
    if known.sum() < 3:
        yield Skipped(
            reason="the norms of the tables were recorded at fewer than 3 steps",
            enable="record more often: --every 1",
        )
        return
    left, steps = left[known], training.recorded_global_steps[known]
    found = [column for column in tables.tolist() if _is_shrunk(training, column, left[:, column], limits)]
    if found:
        worst = min(found, key=lambda column: float(left[-1, column]))
        columns = (worst, *(column for column in found if column != worst))
        yield _shrunk(training, columns, left[:, worst], steps)
    else:
        least = int(tables[numpy.argmin(left[-1, tables])])
        yield Kept(table=tensors[least].name, left=float(left[-1, least]))


def _trained_tables(training: Training) -> Integers:
    """The columns of the embedding tables that this optimizer trains and that do not start at zero."""
    tensors, groups = training.tensors, len(weight_decays(training))
    owned = numpy.asarray([t.optimizer == training.id and t.requires_grad for t in tensors], dtype=bool)
    tables = numpy.flatnonzero(embeddings(training) & owned & ~zero_initialised(training))
    return numpy.asarray([i for i in tables if 0 <= tensors[i].group < groups], dtype=numpy.int64)


def _is_shrunk(training: Training, column: int, left: Floats, limits: Limits) -> bool:
    """Whether `left`, the norms of a table over its first, falls steadily and far, and its weight decay is why."""
    group = training.tensors[column].group
    return (
        0 < left[-1] < limits.shrunk
        and rank_correlation(left) <= -limits.steady
        and weight_decays(training)[group] > 0
        and not decay_paths(training)[group] < limits.explained * -math.log(left[-1])
    )


def _shrunk(training: Training, columns: tuple[int, ...], left: Floats, steps: Integers) -> Shrunk:
    group, growth = training.tensors[columns[0]].group, _gradient_growth(training, columns[0])
    path = float(decay_paths(training)[group])
    return Shrunk(
        tables=tuple(training.tensors[column].name for column in columns),
        columns=columns,
        left=float(left[-1]),
        trend=rank_correlation(left),
        weight_decay=float(weight_decays(training)[group]),
        peak_rate=float(peak_rates(training)[group]),
        decay_path=path if math.isfinite(path) else math.nan,
        gradient_growth=growth,
        gradient_grows=growth >= _GROWN,
        span=Span(first=int(steps[0]), last=int(steps[-1])),
    )


def _gradient_growth(training: Training, column: int) -> float:
    """How many times the gradient of a table grows from the second fifth of the recorded steps to the last."""
    norms = training.matrix("gradient_norm")[:, column]
    fifth = len(norms) // 5
    before = median(norms[fifth : 2 * fifth])
    return median(norms[-fifth:]) / before if fifth and before > 0 else math.nan


@embedding_shrinkage.tell
def _kept(found: Kept) -> Clean:
    return Clean(
        measured=f"of the embedding tables {found.table} ends smallest, at {number(found.left)} times its first norm"
    )


@embedding_shrinkage.tell
def _finding(found: Shrunk, training: Training, limits: Limits) -> Finding:
    worst, decay = found.tables[0], setting(found.weight_decay)
    return Finding(
        severity=Severity.NOTE,
        confidence=Confidence.MEDIUM,
        title="Embeddings shrunk by weight decay",
        headline=f"A weight decay of {decay} shrinks {worst} to {percent(found.left)} of its initial norm",
        explanation=_explanation(found, training),
        span=found.span,
        tensors=list(found.tables[:20]),
        evidence=[shrinking_norms(training, found.columns), table_gradients(training, found.columns)],
        actions=[
            Action(
                text=f"Exclude {worst} from weight decay: a group of its own, with a weight decay of 0",
                code=f'{{"params": [{in_code(worst)}], "weight_decay": 0.0}}',
            ),
            Action(
                text=f"Or initialise it at the size that it shrinks to, {percent(found.left)} of its standard deviation"
            ),
        ],
        measures=[
            Measure(quantity="last norm of the table / first", value=found.left, comparison="<",
                    threshold=limits.shrunk, option="shrunk"),
            Measure(quantity="rank correlation of norm and step", value=found.trend, comparison="<=",
                    threshold=-limits.steady, option="steady"),
            ratio(("decay over the run", found.decay_path), ("logarithm of what is left", -math.log(found.left)), ">=",
                  limits.explained, option="explained"),
        ],
    )  # fmt: skip


def _explanation(found: Shrunk, training: Training) -> str:
    others = f", as does that of {names(list(found.tables[1:]))}" if len(found.tables) > 1 else ""
    sentences = [
        f"Its norm falls steadily over the run{others}.",
        f"{optimizer_class(training)} applies a weight decay of {setting(found.weight_decay)} to it, at a learning "
        f"rate of at most {rate_in_words([found.peak_rate])}.",
    ]
    if math.isfinite(found.decay_path):
        sentences.append(f"Weight decay alone would leave {percent(math.exp(-found.decay_path))}.")
    if found.gradient_grows:
        sentences.append(f"Meanwhile the gradient of the table grows {times(found.gradient_growth)} times.")
    return " ".join(sentences)
