"""What a test says of a diagnoser: one verb for each status of an outcome, and what its check found, in numbers."""

import dataclasses
from typing import Any, TypeVar

from gradaudit.audit.result import Outcome
from gradaudit.audit.runner import examine
from gradaudit.diagnoser import Diagnoser
from gradaudit.findings import Finding, Severity, Skipped
from gradaudit.reading.run import Run

Kind = TypeVar("Kind")


def changed(run: Run, diagnoser: Diagnoser, thresholds: dict[str, float]) -> Run:
    """The same run under other thresholds of the diagnoser."""
    named = {f"{diagnoser.name}.{name}": value for name, value in thresholds.items()}
    return dataclasses.replace(run, thresholds={**run.thresholds, **named}) if named else run


def judged(diagnoser: Diagnoser, run: Run, kind: type[Kind], **thresholds: float) -> Kind:
    """The one thing of this kind that its check finds, before it is put into words."""
    run = changed(run, diagnoser, thresholds)
    subjects = [run] if diagnoser.per == "run" else run.trainings
    found = [one for subject in subjects for one in diagnoser.judge(subject)]
    of_kind = [one for one in found if isinstance(one, kind)]
    assert len(of_kind) == 1, f"{diagnoser.name} finds {[type(one).__name__ for one in found]}, not one {kind.__name__}"
    return of_kind[0]


def _outcome(diagnoser: Diagnoser, run: Run, status: str, thresholds: dict[str, Any]) -> Outcome:
    outcome = examine(diagnoser, changed(run, diagnoser, thresholds))
    headlines = [finding.headline for finding in outcome.findings]
    detail = outcome.result.text or headlines
    assert outcome.status == status, f"{diagnoser.name} is {outcome.status}, not {status}: {detail}"
    return outcome


def assert_clean(diagnoser: Diagnoser, run: Run, **thresholds: float) -> str:
    """It looked and found nothing; returns what it measured."""
    measured = _outcome(diagnoser, run, "clean", thresholds).result.text
    assert any(character.isdigit() for character in measured), f"{diagnoser.name} is clean without a number: {measured}"
    return measured


def assert_finds(
    diagnoser: Diagnoser, run: Run, severity: Severity | None = None, *, count: int = 1, **thresholds: float
) -> Finding:
    """It found `count` things, the first of this severity; returns the first."""
    findings = _outcome(diagnoser, run, "found", thresholds).findings
    assert len(findings) == count, [finding.headline for finding in findings]
    if severity is not None:
        assert findings[0].severity is severity, f"{findings[0].severity}: {findings[0].headline}"
    return findings[0]


def assert_not_applicable(diagnoser: Diagnoser, run: Run, **thresholds: float) -> str:
    """The run has no such thing; returns the reason."""
    return _outcome(diagnoser, run, "not_applicable", thresholds).result.text


def assert_skipped(diagnoser: Diagnoser, run: Run, **thresholds: float) -> str:
    """Not recorded or too short; returns the reason. It says how to enable it."""
    result = _outcome(diagnoser, run, "skipped", thresholds).result
    assert isinstance(result, Skipped)
    assert result.enable
    return result.reason


def without_finding(diagnoser: Diagnoser, run: Run, **thresholds: float) -> None:
    """Whatever the reason, it reports nothing and did not fail."""
    outcome = examine(diagnoser, changed(run, diagnoser, thresholds))
    assert outcome.status not in ("found", "failed"), outcome.result.text or [f.headline for f in outcome.findings]
