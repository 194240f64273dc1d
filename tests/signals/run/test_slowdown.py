import math

import numpy
import pytest

from gradaudit.signals.run.slowdown import slowdown
from tests.build import build_run
from tests.diagnosers.runs import falling


def run_with(path, seconds):
    return build_run(path, loss=falling(len(seconds)), steps={"seconds": seconds})


def test_steps_that_take_as_long_as_ever(tmp_path):
    assert slowdown(run_with(tmp_path / "a", [9.0] + [0.01] * 99)) == 1


def test_steps_that_take_longer_and_longer(tmp_path):
    seconds = 0.01 * (1 + numpy.arange(101))
    first, last = numpy.median(seconds[1:26]), numpy.median(seconds[-25:])
    assert slowdown(run_with(tmp_path / "a", seconds)) == pytest.approx(last / first)


def test_few_steps_and_such_of_no_known_time(tmp_path):
    assert math.isnan(slowdown(run_with(tmp_path / "a", [0.01] * 12)))
    assert math.isnan(slowdown(run_with(tmp_path / "b", [math.nan] * 100)))
    assert math.isnan(slowdown(run_with(tmp_path / "c", [0.0] * 100)))
