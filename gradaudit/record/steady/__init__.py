"""Steps like the one before: only a few numbers are kept while they are made, and worked out many at once."""

from gradaudit.record.steady.begin import begin
from gradaudit.record.steady.catch_up import drain, leave
from gradaudit.record.steady.hot import Steady

__all__ = ["Steady", "begin", "drain", "leave"]
