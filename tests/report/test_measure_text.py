"""What a page says about a measure."""

import pytest

from gradaudit.findings import Measure
from gradaudit.report.measure_text import view


def told(value, threshold, unit=""):
    shown = view(Measure(quantity="a", value=value, comparison=">", threshold=threshold, unit=unit))
    return shown.observed, shown.threshold, shown.met


@pytest.mark.parametrize(
    ("value", "threshold", "unit", "words"),
    [
        (0.95, 0.9, "fraction", ("95 %", "> 90 %", "met")),
        (-0.002, 0.05, "fraction", ("-0.2 %", "> 5 %", "not met")),
        (1234, 20, "count", ("1,234", "> 20", "met")),
        (1.55, 1.5, "decades", ("1.55 decades", "> 1.5", "met")),
        (12_345.6, 1e4, "", ("12,300", "> 1e4", "met")),
        (None, 5, "", ("unknown", "> 5", "unknown")),
        (float("inf"), 5, "", ("infinity", "> 5", "met")),
        (2.0, 2, "", ("2.00", "> 2", "not met")),
    ],
)
def test_numbers_are_shown_in_their_unit(value, threshold, unit, words):
    assert told(value, threshold, unit) == words


@pytest.mark.parametrize(
    ("value", "threshold", "unit", "words"),
    [
        (1.5002, 1.5, "", ("1.5002", "> 1.5", "met")),
        (0.89996, 0.9, "", ("0.89996", "> 0.9", "not met")),
        (1.26e-5, 1.27e-5, "", ("1.26e-5", "> 1.27e-5", "not met")),
        (0.02004, 0.02, "fraction", ("2.004 %", "> 2 %", "met")),
        (1 + 1e-15, 1, "", ("1.000000000000001", "> 1", "met")),
        (7.5, 8, "count", ("7.50", "> 8", "not met")),
        (1e-9, 0, "fraction", ("1e-7 %", "> 0 %", "met")),
    ],
)
def test_what_rounds_to_the_threshold_is_shown_with_more_digits(value, threshold, unit, words):
    assert told(value, threshold, unit) == words


def test_alternatives_and_what_is_decided_are_told():
    one = Measure(quantity="a", value=1, comparison=">", threshold=2, decides="warning", any_of="height")
    assert view(one).decides == "one of: warning"
    assert view(Measure(quantity="a", value=1, comparison=">", threshold=2)).decides == "finding"
