"""The targets are not ahead of the input: they are part of it, or the tokens after the next ones.

## What it looks for

The ids of the embedding calls of a training step and the integer targets of its loss, position by position, where a
slice of the predictions is counted. At least `equal` of the valid targets are the id two places on (shifted twice), or
the id at their own place in a model that is seen to be causal (not shifted): critical, and at no loss of the step are
they the next id. At least `targets` valid targets must have been compared.

And floating targets of one number, against each position of the input in the batches of a DataLoader. Where one
position equals the target in all of `targets` examples, it is critical if these are windows of one series, which hold
the same values at other positions, and it is the last of them: what is forecast is known. Else it is a note: a column
of a table may be the target, and an earlier value of a window is repeated in tests of memory.

## Why it matters

Shifted twice, the model learns to skip a token, and what it generates is no text. Not shifted, it copies its input:
the loss is near zero, and nothing is learned.

## What to try

Shift once. Models of Hugging Face shift the labels themselves: give them `labels=input_ids`. A loss that is written
out takes `logits[:, :-1]` and `ids[:, 1:]`.

## When it is wrong

Where the token after the next is what shall be predicted, or the last value of a window is to be repeated. Models that
see the whole sequence, such as autoencoders and masked language models, are not judged by targets that are their
inputs. A causal model is known by scaled_dot_product_attention with `is_causal`, a triangular mask among its buffers,
or its one recurrent module.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gradaudit.chart_data import Numbers
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.words.wording import count, percent
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.schema.loaders import AlignmentFacts, EchoFacts, LoaderFacts
from gradaudit.signals.data.sources import compared, equal_share, last_step, training_sources

_ELSEWHERE = 0.9  # of the targets equal at another shift: the sequence repeats itself, and no shift can be told
_DRIVEN = ("no_learning", "no_signal", "overfitting", "premature_plateau", "learning_rate_too_low",
           "validation_better_than_train", "output_head_growth")  # fmt: skip
_WHY = {
    "attention": "its attention is causal",
    "mask": "it holds a causal mask",
    "recurrent": "its one recurrent module reads from left to right",
}


@dataclass(frozen=True)
class Limits:
    """From where on targets are ids of the input."""

    equal: float = 0.98  # of the valid targets; a masked language model keeps 10 %, a denoising one 85 % or so
    targets: float = 100.0  # compared; fewer may be equal by chance, in short sequences of few tokens


class ShiftedTwice(Judged, frozen=True):
    """The targets are the ids after the next."""

    facts: AlignmentFacts
    equal: float
    targets: int
    last_step: int


class NotShifted(Judged, frozen=True):
    """The targets are the inputs of a causal model."""

    facts: AlignmentFacts
    equal: float
    targets: int
    causal: str
    last_step: int


class Aligned(Judged, frozen=True):
    """The targets are the next ids, or none of the shifts."""

    targets: int
    following: float  # share of the targets that are the next id
    same: float  # that are the id at their own place


class Echo(Judged, frozen=True):
    """The target of each example is one position of its input."""

    facts: EchoFacts
    last_step: int


class NoSequences(Judged, frozen=True):
    """No ids of an embedding were seen beside integer targets."""


@diagnoser(worst=Severity.CRITICAL, explains=_DRIVEN)
def label_misalignment(
    run: Run, limits: Limits
) -> Iterator[ShiftedTwice | NotShifted | Echo | Aligned | NoSequences | Skipped]:
    """Look at which shift targets and inputs are equal."""
    if not run.meta.loaders:
        yield Skipped(reason="what batches hold was not recorded",
                      enable="record again with this version, without --no-data")  # fmt: skip
        return
    echoes = [source.echo for source in training_sources(run) if source.echo.examples >= limits.targets]
    if echoes:
        yield Echo(echoes[0], last_step(run))
        return
    known = [(source, facts) for source in training_sources(run) for facts in source.alignments]
    known = [(source, facts) for source, facts in known if sum(facts.compared)]
    if not known:
        yield NoSequences()
        return
    found: ShiftedTwice | NotShifted | None = None
    # One loss of the step that is right, as beside heads for later tokens, or a decoder's: the others are meant.
    if not any(equal_share(facts, 1) >= limits.equal for _, facts in known):
        found = _first_misaligned(run, known, limits)
    _, most = max(known, key=lambda one: equal_share(one[1], 1))
    if found is not None:
        yield found
    else:
        yield Aligned(max(most.compared), equal_share(most, 1), equal_share(most, 0))


def _first_misaligned(
    run: Run, known: list[tuple[LoaderFacts, AlignmentFacts]], limits: Limits
) -> ShiftedTwice | NotShifted | None:
    for source, facts in known:
        found = _misaligned(run, source, facts, limits)
        if found is not None:
            return found
    return None


def _misaligned(
    run: Run, source: LoaderFacts, facts: AlignmentFacts, limits: Limits
) -> ShiftedTwice | NotShifted | None:
    same, following, later = (equal_share(facts, shift) for shift in (0, 1, 2))
    if later >= limits.equal and max(same, following) < _ELSEWHERE and compared(facts, 2) >= limits.targets:
        return ShiftedTwice(facts, later, compared(facts, 2), last_step(run))
    alone = facts.ids_calls == 1 and max(following, later) < _ELSEWHERE
    if same >= limits.equal and alone and source.causal in _WHY and compared(facts, 0) >= limits.targets:
        return NotShifted(facts, same, compared(facts, 0), source.causal, last_step(run))
    return None


@label_misalignment.tell
def _none(found: NoSequences) -> NotApplicable:
    return NotApplicable(reason="no sequences of token ids were seen beside targets of as many positions")


@label_misalignment.tell
def _aligned(found: Aligned) -> Clean:
    return Clean(
        measured=f"{count(found.targets)} targets: {percent(found.following)} are the next input id, "
        f"{percent(found.same)} the id at their own place"
    )


@label_misalignment.tell
def _twice(found: ShiftedTwice, limits: Limits) -> Finding:
    return Finding(
        severity=Severity.CRITICAL,
        confidence=Confidence.CERTAIN,
        title="Labels shifted twice",
        headline=f"In {percent(found.equal)} of the positions the target is the input token two on, not the next one",
        explanation="The labels are shifted before the model, and again before the loss: each position is trained on "
        "the token after the next. The loss falls to what can be said of that, far above the entropy of the "
        "text, and what the model generates skips every other token.",
        span=Span(first=0, last=found.last_step),
        evidence=[_table(found.facts)],
        actions=[
            Action(
                text="Shift the labels once: give ids and labels=ids to a model that shifts them itself",
                code="loss = model(input_ids=ids, labels=ids)",
            ),
            Action(
                text="Or keep the shift in the data, and take that before the loss out",
                code="loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten())",
            ),
        ],
        measures=_measures(found.equal, found.targets, "targets equal to the input two places on", limits),
    )


@label_misalignment.tell
def _not_shifted(found: NotShifted, limits: Limits) -> Finding:
    return Finding(
        severity=Severity.CRITICAL,
        confidence=Confidence.CERTAIN,
        title="Labels not shifted",
        headline=f"In {percent(found.equal)} of the positions the target is the input token itself, not the next one",
        explanation=f"The model predicts from left to right: {_WHY[found.causal]}. Each position is asked for the "
        "token that it is given, so that the model learns to copy. The loss nears zero and tells nothing of "
        "the text.",
        span=Span(first=0, last=found.last_step),
        evidence=[_table(found.facts)],
        actions=[
            Action(
                text="Shift the targets by 1 against the predictions",
                code="loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())",
            ),
        ],
        measures=_measures(found.equal, found.targets, "targets equal to the input at their place", limits),
    )


@label_misalignment.tell
def _echo(found: Echo, limits: Limits) -> Finding:
    facts = found.facts
    where = f"{_place(facts)} of the input"
    of_windows = facts.windows > 0
    is_last = of_windows and _is_last(facts)
    if is_last:
        why = (
            "The examples are windows of one series, and the value to be forecast is in its window: the model copies "
            "it, and its error says nothing of a forecast."
        )
    elif of_windows:
        why = (
            "The examples are windows of one series, and the target is inside its window. If a forecast is wanted, the "
            "answer is known; if an earlier value is to be repeated, as in tests of memory, nothing is wrong."
        )
    else:
        why = (
            "If that position is a column of a table, the answer is among the features, and the model needs no other. "
            "If repeating it is the task, nothing is wrong."
        )
    return Finding(
        severity=Severity.CRITICAL if is_last else Severity.NOTE,
        confidence=Confidence.CERTAIN,
        title="Target in its window" if of_windows else "Target among the inputs",
        headline=f"In all {count(facts.examples)} examples looked at the target equals {where}",
        explanation=f"{count(facts.batches)} training batches were compared position by position. {why}",
        span=Span(first=0, last=found.last_step),
        actions=[
            Action(
                text="Take the target from behind the window",
                code="x, y = series[i : i + window], series[i + window]",
            )
            if of_windows
            else Action(text=f"Leave {where} out of the features, or check that it is known when the model is used")
        ],
        measures=_measures(1.0, facts.examples, "targets equal to one position of the input", limits),
    )


def _is_last(facts: EchoFacts) -> bool:
    """Whether it is the end of the window: one index too low. A value before that may be the task."""
    return any(one == size - 1 > 0 for one, size in zip(facts.position, facts.sizes, strict=True))


def _place(facts: EchoFacts) -> str:
    counted = [f"{one + 1} of {size}" for one, size in zip(facts.position, facts.sizes, strict=True)]
    return "position " + ", ".join(counted)


def _measures(equal: float, targets: int, quantity: str, limits: Limits) -> list[Measure]:
    return [
        Measure(quantity=quantity, value=equal, comparison=">=", threshold=limits.equal, unit="fraction",
                option="equal"),
        Measure(quantity="targets compared", value=targets, comparison=">=", threshold=limits.targets, unit="count",
                option="targets"),
    ]  # fmt: skip


def _table(facts: AlignmentFacts) -> Numbers:
    names = ("one place back", "at the same place", "next", "two places on")
    return Numbers(
        title="Targets of the loss against input tokens",
        caption="Valid targets that have a partner at this place of the input, and those equal to it.",
        columns=["input token", "targets", "equal", "share"],
        cells=[
            [name, count(compared), count(equal), percent(equal / compared) if compared else "n/a"]
            for name, compared, equal in zip(names, facts.compared, facts.equal, strict=False)
        ],
    )
