"""Some parameters never change, although the run trains.

## What it looks for

Parameter tensors that no recorded step changed, over at least `least_steps` steps that were taken, and the reason. It
is critical when an optimizer holds the tensor and its learning rate is 0 at every step, when no gradient reaches any
part of the model or one that is called before all that is trained, when the graphs behind the backwards reach all that
the optimizer has and no step finds a gradient, when every gradient is exactly zero at the step, or when there is a
gradient and the weights stay as they are. It is a warning when the tensor has a gradient and is in no optimizer while
its neighbours train, when its gradient is exactly zero, when the loss does not depend on the result of modules that
hold `ignored` of the elements, are called with a gradient and start with initial values, and when no gradient reaches
it and it was not seen whether its module is called; in a run that learns nothing these are critical, too. It is a note
when no step calls the module, when the loss does not depend on the result of any other, when an optimizer holds a
tensor whose `requires_grad` is False, when what no optimizer has is more than `backbone` of the model or comes before
all that is trained, which is transfer learning, when an expert or block among its like is not used, and when the
gradient is below `faint` of the largest tensor's, per element. Embedding tables are left to `dead_embedding`.

Nothing is said of what is frozen and in no optimizer, nor of copies: parts without a gradient that have the names,
shapes and first values of a part that is trained, as target networks, teachers and averages.

Weights in float16 or bfloat16 are checked once more: it is a warning when rounding undoes the update of more than
`rounded` of their elements, at the median of the steps with half of the largest learning rate or more. It is not
reported beside tensors that have a gradient and never change.

Tensors that match a pattern of `expected-frozen` in `[tool.gradaudit]` are not looked at.

## Why it matters

Parameters that do not change do not learn. The rest of the model adapts to random weights, the loss falls all the same,
and only the final quality shows that a part of the model is missing.

## What to try

Make the optimizer from the parameters of the model that is trained, after the model is final. Look for `detach()`,
`torch.no_grad()` and `.data` between the parameter and the loss. Call `zero_grad()` before `backward()`, not between it
and `step()`. Keep weights in float32 when training in bfloat16.

## When it is wrong

Frozen and pretrained parts stay unchanged on purpose, and a run does not show the purpose. Calls are not seen in
compiled, scripted and data-parallel models, nor is the use of a module's weights without a call. Tensors above 4,096
elements, on a CPU above 1,024, and smaller ones where there are many, are judged by a sample; the confidence is then
high and not certain, unless the reason is a fact of the whole tensor, as that no optimizer has it. A bias in front of a
normalisation has a gradient of rounding errors and may not move; biases with so faint a gradient, and tensors that
start to move later, are not reported. An optimizer that rounds at random, or keeps what rounding takes for the next
step, may leave most weights alone at each step and train all the same; none of torch.optim does.
"""

from collections.abc import Iterator

import msgspec
import numpy

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.unchanged import unchanged_distance, unchanged_numbers, undone_chart
from gradaudit.evidence.spans import recorded_span
from gradaudit.evidence.words import rounding as rounding_words
from gradaudit.evidence.words import unchanged as words
from gradaudit.evidence.words.wording import count, names, percent, plural, setting
from gradaudit.findings import Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.schema import TensorFacts
from gradaudit.signals.gradients.finiteness import skipped_at
from gradaudit.signals.layers.unchanged import MEANT, all_owned, probed_whole, reasons, unchanged
from gradaudit.signals.layers.unchanged_groups import (
    Cause,
    UnchangedGroup,
    beside_largest,
    unchanged_by_reason,
    unchanged_group,
)
from gradaudit.signals.loss.progress import learned_nothing
from gradaudit.signals.order_statistics import Mask
from gradaudit.signals.updates.lost_updates import LostUpdates, lost_updates
from gradaudit.training import Training

_LONGEST_NAME = 35  # characters of a tensor's name, in a headline of at most 110
_CERTAIN = ("frozen", "not owned", "idle", "rate zero", "unused")  # reasons that are facts of the whole tensor
# Diagnosers that say why updates are so small.
_OF_SMALL_UPDATES = ("learning_rate_too_low", "constant_clipping", "vanishing_gradient")


class Limits(msgspec.Struct, frozen=True):
    """From how many steps on a tensor counts as unchanged, and what tells why."""

    least_steps: float = 5  # an exact zero five times in a row is no accident
    backbone: float = 0.5  # of the elements: training a head on a pretrained model leaves more than half outside
    ignored: float = 0.2  # of the elements: the pooler of an encoder, or a spare head, is below a tenth
    rounded: float = 0.75  # of the elements; a training that this slowed down lost 0.86, in float32 it is 0.00
    faint: float = 1e-4  # of the largest gradient per element; biases before a normalisation are at 1e-6


class Unchanged(Judged, frozen=True):
    """No recorded step changes these tensors, all of them for the same cause."""

    group: UnchangedGroup
    severity: Severity
    is_certain: bool  # a fact of the whole tensors, and not of a sample
    follows: tuple[str, ...]  # diagnosers that say where it comes from


class LostToRounding(Judged, frozen=True):
    """Rounding undoes most updates of the weights in half precision."""

    lost: LostUpdates
    worst: tuple[TensorFacts, ...]  # those with more than the limit, the greatest share first; one at least
    most: float  # the share of the elements of the first of them


class Moving(Judged, frozen=True):
    """Nothing rests that is meant to move. Counts of tensors."""

    moving: int
    looked_at: int
    faint: int  # do not move, and have next to no gradient
    tables: int  # embedding tables, which are left to dead_embedding
    expected: int  # to be frozen, by the configuration
    meant: int  # frozen and in no optimizer, or copies


class TooFewSteps(Judged, frozen=True):
    """Too few steps were taken to tell."""

    taken: int


Kind = Unchanged | LostToRounding | Moving | TooFewSteps


@diagnoser(
    per="training",
    worst=Severity.CRITICAL,
    needs=("tensors.update_norm", "tensors.drift_norm"),
    minimum_steps=5,
    explains=("dead_embedding", "learning_rate_too_low", "no_learning", "no_signal", "layer_imbalance"),
)
def frozen_parameter(training: Training, limits: Limits) -> Iterator[Kind | NotApplicable]:
    """Report the tensors that never changed, one finding for each cause."""
    tensors = training.tensors
    expected = numpy.asarray([training.run.frozen_on_purpose(tensor) for tensor in tensors], dtype=bool)
    tables = numpy.asarray([tensor.role == "embedding" for tensor in tensors], dtype=bool)
    looked_at = numpy.asarray([tensor.elements > 0 for tensor in tensors], dtype=bool) & ~tables & ~expected
    if not looked_at.any() and expected.any():
        yield NotApplicable(reason="the model has no parameter but embedding tables and those expected to be frozen")
        return
    if not looked_at.any():
        yield NotApplicable(reason="the model has no parameter but embedding tables")
        return
    taken = int((~skipped_at(training)).sum())
    if taken < limits.least_steps:
        yield TooFewSteps(taken)
        return
    still = unchanged(training) & looked_at
    meant = numpy.asarray([reason in MEANT for reason in reasons(training)], dtype=bool) & still
    found: list[Kind] = [*_unchanged(training, still & ~meant, limits), *_lost(training, still, limits)]
    moving = Moving(
        moving=int((looked_at & ~still).sum()),
        looked_at=int(looked_at.sum()),
        faint=int((still & ~meant).sum()),
        tables=int(tables.sum()),
        expected=int(expected.sum()),
        meant=int(meant.sum()),
    )
    yield from found or [moving]


def _unchanged(training: Training, still: Mask, limits: Limits) -> Iterator[Unchanged]:
    with numpy.errstate(invalid="ignore"):
        fainter: Mask = numpy.asarray(beside_largest(training) < limits.faint)
    for reason, is_faint, tensors in unchanged_by_reason(training, still, fainter):
        # A bias whose gradient is nothing but rounding has nothing to learn.
        silent = is_faint or (reason == "zero gradient" and not all_owned(training, list(tensors)))
        weights = {tensor.module for tensor in tensors if tensor.role == "weight"}
        named = [tensor for tensor in tensors if not silent or tensor.module in weights]
        if not any(tensor.role == "weight" for tensor in named) and (silent or reason == "frozen"):
            continue  # fixed position tables and the like
        shares = {"backbone": limits.backbone, "ignored": limits.ignored}
        group = unchanged_group(training, named, reason, is_faint=is_faint, **shares)
        severity = _severity(group.cause)
        # What is missing where nothing is learned is why.
        broken = severity is Severity.WARNING and learned_nothing(training)
        yield Unchanged(
            group=group,
            severity=Severity.CRITICAL if broken else severity,
            is_certain=reason in _CERTAIN or group.cause == "cleared" or all(map(probed_whole, named)),
            follows=_OF_SMALL_UPDATES if group.cause == "below precision" else (),
        )


def _severity(cause: Cause) -> Severity:
    match cause:
        case "rate zero" | "nothing reached" | "cleared" | "cut off" | "all zero":
            return Severity.CRITICAL
        case "half precision" | "below precision" | "no effect":
            return Severity.CRITICAL
        case "untrained" | "left out" | "ignored" | "cut off by no_grad" | "no gradient":
            return Severity.WARNING
        case "zero input" | "zero gradient":
            return Severity.WARNING
        case "frozen" | "idle" | "transfer learning" | "not called" | "not used" | "dropped":
            return Severity.NOTE
        case "unused block" | "never chosen" | "last output" | "faint":
            return Severity.NOTE


def _lost(training: Training, still: Mask, limits: Limits) -> Iterator[LostToRounding]:
    # What rounding undoes at every step is reported already; tensors unchanged for another reason hide nothing.
    reported = any(reason == "no effect" and rests for reason, rests in zip(reasons(training), still, strict=True))
    lost = lost_updates(training)
    if lost is None or reported or not lost.share > limits.rounded:
        return
    order = [int(place) for place in numpy.argsort(-lost.shares, kind="stable")]
    worst = [lost.tensors[place] for place in order if lost.shares[place] > limits.rounded]
    yield LostToRounding(lost, tuple(worst or [lost.tensors[order[0]]]), float(lost.shares[order[0]]))


@frozen_parameter.tell
def _too_few(found: TooFewSteps, limits: Limits) -> Skipped:
    return Skipped(
        reason=f"gradient statistics of only {plural(found.taken, 'step')} were recorded, and this check needs "
        f"{setting(limits.least_steps)}",
        enable="train longer, or record more often: --every 1",
    )


@frozen_parameter.tell
def _moving(found: Moving) -> Clean:
    apart = [
        f"the other {plural(found.faint, 'has', 'have')} next to no gradient" if found.faint else "",
        f"{plural(found.tables, 'embedding table')} left to dead_embedding" if found.tables else "",
        f"{count(found.expected)} expected to be frozen" if found.expected else "",
        f"{count(found.meant)} frozen and in no optimizer, or copies of trained ones" if found.meant else "",
    ]
    of_all = f"{count(found.moving)} of {plural(found.looked_at, 'parameter tensor')} change during training"
    return Clean(measured="; ".join(filter(None, [of_all, *apart])))


@frozen_parameter.tell
def _finding(found: Unchanged, training: Training, limits: Limits) -> Finding:
    group, span = found.group, recorded_span(training)
    listed = [tensor.name for tensor in group.tensors]
    who = f"{count(len(listed))} of {plural(group.among, 'parameter tensor')}"
    if len(listed) == 1:
        who = listed[0] if len(listed[0]) <= _LONGEST_NAME else "1 parameter tensor"
    return Finding(
        severity=found.severity,
        confidence=Confidence.CERTAIN if found.is_certain else Confidence.HIGH,
        title=words.title(group, training),
        headline=f"None of the {plural(span.last + 1, 'step')} changes {who}: {words.in_short(group, training)}",
        explanation=f"{names(listed, 4)} {'does' if len(listed) == 1 else 'do'} not change: {percent(group.share)} of "
        f"the elements. {words.why(group, training)}",
        span=span,
        tensors=listed[:20],
        evidence=[unchanged_distance(training, group.tensors), unchanged_numbers(training, group.tensors)],
        actions=words.actions(group, training, limits.faint),
        measures=_measures(found, training, limits),
        follows=list(found.follows),
    )


def _measures(found: Unchanged, training: Training, limits: Limits) -> list[Measure]:
    group, steps = found.group, plural(len(training.recorded_global_steps), "recorded step")
    measures = [
        Measure(quantity=f"steps that changed them, of {steps}", value=0, comparison="==", threshold=0, unit="count")
    ]
    if group.reason == "not owned":
        measures.append(
            Measure(quantity="share of the elements", value=group.share, comparison=">", threshold=limits.backbone,
                    unit="fraction", option="backbone", decides="note")
        )  # fmt: skip
    if group.cause == "ignored":
        measures.append(
            Measure(quantity="share of the elements", value=group.share, comparison=">=", threshold=limits.ignored,
                    unit="fraction", option="ignored")
        )  # fmt: skip
    if group.reason == "no effect":
        measures.append(
            Measure(quantity="gradient per element / largest tensor's", value=group.beside_largest, comparison="<",
                    threshold=limits.faint, option="faint", decides="note")
        )  # fmt: skip
    return measures


@frozen_parameter.tell
def _rounded(found: LostToRounding, training: Training, limits: Limits) -> Finding:
    lost, dtype = found.lost, found.worst[0].dtype
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.MEDIUM,
        title=f"Updates lost to {dtype} rounding",
        headline=f"Rounding to {dtype} undoes {percent(lost.share)} of the updates",
        explanation=rounding_words.undone_explanation(lost, found.worst, found.most),
        span=Span(first=int(lost.steps[0]), last=int(lost.steps[-1])),
        tensors=[tensor.name for tensor in found.worst[:20]],
        evidence=[undone_chart(lost, dtype, limits.rounded)],
        actions=rounding_words.undone_actions(dtype, training),
        measures=[
            Measure(quantity="elements whose update is undone, median step", value=lost.share, comparison=">",
                    threshold=limits.rounded, unit="fraction", option="rounded"),
        ],
    )  # fmt: skip
