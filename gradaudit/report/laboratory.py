"""A base rate in words: how often the laboratory saw such a finding where nothing was wrong, and where this was."""

from gradaudit.audit.base_rates import BaseRate
from gradaudit.evidence.words.wording import plural
from gradaudit.findings import Severity
from gradaudit.report.text import sentence

SEEN = {
    Severity.CRITICAL: "seen as critical",
    Severity.WARNING: "seen as a warning or worse",
    Severity.NOTE: "seen",
}


def told(rate: BaseRate | None) -> str:
    """The line under a finding, without a full stop; nothing where the audit says nothing of it."""
    if rate is None:
        return ""
    return f"Laboratory: {sentence(rate.lacks) or _counted(rate)}"


def _counted(rate: BaseRate) -> str:
    healthy = f"in {rate.healthy:,} of {plural(rate.healthy_runs, 'healthy run')}"
    faulty = f"in {rate.faulty:,} of {plural(rate.faulty_runs, 'run')} with this fault"
    if not rate.faulty_runs:
        return f"{SEEN[rate.severity]} {healthy}; no run was made with this fault"
    if not rate.healthy_runs:
        return f"{SEEN[rate.severity]} {faulty}; no healthy run had what this check looks at"
    return f"{SEEN[rate.severity]} {healthy} and {faulty}"
