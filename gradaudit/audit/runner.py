"""Every diagnoser run over a run, each on its own, and what they found put in order: causes before effects."""

import dataclasses
import traceback
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

import numpy

import gradaudit
from gradaudit.audit.causes import RankedFinding, in_order
from gradaudit.audit.overview import overview
from gradaudit.audit.privacy import without_host
from gradaudit.audit.result import AUDIT_VERSION, Audit, Outcome
from gradaudit.diagnoser import Diagnoser
from gradaudit.diagnosers import all_diagnosers
from gradaudit.evidence.each_training import each_training
from gradaudit.evidence.words.unmet_need import unmet
from gradaudit.evidence.words.wording import plural
from gradaudit.findings import AnyResult, Clean, Failed, Finding, Found, NotApplicable, Skipped, Verdict
from gradaudit.reading.run import Run, load
from gradaudit.schema import UserError


class UnknownNameError(UserError):
    """A diagnoser or threshold that does not exist, or a choice that leaves none."""


def analyze(  # noqa: PLR0913 -- options, each by its name
    run: Run | str | Path,
    *,
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
    thresholds: Mapping[str, float] | None = None,
    show_host: bool = False,
    expected_frozen: Iterable[str] = (),
    progress: Callable[[str], None] = lambda name: None,
) -> Audit:
    """Run every diagnoser (or those in `select`, less `ignore`) over `run`, or the run in that folder.

    None can stop another. What was found is in `ranked`, causes before effects:

        >>> audit = gradaudit.analyze("runs/x")
        >>> [ranked.title for ranked in audit.ranked]
        ['Output layer initialised too large', 'Overfitting since step 39']

    `thresholds` maps "diagnoser.threshold" to a value; `expected_frozen` holds patterns of the names of
    tensors that are not trained on purpose, in place of the run's own. `progress` is called with each name before
    it runs. Raises UnknownNameError for a name that does not exist, and RunError for a folder that is no run.
    """
    chosen = choose(select, ignore, thresholds or {})
    read = run if isinstance(run, Run) else load(run)
    own = dataclasses.replace(
        read, expected_frozen=tuple(expected_frozen) or read.expected_frozen, thresholds=dict(thresholds or {})
    )
    # A run may hold any number, NaN and 1e308 among them: what comes of it in arithmetic is no news for the user.
    with numpy.errstate(all="ignore"), warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        try:
            audit = _audit(chosen, own, progress)
        finally:
            own.forget()
    return audit if show_host else without_host(audit)


def _audit(
    chosen: list[Diagnoser],
    run: Run,
    progress: Callable[[str], None],
) -> Audit:
    outcomes = []
    for item in chosen:
        progress(item.name)
        outcomes.append(examine(item, run))
    explains = {item.name: item.explains for item in chosen}
    changed = {one.diagnoser for one, item in zip(outcomes, chosen, strict=True) if one.thresholds != item.thresholds}
    ranked = rank(outcomes, explains, changed=changed)
    flagged = {name for outcome in outcomes for finding in outcome.findings for name in finding.tensors}
    return Audit(
        audit_version=AUDIT_VERSION,
        gradaudit_version=gradaudit.__version__,
        meta=run.meta,
        state=run.state,
        problems=[problem.message for problem in run.problems],
        overview=overview(run, flagged),
        outcomes=outcomes,
        ranked=ranked,
    )


def unknown(name: str, known: list[str]) -> str:
    """The sentence for a diagnoser that does not exist, with the nearest name that does."""
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "gradaudit explain lists them"
    return f"no diagnoser is called {name!r}; {hint}"


def choose(select: Iterable[str], ignore: Iterable[str], thresholds: Iterable[str]) -> list[Diagnoser]:
    """The diagnosers to run. Raises as `analyze` does, for names of `thresholds`, too."""
    catalogue = {item.name: item for item in all_diagnosers()}
    select, ignore = list(select), list(ignore)
    for name in [*select, *ignore]:
        if name not in catalogue:
            raise UnknownNameError(unknown(name, list(catalogue)))
    for key in thresholds:
        name, _, option = key.partition(".")
        if name not in catalogue:
            raise UnknownNameError(unknown(name, list(catalogue)))
        if option not in catalogue[name].thresholds:
            known = ", ".join(catalogue[name].thresholds)
            raise UnknownNameError(f"{name} has no threshold {option!r}; it has {known}")
    names = [name for name in catalogue if (not select or name in select) and name not in ignore]
    if not names:
        raise UnknownNameError("no diagnoser is left to run: every selected one is ignored, too")
    return [catalogue[name] for name in names]


def examine(item: Diagnoser, run: Run) -> Outcome:
    """Run one diagnoser: its needs and minimum evidence first, then its check; an exception becomes an outcome."""
    documentation = {"headline": item.documentation.headline, **item.documentation.sections}
    thresholds = item.thresholds_of(run)

    def outcome(result: AnyResult) -> Outcome:
        return Outcome(diagnoser=item.name, documentation=documentation, thresholds=thresholds, result=result)

    try:
        for need in item.needs:
            if not run.has(need):
                reason, enable = unmet(run, need)
                return outcome(Skipped(reason=reason, enable=enable))
        # Each optimizer has rows of its own, and several together make no longer run.
        steps = max((len(training.steps) for training in run.trainings), default=0)
        if steps < item.minimum_steps:
            recorded = f"{plural(steps, 'step')} {'was' if steps == 1 else 'were'} recorded"
            reason = f"only {recorded}, and this check needs {item.minimum_steps}"
            return outcome(Skipped(reason=reason, enable=f"train for at least {item.minimum_steps} steps"))
        verdicts = _verdicts(item, run)
    except Exception:
        return outcome(Failed(traceback=traceback.format_exc()))
    findings = [verdict for verdict in verdicts if isinstance(verdict, Finding)]
    if findings:
        return outcome(Found(findings=sorted(findings, key=lambda f: (f.severity.rank, f.span.first))))
    for kind in (Skipped, NotApplicable):
        for verdict in verdicts:
            if isinstance(verdict, kind):
                return outcome(verdict)
    measured = "; ".join(verdict.measured for verdict in verdicts if isinstance(verdict, Clean))
    return outcome(Clean(measured=measured))


def _verdicts(item: Diagnoser, run: Run) -> list[Verdict]:
    return list(item.verdicts(run)) if item.per == "run" else each_training(run, item.verdicts)


def rank(
    outcomes: Iterable[Outcome],
    explains: Mapping[str, tuple[str, ...]],
    window: int = 10,
    changed: Collection[str] = (),
) -> list[RankedFinding]:
    """What was found, causes before effects: `causes.in_order`, and what it raises."""
    found = [(outcome.diagnoser, finding) for outcome in outcomes for finding in outcome.findings]
    return in_order(found, explains, window, changed)
