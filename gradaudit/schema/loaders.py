"""What the batches of a DataLoader, or of a script's own, hold."""

from gradaudit.schema.base import Facts


class LoaderFacts(Facts, frozen=True, kw_only=True):
    """One source of batches."""
