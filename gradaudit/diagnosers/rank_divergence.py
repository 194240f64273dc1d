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

import msgspec

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.ranks import rank_lines, skew_charts, spread_chart, weights_apart_charts
from gradaudit.evidence.words.ranks import (
    average_gradients,
    harder_data,
    harder_data_headline,
    keep_together,
    parting_explanation,
    parting_headline,
    parting_title,
    shuffle_over,
    unequal_norms,
)
from gradaudit.evidence.words.shard_norm import clip_the_whole, left_explanation, left_headline
from gradaudit.evidence.words.shards_apart import (
    copies_explanation,
    keep_copies,
    seed_apart,
    shards_as_meant,
    twins_explanation,
    twins_headline,
)
from gradaudit.evidence.words.wording import count, plural
from gradaudit.findings import Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.signals.ranks.gradients_apart import GradientsApart, gradients_apart
from gradaudit.signals.ranks.replicas import checksums, side_by_side
from gradaudit.signals.ranks.shard_norm import ShardNorm, shard_norm
from gradaudit.signals.ranks.shards_apart import CopiesApart, EqualShards, ShardsAsMeant, judged_shards, shards_apart
from gradaudit.signals.ranks.skew import FEW, Skew, skew
from gradaudit.signals.ranks.weights_apart import WeightsApart, weights_apart


class Limits(msgspec.Struct, frozen=True):
    """How far ranks that train one model may be apart."""

    gradient: float = 1e-3  # of the norm; averaged gradients differ by rounding only, 1e-6
    most: float = 0.5  # of the steps; a single step may have been recorded with another micro-batch
    standard_errors: float = 5.0  # of a rank's mean loss over the last half: chance does not reach it
    share: float = 0.1  # of the first loss; not measured: less is the usual spread of shards
    copies: float = 1e-4  # of the norm; not measured: equal weights have equal norms but for rounding, 1e-7
    norm: float = 1.05  # times; not measured: clipping by the whole norm leaves 1.000, by that of half of it 1.4


class Agreement(Judged, frozen=True):
    """The ranks hold the same weights."""

    ranks: int
    compared: int  # steps at which the weights were compared bit for bit
    gradients: int  # steps at which gradient norms were compared


class TooFewChecksums(Judged, frozen=True):
    """The weights were compared at fewer than two steps, and gradients at too few."""

    compared: int  # steps


Replicated = WeightsApart | GradientsApart | Skew | Agreement | TooFewChecksums
Sharded = ShardNorm | EqualShards | CopiesApart | ShardsAsMeant


@diagnoser(
    worst=Severity.WARNING,
    needs=("steps",),
    explains=("divergence", "loss_spike", "unstable_loss", "no_learning", "gradient_growth"),
)
def rank_divergence(run: Run, limits: Limits) -> Iterator[Replicated | Sharded | NotApplicable]:
    """Compare the ranks' weights bit for bit, and where that is not known their gradients; then their losses."""
    if not run.replicas.empty and run.replicas["rank"].nunique() > 1:
        yield _replicas(run, limits)
        return
    sharded = _shards(run, limits)
    yield from sharded
    if sharded:
        return
    if run.meta.world_size < 2:
        yield NotApplicable(reason="the run has one process")
    else:
        yield NotApplicable(reason="the ranks hold parts of one model, or only one of them was recorded")


def _shards(run: Run, limits: Limits) -> list[Sharded]:
    """What is to be said of ranks that hold no whole model each; nothing where that is not known."""
    parts, clipped = shards_apart(run), shard_norm(run)
    wrong: list[Sharded] = [clipped] if clipped is not None and clipped.factor > limits.norm else []
    if parts is None:
        return wrong
    shards = judged_shards(parts, limits.copies)
    return wrong if wrong and isinstance(shards, ShardsAsMeant) else [*wrong, shards]


def _replicas(run: Run, limits: Limits) -> Replicated:
    sums, norms = checksums(run), side_by_side(run, "gradient_norm")
    apart = weights_apart(sums)
    if apart is not None:
        return apart
    compared = len(sums.steps)
    # Weights that were compared bit for bit are the better witness: norms of what is not yet averaged differ.
    by_gradients = compared < 2 and len(norms.steps) >= FEW
    gradients = gradients_apart(norms, limits.gradient) if by_gradients else None
    if gradients is not None and gradients.share > limits.most:
        return gradients
    skewed = skew(side_by_side(run, "mean_loss"))
    # One sum, taken before training, says nothing of what came after it.
    if compared != 1 and skewed is not None and _is_far(skewed, limits):
        return skewed
    if compared < 2 and not by_gradients:
        return TooFewChecksums(compared)
    return Agreement(ranks=len(sums.ranks), compared=compared, gradients=len(norms.steps))


def _is_far(skewed: Skew, limits: Limits) -> bool:
    return skewed.standard_errors >= limits.standard_errors and skewed.distance > limits.share


@rank_divergence.tell
def _agreement(found: Agreement) -> Clean:
    same = (
        f"bit for bit the same at {plural(found.compared, 'step')}"
        if found.compared
        else f"trained by gradients that agree at {plural(found.gradients, 'step')}"
    )
    return Clean(measured=f"the weights of {count(found.ranks)} ranks are {same}")


@rank_divergence.tell
def _too_few(found: TooFewChecksums) -> Skipped:
    return Skipped(
        reason=f"the weights of the ranks were compared at {plural(found.compared, 'step')}, and it needs 2",
        enable="train for more than 64 steps, with one gradaudit record around all ranks",
    )


@rank_divergence.tell
def _as_meant(found: ShardsAsMeant) -> Clean:
    return Clean(measured=shards_as_meant(found.parts))


@rank_divergence.tell
def _weights_finding(found: WeightsApart, run: Run) -> Finding:
    return Finding(
        severity=Severity.NOTE if found.periodic else Severity.WARNING,
        confidence=Confidence.CERTAIN,
        title=parting_title(found),
        headline=parting_headline(found),
        explanation=parting_explanation(found),
        span=Span(first=found.earliest, last=found.last),
        evidence=weights_apart_charts(found, side_by_side(run, "mean_loss")),
        actions=keep_together(found),
        measures=[
            Measure(quantity="steps at which the weights differ", value=found.sums.differ.sum(), comparison=">",
                    threshold=0, unit="count"),
        ],
    )  # fmt: skip


@rank_divergence.tell
def _gradients_finding(found: GradientsApart, limits: Limits) -> Finding:
    norms = found.norms
    caption = "The norm of the whole gradient before clipping. Averaged gradients make one line."
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.HIGH,
        title="Gradients not averaged across ranks",
        headline=unequal_norms(found),
        explanation="Averaged gradients have the same norm on all ranks. Here each rank steps along its own gradient.",
        span=Span(first=found.first, last=found.last),
        evidence=[
            spread_chart(norms, "gradient norm", limits.gradient),
            rank_lines(norms, "gradient norm", caption),
        ],
        actions=average_gradients(len(norms.ranks)),
        measures=[
            Measure(quantity="steps whose gradient norms differ", value=found.share, comparison=">",
                    threshold=limits.most, unit="fraction", option="most"),
            Measure(quantity="difference / norm at these steps (median)", value=found.difference, comparison=">",
                    threshold=limits.gradient, option="gradient"),
        ],
    )  # fmt: skip


@rank_divergence.tell
def _losses_finding(found: Skew, limits: Limits) -> Finding:
    return Finding(
        severity=Severity.NOTE,
        confidence=Confidence.MEDIUM,
        title="Different data on one rank",
        headline=harder_data_headline(found),
        explanation=harder_data(found),
        span=Span(first=found.first, last=found.last),
        evidence=skew_charts(found),
        actions=shuffle_over(len(found.losses.ranks)),
        measures=[
            Measure(quantity="distance of the loss / standard error", value=found.standard_errors, comparison=">=",
                    threshold=limits.standard_errors, option="standard_errors"),
            Measure(quantity="distance / first loss", value=found.distance, comparison=">", threshold=limits.share,
                    unit="fraction", option="share"),
        ],
    )  # fmt: skip


@rank_divergence.tell
def _twins_finding(found: EqualShards) -> Finding:
    parts = found.parts
    return Finding(
        severity=Severity.NOTE,  # the laboratory trains no sharded model: it has not earned a warning yet
        confidence=Confidence.HIGH,
        title="Identical shards on two ranks",
        headline=twins_headline(parts),
        explanation=twins_explanation(parts, always=found.always),
        span=Span(first=0, last=parts.last),
        tensors=list(parts.twins[:20]),
        actions=seed_apart(),
        measures=[
            Measure(quantity="weights with two identical shards at step 0", value=len(parts.twins) / parts.judged,
                    comparison=">=", threshold=0.5, unit="fraction"),
        ],
    )  # fmt: skip


@rank_divergence.tell
def _copies_finding(found: CopiesApart, limits: Limits) -> Finding:
    parts, (name, apart) = found.parts, found.differ[0]
    return Finding(
        severity=Severity.NOTE,
        confidence=Confidence.MEDIUM,
        title="Replicated tensors out of sync",
        headline=f"Copies of {count(len(found.differ))} of {count(parts.copies)} replicated tensors differ between "
        "ranks",
        explanation=copies_explanation(parts, name, apart),
        span=Span(first=0, last=parts.last),
        tensors=[name for name, _ in found.differ[:20]],
        actions=keep_copies(),
        measures=[
            Measure(quantity="difference of the norms / norm", value=apart, comparison=">", threshold=limits.copies,
                    option="copies"),
        ],
    )  # fmt: skip


@rank_divergence.tell
def _norm_finding(found: ShardNorm, limits: Limits) -> Finding:
    return Finding(
        severity=Severity.NOTE,  # the laboratory trains no sharded model: it has not earned a warning yet
        confidence=Confidence.MEDIUM,
        title="Clipped by the norm of one shard",
        headline=left_headline(found),
        explanation=left_explanation(found),
        span=Span(first=found.first, last=found.last),
        actions=clip_the_whole(),
        measures=[
            Measure(quantity="norm left by clipping / norm meant (median)", value=found.factor, comparison=">",
                    threshold=limits.norm, option="norm"),
        ],
    )  # fmt: skip
