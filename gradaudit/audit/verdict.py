"""The verdict on a run: its whole audit in one sentence."""

import re

from gradaudit.audit.result import Audit, OutcomeStatus
from gradaudit.evidence.words.wording import plural
from gradaudit.findings import Severity


def judged(audit: Audit) -> bool:
    """Whether enough was recorded for a verdict: something was found, or a third of the checks that apply could run."""
    looked = len(audit.with_status("clean")) + len(audit.with_status("found"))
    return bool(audit.ranked) or 2 * looked >= len(audit.with_status("skipped"))


def verdict(audit: Audit) -> str:
    """The whole audit in one sentence; never "healthy", only what was and was not found."""
    looked = len(audit.with_status("clean")) + len(audit.with_status("found"))
    if not audit.ranked:
        if not judged(audit):
            return f"Too little was recorded to judge: {plural(looked, 'check')} of {len(audit.outcomes)} could run."
        return f"No problem found in {plural(looked, 'check')}{_not_run(audit)}."
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
    named = within(root.title)
    if symptom.finding.severity.rank < root.finding.severity.rank:
        named = f"{within(symptom.title)}; cause: {within(root.title)}"
    return f"{opening}: {named}. {root.finding.headline}."


def within(title: str) -> str:
    """The title as it goes on within a sentence: "learning rate", but "NaN", "GradScaler" and "ReLU" as they are."""
    word = title.partition(" ")[0]
    return title[:1].lower() + title[1:] if re.fullmatch(r"[A-Z][a-z]*(-[a-z]+)*", word) else title


def _not_run(audit: Audit) -> str:
    """How many checks did not look, for each reason apart: "; 1 was skipped, 7 do not apply"."""
    words: dict[OutcomeStatus, tuple[str, str]] = {
        "skipped": ("was skipped", "were skipped"),
        "not_applicable": ("does not apply", "do not apply"),
        "failed": ("could not run", "could not run"),
    }
    some = [(len(audit.with_status(status)), said) for status, said in words.items()]
    told = ", ".join(f"{amount} {said[amount != 1]}" for amount, said in some if amount)
    return f"; {told}" if told else ""
