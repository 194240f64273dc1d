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

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.reduce import plain
from gradaudit.evidence.words.optimizers import rate_in_words
from gradaudit.evidence.words.wording import in_code, names, number, percent, setting, times
from gradaudit.findings import (
    Action,
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
    ratio,
)
from gradaudit.signals.layers.layers import embeddings, weight_layers, zero_start
from gradaudit.signals.order_statistics import Floats, Integers, median, medians_across, rank_correlation
from gradaudit.signals.updates.learning_rates import optimizer_class, peak_rates
from gradaudit.signals.updates.weight_growth import decay_paths, norms_over_first, weight_decays
from gradaudit.training import Training

_GROWN = 2.0  # times: from here on a gradient is said to have grown
_MOST_LINES = 4


@diagnoser(
    per="training",
    worst=Severity.NOTE,
    needs=("tensors.weight_norm",),
    minimum_steps=100,
    explains=("gradient_growth", "loss_spike", "no_learning", "no_signal"),
)
def embedding_shrinkage(
    training: Training,
    *,
    shrunk: float = 0.3,  # of the first norm; none is published; in the laboratory harm began between 0.14 and 0.01
    steady: float = 0.9,  # Spearman's: a table that decays falls at every step
    explained: float = 0.5,  # of the logarithm of what is left: less decay than that is not its cause
) -> Iterator[Verdict]:
    """Follow the norm of every embedding table under weight decay."""
    tensors = training.tensors
    owned = numpy.asarray([t.optimizer == training.id and t.requires_grad for t in tensors], dtype=bool)
    tables = numpy.flatnonzero(embeddings(training) & owned & ~zero_start(training))
    decays, paths = weight_decays(training), decay_paths(training)
    tables = numpy.asarray([i for i in tables if 0 <= tensors[i].group < len(decays)], dtype=numpy.int64)
    if not len(tables):
        yield NotApplicable(reason="no embedding table is trained")
        return
    if not any(decays[tensors[i].group] > 0 for i in tables):
        yield NotApplicable(reason="the embedding tables have no weight decay")
        return
    left = norms_over_first(training)[:, tables]
    known = numpy.isfinite(left).all(axis=1)
    if known.sum() < 3:
        yield Skipped(
            reason="the norms of the tables were recorded at fewer than 3 steps",
            enable="record more often: --every 1",
        )
        return
    left = left[known]
    found = [
        place
        for place, index in enumerate(tables.tolist())
        if 0 < left[-1, place] < shrunk
        and rank_correlation(left[:, place]) <= -steady
        and decays[tensors[index].group] > 0
        and not paths[tensors[index].group] < explained * -math.log(left[-1, place])
    ]
    if not found:
        least = int(numpy.argmin(left[-1]))
        yield Clean(
            measured=f"of the embedding tables {tensors[tables[least]].name} ends smallest, at "
            f"{number(float(left[-1, least]))} times its first norm"
        )
        return
    worst = min(found, key=lambda place: float(left[-1, place]))
    columns = tables[[worst, *(place for place in found if place != worst)]]
    steps = training.recorded_global_steps[known]
    yield _finding(training, columns, steps, left[:, worst], shrunk, steady, explained)


def _finding(
    training: Training,
    columns: Integers,
    steps: Integers,
    left: Floats,
    shrunk: float,
    steady: float,
    explained: float,
) -> Finding:
    tensors = [training.tensors[int(column)] for column in columns]
    worst, others = tensors[0], [tensor.name for tensor in tensors[1:]]
    decay = float(weight_decays(training)[worst.group])
    path = float(decay_paths(training)[worst.group])
    rate = rate_in_words(peak_rates(training)[[worst.group]])
    grown = _gradient(training, int(columns[0]))
    return Finding(
        severity=Severity.NOTE,
        confidence=Confidence.MEDIUM,
        title="Embeddings shrunk by weight decay",
        headline=f"A weight decay of {setting(decay)} shrinks {worst.name} to {percent(left[-1])} of its initial norm",
        explanation=f"Its norm falls steadily over the run{f', as does that of {names(others)}' if others else ''}. "
        f"{optimizer_class(training)} applies a weight decay of {setting(decay)} to it, at a learning rate of at "
        f"most {rate}."
        + (f" Weight decay alone would leave {percent(math.exp(-path))}." if math.isfinite(path) else "")
        + (f" Meanwhile the gradient of the table grows {times(grown)} times." if grown >= _GROWN else ""),
        span=Span(first=int(steps[0]), last=int(steps[-1])),
        tensors=[tensor.name for tensor in tensors[:20]],
        evidence=[_norms(training, columns), _gradients(training, columns)],
        actions=[
            Action(text=f"Exclude {worst.name} from weight decay: a group of its own, with a weight decay of 0",
                   code=f'{{"params": [{in_code(worst.name)}], "weight_decay": 0.0}}'),
            Action(text=f"Or initialise it at the size that it shrinks to, {percent(left[-1])} of its standard "
                   "deviation"),
        ],
        measures=[
            Measure(quantity="last norm of the table / first", value=float(left[-1]), comparison="<",
                    threshold=shrunk, option="shrunk"),
            Measure(quantity="rank correlation of norm and step", value=rank_correlation(left), comparison="<=",
                    threshold=-steady, option="steady"),
            ratio(("decay over the run", path if math.isfinite(path) else math.nan),
                  ("logarithm of what is left", -math.log(left[-1])), ">=", explained, option="explained"),
        ],
    )  # fmt: skip


def _gradient(training: Training, column: int) -> float:
    """How many times the gradient of a table grows from the second fifth of the recorded steps to the last."""
    norms = training.matrix("gradient_norm")[:, column]
    fifth = len(norms) // 5
    before = median(norms[fifth : 2 * fifth])
    return median(norms[-fifth:]) / before if fifth and before > 0 else math.nan


def _norms(training: Training, columns: Integers) -> Lines:
    left, steps = norms_over_first(training), training.recorded_global_steps
    tensors = training.tensors
    layers = weight_layers(training) & ~zero_start(training)
    series = [plain(tensors[int(i)].name, steps, left[:, i], role="flagged") for i in columns[:_MOST_LINES]]
    if layers.any():
        series.append(plain("median weight layer", steps, medians_across(left[:, layers])))
    return Lines(
        title="Norm of the table",
        caption="The norm of the weights over the first one.",
        x_label="step",
        y_label="|w| / first |w|",
        series=series,
    )


def _gradients(training: Training, columns: Integers) -> Lines:
    norms, steps = training.matrix("gradient_norm"), training.recorded_global_steps
    tensors = training.tensors
    return Lines(
        title="Gradient of the table",
        caption="The norm of the gradient. Behind a normalisation layer it grows as the table shrinks.",
        x_label="step",
        y_label="gradient norm",
        series=[plain(tensors[int(i)].name, steps, norms[:, i], role="flagged") for i in columns[:_MOST_LINES]],
        log=True,
    )
