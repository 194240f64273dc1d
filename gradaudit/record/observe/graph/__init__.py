"""What the autograd graph behind the objective shows: its terms, and the operations before each loss."""

from gradaudit.schema import GraphFacts

GRAPH = "the graph behind the objective"  # the observer


class Graph:
    """What is known so far. Used under the recording's lock."""

    def facts(self) -> GraphFacts:
        """What goes into run.json."""
        return GraphFacts()
