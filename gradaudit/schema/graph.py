"""What the autograd graph behind the objective showed."""

from gradaudit.schema.base import Facts


class GraphFacts(Facts, frozen=True, kw_only=True):
    """The graph behind the objective."""
