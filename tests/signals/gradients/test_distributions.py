"""Histograms of gradients, against the values that they count."""

import math

import numpy
import pytest

from gradaudit.signals.gradients.distributions import HIGHEST, LOWEST, Histograms, gradient_counts, share_below
from tests.build import build_run
from tests.diagnosers.runs import falling

VALUES = 10 ** numpy.random.default_rng(0).normal(-5, 2, 3000) * numpy.random.default_rng(1).choice([-1, 1], 3000)


def row(values, step=0, tensor=0, **more):
    """A row of table `histograms`: of positive and of negative values, four bins to the octave."""
    bins = numpy.floor(4 * numpy.log2(numpy.abs(values))).astype(int)
    sides = {
        name: numpy.bincount(bins[side] - bins.min(), minlength=numpy.ptp(bins) + 1).tolist()
        for name, side in (("positive", values > 0), ("negative", values < 0))
    }
    return {"optimizer": 0, "step": step, "tensor": tensor, "kind": "gradient", "elements": len(values), "zeros": 0,
            "nonfinite": 0, "lowest": int(bins.min()), **sides, **more}  # fmt: skip


def counts(path, rows) -> dict[int, Histograms]:
    return gradient_counts(build_run(path, loss=falling(50), histograms=rows).trainings[0])


@pytest.mark.parametrize("exponent", [-25, -14, -3, 0, 10])
def test_the_share_below_a_power_of_two_is_counted(tmp_path, exponent):
    found = counts(tmp_path / "a", [row(VALUES)])[0][0]
    assert found.sum() == len(VALUES)
    assert share_below(found, exponent) == (numpy.abs(VALUES) < 2.0**exponent).mean()


def test_each_step_and_tensor_has_its_own(tmp_path):
    rows = [
        row(VALUES[:100], 20, 2),
        row(VALUES[:7], 3, 5),
        row(VALUES[:9], 20, 0),
        row(VALUES, 3, 1, kind="parameter"),
    ]
    found = counts(tmp_path / "a", rows)
    assert {step: list(of) for step, of in found.items()} == {3: [5], 20: [0, 2]}
    assert [len(of) for of in found.values()] == [1, 2]
    assert (found[3][5].sum(), found[20][0].sum(), found[20][2].sum()) == (7, 9, 100)
    for missing in (1, 9):
        with pytest.raises(KeyError):
            found[20][missing]


def test_another_optimizers_are_left_out(tmp_path):
    assert counts(tmp_path / "a", [row(VALUES, optimizer=1)]) == {}


@pytest.mark.parametrize("lowest", [LOWEST - 3, HIGHEST - 2, LOWEST - 100, HIGHEST + 5])
def test_what_no_float32_can_be_is_cut_off(tmp_path, lowest):
    found = counts(tmp_path / "a", [row(VALUES[:1], lowest=lowest, positive=[1, 2, 3, 4, 5], negative=[2] * 5)])[0][0]
    inside = [at for at in range(5) if LOWEST <= lowest + at < HIGHEST]
    assert found.sum() == sum(3 + at for at in inside)


def test_without_a_value_there_is_no_share(tmp_path):
    empty = row(VALUES[:1], lowest=0, positive=[], negative=[])
    assert math.isnan(share_below(counts(tmp_path / "a", [empty])[0][0], 0))
