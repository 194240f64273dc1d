"""Some parameters never change, although the run trains.

## What it looks for

Parameter tensors that no recorded step changed, over at least `least_steps` steps that were taken, and the reason. It
is critical when an optimizer holds the tensor and its learning rate is 0 at every step, when no gradient reaches the
first part of the model or any part of it, when every gradient is exactly zero at the step, or when there is a gradient
and the weights stay as they are. It is a warning when the tensor is in no optimizer while its neighbours train, and
when no gradient reaches a part in the middle. It is a note when `requires_grad` is False, when what no optimizer has is
more than `backbone` of the model or comes before all that is trained, which is transfer learning, when an expert or
block among its like is not used, and when the gradient is below `faint` of the largest tensor's, per element. Embedding
tables are left to `dead_embedding`.

Weights in float16 or bfloat16 are looked at once more: it is a warning when rounding undoes the update of more than
`rounded` of their elements, at the median of the steps with half of the largest learning rate or more. It is not said
beside tensors that have a gradient and never move.

Tensors that match a pattern of `expected-frozen` in `[tool.gradaudit]` are not looked at.

## Why it matters

What does not move does not learn. The rest of the model adapts to random weights, the loss falls all the same, and
only the final quality shows that a part of the model is missing.

## What to try

Make the optimizer from the parameters of the model that is trained, after the model is final. Look for `detach()`,
`torch.no_grad()` and `.data` between the parameter and the loss. Call `zero_grad()` before `backward()`, not between it
and `step()`. Keep weights in float32 when training in bfloat16.

## When it is wrong

Frozen and pretrained parts stay on purpose, and nothing in a run tells purpose from mistake. Tensors above 4,096
elements are judged by a sample of that size. A bias in front of a normalisation has a gradient of rounding errors and
may not move; biases with so faint a gradient, and tensors that start to move later, are not reported. An optimizer that
rounds at random, or keeps what rounding takes for the next step, may leave most weights alone at each step and train
all the same; none of torch.optim does.
"""

import re
from collections.abc import Iterator

import numpy

from gradaudit.derived.each_optimizer import each_optimizer
from gradaudit.derived.evidence import distance_chart
from gradaudit.derived.finiteness import skipped_at
from gradaudit.derived.learning_rates import by_hand, label_of, nobody_updates, usual_rate, whole_model
from gradaudit.derived.lost_updates import HALF, LostUpdates, lost_updates
from gradaudit.derived.order_statistics import Floats, largest, medians
from gradaudit.derived.ratios import recorded_global_steps
from gradaudit.derived.reduce import plain
from gradaudit.derived.standstill import Reason, at_rest, reasons
from gradaudit.derived.wording import count, in_code, names, number, percent, plural, setting
from gradaudit.diagnoser import diagnoser
from gradaudit.findings import (
    Action,
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
from gradaudit.run import Run
from gradaudit.schema import TensorFacts

_PROBED_WHOLE = 4096  # elements; a larger tensor is sampled


@diagnoser(
    worst=Severity.CRITICAL,
    needs=("tensors.update_norm", "tensors.drift_norm"),
    minimum_steps=5,
    explains=("dead_embedding", "learning_rate_too_low", "no_learning", "no_signal", "layer_imbalance"),
)
def frozen_parameter(
    run: Run,
    *,
    least_steps: float = 5,  # an exact zero five times in a row is no accident
    backbone: float = 0.5,  # of the elements: training a head on a pretrained model leaves more than half outside
    rounded: float = 0.75,  # of the elements; a training that this slowed down lost 0.86, in float32 it is 0.00
    faint: float = 1e-4,  # of the largest gradient per element; biases before a normalisation are at 1e-6
) -> Iterator[Verdict]:
    """Report the tensors that never moved, one finding for each reason."""

    def judge(optimizer: int) -> Iterator[Verdict]:
        tensors = run.tensors_of(optimizer)
        on_purpose = numpy.asarray([run.frozen_on_purpose(tensor) for tensor in tensors], dtype=bool)
        looked_at = numpy.asarray([t.role != "embedding" and t.elements > 0 for t in tensors], dtype=bool) & ~on_purpose
        if not looked_at.any():
            yield NotApplicable(
                reason="the model has no parameter but embedding tables and those expected to be frozen"
                if on_purpose.any()
                else "the model has no parameter but embedding tables"
            )
            return
        taken = int((~skipped_at(run, optimizer)).sum())
        if taken < least_steps:
            yield CouldNotLook(
                reason=f"gradient statistics of only {plural(taken, 'step')} were recorded, and this check needs "
                f"{setting(least_steps)}",
                enable="train longer, or record more often: --every 1",
            )
            return
        still = at_rest(run, optimizer) & looked_at
        fainter = _faint(run, optimizer, faint)
        why = reasons(run, optimizer)
        found = False
        for reason in dict.fromkeys(why[index] for index in numpy.flatnonzero(still)):
            mine = [int(i) for i in numpy.flatnonzero(still) if why[i] == reason]
            weak = [i for i in mine if reason == "no effect" and fainter[i]]
            for group, is_faint in (([i for i in mine if i not in set(weak)], False), (weak, True)):
                # A bias whose gradient is nothing but rounding has nothing to learn.
                silent = is_faint or (
                    reason == "zero gradient" and not _all_owned(run, optimizer, [tensors[i] for i in group])
                )
                weights = {tensors[i].module for i in group if tensors[i].role == "weight"}
                named = [i for i in group if not silent or tensors[i].module in weights]
                if reason == "frozen" and not any(tensors[i].role == "weight" for i in named):
                    continue  # fixed position tables and the like
                if any(tensors[i].role == "weight" or not silent for i in named):
                    found = True
                    yield _finding(run, optimizer, reason, [tensors[i] for i in named], backbone, faint, is_faint)
        lost = lost_updates(run, optimizer)
        # What rounding undoes at every step is told of already; tensors that rest for another reason hide nothing.
        told = any(why[index] == "no effect" for index in numpy.flatnonzero(still))
        if lost is not None and lost.share > rounded and not told:
            found = True
            yield _lost(run, optimizer, lost, rounded)
        if not found:
            moving = int((looked_at & ~still).sum())
            tables = sum(tensor.role == "embedding" for tensor in tensors)
            apart = [
                f"{plural(tables, 'embedding table')} left to dead_embedding" if tables else "",
                f"{count(on_purpose.sum())} expected to be frozen" if on_purpose.any() else "",
            ]
            yield Clean(
                measured=(
                    f"{count(moving)} of {plural(looked_at.sum(), 'parameter tensor')} change during training"
                    + label_of(run, optimizer)
                )
                + (f"; the other {plural(still.sum(), 'has', 'have')} next to no gradient" if still.any() else "")
                + "".join(f"; {words}" for words in apart if words)
            )

    yield from each_optimizer(run, judge)


def _faint(run: Run, optimizer: int, faint: float) -> Floats:
    """[tensors]: whether the typical gradient is below `faint` of the largest tensor's, per element."""
    size = numpy.sqrt([max(1, tensor.elements) for tensor in run.tensors_of(optimizer)])
    typical = medians(run.matrix("gradient_norm", optimizer)) / size
    most = largest(typical)
    with numpy.errstate(invalid="ignore"):
        return numpy.asarray(typical < faint * most)


def _finding(
    run: Run, optimizer: int, reason: Reason, mine: list[TensorFacts], backbone: float, faint: float, is_faint: bool
) -> Finding:
    severity, sentence, actions = _verdict(run, optimizer, reason, mine, backbone, faint, is_faint)
    steps = recorded_global_steps(run, optimizer)
    every = [tensor for tensor in run.tensors_of(optimizer) if tensor.elements]
    elements, total = sum(t.elements for t in mine), sum(t.elements for t in every)
    certain = reason in ("frozen", "not owned", "rate zero") or all(t.elements <= _PROBED_WHOLE for t in mine)
    who = mine[0].name if len(mine) == 1 else f"{count(len(mine))} of {plural(len(every), 'parameter tensor')}"
    if len(who) > 60:
        who = "1 parameter tensor"
    measures = [
        Measure(
            quantity="recorded steps that changed them",
            observed="0",
            threshold=f"0 of {plural(len(steps), 'step')}",
            option="least_steps",
        )
    ]
    if reason == "not owned":
        measures.append(
            Measure(
                quantity="share of the elements", observed=percent(elements / total),
                threshold=f"> {percent(backbone)} is a note", option="backbone",
            )
        )  # fmt: skip
    if reason == "no effect":
        measures.append(
            Measure(
                quantity="gradient per element / largest tensor's", observed="below" if is_faint else "above",
                threshold=f"< {setting(faint)} is a note", option="faint",
            )
        )  # fmt: skip
    listed = names([tensor.name for tensor in mine], 4)
    return Finding(
        severity=severity,
        confidence=Confidence.CERTAIN if certain else Confidence.HIGH,
        headline=f"None of the {plural(int(steps[-1]) + 1, 'step')} changes {who}: "
        + _short(reason, is_faint, by_hand(run, optimizer))
        + label_of(run, optimizer),
        seen=f"{listed} {'stays' if len(mine) == 1 else 'stay'} as at the start: {percent(elements / total)} of the "
        f"elements. {sentence}",
        span=Span(first=int(steps[0]), last=int(steps[-1])),
        tensors=[tensor.name for tensor in mine[:20]],
        evidence=[
            distance_chart(
                run,
                optimizer,
                mine,
                "How far the weights are from their first values, over the size of those. What learns leaves the zero "
                "line.",
            ),
            _table(run, optimizer, mine),
        ],
        actions=actions,
        measures=measures,
    )


def _lost(run: Run, optimizer: int, lost: LostUpdates, rounded: float) -> Finding:
    """Most updates vanish in the rounding of the weights."""
    order = [int(i) for i in numpy.argsort(-lost.shares, kind="stable")]
    worst = [lost.tensors[i] for i in order if lost.shares[i] > rounded] or [lost.tensors[order[0]]]
    dtype = worst[0].dtype
    bits = 8 if dtype == "bfloat16" else 11
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.MEDIUM,
        headline=f"Rounding to {dtype} undoes {percent(lost.share)} of the updates{label_of(run, optimizer)}",
        seen=f"A number of type {dtype} has {bits} bits, so an update below 2**-{bits + 1} to 2**-{bits} of a weight "
        f"leaves it as it was. At the median step that holds for {percent(lost.share)} of the elements of "
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
                text=f"Or raise the learning rate from {usual_rate(run, optimizer)}, so that updates are above "
                f"2**-{bits} of the weights"
            ),
        ],
        measures=[
            Measure(quantity="elements whose update is undone, median step", observed=percent(lost.share),
                    threshold=f"> {percent(rounded)}", option="rounded"),
        ],
    )  # fmt: skip


def _short(reason: Reason, is_faint: bool, hand: bool) -> str:
    if is_faint:
        return "almost no gradient"
    return {
        "frozen": "requires_grad is False",
        "not owned": "the script does not update them" if hand else "in no optimizer",
        "rate zero": "the learning rate is 0",
        "no gradient": "no gradient arrives",
        "zero gradient": "the gradient is exactly zero",
        "no effect": "there is a gradient, and no update",
    }[reason]


def _verdict(
    run: Run, optimizer: int, reason: Reason, mine: list[TensorFacts], backbone: float, faint: float, is_faint: bool
) -> tuple[Severity, str, list[Action]]:
    """How bad it is, the reason in a sentence, and what to do."""
    rebuild = Action(
        text="Make the optimizer from the model that is trained, after it is moved, copied or loaded",
        code=f"optimizer = {whole_model(run, optimizer)}",
    )
    if by_hand(run, optimizer):
        rebuild = Action(text="Update the parameters of the model that is trained, after it is moved, copied or loaded")
    module = in_code(mine[0].module) if mine[0].module else "the module"
    match reason:
        case "frozen":
            return Severity.NOTE, "This was set by hand, which is usual for a pretrained part.", [
                Action(text=f"Nothing, if all {count(len(mine))} are pretrained and meant to stay"),
                Action(text="Else let them train", code=f"{module}.requires_grad_(True)"),
            ]  # fmt: skip
        case "not owned":
            front = _in_front(run, mine)
            outside = sum(t.elements for t in mine) / max(1, sum(t.elements for t in run.meta.tensors))
            transfer = front or outside > backbone
            hand = by_hand(run, optimizer)
            nobody = nobody_updates(run, optimizer)
            return (
                Severity.NOTE if transfer else Severity.WARNING,
                f"{nobody} them; what comes after them is trained, as in transfer learning." if transfer
                else f"{nobody} them, while their neighbours are trained.",
                [
                    Action(
                        text="Nothing, if only the rest is meant to be trained" if transfer
                        else f"Update {names([t.name for t in mine])} as well" if hand
                        else f"Give {names([t.name for t in mine])} to the optimizer",
                        code="" if transfer or hand
                        else f"optimizer.add_param_group({{'params': {module}.parameters()}})",
                    ),
                    rebuild,
                ],
            )  # fmt: skip
        case "rate zero":
            return Severity.CRITICAL, "The learning rate of their parameter group is 0 at every step.", [
                Action(text=f"Set a learning rate for group {mine[0].group}",
                       code=f"optimizer.param_groups[{max(mine[0].group, 0)}]['lr'] = 1e-3"),
                Action(text="Check that the scheduler's factor is not 0 from the first step on"),
            ]  # fmt: skip
        case "no gradient":
            return _without_gradient(run, optimizer, mine, rebuild, module)
        case "zero gradient":
            if _all_owned(run, optimizer, mine):
                return Severity.CRITICAL, "Every gradient of this optimizer is exactly zero when it steps.", [
                    Action(text="Zero the gradients before the backward pass, not between it and the step",
                           code="optimizer.zero_grad(); loss.backward(); optimizer.step()"),
                    Action(text="Check that the loss is not multiplied by 0 and no mask removes every target"),
                    Action(text="In float16 scale the loss: gradients below 6e-8 become zero there",
                           code="scaler = torch.amp.GradScaler()\nscaler.scale(loss).backward()"),
                ]  # fmt: skip
            unused = _one_of_many(run, optimizer, mine)
            return (
                Severity.NOTE if unused else Severity.WARNING,
                "Their gradient is exactly zero at every recorded step: " + (
                    "blocks like them are trained, and these were never chosen." if unused
                    else "a dead layer, a mask or a factor of 0 lies between them and the loss."
                ),
                [
                    Action(text=f"Look behind {module} for units that never fire and for a factor or mask of 0"),
                    Action(text="Check the initial bias of the layer after it: a large negative one kills a ReLU"),
                ],
            )  # fmt: skip
        case "no effect" if is_faint:
            return Severity.NOTE, "Their gradient is thousands of times smaller than the others', and their updates " \
                "vanish in the rounding of the weights.", [
                Action(text=f"Look for a factor below {setting(faint)} or a saturated activation behind {module}"),
            ]  # fmt: skip
        case "no effect":
            half = mine[0].dtype in HALF
            return Severity.CRITICAL, (
                f"There is a gradient, and a learning rate above 0. Their type is {mine[0].dtype}: the updates are "
                "below its precision." if half else
                "There is a gradient, and a learning rate above 0, and still no step changes them: the updates are "
                "below the precision of the weights, or undone."
            ), [
                Action(text="Keep the weights in float32 and autocast the forward pass",
                       code="with torch.autocast('cuda', dtype=torch.bfloat16): loss = ...") if half
                else Action(text="Raise the learning rate until the update is above 1e-7 of the weights"),
                rebuild,
            ]  # fmt: skip


def _without_gradient(
    run: Run, optimizer: int, mine: list[TensorFacts], rebuild: Action, module: str
) -> tuple[Severity, str, list[Action]]:
    attach = Action(
        text=f"Look for detach(), torch.no_grad(), .data or .item() between {module} and the loss, and remove it"
    )
    if _all_owned(run, optimizer, mine):
        sentence = (
            "The optimizer holds tensors on which the loss does not depend: those of a model that was made again, "
            "copied or loaded since, or the loss is cut off from the model."
        )
        return Severity.CRITICAL, sentence, [rebuild, attach]
    if _one_of_many(run, optimizer, mine):
        return Severity.NOTE, "Blocks like them are trained, so these are not used rather than cut off.", [
            Action(text=f"Remove {plural(len(mine), 'tensor')}, or check why none is ever chosen"),
        ]  # fmt: skip
    if _in_front(run, mine):
        return Severity.CRITICAL, "The optimizer has them, and the loss is cut off from the first part of the model: " \
            "all that comes after them is trained.", [attach, Action(
                text="If they are meant to stay, freeze them, which also saves memory",
                code=f"{module}.requires_grad_(False)",
            )]  # fmt: skip
    return Severity.WARNING, "The optimizer has them, and no loss depends on them: they are not used, or cut off.", [
        Action(text=f"Check that forward() calls {module} and that its result reaches the loss, for "
               f"{plural(len(mine), 'tensor')} without a gradient"),
        attach,
    ]  # fmt: skip


def _in_front(run: Run, mine: list[TensorFacts]) -> bool:
    """Whether all other owned weights of the run come later in depth order."""
    own = {tensor.id for tensor in mine}
    later = [t.depth for t in run.meta.tensors if t.optimizer >= 0 and t.id not in own and t.requires_grad]
    return bool(later) and max(tensor.depth for tensor in mine) < min(later)


def _all_owned(run: Run, optimizer: int, mine: list[TensorFacts]) -> bool:
    own = {tensor.id for tensor in mine}
    return all(tensor.id in own for tensor in run.tensors_of(optimizer) if tensor.optimizer == optimizer)


def _one_of_many(run: Run, optimizer: int, mine: list[TensorFacts]) -> bool:
    """Whether each has a namesake with another index that moved, as experts and blocks of a list have."""

    def pattern(name: str) -> str:
        return re.sub(r"(?<![^.])\d+(?![^.])", "*", name)

    still = at_rest(run, optimizer)
    trained = {
        (pattern(t.name), tuple(t.shape))
        for t, rests in zip(run.tensors_of(optimizer), still, strict=True)
        if not rests and pattern(t.name).count("*") and pattern(t.name) != "*.weight" and pattern(t.name) != "*.bias"
    }
    before = [t.depth for t, rests in zip(run.tensors_of(optimizer), still, strict=True) if not rests]
    return all((pattern(t.name), tuple(t.shape)) in trained and min(before) < t.depth for t in mine)


def _table(run: Run, optimizer: int, mine: list[TensorFacts]) -> Numbers:
    place = {tensor.id: index for index, tensor in enumerate(run.tensors_of(optimizer))}
    norms = medians(run.matrix("gradient_norm", optimizer))
    gradients = run.matrix("gradient_norm", optimizer)
    # A gradient that is NaN is one all the same; one of zero moves nothing.
    felt = ((run.matrix("has_grad", optimizer) > 0) & (gradients != 0)).mean(axis=0)
    drift = run.matrix("drift_norm", optimizer)[-1]
    moved = numpy.flatnonzero(~at_rest(run, optimizer))
    rows = [*(place[tensor.id] for tensor in mine[:12]), *(int(index) for index in moved[:4])]
    tensors = run.tensors_of(optimizer)
    return Numbers(
        title="The tensors that stay, and the first that move",
        caption="Median gradient norm over the recorded steps, and the distance from the first value at the end, as a "
        "norm: the chart above has it over the size of the weights.",
        columns=["tensor", "shape", "steps with a gradient above 0", "gradient norm", "moved by"],
        cells=[
            [
                tensors[index].name,
                " x ".join(count(size) for size in tensors[index].shape) or "1",
                percent(float(felt[index])),
                "none" if numpy.isnan(norms[index]) else number(float(norms[index])),
                number(float(drift[index])),
            ]
            for index in rows
        ],
    )
