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

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.lines import MOST_DOTS
from gradaudit.evidence.charts.reduce import plain, short
from gradaudit.evidence.words.depth import outcome_sentence
from gradaudit.evidence.words.last_tenth import end_unknown
from gradaudit.evidence.words.module_names import layer, named
from gradaudit.evidence.words.wording import factor, in_code, names, number, percent, plural
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
from gradaudit.schema import ModuleFacts, TensorFacts
from gradaudit.signals.activations.inferred_saturation import BOUNDED, inferred_hidden, inferred_output
from gradaudit.signals.activations.module_samples import SAMPLES, activation_outputs, last_samples
from gradaudit.signals.layers.initialisation import first_rms
from gradaudit.signals.layers.replaced import replaced_at
from gradaudit.signals.loss.progress import learned_nothing
from gradaudit.signals.order_statistics import median
from gradaudit.signals.run.last_tenth import reaches, steps_of_run

if TYPE_CHECKING:
    import pandas

Sampled = list[tuple[ModuleFacts, "pandas.DataFrame"]]
_LARGE = 1.5  # times Glorot's standard deviation
_LINES = 4  # of code
_BLOWN_UP = ["divergence", "learning_rate_too_high", "non_finite"]


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
    run: Run,
    *,
    most: float = 0.6,  # healthy runs had up to 0.11 and an overfitted one 0.48, faulty ones start at 0.84
    output: float = 0.9,  # a classifier that has learned is sure; one that starts so is not
) -> Iterator[Verdict]:
    """Look at the share of saturated values of each sigmoid and tanh module."""
    if not run.meta.modules:
        yield Skipped(
            reason="the modules of the model are not known", enable="train a torch.nn.Module whose parameters are named"
        )
        return
    bounded = [module for module in run.meta.modules if module.module_class.lower() in BOUNDED]
    if not bounded:
        yield NotApplicable(reason="the model has no nn.Sigmoid or nn.Tanh module")
        return
    sampled = [(module, activation_outputs(run, module.id)) for module in bounded]
    sampled = [
        (module, frame[frame["saturated_fraction"].notna()])
        for module, frame in sampled
        if frame["saturated_fraction"].notna().sum() >= SAMPLES
    ]
    if not sampled:
        if inferred := _inferred(run, bounded, most, output):
            yield _finding(run, inferred, inferred, most, output, estimated=True)
            return
        yield Skipped(
            reason=f"the outputs of {_activations(bounded)} were not sampled at {SAMPLES} steps",
            enable="record with gradaudit record --activations",
        )
        return
    late = max(float(frame["step"].iloc[-1]) for _, frame in sampled)
    if early := end_unknown("the outputs of activations", late, steps_of_run(run)):
        yield early
        return
    found = []
    for module, frame in sampled:
        share, first = last_samples(frame, "saturated_fraction"), float(frame["saturated_fraction"].iloc[0])
        if share > output and first > output if _ends(run, module) else share > most:
            found.append((module, frame))
    if found:
        yield _finding(run, found, sampled, most, output)
        return
    worst = max(last_samples(frame, "saturated_fraction") for _, frame in sampled)
    yield Clean(
        measured=f"at most {percent(worst)} of the outputs of {plural(len(sampled), 'activation')} are saturated"
    )


def _activations(modules: list[ModuleFacts]) -> str:
    listed = names([module.name or module.module_class for module in modules])
    return f"the {'activation' if len(modules) == 1 else 'activations'} {listed}"


def _inferred(
    run: Run, bounded: list[ModuleFacts], most: float, output: float
) -> list[tuple[ModuleFacts, "pandas.DataFrame"]]:
    """The modules that are saturated at the first ten steps and at the last ones, without a sample of their outputs."""
    found = []
    for module in bounded:
        ends = _ends(run, module)
        frame = inferred_output(run, module) if ends and module is bounded[-1] else inferred_hidden(run, module)
        if frame is None or len(frame) < 2 * SAMPLES or not reaches(float(frame["step"].iloc[-1]), steps_of_run(run)):
            continue
        first = median(frame["saturated_fraction"].to_numpy(dtype=float)[:10])
        if min(first, last_samples(frame, "saturated_fraction")) > (output if ends else most):
            found.append((module, frame))
    return found


def _ends(run: Run, module: ModuleFacts) -> bool:
    """Whether no module of its model with parameters of its own is registered after this one: it makes the output."""
    owners = {tensor.module for tensor in run.meta.tensors}
    # Of several models, as a generator and a discriminator, each name begins with the model's.
    several = all(other.name for other in run.meta.modules)
    model = module.name.partition(".")[0] if several else ""
    return not any(
        other.id > module.id and other.name in owners and (not several or other.name.partition(".")[0] == model)
        for other in run.meta.modules
    )


def _weight_before(run: Run, module: ModuleFacts) -> TensorFacts | None:
    """The weight that is registered last before this activation."""
    places = {other.name: other.id for other in run.meta.modules}
    before = [
        tensor
        for tensor in run.meta.tensors
        if tensor.role == "weight" and len(tensor.shape) >= 2 and places.get(tensor.module, module.id) < module.id
    ]
    return max(before, key=lambda tensor: places[tensor.module], default=None)


def _gain(module: ModuleFacts) -> float:
    return 5 / 3 if module.module_class.lower() == "tanh" else 1.0  # torch.nn.init.calculate_gain


def _glorot(weight: TensorFacts, module: ModuleFacts) -> float:
    """Glorot's standard deviation for the layer before an activation."""
    outputs = weight.shape[max(weight.output_axis, 0)]
    return _gain(module) * math.sqrt(2 / (weight.elements / max(1, outputs) + outputs))


def _smaller(run: Run, found: Sampled) -> Action:
    """Glorot's standard deviation for the layers before the activations, beside the one the first started with."""
    module = found[0][0]
    kind = module.module_class.lower()
    code = f"nn.init.xavier_normal_(layer.weight, gain={_gain(module):.2f})"
    weight = _weight_before(run, module)
    if weight is None:
        return Action(text=f"Initialise the layer before smaller: Glorot's, with a gain of {_gain(module):.2f}",
                      code=code)  # fmt: skip
    usual, start = _glorot(weight, module), first_rms(run, weight)
    instead = f" instead of {number(start, 2)}" if start > _LARGE * usual else ""
    alike = [(tensor, other) for other, _ in found if (tensor := _weight_before(run, other)) is not None]
    others = list(dict.fromkeys(tensor.name for tensor, _ in alike if tensor.name != weight.name))
    likewise = f", and {names(others)} by the same rule" if others else ""
    lines = {f"nn.init.xavier_normal_({in_code(tensor.name)}, gain={_gain(other):.2f})": None
             for tensor, other in alike[:_LINES]}  # fmt: skip
    return Action(
        text=f"Initialise {weight.name} with a standard deviation of {number(usual, 2)}{instead}: Glorot's for "
        f"{kind}{likewise}",
        code="\n".join(lines) + ("\n..." if len(alike) > _LINES else ""),
    )


def _too_large(run: Run, module: ModuleFacts, first: float) -> list[str]:
    """That the weights before it are why, where they start too large and it is saturated from the start."""
    weight = _weight_before(run, module)
    if weight is None or not first > 0.5 or not first_rms(run, weight) > _LARGE * _glorot(weight, module):
        return []
    times = first_rms(run, weight) / _glorot(weight, module)
    return [
        f"{weight.name} starts {factor(times)} times as large as Glorot's initialisation: such weights saturate the "
        "activation, and amplify the gradient that still passes."
    ]


def _finding(
    run: Run, found: Sampled, sampled: Sampled, most: float, output: float, *, estimated: bool = False
) -> Finding:
    shares = {module.id: last_samples(frame, "saturated_fraction") for module, frame in found}
    # The first in the order of the model: what it does not pass on never reaches the ones behind it.
    module, frame = found[0]
    share, first = shares[module.id], float(frame["saturated_fraction"].iloc[0])
    begin = median(frame["saturated_fraction"].to_numpy(dtype=float)[:10]) if estimated else first
    ends, kind = _ends(run, module), f" ({module.module_class})"
    name = named(run, module.name) or module.module_class
    called = layer(run, module.name) or name
    limits = "0.01 or above 0.99" if module.module_class == "Sigmoid" else "-0.99 or above 0.99"
    least = "at least " if estimated and ends else ""
    seen = [
        f"{least.capitalize()}{percent(share)} of the {'' if estimated else 'sampled '}outputs of {name}"
        f"{'' if name.endswith(kind) else kind} are below {limits}, and {least}{percent(first)} were so "
        f"{'at the first step' if estimated else 'in the first sample'}.",
        "There its slope is below 0.01: less than 1 % of the gradient passes."
        if module.module_class == "Sigmoid"
        else "There its slope is below 0.02: less than 2 % of the gradient passes.",
    ]
    if len(found) > 1:
        seen.append(f"Also saturated: {names([named(run, m.name) for m, _ in found[1:]])}.")
    seen += _too_large(run, module, first)
    if estimated:
        seen.append(
            f"The outputs were not sampled: {name} makes the loss's input, whose mean and standard deviation allow no "
            "smaller share."
            if ends
            else "The outputs were not sampled; this is estimated from the weights and gradients of the layer "
            "before it."
        )
    seen += [outcome_sentence(training) for training in run.trainings if learned_nothing(training)]
    last = int(frame["step"].iloc[-1])
    over = frame["step"][frame["saturated_fraction"] > (output if ends else most)]
    actions = [
        _smaller(run, found),
        Action(text=f"Normalise before {name}, and standardise the inputs of the model", code="nn.LayerNorm(width)"),
    ]
    if ends:
        actions.insert(
            0,
            Action(
                text=f"Remove {called} and give the loss the logits: it then undoes the saturation",
                code=f"{in_code(module.name)} = nn.Identity()\ncriterion = nn.BCEWithLogitsLoss()",
            ),
        )
    else:
        actions.append(Action(text="Or use GELU in its place", code=f"{in_code(module.name)} = nn.GELU()"))
    begun = int(over.iloc[0]) if len(over) else last
    others = [at for training in run.trainings if (at := replaced_at(training)) is not None]
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.MEDIUM if estimated else Confidence.HIGH,
        # Weights that were blown up or written over saturate what was not saturated before.
        follows=_BLOWN_UP if 0 < min(others, default=0) <= begun else [],
        title="Saturated output activation" if ends else f"Saturated activation{'s' if len(found) > 1 else ''}",
        headline=f"Activation {name} is saturated for {least if share < 1 else ''}{percent(share)} of its outputs"
        + (f", and so {'is' if len(found) == 2 else 'are'} "
           f"{plural(len(found) - 1, 'other activation')}" if len(found) > 1 else ""),
        explanation=" ".join(seen),
        span=Span(first=begun, last=last),
        evidence=[
            _by_activation(run, found, sampled, most, output),
            Lines(
                title="Saturated outputs over the steps",
                caption="The share of outputs where the activation is flat, as gradients or the loss's input tell."
                if estimated
                else "The share of sampled outputs where the activation is flat.",
                x_label="step",
                y_label="share saturated",
                series=[
                    plain(m.name or m.module_class, f["step"].to_numpy(),
                          f["saturated_fraction"].to_numpy(dtype=float), role="flagged")
                    for m, f in found[:6]
                ],
                marks=[Mark(label=f"saturated above {percent(output if ends else most)}", y=output if ends else most)],
            ),
        ],
        actions=actions,
        measures=[
            Measure(quantity="saturated share, median of the last five samples", value=share, comparison=">",
                    threshold=output if ends else most, unit="fraction", option="output" if ends else "most"),
            *([Measure(quantity=f"saturated share, {'median of the first ten steps' if estimated else 'first sample'}",
                       value=begin, comparison=">", threshold=output if ends else most, unit="fraction",
                       option="output" if ends else "most")] if ends or estimated else []),
        ],
    )  # fmt: skip


def _by_activation(run: Run, found: Sampled, sampled: Sampled, most: float, output: float) -> Dots:
    flagged = {module.id for module, _ in found}
    limits = dict.fromkeys(output if _ends(run, module) else most for module, _ in found)
    return Dots(
        title="Saturated outputs of each activation",
        caption=f"The share of an activation's outputs where it is flat, the median of its last {SAMPLES} samples, the "
        "input of the model at the top. What is saturated is marked.",
        x_label="share of the outputs saturated",
        dots=[
            Dot(
                label=f"{module.name or module.module_class}.output",
                value=short(last_samples(frame, "saturated_fraction")),
                group="activation",
                flagged=module.id in flagged,
            )
            for module, frame in sampled[:MOST_DOTS]
        ],
        marks=[Mark(label=f"saturated above {percent(limit)}", x=limit) for limit in limits],
        log=False,
    )
