"""What targets and outputs were, column by column."""

from gradaudit.schema.base import Facts


class OutputFacts(Facts, frozen=True, kw_only=True):
    """Targets and outputs of the training loss."""
