"""Learning rate schedulers, gradient scaling, optimizers made anew, and memory."""

from gradaudit.schema.base import Facts


class ScheduleFacts(Facts, frozen=True, kw_only=True):
    """Schedules and scaling."""
