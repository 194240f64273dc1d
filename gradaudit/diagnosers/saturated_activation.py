"""A sigmoid or tanh is saturated: its output hardly depends on its input any more.

## What it looks for

Samples of what comes out of the nn.Sigmoid and nn.Tanh modules, as `gradaudit record --activations` takes them. A value
counts as saturated outside (0.01, 0.99) for a sigmoid, and beyond 0.99 for a tanh. It is a warning when the median
share over the last five samples of a hidden activation is above `most`. The activation at the end of the model may be
saturated at the end of training, so it must be above `output` both in the first sample and in the last ones.

Without such samples only what is certain enough is reported. Of a sigmoid or tanh that ends the model, as the last
child of an nn.Sequential or as its last module and the only bounded one, mean and standard deviation of the loss's
input give the least share that is saturated; binary targets of which fewer than 1 % differ from the rest are not judged
so. Between two activations of an nn.Sequential, gradients and weights of the Linear give the size of what enters the
second: its share, for normally distributed inputs, must be above `most` at the first ten steps and at the last ones.

## Why it matters

Where it is flat the slope is below a hundredth, and so is what passes of the gradient: units that are flat for every
example no longer learn, nor does what only they use. The others pass theirs on, so the loss may still fall. Weights
that are too large saturate, and multiply the gradient of what is not saturated by more in each layer: the first layers
may then have more of it than the last (`exploding_gradient`).

## What to try

Smaller initial weights (Glorot for tanh and sigmoid), standardised inputs, a normalisation before the activation, or
ReLU or GELU in hidden layers. A saturated output wants a loss that undoes it: binary_cross_entropy_with_logits on the
logits.

## When it is wrong

Healthy runs had up to 0.11, and an overfitted language model 0.48. Gates are meant to open and close, and may be
saturated when they have learned to. torch.tanh and torch.sigmoid called as functions are no modules and are not seen.
An activation that was not sampled may be saturated unseen: trained weights let in more than is estimated. Estimates of
healthy runs stay below 0.12.
"""

from collections.abc import Iterator

import msgspec

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.saturation import saturation_dots, saturation_lines
from gradaudit.evidence.words.depth import outcome_sentence
from gradaudit.evidence.words.initialisation import glorot
from gradaudit.evidence.words.last_tenth import stops_early
from gradaudit.evidence.words.module_names import layer, named
from gradaudit.evidence.words.wording import factor, in_code, names, percent, plural
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.schema import ModuleFacts
from gradaudit.signals.activations.module_samples import SAMPLES
from gradaudit.signals.activations.saturation import (
    Saturation,
    bounded_activations,
    inferred_saturation,
    sampled_saturation,
)
from gradaudit.signals.layers.initialisation import GlorotStart, glorot_start
from gradaudit.signals.layers.replaced import replaced_at
from gradaudit.signals.loss.nothing_gained import NothingGained, nothing_gained
from gradaudit.signals.run.last_tenth import EndUnknown, reaches, steps_of_run

_FROM_THE_START = 0.5  # of the outputs at the first step: then the weights that it started with are why


class Limits(msgspec.Struct, frozen=True):
    """Which share of an activation's outputs may be saturated."""

    most: float = 0.6  # healthy runs had up to 0.11 and an overfitted one 0.48, faulty ones start at 0.84
    output: float = 0.9  # a classifier that has learned is sure; one that starts so is not


class NotSampled(Judged, frozen=True):
    """The outputs of these activations were not sampled, and what is certain without a sample is not too much."""

    modules: tuple[ModuleFacts, ...]


class NotSaturated(Judged, frozen=True):
    """No sampled activation is saturated."""

    worst: float  # share of the outputs, at the end
    activations: int


class Saturated(Judged, frozen=True):
    """Activations whose output hardly depends on their input any more."""

    found: tuple[Saturation, ...]  # the first is named: what it does not pass on never reaches the ones behind it
    every: tuple[Saturation, ...]  # that was looked at
    estimated: bool  # not sampled
    limits: tuple[float, ...]  # that each of `found` is held against
    starts: tuple[GlorotStart | None, ...]  # of the weights before each
    large_weights: bool  # the first was saturated from the start, by weights that started too large
    learned_nothing: tuple[NothingGained, ...]
    replaced_before: bool  # weights were blown up or written over before the first was saturated
    span: Span

    @property
    def begin(self) -> float:
        """The share at the beginning."""
        return self.found[0].early if self.estimated else self.found[0].first


@diagnoser(
    worst=Severity.WARNING,
    needs=("steps",),
    explains=(
        "vanishing_gradient",
        "exploding_gradient",
        "dead_relu",
        "initial_loss_mismatch",
        "layer_imbalance",
        "no_learning",
        "no_signal",
        "learning_rate_too_low",
        "premature_plateau",
        "frozen_parameter",
    ),
)
def saturated_activation(
    run: Run, limits: Limits
) -> Iterator[Saturated | NotSaturated | NotSampled | EndUnknown | NotApplicable | Skipped]:
    """Look at the share of saturated values of each sigmoid and tanh module."""
    bounded, sampled = bounded_activations(run), sampled_saturation(run)
    if not run.meta.modules:
        yield Skipped(
            reason="the modules of the model are not known", enable="train a torch.nn.Module whose parameters are named"
        )
    elif not bounded:
        yield NotApplicable(reason="the model has no nn.Sigmoid or nn.Tanh module")
    elif not sampled:
        found = [one for one in inferred_saturation(run) if min(one.early, one.last) > _limit(one, limits)]
        yield _saturated(run, found, found, limits, estimated=True) if found else NotSampled(tuple(bounded))
    elif not reaches(late := max(float(one.steps[-1]) for one in sampled), steps_of_run(run)):
        yield EndUnknown(late, steps_of_run(run))
    else:
        found = [one for one in sampled if min(one.last, one.first if one.ends else one.last) > _limit(one, limits)]
        if found:
            yield _saturated(run, found, sampled, limits, estimated=False)
        else:
            yield NotSaturated(max(one.last for one in sampled), len(sampled))


def _limit(saturation: Saturation, limits: Limits) -> float:
    return limits.output if saturation.ends else limits.most


def _saturated(
    run: Run, found: list[Saturation], every: list[Saturation], limits: Limits, *, estimated: bool
) -> Saturated:
    first, start = found[0], glorot_start(run, found[0].module)
    last = int(first.steps[-1])
    over = first.steps[first.shares > _limit(first, limits)]
    begun = int(over[0]) if len(over) else last
    replaced = [at for training in run.trainings if (at := replaced_at(training)) is not None]
    return Saturated(
        found=tuple(found),
        every=tuple(every),
        estimated=estimated,
        limits=tuple(_limit(one, limits) for one in found),
        starts=tuple(glorot_start(run, one.module) for one in found),
        large_weights=start is not None and first.first > _FROM_THE_START and start.too_large,
        learned_nothing=tuple(gained for gained in map(nothing_gained, run.trainings) if gained is not None),
        replaced_before=0 < min(replaced, default=0) <= begun,
        span=Span(first=begun, last=last),
    )


@saturated_activation.tell
def _not_sampled(found: NotSampled) -> Skipped:
    listed = names([module.name or module.module_class for module in found.modules])
    return Skipped(
        reason=f"the outputs of the {'activation' if len(found.modules) == 1 else 'activations'} {listed} were not "
        f"sampled at {SAMPLES} steps",
        enable="record with gradaudit record --activations",
    )


@saturated_activation.tell
def _end_unknown(found: EndUnknown) -> Skipped:
    return stops_early("the outputs of activations", found)


@saturated_activation.tell
def _not_saturated(found: NotSaturated) -> Clean:
    return Clean(
        measured=f"at most {percent(found.worst)} of the outputs of {plural(found.activations, 'activation')} are "
        "saturated"
    )


@saturated_activation.tell
def _finding(found: Saturated, run: Run) -> Finding:
    first, others = found.found[0], len(found.found) - 1
    option = "output" if first.ends else "most"
    beginning = "median of the first ten steps" if found.estimated else "first sample"
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.MEDIUM if found.estimated else Confidence.HIGH,
        follows=["divergence", "learning_rate_too_high", "non_finite"] if found.replaced_before else [],
        title="Saturated output activation" if first.ends else f"Saturated activation{'s' if others else ''}",
        headline=f"Activation {_name(run, first)} is saturated for {_least(found) if first.last < 1 else ''}"
        f"{percent(first.last)} of its outputs"
        + (f", and so {'is' if others == 1 else 'are'} {plural(others, 'other activation')}" if others else ""),
        explanation=_explanation(found, run),
        span=found.span,
        evidence=[
            saturation_dots(found.every, found.found, found.limits),
            saturation_lines(found.found, found.limits[0], estimated=found.estimated),
        ],
        actions=_actions(found, run),
        measures=[
            Measure(quantity="saturated share, median of the last five samples", value=first.last, comparison=">",
                    threshold=found.limits[0], unit="fraction", option=option),
            *([Measure(quantity=f"saturated share, {beginning}", value=found.begin, comparison=">",
                       threshold=found.limits[0], unit="fraction", option=option)]
              if first.ends or found.estimated else []),
        ],
    )  # fmt: skip


def _name(run: Run, saturation: Saturation) -> str:
    return named(run, saturation.module.name) or saturation.module.module_class


def _least(found: Saturated) -> str:
    """What is certain of an output that was not sampled is a bound."""
    return "at least " if found.estimated and found.found[0].ends else ""


def _explanation(found: Saturated, run: Run) -> str:
    first, least = found.found[0], _least(found)
    name, kind = _name(run, first), f" ({first.module.module_class})"
    sigmoid = first.module.module_class == "Sigmoid"
    sentences = [
        f"{least.capitalize()}{percent(first.last)} of the {'' if found.estimated else 'sampled '}outputs of {name}"
        f"{'' if name.endswith(kind) else kind} are below {'0.01' if sigmoid else '-0.99'} or above 0.99, and {least}"
        f"{percent(first.first)} were so {'at the first step' if found.estimated else 'in the first sample'}.",
        f"There its slope is below {'0.01' if sigmoid else '0.02'}: less than {1 if sigmoid else 2} % of the gradient "
        "passes.",
    ]
    if len(found.found) > 1:
        sentences.append(f"Also saturated: {names([named(run, one.module.name) for one in found.found[1:]])}.")
    start = found.starts[0]
    if start is not None and found.large_weights:
        sentences.append(
            f"{start.tensor.name} starts {factor(start.times)} times as large as Glorot's initialisation: such weights "
            "saturate the activation, and amplify the gradient that still passes."
        )
    if found.estimated and first.ends:
        sentences.append(
            f"The outputs were not sampled: {name} makes the loss's input, whose mean and standard deviation allow no "
            "smaller share."
        )
    elif found.estimated:
        sentences.append(
            "The outputs were not sampled; this is estimated from the weights and gradients of the layer before it."
        )
    return " ".join([*sentences, *(outcome_sentence(gained) for gained in found.learned_nothing)])


def _actions(found: Saturated, run: Run) -> list[Action]:
    first = found.found[0]
    module, name = first.module, _name(run, first)
    normalise = Action(
        text=f"Normalise before {name}, and standardise the inputs of the model", code="nn.LayerNorm(width)"
    )
    if not first.ends:
        other = Action(text="Or use GELU in its place", code=f"{in_code(module.name)} = nn.GELU()")
        return [glorot(module, found.starts), normalise, other]
    remove = Action(
        text=f"Remove {layer(run, module.name) or name} and give the loss the logits: it then undoes the saturation",
        code=f"{in_code(module.name)} = nn.Identity()\ncriterion = nn.BCEWithLogitsLoss()",
    )
    return [remove, glorot(module, found.starts), normalise]
