"""The audit as Markdown that fits a comment on a pull request; no text of a run can become markup or notify anyone."""

import re
from collections.abc import Iterator

from gradaudit.audit.causes import RankedFinding
from gradaudit.audit.result import Audit
from gradaudit.evidence.words.wording import plural
from gradaudit.findings import Severity
from gradaudit.report import laboratory, run_state
from gradaudit.report.html.view import MOST_LOSSES, counts, loss_ends, verdict_text
from gradaudit.report.text import large, name, quantity, sentence, visible_lines

LONGEST = 60_000  # characters; GitHub refuses a comment of more than 65,536
MOST_FINDINGS = 20
LONGEST_CODE = 1500
ICONS = {Severity.CRITICAL: "❌", Severity.WARNING: "⚠️", Severity.NOTE: "ℹ️"}

_MARKUP = re.compile(r"[\\`*_{}\[\]()<>|#~$!]")
# What hosts turn into links and notifications although it is plain text: a joint that is not seen breaks it.
_JOINTS = re.compile(r"(?<=@)(?=\w)|(?<=:)(?=//)|(?<=www)(?=\.)|(?<=#)(?=\d)", re.IGNORECASE)


def render(audit: Audit) -> str:
    """The verdict, the counts and the findings worst first, in at most `LONGEST` characters."""
    parts = [*_head(audit)]
    flat = audit.with_causes()
    size = sum(len(part) + 2 for part in parts)
    shown = 0
    for item, cause in flat[:MOST_FINDINGS]:
        part = "\n\n".join(_finding(item, cause))
        if size + len(part) > LONGEST:
            break
        parts.append(part)
        size += len(part) + 2
        shown += 1
    if shown < len(flat):
        parts.append(f"{plural(len(flat) - shown, 'more finding')} in the report.")
    parts += _unseen(audit)
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """`text` on one line, as Markdown that shows exactly it."""
    text = _JOINTS.sub("\u200b", sentence(text).strip())
    text = _MARKUP.sub(r"\\\g<0>", text.replace("&", "&amp;")).replace("\u200b", "&#8203;")
    # At the start of a line these make lists, rules and headings.
    return re.sub(r"^(\d+)([.)])", r"\1\\\2", re.sub(r"^([-+=])", r"\\\1", text))


def fenced(code: str) -> str:
    """A block of code whose fence is longer than any in it."""
    code = visible_lines(code)[:LONGEST_CODE]
    fence = "`" * max(3, *(len(ticks) + 1 for ticks in re.findall("`+", code)), 3)
    return f"{fence}python\n{code}\n{fence}"


def _head(audit: Audit) -> Iterator[str]:
    overview = audit.overview
    yield f"## gradaudit: {escaped(name(audit.meta.name)) or 'unnamed run'}"
    yield f"**{escaped(verdict_text(audit))}**"
    yield " · ".join(f"{count.number:,} {count.label}" for count in counts(audit))
    facts = [f"{plural(overview.steps, 'step')}, {large(overview.parameters)} parameters"]
    for owner, first, last in loss_ends(overview)[:MOST_LOSSES]:
        facts.append(f"training loss{' of ' if owner else ''}{escaped(owner)} {first} → {escaped(last)}")
    best = overview.best_evaluation
    if best is not None and best.x is not None:
        facts.append(f"best validation loss {quantity(best.y)} at step {best.x:,.0f}")
    yield "; ".join(facts) + "."
    if ended := run_state.sentence(audit):
        yield f"**{ended}**"


def _finding(item: RankedFinding, cause: RankedFinding | None) -> Iterator[str]:
    finding = item.finding
    yield f"### {ICONS[finding.severity]} {finding.severity.value.capitalize()}: {escaped(item.title)}"
    where = f"({escaped(item.anchor)}, {finding.confidence.value} confidence)"
    yield f"**{escaped(finding.headline)}.** {escaped(finding.explanation)} {where}"
    if rate := laboratory.told(item.base_rate):
        yield f"{escaped(rate)}."
    if cause:
        yield f"Explained by: {escaped(cause.title)}. Fix that first."
        return
    for index, action in enumerate(finding.actions[:5], 1):
        yield f"{index}. {escaped(action.text)}"
        if action.code:
            yield re.sub("^", "   ", fenced(action.code), flags=re.MULTILINE)


def _unseen(audit: Audit) -> Iterator[str]:
    """What could not be looked at, since it is no pass."""
    failed = audit.with_status("failed")
    if failed:
        yield f"Could not run: {', '.join(escaped(outcome.diagnoser) for outcome in failed)}."
    blind = audit.with_status("skipped")
    if blind:
        reasons = (f"{escaped(name(outcome.diagnoser))}: {escaped(outcome.result.text[:200])}" for outcome in blind)
        yield "\n".join(["Skipped:", "", *(f"- {reason}" for reason in reasons)])
    if audit.problems:
        yield f"{plural(len(audit.problems), 'part')} of the run could not be read."
