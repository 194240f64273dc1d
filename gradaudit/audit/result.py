"""The one result of an analysis. Every report is a function of an `Audit`."""

from collections.abc import Iterable
from typing import Literal, cast

from gradaudit.audit.causes import RankedFinding
from gradaudit.audit.overview import Overview
from gradaudit.chart_data import Value
from gradaudit.findings import AnyResult, Finding, Found, Severity
from gradaudit.schema import Meta

AUDIT_VERSION = 1

OutcomeStatus = Literal["found", "clean", "not_applicable", "skipped", "failed"]


class Outcome(Value, frozen=True, kw_only=True):
    """What one diagnoser came to: exactly one of five results.

    >>> audit = gradaudit.analyze("runs/x")
    >>> {outcome.diagnoser: outcome.status for outcome in audit.outcomes}["overfitting"]
    'found'
    """

    diagnoser: str
    documentation: dict[str, str]  # "headline" and the four sections
    thresholds: dict[str, float]
    result: AnyResult

    @property
    def status(self) -> OutcomeStatus:
        """Which of the five results it is."""
        return cast("OutcomeStatus", self.result.__struct_config__.tag)

    @property
    def findings(self) -> list[Finding]:
        """What was found; empty where nothing was, or where nothing could be."""
        return self.result.findings if isinstance(self.result, Found) else []


class Audit(Value, frozen=True, kw_only=True):
    """A whole audit; JSON holds it all, and every report is a function of it.

    >>> audit = gradaudit.analyze("runs/x")
    >>> import msgspec
    >>> msgspec.json.decode(msgspec.json.encode(audit), type=Audit) == audit
    True
    """

    audit_version: int
    gradaudit_version: str
    meta: Meta
    state: str
    problems: list[str]
    overview: Overview
    outcomes: list[Outcome]
    ranked: list[RankedFinding]

    def all_ranked(self) -> list[RankedFinding]:
        """Every finding, each root followed by its consequences.

        >>> [item.diagnoser for item in gradaudit.analyze("runs/x").all_ranked()]
        ['initial_loss_mismatch', 'overfitting']
        """
        return [item for item, _ in self.with_causes()]

    def with_causes(self) -> list[tuple[RankedFinding, RankedFinding | None]]:
        """The same, each with the finding that explains it; None of a root.

        >>> [cause for item, cause in gradaudit.analyze("runs/x").with_causes()]
        [None, None]
        """
        flat: list[tuple[RankedFinding, RankedFinding | None]] = []

        def visit(items: Iterable[RankedFinding], cause: RankedFinding | None) -> None:
            for item in items:
                flat.append((item, cause))
                visit(item.consequences, item)

        visit(self.ranked, None)
        return flat

    def count(self, severity: Severity) -> int:
        """How many findings have this severity.

        >>> gradaudit.analyze("runs/x").count(Severity.WARNING)
        2
        """
        return sum(item.finding.severity is severity for item in self.all_ranked())

    def with_status(self, status: OutcomeStatus) -> list[Outcome]:
        """The outcomes with this status, by name.

        >>> gradaudit.analyze("runs/x").with_status("failed")
        []
        """
        return [outcome for outcome in self.outcomes if outcome.status == status]
