"""What batches hold: moments, classes, shifts between inputs and targets, equal examples."""

from gradaudit.schema import LoaderFacts

BATCHES = "batches"  # the observer


class Batches:
    """What is known so far. Used under the recording's lock."""

    def facts(self) -> list[LoaderFacts]:
        """What goes into run.json."""
        return []
