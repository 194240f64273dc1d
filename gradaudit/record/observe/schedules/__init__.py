"""Schedulers, gradient scaling, optimizers made anew, and memory."""

from gradaudit.schema import ScheduleFacts

SCHEDULES = "schedules"  # the observer


class Schedules:
    """What is known so far. Used under the recording's lock."""

    def facts(self) -> ScheduleFacts:
        """What goes into run.json."""
        return ScheduleFacts()
