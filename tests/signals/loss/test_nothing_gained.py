"""What became of a loss that gained nothing, against losses whose course is known."""

import math

import numpy
import pytest

from gradaudit.signals.loss.nothing_gained import nothing_gained
from tests.build import build_run
from tests.diagnosers.runs import TEN


def gained(path, first, best, last, facts=TEN):
    """A loss that goes from `first` to `best`, stays there for most of the run, and ends at `last`."""
    loss = numpy.concatenate([numpy.linspace(first, best, 20), numpy.full(280, best)])
    loss[-30:] = last
    return nothing_gained(build_run(path, loss=loss, facts=facts).trainings[0])


def test_what_was_learned_and_is_gone_is_lost(tmp_path):
    found = gained(tmp_path / "a", 2.3, 1.2, 2.4)
    assert found.kind == "lost"
    assert (found.first, found.best, found.last) == pytest.approx((2.3, 1.2, 2.4))


@pytest.mark.parametrize(
    ("first", "best", "last", "expected"),
    [(4.0, 2.303, 2.303, "never learned"), (4.0, 2.31, 3.9, "never learned"), (2.31, 2.303, 2.31, "never learned")],
    ids=["a large first loss", "a large first loss that comes back", "nothing but noise"],
)
def test_what_was_never_learned_is_not_lost(tmp_path, first, best, last, expected):
    """ln 10 is 2.303: what always predicting the same gives is nothing that was learned."""
    found = gained(tmp_path / "a", first, best, last)
    assert found.kind == expected
    assert math.isnan(found.best)


def test_of_a_loss_that_breaks_only_first_and_last_are_told(tmp_path):
    assert gained(tmp_path / "a", 2.3, 2.3, math.inf).kind == "broke"


def test_of_a_loss_that_keeps_most_of_what_it_gained_nothing_is_told(tmp_path):
    assert gained(tmp_path / "a", 2.3, 1.2, 1.3) is None
