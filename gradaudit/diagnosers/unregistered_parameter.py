"""Layers or parameters that are used are not registered in a module: no optimizer made of parameters() holds them.

## What it looks for

Modules or parameters that a module keeps in a plain list, tuple or dict: `model.parameters()` does not find them. It is
a warning where they have a gradient, are in no optimizer, are not registered elsewhere, and nothing writes to them, and
critical where they are `most` of the elements. The optimizers have to make `least` steps. It is a note where less than
half of their elements are as torch.nn draws them: what was loaded may be kept out of parameters() on purpose.

In the graph behind the objective, at the first steps and at steps that double: parameters beside those that are
stepped, of no module that an optimizer holds something of. It is a warning where no optimizer takes them up to the end,
nothing changes them over `least` steps, and more than half of their elements are as torch.nn draws them. It is not
reported beside layers in a list, nor where an optimizer holds tensors that others stand in place of, which is
`replaced_parameter`, nor of a copy of trained modules that began equal to them: a target network whose gradient the
script computes in vain.

## Why it matters

Nothing fails: gradients are computed at every step, and the layers keep the random values that they were initialised
with. They are missing from `state_dict()`, too, and stay behind at `model.to(device)`.

## What to try

Keep layers in `nn.ModuleList` or `nn.ModuleDict`, and parameters in `nn.ParameterList` or `nn.ParameterDict`. Make them
in `__init__`, not in `forward`.

## When it is wrong

A part that the script updates itself, without an optimizer, in a way that is not seen. Random features that are meant
to stay: freeze them with `requires_grad_(False)`.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.words.wording import count, names, percent, plural
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.schema import OutsideFacts, UnregisteredFacts
from gradaudit.signals.layers.untrained import is_drawn

_HALF = 0.5  # of the elements: what was loaded has next to none that are as drawn, what is new has nearly all


@dataclass(frozen=True)
class Limits:
    """From when on it counts."""

    least: float = 5  # steps: a script may look at a loss before it makes its real optimizer
    most: float = 0.5  # of the elements of the model: the rest learns on top of random layers


class Unregistered(Judged, frozen=True):
    """A plain list keeps parameters that no optimizer holds."""

    facts: UnregisteredFacts
    share: float  # of the elements that are trained or should be
    owned: int  # parameter tensors in an optimizer
    steps: int
    loaded: bool  # they do not start as they are drawn: a perceptual loss may be hidden so on purpose
    span: Span


class Outside(Judged, frozen=True):
    """Parameters beside those that are stepped, which no optimizer holds."""

    names: tuple[str, ...]
    owned: int  # tensors that the objective reaches and an optimizer holds
    steps: int  # over which nothing changed them
    span: Span


class Registered(Judged, frozen=True):
    """Each optimizer holds what the objective reaches."""

    tensors: int


@diagnoser(
    worst=Severity.CRITICAL,
    needs=("steps",),
    minimum_steps=1,
    explains=("frozen_parameter", "no_learning", "no_signal", "learning_rate_too_low", "premature_plateau",
              "dead_embedding", "noise_module", "stale_gradient", "layer_imbalance", "overfitting", "gradient_growth",
              "vanishing_gradient", "initial_loss_mismatch"),
)  # fmt: skip
def unregistered_parameter(run: Run, limits: Limits) -> Iterator[Unregistered | Outside | Registered | Skipped]:
    """Look for what is used, and found by no parameters()."""
    facts = run.meta.schedules
    if not facts.recorded:
        yield Skipped(reason="plain lists of modules were not looked at", enable="record again with this version")
        return
    last = int(run.steps["global_step"].iloc[-1])
    found: list[Unregistered | Outside] = [*_in_lists(run, last, limits)]
    outside = _outside(run, last, limits) if not found and not facts.replaced else None
    if outside is not None:
        found.append(outside)
    yield from found
    if not found:
        yield Registered(sum(tensor.optimizer >= 0 for tensor in run.meta.tensors))


def _in_lists(run: Run, last: int, limits: Limits) -> list[Unregistered]:
    steps = len(run.steps)
    if steps < limits.least:
        return []
    owned = [tensor for tensor in run.meta.tensors if tensor.optimizer >= 0]
    of_all = sum(tensor.elements for tensor in owned) + sum(one.elements for one in run.meta.schedules.unregistered)
    return [
        Unregistered(
            one, one.elements / max(1, of_all), len(owned), steps, _is_loaded(run, one), Span(first=0, last=last)
        )
        for one in run.meta.schedules.unregistered
    ]


def _is_loaded(run: Run, one: UnregisteredFacts) -> bool:
    """Whether the graph reaches all of these layers, and hardly any is as it is drawn; parameters are drawn anyhow."""
    outside = run.meta.graph.outside
    reached = sum(math.prod(each.sizes) for each in outside)
    return bool(one.modules) and reached >= one.elements and not _are_drawn(outside)


def _are_drawn(outside: list[OutsideFacts]) -> bool:
    matrices = [one for one in outside if len(one.sizes) > 1 and one.norm is not None and one.largest is not None]
    new = [one for one in matrices if is_drawn(one.sampled, one.norm or 0.0, one.largest or 0.0)]
    return sum(math.prod(one.sizes) for one in new) > _HALF * sum(math.prod(one.sizes) for one in matrices)


def _outside(run: Run, last: int, limits: Limits) -> Outside | None:
    graph = run.meta.graph
    waited = [one for one in graph.outside if not one.moved and one.last - one.first + 1 >= limits.least]
    still = [one for model in _by_model(waited) if not _is_copy(run, model) for one in model]
    # What was loaded may be meant to stay: a perceptual loss, a reward model.
    if not _are_drawn(still):
        return None
    reached = {number for term in graph.terms if term.used for number in term.tensors}
    return Outside(
        names=tuple(one.name or str(tuple(one.sizes)) for one in still),
        owned=sum(tensor.id in reached and tensor.optimizer >= 0 for tensor in run.meta.tensors),
        steps=max(one.last - one.first + 1 for one in still),
        span=Span(first=max(0, min(min(one.first for one in still), last)), last=max(0, last)),
    )


def _by_model(parameters: list[OutsideFacts]) -> list[list[OutsideFacts]]:
    """The parameters of each outermost module, by the class that their names begin with."""
    found: dict[str, list[OutsideFacts]] = defaultdict(list)
    for one in parameters:
        found[one.name.partition(".")[0]].append(one)
    return list(found.values())


def _is_copy(run: Run, parameters: list[OutsideFacts]) -> bool:
    """Whether they may be a copy, such as a target network, that began with the weights of what is trained.

    It is as drawn because that was, too, and a script that computes targets without no_grad() reaches it.
    """
    trained = Counter(tuple(tensor.shape) for tensor in run.meta.tensors if tensor.optimizer >= 0)
    fits = Counter(tuple(one.sizes) for one in parameters) <= trained
    copies = run.meta.model_state.copies
    return fits and sum(copy.tensors for copy in copies if copy.equal_at_first) >= len(parameters)


@unregistered_parameter.tell
def _registered(found: Registered) -> Clean:
    return Clean(measured=f"{plural(found.tensors, 'parameter tensor')} in an optimizer, none in a plain list")


@unregistered_parameter.tell
def _in_a_list(found: Unregistered, run: Run, limits: Limits) -> Finding:
    facts = found.facts
    what, right = ("layers", "nn.ModuleList") if facts.modules else ("parameters", "nn.ParameterList")
    right = right if facts.container != "dict" else right.replace("List", "Dict")
    attribute = facts.name.rpartition(".")[2]
    return Finding(
        severity=_severity(found, limits),
        confidence=Confidence.CERTAIN,
        title=f"{what.capitalize()} in a plain {facts.container}",
        headline=f"{facts.holder}.{attribute} is a plain {facts.container}: no optimizer holds its "
        f"{plural(facts.tensors, 'parameter')}",
        explanation=f"model.parameters() does not find what {facts.name} keeps: "
        f"{percent(found.share)} of the elements get a gradient and are never changed. They are missing from "
        "state_dict(), and stay behind at model.to(device), too."
        + (" They do not start as torch.nn draws them: if they were loaded and shall stay, freeze them." if found.loaded
           else ""),
        span=found.span,
        evidence=[
            loss_chart(run.trainings[0], "The training loss: what is in no optimizer never changes.", [])
        ],
        actions=[
            Action(text=f"Make self.{attribute} of {facts.holder} an {right}", code=f"self.{attribute} = {right}(...)"),
            *([Action(text="If they shall stay as they are, freeze them", code="layer.requires_grad_(False)")]
              if found.loaded else []),
        ],
        measures=[
            Measure(quantity="parameters with a gradient in no optimizer", value=facts.tensors, comparison=">=",
                    threshold=1, unit="count"),
            Measure(quantity="steps", value=found.steps, comparison=">=", threshold=limits.least, unit="count",
                    option="least"),
            Measure(quantity="share of the elements", value=found.share, comparison=">", threshold=limits.most,
                    unit="fraction", option="most", decides="critical"),
        ],
    )  # fmt: skip


def _severity(found: Unregistered, limits: Limits) -> Severity:
    if found.loaded:
        return Severity.NOTE
    return Severity.CRITICAL if found.share > limits.most else Severity.WARNING


@unregistered_parameter.tell
def _beside(found: Outside, run: Run, limits: Limits) -> Finding:
    every = len(found.names) + found.owned
    first, more = found.names[0], len(found.names) - 1
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.CERTAIN,
        title="Layers outside the optimizer",
        headline=f"The objective reaches {plural(every, 'parameter tensor')}, and the optimizer holds "
        f"{count(found.owned)} of them",
        explanation=f"In no optimizer: {names(list(found.names), 4)}. Each backward computes their gradients, and they "
        "keep the random values that they were initialised with. parameters() of the model does not give them: their "
        "layers may be held in a Python list or dictionary, or made in forward().",
        span=found.span,
        tensors=list(found.names)[:16],
        evidence=[loss_chart(run.trainings[0], "The training loss: what is in no optimizer never changes.", [])],
        actions=[
            Action(
                text=f"Register the {'layers' if more else 'layer'} of {first}"
                + (f", and of {plural(more, 'tensor')} more," if more else "") + " in the model",
                code="self.layers = torch.nn.ModuleList(layers)  # not a Python list",
            ),
            Action(text="Or add them to the optimizer", code='optimizer.add_param_group({"params": new.parameters()})'),
            Action(text="If they are meant to stay as they are, freeze them", code="layer.requires_grad_(False)"),
        ],
        measures=[
            Measure(quantity="parameters that the objective reaches, in no optimizer", value=len(found.names),
                    comparison=">=", threshold=1, unit="count"),
            Measure(quantity="steps over which nothing changed them", value=found.steps, comparison=">=",
                    threshold=limits.least, unit="count", option="least"),
        ],
    )  # fmt: skip
