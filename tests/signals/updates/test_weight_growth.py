import math

import numpy
import pytest

from gradaudit.signals.updates.weight_growth import fastest_growth
from tests.build import build_run
from tests.diagnosers.runs import falling


def run_of(path, weight, recorded=None):
    stats = {"weight_norm": weight[:, None] if weight.ndim == 1 else weight}
    return build_run(path, loss=falling(300), stats=stats, recorded=recorded)


def test_the_fastest_ten_steps_are_found(tmp_path):
    weight = numpy.ones(300)
    weight[50:60] = numpy.geomspace(1, 4, 11)[1:]
    weight[60:] = 4.0
    times, since = fastest_growth(run_of(tmp_path / "a", weight).trainings[0])
    assert (times, since) == (pytest.approx(4.0), 49)


def test_slow_growth_counts_for_ten_steps_only(tmp_path):
    times, _ = fastest_growth(run_of(tmp_path / "a", 1.01 ** numpy.arange(300)).trainings[0])
    assert times == pytest.approx(1.01**10)


def test_records_further_apart_than_ten_steps_tell_nothing(tmp_path):
    recorded = numpy.arange(0, 300, 20)
    times, since = fastest_growth(run_of(tmp_path / "a", numpy.geomspace(1, 1e6, 15), recorded).trainings[0])
    assert math.isnan(times)
    assert since == -1
