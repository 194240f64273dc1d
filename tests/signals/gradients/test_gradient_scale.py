"""The size of each tensor's gradient over a run, against numpy on the same numbers."""

import math
from itertools import pairwise

import numpy
import pytest

from gradaudit.signals.gradients.gradient_scale import Track, edges, median
from tests.build import build_run
from tests.diagnosers.runs import falling, parameters
from tests.signals.two_optimizers import two_optimizers

STEPS = 40
NORMS = 10 ** numpy.random.default_rng(0).normal(-3, 1, (STEPS, 3))
NAN = math.nan


def track(path, norms=NORMS, recorded=None, **stats):
    kept = slice(None) if recorded is None else list(recorded)
    stats = {"gradient_norm": norms[kept], **stats}
    run = build_run(path, loss=falling(STEPS), tensors=parameters(3), stats=stats, recorded=recorded)
    return Track(run.trainings[0])


@pytest.mark.parametrize("borders", [[0, 10, 20, 30, 40], [0, 1, 39, 40], [0, 40]])
def test_each_column_is_a_median_per_element(tmp_path, borders):
    log, zero, bad = track(tmp_path / "a").reduced(numpy.asarray(borders, dtype=float))
    expected = [numpy.median(numpy.log10(NORMS[a:b] / 32), axis=0) for a, b in pairwise(borders)]
    numpy.testing.assert_allclose(log, expected, rtol=1e-6)
    assert not zero.any()
    assert not bad.any()


def test_a_column_without_a_recorded_step_repeats_the_one_before(tmp_path):
    found = track(tmp_path / "a", recorded=[0, 1, 30])
    log, _, _ = found.reduced(numpy.asarray([0.0, 10, 20, 30, 40]))
    numpy.testing.assert_allclose(log[1], log[0])
    numpy.testing.assert_allclose(log[2], log[0])
    numpy.testing.assert_allclose(log[3], numpy.log10(NORMS[30] / 32), rtol=1e-6)
    assert numpy.isnan(found.reduced(numpy.asarray([-9.0, -5, 40]))[0][0]).all()


def test_none_is_zero_and_what_is_not_finite_is_neither(tmp_path):
    there, broken = numpy.ones((STEPS, 3), dtype=bool), numpy.zeros((STEPS, 3))
    there[:, 0], broken[5, 1] = False, 2
    found = track(tmp_path / "a", has_grad=there, gradient_nan=broken)
    log, zero, bad = found.reduced(numpy.asarray([0.0, 5, 6, 40]))
    assert zero.tolist() == [[True, False, False]] * 3
    assert bad.tolist() == [[False, False, False], [False, True, False], [False, False, False]]
    assert numpy.isnan(log).tolist() == [[True, False, False], [True, True, False], [True, False, False]]


def test_a_shorter_half_is_late(tmp_path):
    assert track(tmp_path / "a", recorded=[0, 19, 20, 39]).late.tolist() == [False, False, True, True]


def test_each_optimizer_has_its_own_tensors_on_the_common_clock(tmp_path):
    norms = numpy.asarray([[1.0, 2.0, 3.0, 4.0]])
    run = two_optimizers(tmp_path / "a", falling(9), falling(9), stats={"gradient_norm": norms})
    tracks = [Track(training) for training in run.trainings]
    assert [one.steps.tolist() for one in tracks] == [list(range(0, 18, 2)), list(range(1, 18, 2))]
    numpy.testing.assert_allclose(tracks[1].rms[0], [3 / 32, 4 / math.sqrt(32)])
    numpy.testing.assert_allclose(edges(tracks, 6, 18), numpy.linspace(0, 18, 7))
    numpy.testing.assert_allclose(edges(tracks, 100, 5), numpy.linspace(0, 18, 19))


def test_the_median_leaves_out_what_is_not_known():
    values = numpy.asarray([[1.0, NAN], [5.0, NAN], [NAN, NAN], [2.0, NAN]])
    assert median(values).tolist() == pytest.approx([2.0, NAN], nan_ok=True)
