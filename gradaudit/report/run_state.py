"""How a run ended, in words, where it did not end by itself."""

from gradaudit.audit.result import Audit

# In a word or two, and as a sentence with the last step.
_WORDS = {
    "killed": ("killed", "The run was killed: the record ends at step {}"),
    "failed": ("failed", "The script ended with an error at step {}"),
    "interrupted": ("cut short", "The run was cut short at step {}"),
    "running": ("still training", "The run is still training: the record reached step {}"),
}


def label(audit: Audit) -> str:
    """A word or two; empty for a run that ended by itself."""
    return _WORDS.get(audit.state, ("", ""))[0]


def sentence(audit: Audit) -> str:
    """A sentence; empty for a run that ended by itself."""
    said = _said(audit)
    return f"{said}." if said else ""


def banner(audit: Audit) -> str:
    """What a reader must know before the verdict; empty for a run that ended by itself."""
    said = _said(audit)
    if audit.state == "running":
        return f"{said} when it was read."
    return f"{said}. What is below holds up to there." if said else ""


def _said(audit: Audit) -> str:
    """The sentence without a full stop."""
    return _WORDS.get(audit.state, ("", ""))[1].format(f"{max(0, audit.overview.steps - 1):,}")
