"""Modes, buffers and copies of modules."""

from gradaudit.schema.base import Facts


class ModelStateFacts(Facts, frozen=True, kw_only=True):
    """Modes, buffers and copies."""
