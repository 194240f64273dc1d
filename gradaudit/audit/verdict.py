"""The verdict on a run: its whole audit in one sentence."""

import re

from gradaudit.audit.causes import RankedFinding
from gradaudit.audit.result import Audit
from gradaudit.evidence.words.wording import plural
from gradaudit.findings import Severity


def judged(audit: Audit) -> bool:
    """Whether enough was recorded for a verdict: something was found, or most checks that apply could run."""
    looked = len(audit.with_status("clean")) + len(audit.with_status("found"))
    return bool(audit.ranked) or looked >= len(audit.with_status("skipped"))


def verdict(audit: Audit) -> str:
    """The whole audit in one sentence; never "healthy", only what was and was not found."""
    looked = len(audit.with_status("clean")) + len(audit.with_status("found"))
    blind = len(audit.outcomes) - looked
    if not audit.ranked:
        skipped = f"; {blind} {'was' if blind == 1 else 'were'} skipped or not applicable" if blind else ""
        if not judged(audit):
            return f"Too little was recorded to judge: {plural(looked, 'check')} of {len(audit.outcomes)} could run."
        return f"No problem found in {plural(looked, 'check')}{skipped}."
    worst = min((item.finding.severity for item in audit.all_ranked()), key=lambda s: s.rank)
    opening = {
        Severity.CRITICAL: "This run is broken",
        Severity.WARNING: "This run trains worse than it needs to",
        Severity.NOTE: "Nothing alarming; worth knowing",
    }[worst]
    if worst is not Severity.NOTE and all(
        item.finding.is_measurement_issue for item in audit.all_ranked() if item.finding.severity is worst
    ):
        opening = "This run is measured wrongly"
    root = audit.ranked[0]
    # The symptom first, where it is worse than what brought it about: the last of what followed.
    symptom = min(reversed(list(root.below())), key=lambda item: item.finding.severity.rank, default=root)
    named = within(root)
    if symptom.finding.severity.rank < root.finding.severity.rank:
        named = f"{within(symptom)}; cause: {within(root)}"
    return f"{opening}: {named}. {root.finding.headline}."


def within(item: RankedFinding) -> str:
    """The title as it goes on within a sentence: "learning rate", but "NaN", "GradScaler" and "ReLU" as they are."""
    word = item.title.partition(" ")[0]
    return item.title[:1].lower() + item.title[1:] if re.fullmatch(r"[A-Z][a-z]*(-[a-z]+)*", word) else item.title
