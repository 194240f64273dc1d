"""The ranks of a distributed training no longer hold the same weights.

## What it looks for

A data-parallel training, in which every rank holds the whole model. Each rank computes a checksum of its weights at
every 64th step. Checksums that differ are a warning, exact and from the first step at which they do; they are a note
where they become equal again, which is periodic averaging. Where there are no checksums, gradient norms that differ by
more than `gradient` of their size at more than `most` of the steps are a warning: averaged gradients are equal on all
ranks. With equal weights it is a note when the mean loss of a rank over the last half lies `standard_errors` away from
the others' and by more than `share` of the first loss: its data is different.

Where the ranks hold shards, as DTensor lays them out, it compares what each rank measured of its own. It is a note when
the shards of half of the weights or more are identical on two ranks at step 0, norm and largest element to the last
bit. So is a replicated tensor whose norms differ by more than `copies` between ranks, and clipping by norm that leaves
the shards together with more than `norm` times what it should, which is clipping by the norm of one shard.

## Why it matters

Every step averages the gradients of different models, so it follows the gradient of none of them. Validation and
checkpoints come from one rank and show nothing of the others. Many runs that trained well at first end like this.

## What to try

Wrap the model in DistributedDataParallel before the first step, on every rank. Step, clip, and change weights on all
ranks alike: look for `if rank == 0` around anything but printing and saving. Seed the ranks alike before the model is
made, and load a checkpoint on all of them.

## When it is wrong

Ranks that are separate runs on purpose, an ensemble or a search over seeds, differ from the first step on. Local SGD
and other periodic averaging is a note. Pipeline-parallel models, and shards that are plain tensors as those of
Megatron, are not checked. A few tensors left out of clipping on purpose look like clipping by a shard's norm. Buffers,
such as those of batch normalisation, are no part of the checksums, and differ between ranks by design.
"""

from collections.abc import Iterator

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.ranks import against_others, agreement_chart, drift_chart, spread_chart
from gradaudit.evidence.charts.reduce import plain
from gradaudit.evidence.words.wording import count, factor, names, number, percent, plural
from gradaudit.findings import (
    Action,
    AnyEvidence,
    Clean,
    Confidence,
    CouldNotLook,
    Finding,
    Lines,
    Mark,
    Measure,
    NotApplicable,
    Numbers,
    Severity,
    Span,
    Verdict,
)
from gradaudit.reading.run import Run
from gradaudit.signals.order_statistics import Mask, median
from gradaudit.signals.ranks.replicas import Checksums, SideBySide, checksums, side_by_side, spread
from gradaudit.signals.ranks.shard_norm import ShardNorm, shard_norm
from gradaudit.signals.ranks.shards_apart import ShardsApart, shards_apart
from gradaudit.signals.smoothing import wide

_FEW = 20  # steps: fewer say nothing about a rank's gradients or data
_MOST_LINES = 4


@diagnoser(
    worst=Severity.WARNING,
    needs=("steps",),
    explains=("divergence", "loss_spike", "unstable_loss", "no_learning", "gradient_growth"),
)
def rank_divergence(
    run: Run,
    *,
    gradient: float = 1e-3,  # of the norm; averaged gradients differ by rounding only, 1e-6
    most: float = 0.5,  # of the steps; a single step may have been recorded with another micro-batch
    standard_errors: float = 5.0,  # of a rank's mean loss over the last half: chance does not reach it
    share: float = 0.1,  # of the first loss; not measured: less is the usual spread of shards
    copies: float = 1e-4,  # of the norm; not measured: equal weights have equal norms but for rounding, 1e-7
    norm: float = 1.05,  # times; not measured: clipping by the whole norm leaves 1.000, by that of half of it 1.4
) -> Iterator[Verdict]:
    """Compare the ranks' weights bit for bit, and where that is not known their gradients; then their losses."""
    if run.replicas.empty or run.replicas["rank"].nunique() < 2:
        yield from _sharded(run, copies, norm)
        return
    sums, norms = checksums(run), side_by_side(run, "gradient_norm")
    ranks = len(sums.ranks)
    if sums.differ.any():
        yield _weights(run, sums)
        return
    apart = spread(norms.values) > gradient
    # Weights that were compared bit for bit are the better witness: norms of what is not yet averaged differ.
    told = len(sums.steps) < 2 and len(norms.steps) >= _FEW
    if told and apart.mean() > most:
        yield _gradients(run, norms, apart, gradient, most)
        return
    losses = side_by_side(run, "mean_loss")
    skewed = _skew(losses)
    # One sum, taken before training, says nothing of what came after it.
    if len(sums.steps) != 1 and skewed is not None and skewed[1] >= standard_errors and skewed[2] > share:
        yield _losses(run, losses, *skewed, standard_errors, share)
        return
    if len(sums.steps) < 2 and not told:
        yield CouldNotLook(
            reason=f"the weights of the ranks were compared at {plural(len(sums.steps), 'step')}, and it needs 2",
            enable="train for more than 64 steps, with one gradaudit record around all ranks",
        )
        return
    agree = f"bit for bit the same at {plural(len(sums.steps), 'step')}" if len(sums.steps) else (
        f"trained by gradients that agree at {plural(len(norms.steps), 'step')}"
    )  # fmt: skip
    yield Clean(measured=f"the weights of {count(ranks)} ranks are {agree}")


def _sharded(run: Run, copies: float, norm: float) -> Iterator[Verdict]:
    """What is to be said of ranks that hold no whole model each."""
    parts, clipped = shards_apart(run), shard_norm(run)
    wrong = clipped is not None and clipped.factor > norm
    if clipped is not None and wrong:
        yield _norm_of_a_shard(clipped, norm)
    if parts is not None:
        verdict = _parts(parts, copies)
        if not (wrong and isinstance(verdict, Clean)):
            yield verdict
    elif not wrong:
        yield NotApplicable(
            reason="the run has one process"
            if run.meta.world_size < 2
            else "the ranks hold parts of one model, or only one of them was recorded"
        )


def _norm_of_a_shard(clipped: ShardNorm, norm: float) -> Finding:
    first, last = clipped.steps
    return Finding(
        severity=Severity.NOTE,  # the laboratory trains no sharded model: it has not earned a warning yet
        confidence=Confidence.MEDIUM,
        title="Clipped by the norm of one shard",
        headline=f"Clipping leaves a gradient norm of {number(clipped.whole)} where "
        f"{number(clipped.returned)} was meant",
        seen=f"By the norm that clip_grad_norm_ returned, {number(clipped.returned)} should be left; the shards of "
        f"{plural(clipped.ranks, 'rank')} together have {factor(clipped.factor)} times that, in the median of "
        f"{plural(clipped.compared, 'step')}. So that norm is one rank's, each rank clips by its own, and what the "
        "script logs as the gradient norm is too small.",
        span=Span(first=first, last=last),
        actions=[
            Action(text="Clip with the method of FullyShardedDataParallel, which adds the shards of all ranks",
                   code="model.clip_grad_norm_(max_norm)"),
            Action(text="Or, of plain tensors, sum the squared norms over the ranks before the root is taken"),
        ],
        measures=[Measure(quantity="norm left by clipping / norm meant (median)", value=clipped.factor, comparison=">",
                          threshold=norm, option="norm")],
    )  # fmt: skip


def _parts(parts: ShardsApart, copies: float) -> Verdict:
    """What is to be said of shards: equal ones that should differ, copies that should be equal."""
    differ = [(name, apart) for name, apart in parts.differ if apart > copies]
    if parts.twins and len(parts.twins) >= parts.judged / 2:
        always = parts.still == len(parts.twins)
        one, other = parts.pair
        return Finding(
            severity=Severity.NOTE,  # the laboratory trains no sharded model: it has not earned a warning yet
            confidence=Confidence.HIGH,
            title="Identical shards on two ranks",
            headline=f"Ranks {one} and {other} start with identical shards of {count(len(parts.twins))} of "
            f"{count(parts.judged)} weights",
            seen=f"Norm and largest element of the two shards of {parts.twins[0]} are equal to the last bit at step 0: "
            "both ranks drew their random weights from one seed. "
            + (f"At step {count(parts.last)} they still are: the two compute the same, and one of them is redundant."
               if always
               else f"At step {count(parts.last)}, {count(parts.still)} of {count(len(parts.twins))} still are."),
            span=Span(first=0, last=parts.last),
            tensors=list(parts.twins[:20]),
            actions=[
                Action(text="Give each rank of a tensor-parallel group a seed of its own before it makes its shards",
                       code="torch.manual_seed(seed + tensor_parallel_rank)"),
                Action(text="Or make the whole weights on one rank and let torch.distributed.tensor distribute them"),
            ],
            measures=[Measure(quantity="weights with two identical shards at step 0",
                              value=len(parts.twins) / parts.judged, comparison=">=", threshold=0.5,
                              unit="fraction")],
        )  # fmt: skip
    if differ:
        name, apart = differ[0]
        return Finding(
            severity=Severity.NOTE,
            confidence=Confidence.MEDIUM,
            title="Replicated tensors out of sync",
            headline=f"Copies of {count(len(differ))} of {count(parts.copies)} replicated tensors differ between ranks",
            seen=f"At step {count(parts.last)} the norms of {name} differ by {percent(apart)} over "
            f"{count(parts.ranks)} ranks, and every rank should hold the same copy.",
            span=Span(first=0, last=parts.last),
            tensors=[name for name, _ in differ[:20]],
            actions=[
                Action(text="Sum the gradients of replicated tensors over the tensor-parallel group before each step"),
                Action(text="Clip all ranks by one norm: a rank that does not clip takes other steps"),
            ],
            measures=[Measure(quantity="difference of the norms / norm", value=apart, comparison=">",
                              threshold=copies, option="copies")],
        )  # fmt: skip
    return Clean(
        measured=f"no half of the {plural(parts.judged, 'sharded weight')} has equal shards at step 0, and copies of "
        f"{plural(parts.copies, 'tensor')} agree at step {count(parts.last)}, over {count(parts.ranks)} ranks"
    )


def _weights(run: Run, sums: Checksums) -> Finding:
    first = int(numpy.argmax(sums.differ))
    at, last = int(sums.steps[first]), int(sums.steps[-1])
    back = not sums.differ[-1]
    begin = (
        f"are equal at step {count(sums.steps[first - 1])} and differ at step {count(at)}"
        if first
        else f"differ at step {count(at)}"
        if back
        else f"differ from step {count(at)} on"
    )
    odd = _minority(sums, first)
    alone = _alone(sums, odd)
    wrapping = Action(
        text=f"Wrap the model once, before step 0, on all {count(len(sums.ranks))} ranks",
        code="model = torch.nn.parallel.DistributedDataParallel(model)",
    )
    since = f"between steps {count(sums.steps[first - 1])} and {count(at)}" if first else f"by step {count(at)}"
    alike = Action(
        text=f"Look for what one rank alone does {since}: if rank == 0 around a step, a clip or a change of the weights"
    )
    averaging = Action(
        text="Call the wrapped model, not model.module, and leave no_sync() before the last micro-batch: otherwise "
        "gradients are averaged at no step"
    )
    return Finding(
        severity=Severity.NOTE if back else Severity.WARNING,
        confidence=Confidence.CERTAIN,
        title="Weights averaged only periodically"
        if back
        else f"Ranks diverged by step {count(at)}"
        if first
        else "Ranks start with different weights",
        headline=f"The weights of {count(len(sums.ranks))} ranks {begin}"
        + (f", and are equal again at step {count(last)}" if back else ""),
        seen=f"The checksums of the weights differ at {count(sums.differ.sum())} of {plural(len(sums.steps), 'step')}"
        + (f"; at step {count(last)} they are equal again, as with periodic averaging." if back else ".")
        + (f" {alone}" if alone else "")
        + ("" if back else " Each rank trains a model of its own, whether gradients are averaged or not."),
        # They parted at some step after the last at which they were seen to be equal.
        span=Span(first=int(sums.steps[first - 1]) + 1 if first else at, last=last),
        evidence=[*_apart(run, sums, odd, at), _table(sums)][:2],
        actions=[alike, averaging, wrapping] if first else [
            wrapping,
            Action(text="Seed all ranks with the same number before the model is made",
                   code="torch.manual_seed(0)"),
        ],
        measures=[
            Measure(quantity="steps at which the weights differ", value=sums.differ.sum(), comparison=">", threshold=0,
                    unit="count"),
        ],
    )  # fmt: skip


def _minority(sums: Checksums, at: int) -> list[int]:
    """The indices of the ranks that stand against a majority at this step."""
    row = sums.sums[at]
    taken = row[row != 0]
    values, counts = numpy.unique(taken, return_counts=True)
    if len(taken) < 3 or counts.max() <= len(taken) / 2:
        return []
    return [int(index) for index in numpy.flatnonzero((row != 0) & (row != values[numpy.argmax(counts)]))]


def _alone(sums: Checksums, odd: list[int]) -> str:
    """The same in words."""
    if not odd:
        return ""
    subject = "Rank" if len(odd) == 1 else "Ranks"
    listed = names([str(int(sums.ranks[index])) for index in odd], 6)
    return f"{subject} {listed} {'differs' if len(odd) == 1 else 'differ'} from the majority."


def _table(sums: Checksums) -> Numbers:
    near = max(0, int(numpy.argmax(sums.differ)) - 2)
    rows = range(near, min(len(sums.steps), near + 8))
    shown = sums.ranks[:6]
    return Numbers(
        title="Checksums of the weights",
        caption="The sum of the bit patterns of all weights before the step, by rank; equal weights have equal sums.",
        columns=["step", *(f"rank {int(rank)}" for rank in shown)],
        cells=[
            [count(sums.steps[row]), *(f"{int(value) & (1 << 64) - 1:016x}" for value in sums.sums[row, : len(shown)])]
            for row in rows
        ],
    )


def _apart(run: Run, sums: Checksums, odd: list[int], at: int) -> list[AnyEvidence]:
    """Who drifts, and from which step: of two ranks the losses alone can tell."""
    drift = _drift(run, odd, [Mark(label=f"step {count(at)} · weights differ", x=at)])
    return drift if len(sums.ranks) == 2 and drift else [agreement_chart(sums), *drift]


def _drift(run: Run, flagged: list[int], marks: list[Mark]) -> list[AnyEvidence]:
    """Each rank's loss against the others', where any were recorded."""
    chart = drift_chart(side_by_side(run, "mean_loss"), "loss", flagged, marks)
    return [chart] if chart is not None else []


def _by_rank(beside: SideBySide, title: str, label: str, caption: str, flagged: int = -1) -> Lines:
    """The values of a few ranks, the flagged one first."""
    order = sorted(range(len(beside.ranks)), key=lambda index: index != flagged)
    return Lines(
        title=title,
        caption=caption,
        x_label="step",
        y_label=label,
        series=[
            plain(
                f"rank {int(beside.ranks[index])}",
                beside.steps,
                beside.values[:, index],
                role="flagged" if index == flagged else "main",
            )
            for index in order[:_MOST_LINES]
        ],
        log=wide(beside.values),
    )


def _gradients(run: Run, norms: SideBySide, apart: Mask, gradient: float, most: float) -> Finding:
    steps = norms.steps[apart]
    typical = median(spread(norms.values))
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.HIGH,
        title="Gradients not averaged across ranks",
        headline=f"The gradient norms of {count(len(norms.ranks))} ranks differ by {percent(typical)} at "
        f"{count(len(steps))} of {plural(len(norms.steps), 'step')}",
        seen="Averaged gradients have the same norm on all ranks. Here each rank steps along its own gradient.",
        span=Span(first=int(steps[0]), last=int(steps[-1])),
        evidence=[
            spread_chart(norms, "gradient norm", gradient),
            _by_rank(
                norms, "Gradient norm by rank", "gradient norm",
                "The norm of the whole gradient before clipping. Averaged gradients make one line.",
            ),
        ],
        actions=[
            Action(text=f"Wrap the model once, before step 0, on all {count(len(norms.ranks))} ranks",
                   code="model = torch.nn.parallel.DistributedDataParallel(model)"),
            Action(text="Call the wrapped model, not model.module, and leave no_sync() for the last of the "
                   "micro-batches of each step"),
        ],
        measures=[
            Measure(quantity="steps whose gradient norms differ", value=float(apart.mean()), comparison=">",
                    threshold=most, unit="fraction", option="most"),
            Measure(quantity="difference / norm at these steps (median)",
                    value=median(spread(norms.values)[apart]), comparison=">", threshold=gradient, option="gradient"),
        ],
    )  # fmt: skip


def _skew(losses: SideBySide) -> tuple[int, float, float] | None:
    """The rank whose loss lies farthest from the others' over the last half, by how many standard errors, and by how
    much of the first loss; None where that is not known."""
    complete = losses.values[numpy.isfinite(losses.values).all(axis=1)]
    tail = complete[len(complete) // 2 :]
    if len(tail) < _FEW:
        return None
    first = abs(float(complete[0].mean()))
    away = against_others(tail)
    error = away.std(axis=0) / numpy.sqrt(len(tail))
    with numpy.errstate(divide="ignore", invalid="ignore"):
        errors = numpy.nan_to_num(numpy.abs(away.mean(axis=0)) / error)
    far = int(numpy.argmax(away.mean(axis=0)))
    return far, float(errors[far]), float(abs(away.mean(axis=0)[far])) / first if first else 0.0


def _losses(
    run: Run, losses: SideBySide, far: int, errors: float, distance: float, standard_errors: float, share: float
) -> Finding:
    half = len(losses.values) // 2
    tail = losses.values[half:]
    own = float(numpy.nanmean(tail[:, far]))
    rest = float(numpy.nanmean(numpy.delete(tail, far, axis=1)))
    rank = int(losses.ranks[far])
    judged = Mark(
        label=f"step {count(losses.steps[half])} · judged from here", x=int(losses.steps[half]), role="reference"
    )
    return Finding(
        severity=Severity.NOTE,
        confidence=Confidence.MEDIUM,
        title="Different data on one rank",
        headline=f"The loss of rank {rank} is {number(own)} over the last half of the run, and {number(rest)} on the "
        "other ranks",
        seen=f"That is {number(errors, 2)} standard errors apart, while the ranks hold the same weights: the data of "
        f"rank {rank} is different, or harder.",
        span=Span(first=int(losses.steps[half]), last=int(losses.steps[-1])),
        evidence=[
            *_drift(run, [far], [judged]),
            _by_rank(losses, "Training loss by rank", "loss", "Each rank's loss on its own part of every batch.", far),
        ],
        actions=[
            Action(text=f"Shuffle before the data is dealt out to the {count(len(losses.ranks))} ranks, in each epoch",
                   code="sampler = DistributedSampler(dataset, shuffle=True)\nsampler.set_epoch(epoch)"),
            Action(text="Check that no file or class of the data goes to one rank alone"),
        ],
        measures=[
            Measure(quantity="distance of the loss / standard error", value=errors, comparison=">=",
                    threshold=standard_errors, option="standard_errors"),
            Measure(quantity="distance / first loss", value=distance, comparison=">", threshold=share,
                    unit="fraction", option="share"),
        ],
    )  # fmt: skip
