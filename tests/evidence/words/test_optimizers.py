import numpy
import pytest

from gradaudit.evidence.words.optimizers import rate_in_words


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        ([0.1, 0.1], "0.1"),
        ([0.2, 0.5], "0.2 and 0.5"),  # a range would read as a schedule
        (numpy.geomspace(1e-5, 1e-2, 4), "1e-5 to 0.01 by group"),
    ],
)
def test_the_rates_of_groups(rates, words):
    assert rate_in_words(numpy.asarray(rates)) == words
