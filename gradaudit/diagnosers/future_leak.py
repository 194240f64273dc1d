"""The model sees what it should predict: its loss is near zero wherever the next token is part of its input.

## What it looks for

The loss at eight positions of a sequence, at the end of the training and of its evaluations. Where outputs may look
ahead, each position but the last finds its target one place further in the input, and copies it. So the loss of every
other position, the first and the last but one among them, is below `copied` of the last position's, although their
targets differ as much (`varied`). It takes `targets` predictions in each position, and evaluations that show the same.

And the masks of torch's attention in training, whatever the losses: `following` of at least `compared` targets are the
next id of the same sequence, each prediction is made from the id at its place along a residual stream, and none of the
self-attention over these ids has a mask between positions. A mask of padding alone hides no later token.

## Why it matters

The model learns to copy, and no more. When it generates text there is no next token to copy, and it is no better than
an untrained one.

## What to try

In attention, a causal mask: `is_causal=True`, or a mask that is true or 0 on and below the diagonal. In a recurrent
network, `bidirectional=False`. In a convolution, padding on the left side only. Then change one token of the input: no
output before it may change.

## When it is wrong

Where the sequence ends with what nothing before it tells, and all before is certain: sequences that count, say, and
end with a random token. Not found is a leak where the last target is in the input, too, as in models that drop their
last output, or where all sequences end with the same token; there, and in any model, a mask that is missing is found
by the second way alone, which sees `scaled_dot_product_attention` and `nn.MultiheadAttention` outside of compiled code.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.positions import position_chart
from gradaudit.evidence.words.future_leak import hide_the_future
from gradaudit.evidence.words.wording import count, number, percent, plural
from gradaudit.findings import (
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
from gradaudit.reading.run import Run
from gradaudit.signals.data.attended import OpenAttention, open_attentions
from gradaudit.signals.data.sources import last_step
from gradaudit.signals.layers.looks_ahead import LooksAhead, looks_ahead
from gradaudit.signals.loss.positions import Profile, SequenceLoss, sequence_losses

_SPARSE = 1.5  # times as many targets in one position as in another: most positions are masked
_EVALUATED = 8  # predictions in each position of the evaluations; fewer are not held against the training's


@dataclass(frozen=True)
class Limits:
    """From where on the last position stands out."""

    copied: float = 0.3  # leaks of four architectures end below 0.04, and causal models of the same data above 0.9
    varied: float = 0.5  # of the entropy of the last position's targets: padding that is not ignored has none
    targets: float = 8  # seven other positions have as many: of a causal model, none of 56 targets can be copied
    following: float = 0.98  # of the targets that are the next id; a masked language model has those by chance alone
    compared: float = 100.0  # targets; fewer may be the next id by chance, in short sequences of few tokens


class Leak(Judged, frozen=True):
    """Every position but the last is predicted as if its target were known."""

    seen: SequenceLoss
    contrast: float  # the largest loss of another position, of the last one's
    variety: float  # the smallest entropy of another position's targets, of the last one's
    modules: tuple[LooksAhead, ...]  # that may look ahead
    span: Span


class Open(Judged, frozen=True):
    """Attention sees the next token, which is the target."""

    seen: OpenAttention
    modules: tuple[LooksAhead, ...]
    last_step: int


class NoContrast(Judged, frozen=True):
    """The last position does not stand out."""

    seen: SequenceLoss
    contrast: float


Why = Literal["older", "inside", "few"]


class NotSeen(Judged, frozen=True):
    """The loss at the positions of a sequence is not known."""

    why: Why
    targets: int = 0  # looked at in the position with the fewest


@diagnoser(
    worst=Severity.CRITICAL,
    needs=("steps",),
    minimum_steps=20,
    explains=("no_signal", "overfitting", "unstable_loss", "loss_spike", "premature_plateau", "vanishing_gradient"),
)
def future_leak(run: Run, limits: Limits) -> Iterator[Leak | Open | NoContrast | NotSeen | NotApplicable]:
    """Look for a mask that is missing; else hold the loss of the last position against that of the others."""
    unmasked = open_attentions(run, limits.following, limits.compared)
    if unmasked:
        attention = [one for one in looks_ahead(run) if one.kind == "attention"]
        yield Open(unmasked[0], tuple(attention), last_step(run))
        return
    found = list(sequence_losses(run))
    enough = [seen for seen in found if seen.training.targets.min() >= limits.targets]
    leaks = [seen for seen in enough if _leaks(seen, limits)]
    if leaks:
        for seen in leaks:
            last = int(run.steps["global_step"].max())
            contrast, variety = _contrast(seen.training), _variety(seen.training)
            yield Leak(seen, contrast, variety, tuple(looks_ahead(run)), Span(first=3 * last // 4, last=last))
    elif enough:
        seen = min(enough, key=lambda one: _contrast(one.training))
        yield NoContrast(seen, _contrast(seen.training))
    elif found and all(seen.training.targets.max() > _SPARSE * seen.training.targets.min() for seen in found):
        yield NotApplicable(reason="the loss has targets at some positions of a sequence only, as of a masked model")
    elif found:
        yield NotSeen("few", int(max(seen.training.targets.min() for seen in found)))
    elif run.meta.outputs.inside:
        yield NotSeen("inside")
    elif not run.meta.outputs.looked:
        yield NotSeen("older")
    else:
        yield NotApplicable(reason="no loss over the positions of sequences was seen")


def _leaks(seen: SequenceLoss, limits: Limits) -> bool:
    evaluated = seen.evaluation is not None and seen.evaluation.targets.min() >= _EVALUATED
    sides = [seen.training, *([seen.evaluation] if evaluated and seen.evaluation is not None else [])]
    return all(
        _contrast(side) < limits.copied
        and _variety(side) > limits.varied
        # A last position that is well predicted itself tells nothing.
        and side.last > limits.copied * side.entropy[-1] > 0
        for side in sides
    )


def _contrast(side: Profile) -> float:
    return side.others / side.last if side.last > 0 else float("nan")


def _variety(side: Profile) -> float:
    return float(side.entropy[:-1].min() / side.entropy[-1]) if side.entropy[-1] > 0 else float("nan")


@future_leak.tell
def _clean(found: NoContrast) -> Clean:
    profile = found.seen.training
    return Clean(
        measured=f"at the last position the loss is {number(profile.last)}, at the others up to "
        f"{number(profile.others)}"
    )


@future_leak.tell
def _not_seen(found: NotSeen, limits: Limits) -> Skipped:
    if found.why == "older":
        return Skipped(
            reason="the loss at the positions of a sequence was not recorded", enable="record again with this version"
        )
    if found.why == "inside":
        return Skipped(
            reason="a compiled region makes the loss, and hides where sequences end",
            enable="compute the loss outside of the compiled function, from outputs [batch, positions, classes]",
        )
    return Skipped(
        reason=f"{count(found.targets)} predictions of each position were looked at, and this check needs "
        f"{count(limits.targets)}",
        enable="train for more steps",
    )


@future_leak.tell
def _open(found: Open, limits: Limits) -> Finding:
    seen = found.seen
    return Finding(
        severity=Severity.CRITICAL,
        confidence=Confidence.CERTAIN,
        title="Future leak",
        headline=f"Attention has no causal mask, and {percent(seen.equal)} of the targets are the next token of its "
        "input",
        explanation=f"{count(seen.targets)} targets were compared with the input: each position is asked for the token "
        "after it. None of the "
        f"{plural(seen.facts.open, 'call')} of self-attention over that input that were looked at has a mask between "
        "positions, so that each position sees the token it is asked for. The model learns to copy, and what it "
        "generates is what an untrained one would.",
        span=Span(first=0, last=found.last_step),
        actions=hide_the_future(found.modules),
        measures=[
            Measure(quantity="targets equal to the next input", value=seen.equal, comparison=">=",
                    threshold=limits.following, unit="fraction", option="following"),
            Measure(quantity="targets compared", value=seen.targets, comparison=">=", threshold=limits.compared,
                    unit="count", option="compared"),
            Measure(quantity="calls of self-attention with a mask between positions", value=seen.facts.masked,
                    comparison="<=", threshold=0, unit="count"),
        ],
    )  # fmt: skip


@future_leak.tell
def _finding(found: Leak, limits: Limits) -> Finding:
    training, evaluation, facts = found.seen.training, found.seen.evaluation, found.seen.facts
    also = f" In evaluation it is {number(evaluation.others)} and {number(evaluation.last)}." if evaluation else ""
    return Finding(
        severity=Severity.CRITICAL,
        confidence=Confidence.HIGH,
        title="Future leak",
        headline=f"The loss is {number(training.last)} at the last position and at most {number(training.others)} at "
        "the others: they see their targets",
        explanation="The target of a position is the next token. Position "
        f"{count(facts.length)} of {count(facts.length)} is the only one whose next token is not in the input, and the "
        f"only one that the model does not predict: the others have at most {percent(found.contrast)} of its loss."
        f"{also} The model looks ahead and copies. What it is asked for when it generates is what the last position "
        "shows.",
        span=found.span,
        evidence=[position_chart(found.seen)],
        actions=hide_the_future(found.modules),
        measures=[
            ratio(("largest loss of another position", training.others), ("last position's", training.last), "<",
                  limits.copied, option="copied"),
            Measure(quantity="loss of the last position / entropy of its targets",
                    value=training.last / training.entropy[-1], comparison=">", threshold=limits.copied,
                    option="copied"),
            Measure(quantity="smallest entropy of another position's targets / last position's", value=found.variety,
                    comparison=">", threshold=limits.varied, option="varied"),
            Measure(quantity="predictions looked at in each position", value=int(training.targets.min()),
                    comparison=">=", threshold=limits.targets, unit="count", option="targets"),
        ],
    )  # fmt: skip
