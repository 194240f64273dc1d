"""Dropout is active while the model is evaluated.

## What it looks for

Calls of dropout, and of BatchNorm in its training mode, that are made without gradients while the model itself is in
evaluation mode. Such a place is a warning where it takes part in `share` or more of the evaluated losses: a function
called without a training flag, a module that the model does not hold, a child that was left in training mode. A call
that says `training=True`, a model of which all dropout modules and nothing else are in training mode, and `repeats` or
more calls for each loss look meant and are a note. A model that is evaluated in training mode as a whole is
`train_mode_evaluation`'s.

## Why it matters

With dropout active each evaluation is of another, weaker model: losses and accuracies are too bad, and they change when
the same data is evaluated again. The saved model does the same in use.

## What to try

Make dropout a module in `__init__`, so that `model.eval()` reaches it; or pass `training=self.training` to the
function.

## When it is wrong

Monte Carlo dropout keeps dropout active on purpose. It is reported as a note where it can be told.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gradaudit.chart_data import Numbers
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.words.wording import count, literal, names, percent, plural
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.schema import ActiveFacts, ModelStateFacts

_ATTENTION = "scaled_dot_product_attention"
_BATCH_NORM = "batch_norm"


@dataclass(frozen=True)
class Limits:
    """How often, and from where on it looks meant."""

    share: float = 0.5  # of the losses; a few samples at the end, drawn on purpose, are less
    repeats: float = 8.0  # calls a loss; sampling draws ten and more, layers share one dropout module less often


class Active(Judged, frozen=True):
    """Dropout or BatchNorm acts as in training, in evaluation mode."""

    places: tuple[ActiveFacts, ...]  # the one with most calls first
    share: float  # of the losses evaluated in evaluation mode, those behind such a call; a fraction
    evaluations: int
    calls: int
    sampled: bool  # all dropout modules are in training mode, and nothing else
    meant: bool
    span: Span


class AsEvaluated(Judged, frozen=True):
    """Nothing acts as in training while the model is in evaluation mode."""

    evaluations: int


@diagnoser(
    worst=Severity.WARNING,
    needs=("steps",),
    explains=("overfitting", "no_signal", "validation_better_than_train"),
)
def stochastic_evaluation(run: Run, limits: Limits) -> Iterator[Active | AsEvaluated | NotApplicable | Skipped]:
    """Look at the places where dropout and BatchNorm act as in training."""
    state = run.meta.model_state
    if not state.looked:
        yield Skipped(
            reason="the modes of modules in evaluations were not recorded", enable="record again with this version"
        )
        return
    if not state.active and not state.evaluations:
        yield NotApplicable(reason="no loss was evaluated in evaluation mode, without gradients")
        return
    if not state.active:
        yield AsEvaluated(state.evaluations)
        return
    sampled = _only_dropouts_train(state)
    wrong = [place for place in state.active if not sampled and not _meant(place, state, limits)]
    for places in (wrong, [place for place in state.active if place not in wrong]):
        if places:
            ordered = sorted(places, key=lambda place: (place.function == _BATCH_NORM, -place.calls))
            losses = max(place.losses for place in places)
            yield Active(
                places=tuple(ordered),
                share=losses / state.evaluations if state.evaluations else 1.0,
                evaluations=state.evaluations,
                calls=sum(place.calls for place in places),
                sampled=sampled,
                meant=places is not wrong,
                span=Span(first=0, last=max(0, *(place.last for place in places))),
            )


def _meant(place: ActiveFacts, state: ModelStateFacts, limits: Limits) -> bool:
    """Whether a place looks as if it was meant."""
    seldom = state.evaluations > 0 and place.losses < limits.share * state.evaluations
    said = place.said and place.kind == "functional" and place.function != _BATCH_NORM
    return seldom or said or place.repeats >= limits.repeats


def _only_dropouts_train(state: ModelStateFacts) -> bool:
    """Whether all dropout modules are in training mode in evaluations, and no other module is."""
    look = next((one for one in state.modes if one.moment == "evaluation"), None)
    if look is None or any(place.kind != "child" or place.function == _BATCH_NORM for place in state.active):
        return False
    return look.dropouts[0] == look.dropouts[1] > 0 and not look.norms[0] and not look.others[0]


@stochastic_evaluation.tell
def _clean(found: AsEvaluated) -> Clean:
    losses = plural(found.evaluations, "evaluated loss", "evaluated losses")
    return Clean(measured=f"0 calls of dropout or BatchNorm act as in training, in {losses}")


@stochastic_evaluation.tell
def _finding(found: Active, limits: Limits) -> Finding:
    first = found.places[0]
    norm = first.function == _BATCH_NORM
    return Finding(
        is_measurement_issue=True,
        severity=Severity.NOTE if found.meant else Severity.WARNING,
        confidence=Confidence.CERTAIN,
        title="BatchNorm trains in evaluation" if norm else "Dropout active in evaluation",
        headline=_headline(first),
        explanation=_explanation(found, norm),
        span=found.span,
        evidence=[_table(found)],
        actions=_actions(first, found),
        measures=[
            Measure(
                quantity="evaluated losses with active calls",
                value=found.share,
                comparison=">=",
                threshold=0.0 if found.meant else limits.share,
                unit="fraction",
                option="" if found.meant else "share",
            )
        ],
    )


def _place(place: ActiveFacts) -> str:
    return f"{place.caller}, line {place.line}"[-60:] if place.caller else "a function that is not known"


def _headline(place: ActiveFacts) -> str:
    if place.kind == "child":
        what = "normalises by the batch" if place.function == _BATCH_NORM else _drops(place)
        return f"Module {_short(place.module)} stays in training mode and {what} in {plural(place.calls, 'call')}"
    if place.function == _BATCH_NORM:
        return f"In {_place(place)}: BatchNorm normalises by the batch in evaluation"
    if place.kind == "unregistered":
        return f"In {_place(place)}: a {place.module_class[:20]} outside of the model {_drops(place)} in evaluation"
    name = "attention" if place.function == _ATTENTION else place.function
    return f"In {_place(place)}: {name} {_drops(place)} in evaluation"


def _short(name: str) -> str:
    return f"…{name[-39:]}" if len(name) > 40 else name or "of the model"


def _drops(place: ActiveFacts) -> str:
    weights = "attention weights" if place.function == _ATTENTION else "values"
    return f"drops {percent(place.probability)} of its {weights}"


def _explanation(found: Active, norm: bool) -> str:
    first = found.places[0]
    why = {
        "child": "The model is in evaluation mode, and this module inside it is not.",
        "unregistered": "The model does not hold this module, so model.eval() does not reach it: it was made where it "
        "is called, or is kept in a plain list or dictionary.",
        "functional": "The function is told nothing of the model's mode, so model.eval() has no effect on it.",
    }[first.kind]
    if first.said and first.kind == "functional":
        why = "The call says training=True, whatever the mode of the model."
    effect = (
        "Batch normalisation then depends on how the batches are cut, and its running statistics take in the "
        "evaluation data."
        if norm
        else "Each evaluation is of another, weaker model, and so is each prediction of the saved one."
    )
    meant = " It may be meant, as Monte Carlo dropout is." if found.meant and not norm else ""
    return f"{why} {effect}{meant} {plural(found.calls, 'call')} without gradients were seen."


def _table(found: Active) -> Numbers:
    return Numbers(
        title="Calls as in training",
        caption="The model itself is in evaluation mode, and no gradients are computed.",
        columns=["function", "called in", "module", "probability", "calls"],
        cells=[
            [place.function, _place(place), place.module or place.module_class, literal(place.probability),
             count(place.calls)]
            for place in found.places[:12]
        ],
    )  # fmt: skip


def _actions(place: ActiveFacts, found: Active) -> list[Action]:
    p, where = literal(place.probability), _place(place)
    if place.kind == "child":
        others = names([one.module for one in found.places], 3)
        action = Action(
            text=f"Set all of the model to evaluation mode before each evaluation, {others} too", code="model.eval()"
        )
    elif place.function == _ATTENTION:
        action = Action(
            text=f"Drop attention weights in training only, in {where}",
            code=f"dropout_p={p} if self.training else 0.0",
        )
    elif place.kind == "unregistered":
        name = place.module_class or "Dropout"
        action = Action(
            text=f"Make this {name} once, in __init__, and call it in {where}",
            code=f"self.drop = nn.{name}({p})  # in __init__\nx = self.drop(x)",
        )
    else:
        given = "" if place.function == _BATCH_NORM else f"p={p}, "
        action = Action(
            text=f"Tell the function the mode of the model, in {where}",
            code=f"F.{place.function}(x, {given}training=self.training)",
        )
    return [action, Action(text="Evaluate one batch twice in a row: the outputs must be equal")]
