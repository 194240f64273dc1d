"""The findings as GitHub workflow commands, which show them as annotations of a job."""

from collections.abc import Iterator, Sequence

from gradaudit.audit.causes import RankedFinding
from gradaudit.audit.result import Audit
from gradaudit.audit.verdict import judged
from gradaudit.evidence.words.wording import plural
from gradaudit.findings import Severity
from gradaudit.report.html.view import verdict_text
from gradaudit.report.text import name, sentence

MOST = 10  # GitHub shows ten annotations of a level for each step of a job, and drops the others without a word
LEVELS = {Severity.CRITICAL: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def render(*audits: Audit) -> str:
    """One command a finding, at most `MOST` for all runs together, worst first; the last line counts the others."""
    flat = [(name(audit.meta.name), item, cause) for audit in audits for item, cause in audit.with_causes()]
    flat.sort(key=lambda one: one[1].finding.severity.rank)
    lines = [_command(item, cause, run) for run, item, cause in flat[:MOST]]
    return "\n".join([*lines, *_rest(audits, [item for _, item, _ in flat])]) + "\n"


def data(text: str) -> str:
    """`text` as the message of a command, on one line."""
    return sentence(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def property_value(text: str) -> str:
    """`text` as the value of a command's property."""
    return data(text).replace(":", "%3A").replace(",", "%2C")


def _command(item: RankedFinding, cause: RankedFinding | None, run: str) -> str:
    finding = item.finding
    title = property_value(f"{run}: {item.title}" if run else item.title)
    action = f" Next: {finding.actions[0].text}" if finding.actions else ""
    if cause:
        action = f" Explained by: {cause.title}. Fix that first."
    message = data(f"{finding.headline}. {finding.explanation}{action} ({item.anchor})")
    return f"::{LEVELS[finding.severity]} title={title}::{message}"


def _rest(audits: Sequence[Audit], flat: list[RankedFinding]) -> Iterator[str]:
    if len(flat) > MOST:
        severities = ", ".join(
            plural(number, severity.value, "critical" if severity is Severity.CRITICAL else "")
            for severity in Severity
            if (number := sum(item.finding.severity is severity for item in flat[MOST:]))
        )
        has = "report has" if len(audits) == 1 else "reports have"
        yield f"{plural(len(flat) - MOST, 'more finding')} not shown here ({severities}); the {has} them all."
    if not flat:
        blind = sum(not judged(audit) for audit in audits)
        nothing = f"No problem found in {plural(len(audits) - blind, 'run')}"
        nothing += f"; {plural(blind, 'run')} recorded too little to judge" if blind else ""
        nothing = verdict_text(audits[0]) if len(audits) == 1 else nothing
        yield f"::notice title={property_value('gradaudit')}::{data(nothing)}"
