"""A checkpoint was loaded with strict=False, and its keys fit nothing in the model: their prefix is another one.

## What it looks for

Calls of `load_state_dict` that left keys of the checkpoint and tensors of the module without each other, into a module
that is trained or holds what is trained. It is a warning where more keys would fit, by name and by shape, under one
other prefix than were loaded, `least` or more of them: with "module." or "model." taken off, with "encoder." put in
front, or as they lie in an entry of the checkpoint. It is a note where not one key of the checkpoint was loaded, and no
other prefix helps. The script must not have filled more than `filled` of these tensors in another way before the next
step.

A new head, a backbone out of a larger checkpoint and an adapter whose own keys all match are quiet: there the keys that
are left fit nothing under any prefix.

## Why it matters

Nothing fails: `strict=False` returns what it did not load, and few scripts read it. The model starts from random
weights, and if the loaded part is frozen it keeps them.

## What to try

Rename the keys, and load with strict=True; where parts are missing on purpose, look at the `missing_keys` and
`unexpected_keys` that `load_state_dict` returns.

## When it is wrong

A script may offer the same checkpoint to several modules, and each takes what it knows: a module of the same shapes
under another name is then left out on purpose. Weights that are loaded without `load_state_dict` before the call are
not seen.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gradaudit.chart_data import Numbers
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.words.loading import renamed, renaming_code
from gradaudit.evidence.words.wording import count, plural
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.schema import LoadFacts


@dataclass(frozen=True)
class Limits:
    """When a load went wrong."""

    least: float = 2  # keys: one alone may have a namesake of its shape by chance
    filled: float = 0.5  # of the tensors: a script that tries several ways of loading ends with one that works


class Unloaded(Judged, frozen=True):
    """A call that loaded less than it could."""

    facts: LoadFacts
    fixable: bool  # another prefix helps
    frozen: bool  # most of what was left out is in no optimizer
    span: Span


class Loaded(Judged, frozen=True):
    """Every call loaded what it could."""

    calls: int
    partial: int  # calls in which nothing fitted, of modules that are not trained or were filled in another way


@diagnoser(
    worst=Severity.WARNING,
    needs=("steps",),
    minimum_steps=1,
    explains=("initial_loss_mismatch", "no_learning", "no_signal", "overfitting", "premature_plateau",
              "learning_rate_too_low", "noise_module", "unscaled_input"),
)  # fmt: skip
def unloaded_checkpoint(run: Run, limits: Limits) -> Iterator[Unloaded | Loaded | NotApplicable | Skipped]:
    """Look at what each load of a checkpoint left out."""
    state = run.meta.model_state
    if not state.looked or state.loaded < 0:
        yield Skipped(reason="loads of checkpoints were not recorded", enable="record again with this version")
        return
    if not state.loaded:
        yield NotApplicable(reason="no module was given a checkpoint by load_state_dict")
        return
    last = int(run.steps["global_step"].iloc[-1])
    found = [judged for one in state.loads if (judged := _judge(one, last, limits)) is not None]
    yield from found
    if not found:
        yield Loaded(state.loaded, len(state.loads))


def _judge(load: LoadFacts, last: int, limits: Limits) -> Unloaded | None:
    fixable = load.renamed >= limits.least and load.renamed > load.matched
    wanted = load.renamed or load.missing
    if not load.trained or load.written > limits.filled * wanted or not (fixable or load.matched == 0):
        return None
    return Unloaded(
        facts=load,
        fixable=fixable,
        frozen=fixable and 2 * load.frozen > load.renamed,
        span=Span(first=min(max(0, load.step), last), last=last),
    )


@unloaded_checkpoint.tell
def _loaded(found: Loaded) -> Clean:
    partial = f", {count(found.partial)} of them in part" if found.partial else ""
    return Clean(measured=f"{plural(found.calls, 'call')} of load_state_dict{partial}")


@unloaded_checkpoint.tell
def _finding(found: Unloaded, limits: Limits) -> Finding:
    facts = found.facts
    what = facts.module_class or facts.name
    few = f"Only {count(facts.matched)}" if facts.matched else "None"
    return Finding(
        severity=Severity.WARNING if found.fixable else Severity.NOTE,
        confidence=Confidence.CERTAIN,
        title="Checkpoint not loaded" if not facts.matched else "Checkpoint loaded in part",
        headline=f"{few} of the checkpoint's {plural(facts.keys, 'key')} loaded into {what[:24]}"
        + (f": {count(facts.renamed)} fit {renamed(facts, 12)}" if found.fixable else ""),
        explanation=f"load_state_dict with strict=False left {plural(facts.missing, 'tensor')} of {what} as "
        f"{'it was' if facts.missing == 1 else 'they were'}."
        + (f" The names and shapes of {count(facts.renamed)} keys fit {renamed(facts, 60)}." if found.fixable else "")
        + (" These tensors are in no optimizer, and keep the values that they had before." if found.frozen else ""),
        span=found.span,
        evidence=[_table(facts)],
        actions=[
            *([Action(text="Rename the keys, and load them all", code=renaming_code(facts))] if found.fixable else []),
            Action(
                text="Look at what is not loaded",
                code="print(model.load_state_dict(checkpoint, strict=False))",
            ),
        ],
        measures=[
            *(
                [Measure(quantity="keys that fit under another prefix", value=facts.renamed, comparison=">",
                         threshold=max(limits.least - 1, facts.matched), unit="count", option="least")]
                if found.fixable
                else [Measure(quantity="keys loaded", value=facts.matched, comparison="<=", threshold=0, unit="count")]
            ),
            Measure(quantity="share of these tensors filled in another way",
                    value=facts.written / max(1, facts.renamed or facts.missing), comparison="<=",
                    threshold=limits.filled, unit="fraction", option="filled"),
        ],
    )  # fmt: skip


def _table(facts: LoadFacts) -> Numbers:
    """What became of the keys."""
    return Numbers(
        title="What was loaded",
        caption="Keys of the checkpoint, and tensors of the module that got none.",
        columns=["", "number"],
        cells=[
            ["keys of the checkpoint", count(facts.keys)],
            ["of them, loaded", count(facts.matched)],
            ["tensors of the module without a key", count(facts.missing)],
            ["keys that fit under another prefix", count(facts.renamed)],
        ],
    )
