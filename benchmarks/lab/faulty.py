"""The faulty trainings: edits of healthy configurations, each in a dose series down to the weakest that still hurts."""

from benchmarks.lab.configuration import Fault

FAULTY: tuple[Fault, ...] = ()
