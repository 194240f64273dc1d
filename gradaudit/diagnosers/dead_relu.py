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

import math
from collections.abc import Iterator

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.lines import MOST_DOTS
from gradaudit.evidence.charts.reduce import plain, short
from gradaudit.evidence.words.depth import outcome_sentence
from gradaudit.evidence.words.last_tenth import end_unknown
from gradaudit.evidence.words.module_names import named
from gradaudit.evidence.words.optimizers import rate_in_words
from gradaudit.evidence.words.schedules import hold
from gradaudit.evidence.words.wording import count, in_code, names, percent, plural, setting
from gradaudit.findings import (
    Action,
    Clean,
    Confidence,
    Dot,
    Dots,
    Finding,
    Lines,
    Mark,
    Measure,
    NotApplicable,
    Severity,
    Skipped,
    Span,
    Verdict,
)
from gradaudit.reading.run import Run
from gradaudit.schema import ROWS
from gradaudit.signals.activations.dead_units import SILENT, DeadUnits, dead_units
from gradaudit.signals.activations.module_samples import (
    activation_outputs,
    last_samples,
    loss_inputs,
    sampled_activations,
)
from gradaudit.signals.gradients.depth_slope import is_steep, slopes
from gradaudit.signals.gradients.finiteness import bad_gradients, non_finite_onset
from gradaudit.signals.gradients.same_batch import same_batch
from gradaudit.signals.loss.progress import learned_nothing, nearly_done
from gradaudit.signals.loss.training_loss import course
from gradaudit.signals.updates.increasing_schedule import increasing_schedule
from gradaudit.signals.updates.stable_learning_rate import rates_at, stable_learning_rate
from gradaudit.training import Training

_WARMUP = 100  # steps
_DIED, _FROM_THE_START = 0.5, 0.9  # of the share at the end; between them part of the outputs died and part never woke
_LEARNED = 0.5  # of the first loss gone: a gradient of zero everywhere is then the end of the task


@diagnoser(
    per="training",
    worst=Severity.CRITICAL,
    needs=("steps",),
    minimum_steps=40,
    explains=("no_learning", "no_signal", "frozen_parameter", "premature_plateau", "layer_imbalance"),
)
def dead_relu(
    training: Training,
    *,
    most: float = 0.6,  # the healthiest extreme had 0.50, the weakest fault 0.62
    width: float = 16,  # outputs; in narrow layers a few idle units are half of it
    nearly: float = 0.95,  # faults that stop learning had 0.81 to 1
    least_width: float = 4,  # one or two outputs are a head, not a layer of units
    left: float = 0.05,  # of the first loss: units that a solved task did without are no harm
    examples: float = 8,  # two to four examples leave up to 0.69 of 16 units off for all of them, and are learned
) -> Iterator[Verdict]:
    """Look for layers whose outputs have no gradient."""
    layers = dead_units(training)
    if not layers:
        yield _blind(training)
        return
    if any(profile.drop > 0 and is_steep(profile) for profile in slopes(training)):
        yield NotApplicable(
            reason="the gradient shrinks from layer to layer and leaves none for the first: see vanishing_gradient"
        )
        return
    if _lost_behind(training):
        yield NotApplicable(
            reason="no tensor ever had a gradient, while the outputs of the model differ: it is lost between the "
            "loss and the model, not in a layer"
        )
        return
    few = same_batch(training)
    least = most if not 0 < few < examples else max(most, nearly)
    dead = [
        layer
        for layer in layers
        if not layer.zero_input
        and ((layer.share >= least and layer.outputs >= width)
             or (layer.share >= nearly and layer.outputs >= least_width))
        and not _idle_head(layer, layers)
    ]  # fmt: skip
    nothing_left = not any(layer.has_nonzero_grad for layer in layers)
    broken = non_finite_onset(training)
    ended = broken is not None and not broken.recovered  # the layers are those before it
    if not dead and not ended and bad_gradients(training)[-SILENT:].any():
        yield Skipped(
            reason="the gradients of the last steps hold NaN or infinity: neither zero nor a gradient",
            enable="fix what non_finite reports",
        )
        return
    end = broken.step if broken is not None and ended else int(training.steps["global_step"].max()) + 1
    if early := end_unknown("the outputs", max(int(layer.steps[-1]) for layer in layers), end):
        yield early
        return
    finished = nothing_left and course(training).improvement > _LEARNED
    if not dead or finished:
        worst = max(layers, key=lambda layer: layer.share)
        when = "the end"
        if broken is not None and ended:
            when = f"step {count(broken.step - 1)}, before NaN or infinities,"
        yield Clean(
            measured=(
                f"at {when} up to {percent(worst.share)} of the outputs of a layer have no gradient"
                if worst.share
                else f"at {when} every output of the {plural(len(layers), 'layer')} has a gradient"
            )
            + (", because the loss has fallen to next to nothing" if dead else "")
            + (f"; every batch holds the same {plural(few, 'example')}" if least > most else "")
        )
        return
    # With no gradient anywhere it is the end of the model that is off, whatever its width.
    yield _finding(training, layers[-1] if nothing_left else dead[-1], layers, least, width, nearly, least_width, left)


def _lost_behind(training: Training) -> bool:
    """Whether every gradient is zero from the first step on, and no dead output is why: the loss's input varies."""
    if (training.matrix("gradient_norm") > 0).any() or len(training.run.meta.losses) != 1:
        return False
    spread = loss_inputs(training.run, training.run.meta.losses[0].id)["std"].to_numpy(dtype=float)
    return len(spread) > 0 and bool((spread > 0).all())


def _blind(training: Training) -> Verdict:
    broken = non_finite_onset(training)
    if broken is not None and not broken.recovered:
        # NaN is not zero: whether an output is dead cannot be told from it.
        return Skipped(
            reason=f"before NaN or infinities, from step {count(broken.step)} on, the outputs of no layer were "
            f"followed over {SILENT} recorded steps",
            enable="fix what non_finite reports",
        )
    outputs = [t for t in training.tensors if t.output_axis >= 0 and t.optimizer >= 0]
    followed = training.run.rows[(training.run.rows["optimizer"] == training.id) & (training.run.rows["moved"] < 0)]
    if outputs or len(followed):
        return Skipped(
            reason=f"the outputs of no layer were followed over {SILENT} recorded steps",
            enable=f"train for at least 40 steps, and record statistics at {SILENT} of them or more",
        )
    if any("Linear" in t.module_class or "Conv" in t.module_class for t in training.tensors):
        return Skipped(reason="the outputs of the layers were not followed one by one", enable=ROWS.enable)
    return NotApplicable(reason="the model has no Linear or Conv module that is trained")


def _idle_head(layer: DeadUnits, layers: list[DeadUnits]) -> bool:
    """Whether this ends the model with some outputs that the loss did not ask for, as a value per action is.

    A head that is not the last layer, as a policy's before a value's, has nothing after it that is made for its
    outputs, and those that are masked were silent from the first record on.
    """
    if layer is layers[-1]:
        return layer.has_nonzero_grad
    behind = layers[layers.index(layer) + 1 :]
    fed = any(other.layer.shape[1] % layer.outputs == 0 for other in behind if len(other.layer.shape) > 1)
    return (
        layer.has_nonzero_grad
        and not fed
        and layer.first >= layer.share
        and any(other.has_nonzero_grad for other in behind)
    )


def _finding(
    training: Training,
    dead: DeadUnits,
    layers: list[DeadUnits],
    most: float,
    width: float,
    nearly: float,
    least_width: float,
    left: float,
) -> Finding:
    name = dead.layer.module or dead.layer.name
    nothing = dead.share >= nearly and learned_nothing(training)
    done = nearly_done(course(training), left)
    died = dead.first < _DIED * dead.share
    always = dead.first >= _FROM_THE_START * dead.share
    before = [other for other in layers if other.layer.depth < dead.layer.depth and not other.has_nonzero_grad]
    fed_zeros = [other.layer.module for other in layers if other.zero_input and other.layer.depth > dead.layer.depth]
    seen = [
        f"At the first record {percent(dead.first)} of its outputs have no gradient; at the end {percent(dead.share)} "
        f"have had none for {SILENT} recorded steps. "
        + (
            "They died during training."
            if died
            else "They were dead from the start."
            if always
            else "Some were dead from the start, and others died during training."
        )
    ]
    if fed_zeros:
        which = f"layer {fed_zeros[0]}" if len(fed_zeros) == 1 else f"the layers {names(fed_zeros)}"
        seen.append(f"All inputs of {which} are zero because of it.")
    if before and dead.share >= 1:
        verb = "receive" if len(before) > 1 else "receives"
        seen.append(
            f"{plural(len(before), 'layer')} before it {f'{verb} none' if always else f'no longer {verb} any'}."
        )
    seen += _confirmed(training.run, dead)
    if nothing:
        seen.append(outcome_sentence(training))
    if done:
        seen.append(f"The loss still falls, by {percent(course(training).improvement)} of its start.")
    # Where half of them are silent for good, they are dying: what comes after that cannot be why.
    over = numpy.flatnonzero(dead.without < (_DIED * dead.share if died else min(most, dead.share)))
    begun = min(int(over[-1]) + 1, len(dead.steps) - 1) if len(over) else 0
    slower = _slower(training, int(dead.steps[begun]), died)
    start = Action(
        text=f"Start layer {name} with biases of 0 and weights of standard deviation "
        f"{setting(float(f'{math.sqrt(2 / _inputs(dead)):.2g}'))}, for its {count(_inputs(dead))} inputs",
        code=f"nn.init.kaiming_normal_({in_code(dead.layer.name)}); nn.init.zeros_({in_code(name)}.bias)",
    )
    leaky = Action(text="Let a little gradient through where a unit is off", code="nn.LeakyReLU(0.01)")
    inputs = Action(text="Standardise the inputs: large ones of one sign switch whole units off")
    by_width = dead.outputs >= width and dead.share >= most
    return Finding(
        severity=Severity.CRITICAL if nothing else Severity.NOTE if done else Severity.WARNING,
        confidence=Confidence.HIGH,
        title=("Dead layer" if dead.share >= 1 else "Dead units")
        + (f" since step {count(dead.steps[begun])}" if died else ""),
        headline=f"Layer {named(training.run, name)} receives no gradient at {percent(dead.share)} of its "
        f"{plural(dead.outputs, 'output')} (last {SILENT} recorded steps)",
        explanation=" ".join(seen),
        span=Span(first=int(dead.steps[begun]), last=int(dead.steps[-1])),
        tensors=[dead.layer.name],
        evidence=[_by_layer(dead, layers, most if by_width else nearly), _over_time(dead, layers)],
        actions=[slower, leaky, start] if died else [start, inputs if always else slower, leaky],
        measures=[
            Measure(quantity="outputs without a gradient", value=dead.share, comparison=">=",
                    threshold=most if by_width else nearly, unit="fraction", option="most" if by_width else "nearly"),
            Measure(quantity="outputs of the layer", value=dead.outputs, comparison=">=",
                    threshold=width if by_width else least_width, unit="count",
                    option="width" if by_width else "least_width"),
            Measure(quantity="the same, with a loss that ends no better than it began", value=dead.share,
                    comparison=">=", threshold=nearly, unit="fraction", option="nearly", decides="critical"),
            Measure(quantity="share of the first loss that is left", comparison="<=", threshold=left, unit="fraction",
                    value=1 - course(training).improvement, option="left", decides="note"),
        ],
    )  # fmt: skip


def _slower(training: Training, at: int, died: bool) -> Action:
    """The learning rate that other findings name, where a step was too large by then; else a tenth of the rate.

    What was set when the units died counts: a schedule may have raised the rate long after.
    """
    rise, stable = increasing_schedule(training), stable_learning_rate(training)
    if died and rise is not None and at >= rise.risen:
        return hold(training, rise)
    rates = rates_at(training, at)
    when = f" at step {count(at)}"
    lower = rates / 10
    if stable is not None and stable.step <= at:
        rates, lower, when = stable.rates, stable.lower, ""
    return Action(
        text=f"Lower the learning rate{when} from {rate_in_words(rates)} to {rate_in_words(lower)}"
        + (", or warm up over the first 100 steps" if at < _WARMUP else "")
        + ": one large step pushes units below zero for good"
    )


def _inputs(dead: DeadUnits) -> int:
    outputs = dead.layer.shape[max(dead.layer.output_axis, 0)]
    return max(1, dead.layer.elements // max(1, outputs))


def _confirmed(run: Run, dead: DeadUnits) -> list[str]:
    """What a sample of the activation behind the layer says of it, where one was taken."""
    places = {module.name: module.id for module in run.meta.modules}
    own = places.get(dead.layer.module)
    behind = [module for module in sampled_activations(run) if own is not None and module > own]
    if not behind:
        return []
    share = last_samples(activation_outputs(run, behind[0]), "dead_fraction")
    name = next((module.name for module in run.meta.modules if module.id == behind[0]), "")
    if not math.isfinite(share):
        return []
    return [f"In the last samples of {name} {percent(share)} of the units were zero for every example."]


def _by_layer(dead: DeadUnits, layers: list[DeadUnits], limit: float) -> Dots:
    before = any(layer.share >= 1 and layer.layer.depth < dead.layer.depth for layer in layers)
    fed = [layer.layer.name for layer in layers if layer.zero_input]
    kept = {id(layer) for layer in sorted(layers, key=lambda layer: layer is not dead)[:MOST_DOTS]}
    return Dots(
        title="Dead outputs of each layer",
        caption=f"The share of a layer's outputs that had no gradient at any of the last {SILENT} recorded steps, the "
        "input of the model at the top and the dead layer marked."
        + (
            " Nothing passes a dead layer on its way back, so the layers before it have no gradient either."
            if before
            else ""
        )
        # The weights behind a dead layer have no gradient, but their outputs have: the bias receives one.
        + (
            f" The weights of {names(fed)} have no gradient because their inputs are all zero; they are left out."
            if fed
            else ""
        ),
        x_label="share of the outputs without a gradient",
        dots=[
            Dot(label=layer.layer.name, value=short(layer.share), group="weight", flagged=layer is dead)
            for layer in layers
            if id(layer) in kept and not layer.zero_input
        ],
        marks=[Mark(label=f"dead from {percent(limit)} on", x=limit)],
        log=False,
    )


def _over_time(dead: DeadUnits, layers: list[DeadUnits]) -> Lines:
    others = [layer for layer in layers if layer is not dead and not layer.zero_input][-3:]
    return Lines(
        title="Outputs without a gradient over the steps",
        caption="The share of a layer's outputs whose gradient is exactly zero at a step. Behind a ReLU some are, in "
        "turn; dead ones stay.",
        x_label="step",
        y_label="share of the outputs",
        series=[
            plain(dead.layer.module or dead.layer.name, dead.steps, dead.without, role="flagged"),
            *[plain(layer.layer.module or layer.layer.name, layer.steps, layer.without) for layer in others],
        ],
        marks=[Mark(label="every output has a gradient", y=0.0, role="reference")],
    )
