"""Targets and outputs of the training loss, column by column."""

from gradaudit.schema import OutputFacts

OUTPUTS = "targets and outputs"  # the observer


class Outputs:
    """What is known so far. Used under the recording's lock."""

    def facts(self) -> OutputFacts:
        """What goes into run.json."""
        return OutputFacts()
