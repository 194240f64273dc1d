"""The numbers of a finding: whether a measure is met, and that JSON can hold it."""

import doctest
import math
import sys

import msgspec
import numpy
import pytest

from gradaudit import findings
from gradaudit.findings import Measure, ratio


def test_the_examples_hold():
    assert doctest.testmod(findings).attempted >= 3
    assert doctest.testmod(findings).failed == 0


@pytest.mark.parametrize(
    ("value", "comparison", "met"),
    [
        (2.0, ">", False), (2.0, ">=", True), (2.0, "<", False), (2.0, "<=", True), (2.0, "==", True),
        (3.0, ">", True), (3.0, "<", False), (3.0, "==", False), (1.0, "<=", True), (None, ">", None),
    ],
)  # fmt: skip
def test_a_measure_is_met_by_its_comparison(value, comparison, met):
    assert Measure(quantity="a", value=value, comparison=comparison, threshold=2).met is met


@pytest.mark.parametrize(
    ("value", "held"),
    [(math.nan, None), (math.inf, sys.float_info.max), (-math.inf, -sys.float_info.max), (numpy.float32(0.5), 0.5)],
)
def test_json_can_hold_every_value(value, held):
    measure = Measure(quantity="a", value=value, comparison=">", threshold=numpy.int64(2))
    assert measure.value == held
    assert msgspec.json.decode(msgspec.json.encode(measure), type=Measure) == measure


def test_a_threshold_is_a_number():
    with pytest.raises(ValueError, match="'a' is not a number"):
        Measure(quantity="a", value=1, comparison=">", threshold=math.nan)
    assert Measure(quantity="a", value=1, comparison="<", threshold=math.inf).met is True


@pytest.mark.parametrize("size", [4.0, 0.0, -4.0])
@pytest.mark.parametrize("rise", [-1.0, 0.0, 0.5, 20.0])
def test_a_ratio_is_met_where_the_product_says_so(rise, size):
    measure = ratio(("rise", rise), ("start", size), ">", 2.0, unit="fraction")
    assert measure.met is (rise > 2.0 * size)
    assert ("against 2 times start" in measure.quantity) is (size <= 0)


def test_a_ratio_to_an_unknown_number_is_unknown():
    assert ratio(("rise", 1.0), ("start", math.nan), ">", 2.0).met is None
