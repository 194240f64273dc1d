"""Most units of a layer are dead: they no longer receive a gradient.

## What it looks for

For each linear and convolution layer the outputs whose gradient was exactly zero at the last 30 recorded steps, at the
end of the run: behind a ReLU those are units that are zero for every example. A share of `most` of at least `width`
outputs is a warning, and so is a share of `nearly` of at least `least_width`; that is critical when the loss has
learned nothing, and a note when no more than `left` of the first loss is left. Where a batch holds fewer than
`examples` examples, always the same, only a share of `nearly` counts: so few leave half of all units off. Of several
such layers the one closest to the output is named, since nothing passes a dead layer on its way back. A layer whose
weights get no gradient while its bias does has inputs that are all zero: the layer before it is the dead one.

## Why it matters

A unit that is zero for every example has no gradient, so no step brings it back. The layer has the width of what is
left of it, and with nothing left everything before it has stopped learning.

## What to try

A lower learning rate or a warmup, when the units died on the way; what counts is the rate at that time. When they were
dead from the start: biases of 0, weights with a variance of 2 / inputs, and standardised inputs. LeakyReLU or GELU let
a little gradient through.

## When it is wrong

In healthy layers up to half of the outputs were dead, and a network with 65 % dead from the start still learned its
task, which is why only a run that learns nothing makes it critical. Outputs of a head that were masked from the start
are not reported where no layer behind it takes as many inputs. Layers without any gradient at some steps (experts that
were not chosen) and a gradient that vanishes along the depth are left to other checks. A loss that has reached zero has
no gradient, either, and is not reported. Nor are runs reported where no tensor ever had a gradient while the outputs of
the model differ: then it is lost behind the model, as in half precision without a GradScaler.
"""

from collections.abc import Iterator

import msgspec
import numpy

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.dead_units import dead_dots, dead_lines
from gradaudit.evidence.words.dead_units import remedies
from gradaudit.evidence.words.depth import outcome_sentence
from gradaudit.evidence.words.last_tenth import stops_early
from gradaudit.evidence.words.module_names import named
from gradaudit.evidence.words.wording import count, names, percent, plural
from gradaudit.findings import Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.schema import ROWS
from gradaudit.signals.activations.dead_units import (
    SILENT,
    DeadSample,
    DeadUnits,
    When,
    broken_from,
    dead_units,
    idle_head,
    lost_behind_the_model,
    outputs_followed,
    sample_behind,
)
from gradaudit.signals.gradients.depth_slope import slopes, vanishes
from gradaudit.signals.gradients.finiteness import bad_gradients
from gradaudit.signals.gradients.same_batch import same_batch
from gradaudit.signals.loss.nothing_gained import NothingGained, nothing_gained
from gradaudit.signals.loss.progress import nearly_done
from gradaudit.signals.loss.training_loss import course
from gradaudit.signals.run.last_tenth import EndUnknown, reaches
from gradaudit.training import Training

_DIED, _FROM_THE_START = 0.5, 0.9  # of the share at the end; between them part of the outputs died and part never woke
_LEARNED = 0.5  # of the first loss gone: a gradient of zero everywhere is then the end of the task


class Limits(msgspec.Struct, frozen=True):
    """Which share of a layer's outputs may be dead, and of which layers."""

    most: float = 0.6  # the healthiest extreme had 0.50, the weakest fault 0.62
    width: float = 16  # outputs; in narrow layers a few idle units are half of it
    nearly: float = 0.95  # faults that stop learning had 0.81 to 1
    least_width: float = 4  # one or two outputs are a head, not a layer of units
    left: float = 0.05  # of the first loss: units that a solved task did without are no harm
    examples: float = 8  # two to four examples leave up to 0.69 of 16 units off for all of them, and are learned


class NotFollowed(Judged, frozen=True):
    """The outputs of no layer were followed for long enough."""

    broken: int | None  # the step from which on the run is NaN or infinite


class Alive(Judged, frozen=True):
    """No layer has lost too many of its outputs."""

    worst: float  # share of the outputs of a layer without a gradient, the greatest
    layers: int
    broken: int | None  # the step from which on the run is NaN or infinite: what is said is that of the steps before
    solved: bool  # layers have no gradient because the loss has fallen to next to nothing
    same_examples: float  # that every batch holds, where they are so few that the limits are others; else 0


class Dead(Judged, frozen=True):
    """Most outputs of a layer no longer have a gradient."""

    units: DeadUnits
    layers: tuple[DeadUnits, ...]  # all that were followed
    by_width: bool  # wide enough for the limit `most`; else `nearly` all is dead
    limit: float  # share, that one
    when: When  # they died
    before: int  # layers before it without a gradient
    zero_inputs: tuple[str, ...]  # modules behind it whose inputs are all zero
    sample: DeadSample | None
    learned_nothing: NothingGained | None  # although nearly all is dead
    nearly_done: bool  # the loss has hardly anything left
    improvement: float  # share of the first loss that is gone
    span: Span  # from where half of what is dead was silent for good


@diagnoser(
    per="training",
    worst=Severity.CRITICAL,
    needs=("steps",),
    minimum_steps=40,
    explains=("no_learning", "no_signal", "frozen_parameter", "premature_plateau", "layer_imbalance"),
)
def dead_relu(
    training: Training, limits: Limits
) -> Iterator[Dead | Alive | NotFollowed | EndUnknown | NotApplicable | Skipped]:
    """Look for layers whose outputs have no gradient."""
    layers = dead_units(training)
    if not layers:
        yield _not_followed(training)
    elif any(vanishes(training, profile) for profile in slopes(training)):
        yield NotApplicable(
            reason="the gradient shrinks from layer to layer and leaves none for the first: see vanishing_gradient"
        )
    elif lost_behind_the_model(training):
        yield NotApplicable(
            reason="no tensor ever had a gradient, while the outputs of the model differ: it is lost between the "
            "loss and the model, not in a layer"
        )
    else:
        yield _judged(training, layers, limits)


def _not_followed(training: Training) -> NotFollowed | NotApplicable | Skipped:
    broken = broken_from(training)
    # NaN is not zero: whether an output is dead cannot be told from it.
    if broken is not None or outputs_followed(training):
        return NotFollowed(broken)
    if any("Linear" in t.module_class or "Conv" in t.module_class for t in training.tensors):
        return Skipped(reason="the outputs of the layers were not followed one by one", enable=ROWS.enable)
    return NotApplicable(reason="the model has no Linear or Conv module that is trained")


def _judged(training: Training, layers: list[DeadUnits], limits: Limits) -> Dead | Alive | EndUnknown | Skipped:
    few = same_batch(training)
    most = max(limits.most, limits.nearly) if 0 < few < limits.examples else limits.most
    dead = [layer for layer in layers if _is_dead(layer, most, limits) and not idle_head(layer, layers)]
    nothing_left = not any(layer.has_nonzero_grad for layer in layers)
    broken = broken_from(training)
    if not dead and broken is None and bad_gradients(training)[-SILENT:].any():
        return Skipped(
            reason="the gradients of the last steps hold NaN or infinity: neither zero nor a gradient",
            enable="fix what non_finite reports",
        )
    end = broken if broken is not None else int(training.steps["global_step"].max()) + 1
    if not reaches(last := max(int(layer.steps[-1]) for layer in layers), end):
        return EndUnknown(last, end)
    if not dead or (nothing_left and course(training).improvement > _LEARNED):
        return Alive(
            worst=max(layer.share for layer in layers),
            layers=len(layers),
            broken=broken,
            solved=bool(dead),
            same_examples=few if most > limits.most else 0,
        )
    # With no gradient anywhere it is the end of the model that is off, whatever its width.
    return _dead(training, layers[-1] if nothing_left else dead[-1], layers, most, limits)


def _is_dead(layer: DeadUnits, most: float, limits: Limits) -> bool:
    wide = layer.share >= most and layer.outputs >= limits.width
    narrow = layer.share >= limits.nearly and layer.outputs >= limits.least_width
    return not layer.zero_input and (wide or narrow)


def _dead(training: Training, dead: DeadUnits, layers: list[DeadUnits], most: float, limits: Limits) -> Dead:
    by_width = dead.outputs >= limits.width and dead.share >= most
    died, always = dead.first < _DIED * dead.share, dead.first >= _FROM_THE_START * dead.share
    depth = dead.layer.depth
    # Where half of them are silent for good, they are dying: what comes after that cannot be why.
    over = numpy.flatnonzero(dead.without < (_DIED * dead.share if died else min(most, dead.share)))
    begun = min(int(over[-1]) + 1, len(dead.steps) - 1) if len(over) else 0
    return Dead(
        units=dead,
        layers=tuple(layers),
        by_width=by_width,
        limit=most if by_width else limits.nearly,
        when="during" if died else "before" if always else "both",
        before=sum(layer.layer.depth < depth and not layer.has_nonzero_grad for layer in layers),
        zero_inputs=tuple(layer.layer.module for layer in layers if layer.zero_input and layer.layer.depth > depth),
        sample=sample_behind(training.run, dead.layer),
        learned_nothing=nothing_gained(training) if dead.share >= limits.nearly else None,
        nearly_done=nearly_done(course(training), limits.left),
        improvement=course(training).improvement,
        span=Span(first=int(dead.steps[begun]), last=int(dead.steps[-1])),
    )


@dead_relu.tell
def _no_outputs(found: NotFollowed) -> Skipped:
    what = f"the outputs of no layer were followed over {SILENT} recorded steps"
    if found.broken is not None:
        return Skipped(
            reason=f"before NaN or infinities, from step {count(found.broken)} on, {what}",
            enable="fix what non_finite reports",
        )
    enable = f"train for at least 40 steps, and record statistics at {SILENT} of them or more"
    return Skipped(reason=what, enable=enable)


@dead_relu.tell
def _end_unknown(found: EndUnknown) -> Skipped:
    return stops_early("the outputs", found)


@dead_relu.tell
def _alive(found: Alive) -> Clean:
    when = "the end" if found.broken is None else f"step {count(found.broken - 1)}, before NaN or infinities,"
    what = (
        f"up to {percent(found.worst)} of the outputs of a layer have no gradient"
        if found.worst
        else f"every output of the {plural(found.layers, 'layer')} has a gradient"
    )
    solved = ", because the loss has fallen to next to nothing" if found.solved else ""
    few = f"; every batch holds the same {plural(found.same_examples, 'example')}" if found.same_examples else ""
    return Clean(measured=f"at {when} {what}{solved}{few}")


@dead_relu.tell
def _finding(found: Dead, training: Training, limits: Limits) -> Finding:
    dead = found.units
    since = f" since step {count(found.span.first)}" if found.when == "during" else ""
    return Finding(
        severity=Severity.CRITICAL if found.learned_nothing
        else Severity.NOTE if found.nearly_done else Severity.WARNING,
        confidence=Confidence.HIGH,
        title=("Dead layer" if dead.share >= 1 else "Dead units") + since,
        headline=f"Layer {named(training.run, dead.layer.module or dead.layer.name)} receives no gradient at "
        f"{percent(dead.share)} of its {plural(dead.outputs, 'output')} (last {SILENT} recorded steps)",
        explanation=_explanation(found, training),
        span=found.span,
        tensors=[dead.layer.name],
        evidence=[dead_dots(dead, found.layers, found.limit), dead_lines(dead, found.layers)],
        actions=remedies(training, dead, found.when, found.span.first),
        measures=[
            Measure(quantity="outputs without a gradient", value=dead.share, comparison=">=", threshold=found.limit,
                    unit="fraction", option="most" if found.by_width else "nearly"),
            Measure(quantity="outputs of the layer", value=dead.outputs, comparison=">=",
                    threshold=limits.width if found.by_width else limits.least_width, unit="count",
                    option="width" if found.by_width else "least_width"),
            Measure(quantity="the same, with a loss that ends no better than it began", value=dead.share,
                    comparison=">=", threshold=limits.nearly, unit="fraction", option="nearly", decides="critical"),
            Measure(quantity="share of the first loss that is left", comparison="<=", threshold=limits.left,
                    unit="fraction", value=1 - found.improvement, option="left", decides="note"),
        ],
    )  # fmt: skip


def _explanation(found: Dead, training: Training) -> str:
    dead, fed, before = found.units, found.zero_inputs, found.before
    sentences = [
        f"At the first record {percent(dead.first)} of its outputs have no gradient; at the end {percent(dead.share)} "
        f"have had none for {SILENT} recorded steps. "
        + {
            "during": "They died during training.",
            "before": "They were dead from the start.",
            "both": "Some were dead from the start, and others died during training.",
        }[found.when]
    ]
    if fed:
        which = f"layer {fed[0]}" if len(fed) == 1 else f"the layers {names(list(fed))}"
        sentences.append(f"All inputs of {which} are zero because of it.")
    if before and dead.share >= 1:
        verb = "receive" if before > 1 else "receives"
        none = f"{verb} none" if found.when == "before" else f"no longer {verb} any"
        sentences.append(f"{plural(before, 'layer')} before it {none}.")
    if found.sample is not None:
        sentences.append(
            f"In the last samples of {found.sample.activation} {percent(found.sample.share)} of the units were zero "
            "for every example."
        )
    if found.learned_nothing:
        sentences.append(outcome_sentence(found.learned_nothing))
    if found.nearly_done:
        sentences.append(f"The loss still falls, by {percent(found.improvement)} of its start.")
    return " ".join(sentences)
