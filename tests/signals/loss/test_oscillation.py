import numpy
import pytest

from gradaudit.signals.loss.oscillation import oscillation


def growing(steps=500, period=5, slope=0.0):
    """A sine around a line whose amplitude grows from 0.1 to 1."""
    at = numpy.arange(steps)
    return 2.0 + slope * at + numpy.linspace(0.1, 1.0, steps) * numpy.sin(2 * numpy.pi * at / period)


def test_the_first_fifth_is_left_out_and_the_rest_is_in_eight_parts():
    found = oscillation(growing())
    assert found.starts == tuple(range(100, 500, 50))
    assert len(found.widths) == 8


def test_widths_are_those_of_the_residuals_of_each_part():
    values = growing(slope=-0.002)
    found = oscillation(values)
    part = values[450:]
    line = numpy.polyval(numpy.polyfit(numpy.arange(50), part, 1), numpy.arange(50))
    assert found.widths[-1] == pytest.approx(
        numpy.quantile(part - line, 0.9) - numpy.quantile(part - line, 0.1), rel=0.05
    )
    assert found.trend == pytest.approx(1.0)
    assert found.late == pytest.approx(found.widths[-2:].mean())
    assert found.growth == pytest.approx(found.widths[-2:].sum() / found.widths[:2].sum())


def test_the_fall_is_that_of_the_means():
    values = growing(slope=-0.002)
    assert oscillation(values).fall == pytest.approx(values[100:200].mean() - values[400:].mean())


def test_crossings_are_counted_in_the_last_two_parts():
    at = numpy.arange(500)
    assert oscillation(1.0 * (at % 2)).crossings == 49 + 49


def test_it_grows_from_the_part_after_the_last_narrow_one():
    found = oscillation(growing())
    narrow = numpy.flatnonzero(found.widths < 2 * found.widths[:2].mean())
    assert found.since(2.0) == found.starts[narrow[-1] + 1]
    assert found.since(100.0) == found.starts[-2], "at the latest the last quarter"
    assert found.since(0.0) == found.starts[0]


def test_a_loss_that_never_moves_does_not_grow():
    found = oscillation(numpy.full(500, 1.5))
    assert (found.growth, found.crossings, found.fall) == (1.0, 0, 0.0)
    assert numpy.isnan(found.trend)
