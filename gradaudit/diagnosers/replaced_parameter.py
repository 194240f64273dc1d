"""Parameters that are used are in no optimizer: it was made before they were, and holds others in their place.

## What it looks for

At the steps 1, 2, 3, 4, 6, 8, 12 ... of each optimizer, of one that is made anew, too: parameters without a gradient
that no living module holds, or an optimizer none of whose parameters has a gradient; and parameters of living modules
that have a gradient, are in no optimizer and have the same shape, or the same but for one size, or any size where the
optimizer holds nothing else. Both together are critical where none of the optimizer's parameters has a gradient, else
a warning. The optimizer has to make `least` steps.

## Why it matters

A head that is replaced, embeddings that are resized or a model that is loaded after the optimizer was made are never
trained. Nothing fails: their gradients are computed at every step, and the optimizer updates tensors that nobody uses.

## What to try

Make the optimizer after the model has got its last module: after a new head, `resize_token_embeddings`, `weight_norm`,
`load_state_dict(assign=True)` or a copy of the model. Later, call `optimizer.add_param_group`.

## When it is wrong

A part that the script updates itself, without an optimizer, while the optimizer holds one like it that is not used.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gradaudit.chart_data import Numbers
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.words.wording import count, names, plural
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.schema import ReplacedFacts

_ROWS = 12


@dataclass(frozen=True)
class Limits:
    """From when on it counts."""

    least: float = 5  # steps: a script may look at a loss before it makes its real optimizer


class Untrained(Judged, frozen=True):
    """Parameters that are in no optimizer, which holds others in their place."""

    facts: ReplacedFacts
    steps: int  # of the optimizer
    span: Span


class Whole(Judged, frozen=True):
    """Each optimizer holds what the modules hold."""

    tensors: int


@diagnoser(
    worst=Severity.CRITICAL,
    needs=("steps",),
    minimum_steps=1,
    explains=("frozen_parameter", "no_learning", "no_signal", "learning_rate_too_low", "premature_plateau",
              "dead_embedding", "noise_module", "stale_gradient", "layer_imbalance", "overfitting", "gradient_growth",
              "vanishing_gradient", "initial_loss_mismatch"),
)  # fmt: skip
def replaced_parameter(run: Run, limits: Limits) -> Iterator[Untrained | Whole | Skipped]:
    """Look which optimizers hold what no module does."""
    facts = run.meta.schedules
    if not facts.recorded:
        yield Skipped(reason="whether modules were replaced was not recorded", enable="record again with this version")
        return
    last = int(run.steps["global_step"].iloc[-1])
    found = [
        Untrained(one, steps, Span(first=min(one.first_step, last), last=last))
        for one in facts.replaced
        if (steps := len(run.training(one.optimizer).steps)) >= limits.least
    ]
    yield from found
    if not found:
        yield Whole(sum(tensor.optimizer >= 0 for tensor in run.meta.tensors))


@replaced_parameter.tell
def _whole(found: Whole) -> Clean:
    return Clean(measured=f"{plural(found.tensors, 'parameter tensor')} in an optimizer, none replaced")


@replaced_parameter.tell
def _finding(found: Untrained, limits: Limits) -> Finding:
    facts = found.facts
    all_of_it = facts.without_gradient and 2 * facts.matches > facts.tensors  # else the rest is frozen
    which = names(list(facts.names), 2)
    return Finding(
        severity=Severity.CRITICAL if facts.without_gradient else Severity.WARNING,
        confidence=Confidence.CERTAIN,
        title="Model replaced after the optimizer" if all_of_it else "Module replaced after the optimizer",
        headline=f"The optimizer holds {plural(facts.tensors, 'tensor')}, and none is in the model that is trained"
        if all_of_it
        else f"The optimizer lacks {plural(facts.matches, 'parameter')} of the model and holds {count(facts.missing)} "
        "that no module has",
        explanation=f"Not trained: {which}. {_in_place_of(facts)} The optimizer was made before the model was changed.",
        span=found.span,
        tensors=list(facts.names)[:16],
        evidence=[
            _table(facts)
        ],
        actions=[
            Action(
                text=f"Make the optimizer after {facts.names[0] if facts.names else 'the model'} is made, not before",
                code="optimizer = torch.optim.AdamW(model.parameters(), lr=...)",
            ),
            Action(text="Or add what is new to it", code='optimizer.add_param_group({"params": new.parameters()})'),
        ],
        measures=[
            Measure(quantity="parameters with a gradient in no optimizer", value=facts.matches, comparison=">=",
                    threshold=1, unit="count"),
            Measure(quantity="steps of the optimizer", value=found.steps, comparison=">=", threshold=limits.least,
                    unit="count", option="least"),
            Measure(quantity="its parameters that no module holds", value=facts.missing, comparison=">=", threshold=1,
                    unit="count", decides="cause"),
        ],
    )  # fmt: skip


def _in_place_of(facts: ReplacedFacts) -> str:
    if not facts.names:
        return ""
    new, old = facts.shapes[0], facts.old_shapes[0]
    if new == old:
        return f"The optimizer holds a tensor of the shape of {facts.names[0]}, {tuple(new)}, without a gradient."
    return f"{facts.names[0]} has the shape {tuple(new)}; the optimizer holds one of {tuple(old)} without a gradient."


def _table(facts: ReplacedFacts) -> Numbers:
    """What the model has, and what the optimizer holds in its place."""
    rows = [[name, str(tuple(new)), str(tuple(old))]
            for name, new, old in zip(facts.names, facts.shapes, facts.old_shapes, strict=False)]  # fmt: skip
    return Numbers(
        title="Parameters with a gradient, in no optimizer",
        caption="The shape in the model, which is not trained, and that in the optimizer, which is not used.",
        columns=["parameter", "of the model", "in the optimizer"],
        cells=rows[:_ROWS],
    )
