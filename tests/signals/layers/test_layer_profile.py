"""How layers compare, against medians and gaps by numpy and by trying every cut."""

import math

import msgspec
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradaudit.signals.layers.layer_profile import APART, lasting_gap, logarithms_of, outliers, profile
from tests.build import build_run
from tests.diagnosers.runs import falling, parameters

STEPS, NAN = 100, math.nan
RANDOM = numpy.random.default_rng(0)
SIZES = 10 ** RANDOM.normal(-3, 0.5, (STEPS, 4))
decades = st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=2, max_size=8)


def of(path, stat, values=SIZES, **changes):
    settings = {"stats": {stat: values, "weight_norm": 2.0}, "tensors": parameters(4), **changes}
    return build_run(path, loss=falling(STEPS), **settings).trainings[0]


@pytest.mark.parametrize(
    ("quantity", "stat", "rate"), [("update", "update_norm", 1e-3), ("gradient", "gradient_norm", 1)]
)
def test_it_is_the_median_of_steps_10_to_60_and_of_the_last_half(tmp_path, quantity, stat, rate):
    found = profile(of(tmp_path / "a", stat), quantity)
    numpy.testing.assert_allclose(found.early, numpy.log10(numpy.median(SIZES[10:61], axis=0) / 2 / rate), rtol=1e-5)
    numpy.testing.assert_allclose(found.late, numpy.log10(numpy.median(SIZES[50:], axis=0) / 2 / rate), rtol=1e-5)
    assert found.spread == pytest.approx(min(numpy.ptp(found.early), numpy.ptp(found.late)))
    some = numpy.asarray([True, False, False, True])
    assert found.of(some).early.tolist() == found.early[[0, 3]].tolist()


def test_a_group_with_another_learning_rate_is_no_other_pace(tmp_path):
    tensors = [msgspec.structs.replace(tensor, group=tensor.id % 2) for tensor in parameters(4)]
    rates = {"learning_rate": [[1e-3, 1e-2]] * STEPS}
    found = profile(of(tmp_path / "a", "update_norm", [1e-3, 1e-2, 1e-3, 1e-2], tensors=tensors, steps=rates), "update")
    numpy.testing.assert_allclose(found.early, numpy.log10(0.5), rtol=1e-5)
    assert found.spread == pytest.approx(0, abs=1e-6)


def test_without_a_learning_rate_the_ratio_itself_is_compared(tmp_path):
    found = profile(of(tmp_path / "a", "update_norm", steps={"learning_rate": [[NAN]] * STEPS}), "update")
    numpy.testing.assert_allclose(found.late, numpy.log10(numpy.median(SIZES[50:], axis=0) / 2), rtol=1e-5)


def test_zero_and_unknown_have_no_logarithm():
    values = numpy.asarray([[0.0, NAN, 1.0], [0.0, NAN, 100.0], [0.0, NAN, 10.0]])
    assert logarithms_of(values, numpy.ones(3, dtype=bool)).tolist() == pytest.approx([NAN, NAN, 1.0], nan_ok=True)
    assert numpy.isnan(logarithms_of(values, numpy.zeros(3, dtype=bool))).all()


@given(decades)
def test_the_gap_that_lasts_is_found_by_trying_every_cut(pairs):
    early, late = (numpy.asarray(side) / 10 for side in zip(*pairs, strict=True))
    order = numpy.argsort(early, kind="stable")
    cuts = [
        (early[order[cut]] - early[order[cut - 1]], late[order[cut:]].min() - late[order[:cut]].max())
        for cut in range(1, len(early))
    ]
    first = max(cuts, key=lambda cut: cut[0])
    found = lasting_gap(early, late)
    assert (found.early, found.late) == (pytest.approx(first[0]), pytest.approx(first[1]))
    assert found.both == pytest.approx(max(0, max(min(cut) for cut in cuts)))


@given(decades, st.randoms())
def test_the_order_of_the_layers_makes_no_difference(pairs, random):
    pairs = list({early: (early, late) for early, late in pairs}.values())  # of equal ones the first gap is taken
    mixed = random.sample(pairs, len(pairs))
    one, other = (
        lasting_gap(*(numpy.asarray(side) / 10 for side in zip(*some, strict=True))) for some in (pairs, mixed)
    )
    assert (one.early, one.both) == (pytest.approx(other.early), pytest.approx(other.both))


def test_unknown_layers_have_no_gap():
    gap = lasting_gap(numpy.asarray([NAN, 0.0, 1.0]), numpy.asarray([5.0, 0.0, 2.0]))
    assert (gap.early, gap.late, gap.both) == (1.0, 2.0, 1.0)
    assert lasting_gap(numpy.asarray([NAN, 0.0]), numpy.asarray([5.0, 0.0])).both == 0


def test_outliers_stand_apart_from_the_upper_median():
    away, out = outliers(numpy.asarray([0.0, 0.1, -APART - 0.2, NAN, 0.1, APART + 0.2]))
    assert away.tolist() == pytest.approx([-0.1, 0, -APART - 0.3, NAN, 0, APART + 0.1], nan_ok=True)
    assert out.tolist() == [False, False, True, False, False, True]
    away, out = outliers(numpy.asarray([1.0, 0.8]))
    assert out.tolist() == [False, True], "of two the slower one"
