"""Some parameters never change, although the run trains.

## What it looks for

Parameter tensors that no recorded step changed, over at least `least_steps` steps that were taken, and the reason. It
is critical when an optimizer holds the tensor and its learning rate is 0 at every step, when no gradient reaches any
part of the model or one that is called before all that is trained, when every gradient is exactly zero at the step, or
when there is a gradient and the weights stay as they are. It is a warning when the tensor has a gradient and is in no
optimizer while its neighbours train, when its gradient is exactly zero, and when no gradient reaches it and it was not
seen whether its module is called; in a run that learns nothing these are critical, too. It is a note when no step calls
the module, when the loss does not depend on its result, when an optimizer holds a tensor whose `requires_grad` is
False, when what no optimizer has is more than `backbone` of the model or comes before all that is trained, which is
transfer learning, when an expert or block among its like is not used, and when the gradient is below `faint` of the
largest tensor's, per element. Embedding tables are left to `dead_embedding`.

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
elements are judged by a sample of that size. A bias in front of a normalisation has a gradient of rounding errors and
may not move; biases with so faint a gradient, and tensors that start to move later, are not reported. An optimizer that
rounds at random, or keeps what rounding takes for the next step, may leave most weights alone at each step and train
all the same; none of torch.optim does.
"""

from collections.abc import Iterator

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.lines import distance_chart
from gradaudit.evidence.charts.reduce import plain
from gradaudit.evidence.words.optimizers import usual_rate
from gradaudit.evidence.words.unchanged import in_short, judged
from gradaudit.evidence.words.wording import count, names, number, percent, plural, setting
from gradaudit.findings import (
    Action,
    Clean,
    Confidence,
    Finding,
    Lines,
    Mark,
    Measure,
    NotApplicable,
    Numbers,
    Severity,
    Skipped,
    Span,
    Verdict,
)
from gradaudit.schema import TensorFacts
from gradaudit.signals.gradients.finiteness import skipped_at
from gradaudit.signals.layers.calls import use_of
from gradaudit.signals.layers.unchanged import MEANT, Reason, all_owned, fed_with_zeros, reasons, unchanged
from gradaudit.signals.order_statistics import Floats, Mask, largest, medians
from gradaudit.signals.updates.learning_rates import by_hand
from gradaudit.signals.updates.lost_updates import LostUpdates, lost_updates
from gradaudit.training import Training

_PROBED_WHOLE = 4096  # elements; a larger tensor is sampled
_LONGEST_NAME = 35  # characters of a tensor's name, in a headline of at most 110


@diagnoser(
    per="training",
    worst=Severity.CRITICAL,
    needs=("tensors.update_norm", "tensors.drift_norm"),
    minimum_steps=5,
    explains=("dead_embedding", "learning_rate_too_low", "no_learning", "no_signal", "layer_imbalance"),
)
def frozen_parameter(
    training: Training,
    *,
    least_steps: float = 5,  # an exact zero five times in a row is no accident
    backbone: float = 0.5,  # of the elements: training a head on a pretrained model leaves more than half outside
    rounded: float = 0.75,  # of the elements; a training that this slowed down lost 0.86, in float32 it is 0.00
    faint: float = 1e-4,  # of the largest gradient per element; biases before a normalisation are at 1e-6
) -> Iterator[Verdict]:
    """Report the tensors that never changed, one finding for each reason."""
    tensors = training.tensors
    on_purpose = numpy.asarray([training.run.frozen_on_purpose(tensor) for tensor in tensors], dtype=bool)
    looked_at = numpy.asarray([t.role != "embedding" and t.elements > 0 for t in tensors], dtype=bool) & ~on_purpose
    if not looked_at.any():
        yield NotApplicable(
            reason="the model has no parameter but embedding tables and those expected to be frozen"
            if on_purpose.any()
            else "the model has no parameter but embedding tables"
        )
        return
    taken = int((~skipped_at(training)).sum())
    if taken < least_steps:
        yield Skipped(
            reason=f"gradient statistics of only {plural(taken, 'step')} were recorded, and this check needs "
            f"{setting(least_steps)}",
            enable="train longer, or record more often: --every 1",
        )
        return
    still = unchanged(training) & looked_at
    fainter = _faint(training, faint)
    why = reasons(training)
    meant = numpy.asarray([reason in MEANT for reason in why], dtype=bool) & still
    found = False
    for (reason, is_faint, _), group in _groups(training, still & ~meant, why, fainter).items():
        # A bias whose gradient is nothing but rounding has nothing to learn.
        silent = is_faint or (reason == "zero gradient" and not all_owned(training, [tensors[i] for i in group]))
        weights = {tensors[i].module for i in group if tensors[i].role == "weight"}
        named = [i for i in group if not silent or tensors[i].module in weights]
        if reason == "frozen" and not any(tensors[i].role == "weight" for i in named):
            continue  # fixed position tables and the like
        if any(tensors[i].role == "weight" or not silent for i in named):
            found = True
            yield _finding(training, reason, [tensors[i] for i in named], backbone, faint, is_faint)
    lost = lost_updates(training)
    # What rounding undoes at every step is reported already; tensors unchanged for another reason hide nothing.
    reported = any(why[index] == "no effect" for index in numpy.flatnonzero(still))
    if lost is not None and lost.share > rounded and not reported:
        found = True
        yield _lost(training, lost, rounded)
    if not found:
        moving, still = int((looked_at & ~still).sum()), still & ~meant
        tables = sum(tensor.role == "embedding" for tensor in tensors)
        apart = [
            f"{plural(tables, 'embedding table')} left to dead_embedding" if tables else "",
            f"{count(on_purpose.sum())} expected to be frozen" if on_purpose.any() else "",
            f"{count(meant.sum())} frozen and in no optimizer, or copies of trained ones" if meant.any() else "",
        ]
        yield Clean(
            measured=(f"{count(moving)} of {plural(looked_at.sum(), 'parameter tensor')} change during training")
            + (f"; the other {plural(still.sum(), 'has', 'have')} next to no gradient" if still.any() else "")
            + "".join(f"; {words}" for words in apart if words)
        )


def _groups(
    training: Training, still: Mask, why: list[Reason], fainter: Mask
) -> dict[tuple[Reason, bool, str], list[int]]:
    """The tensors of one finding: unchanged for the same reason, known in the same detail."""
    tensors, dry = training.tensors, fed_with_zeros(training)
    # Behind a dead layer inputs are zero, too, and the dead layer has no gradient itself.
    zero = [i for i in numpy.flatnonzero(still).tolist() if why[i] == "zero gradient"]
    fed = all(dry[i] for i in zero)
    found: dict[tuple[Reason, bool, str], list[int]] = {}
    for i in numpy.flatnonzero(still).tolist():
        weak = why[i] == "no effect" and bool(fainter[i])
        detail = ""
        if why[i] in ("unused", "no gradient"):
            detail = use_of(training.run, tensors[i])
        elif why[i] == "zero gradient":
            detail = "input" if fed else ""
        found.setdefault((why[i], weak, detail), []).append(i)
    return found


def _faint(training: Training, faint: float) -> Mask:
    """[tensors]: whether the typical gradient is below `faint` of the largest tensor's, per element."""
    with numpy.errstate(invalid="ignore"):
        return numpy.asarray(_beside_largest(training) < faint)


def _beside_largest(training: Training) -> Floats:
    """[tensors]: the typical gradient per element over that of the tensor where it is largest; NaN where all are 0."""
    size = numpy.sqrt([max(1, tensor.elements) for tensor in training.tensors])
    typical = medians(training.matrix("gradient_norm")) / size
    most = largest(typical)
    return typical / most if most > 0 else numpy.full(len(typical), numpy.nan)


def _finding(
    training: Training, reason: Reason, mine: list[TensorFacts], backbone: float, faint: float, is_faint: bool
) -> Finding:
    said = judged(training, reason, mine, backbone, faint, is_faint)
    steps = training.recorded_global_steps
    every = [tensor for tensor in training.tensors if tensor.elements]
    elements, total = sum(t.elements for t in mine), sum(t.elements for t in every)
    certain = reason in ("frozen", "not owned", "idle", "rate zero", "unused") or all(
        t.elements <= _PROBED_WHOLE for t in mine
    )
    who = mine[0].name if len(mine) == 1 else f"{count(len(mine))} of {plural(len(every), 'parameter tensor')}"
    if len(who) > _LONGEST_NAME:
        who = "1 parameter tensor"
    measures = [
        Measure(
            quantity=f"steps that changed them, of {plural(len(steps), 'recorded step')}",
            value=0,
            comparison="==",
            threshold=0,
            unit="count",
        )
    ]
    if reason == "not owned":
        measures.append(
            Measure(quantity="share of the elements", value=elements / total, comparison=">", threshold=backbone,
                    unit="fraction", option="backbone", decides="note")
        )  # fmt: skip
    if reason == "no effect":
        chosen = [tensor in mine for tensor in training.tensors]
        measures.append(
            Measure(quantity="gradient per element / largest tensor's",
                    value=largest(_beside_largest(training)[chosen]),
                    comparison="<", threshold=faint, option="faint", decides="note")
        )  # fmt: skip
    listed = names([tensor.name for tensor in mine], 4)
    return Finding(
        severity=said.severity,
        confidence=Confidence.CERTAIN if certain else Confidence.HIGH,
        title=said.title,
        headline=f"None of the {plural(int(steps[-1]) + 1, 'step')} changes {who}: "
        + in_short(reason, is_faint=is_faint, hand=by_hand(training)),
        explanation=f"{listed} {'does' if len(mine) == 1 else 'do'} not change: {percent(elements / total)} of the "
        "elements. "
        f"{said.sentence}",
        span=Span(first=int(steps[0]), last=int(steps[-1])),
        tensors=[tensor.name for tensor in mine[:20]],
        evidence=[
            distance_chart(
                training,
                mine,
                "How far the weights are from their initial values, over the size of those. Weights that learn leave "
                "the zero line.",
            ),
            _table(training, mine),
        ],
        actions=said.actions,
        measures=measures,
        follows=said.follows,
    )


def _lost(training: Training, lost: LostUpdates, rounded: float) -> Finding:
    """Most updates vanish in the rounding of the weights."""
    order = [int(i) for i in numpy.argsort(-lost.shares, kind="stable")]
    worst = [lost.tensors[i] for i in order if lost.shares[i] > rounded] or [lost.tensors[order[0]]]
    dtype = worst[0].dtype
    bits = 8 if dtype == "bfloat16" else 11
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.MEDIUM,
        title=f"Updates lost to {dtype} rounding",
        headline=f"Rounding to {dtype} undoes {percent(lost.share)} of the updates",
        explanation=f"A number of type {dtype} has {bits} bits, so an update below 2**-{bits + 1} to 2**-{bits} of a "
        "weight "
        f"does not change it. At the median step that holds for {percent(lost.share)} of the elements of "
        f"{plural(len(lost.tensors), 'tensor')} beyond those without a gradient, most in "
        f"{names([tensor.name for tensor in worst], 3)} ({percent(float(lost.shares[order[0]]))}).",
        span=Span(first=int(lost.steps[0]), last=int(lost.steps[-1])),
        tensors=[tensor.name for tensor in worst[:20]],
        evidence=[
            Lines(
                title="Updates that rounding undoes",
                caption="The share of elements with a gradient that a step leaves as they were, at steps with half of "
                "the largest learning rate or more.",
                x_label="step",
                y_label="share of the elements",
                series=[plain(f"weights in {dtype}", lost.steps, lost.over_time, role="flagged")],
                marks=[Mark(label=percent(rounded), y=rounded)],
            )
        ],
        actions=[
            Action(
                text="Keep the weights in float32 and autocast the forward pass",
                code=f"model.float()\nwith torch.autocast(device_type, dtype=torch.{dtype}): loss = ...",
            ),
            Action(
                text=f"Or raise the learning rate from {usual_rate(training)}, so that updates are above "
                f"2**-{bits} of the weights"
            ),
        ],
        measures=[
            Measure(quantity="elements whose update is undone, median step", value=lost.share, comparison=">",
                    threshold=rounded, unit="fraction", option="rounded"),
        ],
    )  # fmt: skip


def _table(training: Training, mine: list[TensorFacts]) -> Numbers:
    place = {tensor.id: index for index, tensor in enumerate(training.tensors)}
    norms = medians(training.matrix("gradient_norm"))
    gradients = training.matrix("gradient_norm")
    # A gradient that is NaN is one all the same; one of zero moves nothing.
    has_nonzero_grad = ((training.matrix("has_grad") > 0) & (gradients != 0)).mean(axis=0)
    drift = training.matrix("drift_norm")[-1]
    moved = numpy.flatnonzero(~unchanged(training))
    rows = [*(place[tensor.id] for tensor in mine[:12]), *(int(index) for index in moved[:4])]
    tensors = training.tensors
    return Numbers(
        title="Unchanged tensors, and the first that change",
        caption="Median gradient norm over the recorded steps, and the distance from the initial value at the end, as "
        "a norm: the chart above has it over the size of the weights.",
        columns=["tensor", "shape", "steps with a gradient above 0", "gradient norm", "changed by"],
        cells=[
            [
                tensors[index].name,
                " x ".join(count(size) for size in tensors[index].shape) or "1",
                percent(float(has_nonzero_grad[index])),
                "none" if numpy.isnan(norms[index]) else number(float(norms[index])),
                number(float(drift[index])),
            ]
            for index in rows
        ],
    )
