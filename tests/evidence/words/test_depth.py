"""What became of a loss that learned nothing, in a sentence that is true."""

import numpy
import pytest

from gradaudit.evidence.words.depth import outcome_sentence
from tests.build import build_run
from tests.diagnosers.runs import TEN


def told(path, first, best, last, facts=TEN):
    """A loss that goes from `first` to `best`, stays there for most of the run, and ends at `last`."""
    loss = numpy.concatenate([numpy.linspace(first, best, 20), numpy.full(240, best), numpy.linspace(best, last, 40)])
    loss[-30:] = last
    return outcome_sentence(build_run(path, loss=loss, facts=facts).trainings[0])


def test_what_was_learned_and_is_gone_is_told(tmp_path):
    assert told(tmp_path / "a", 2.3, 1.2, 2.4).startswith("The model has lost what it had learned: the loss starts at")


@pytest.mark.parametrize(
    ("first", "best", "last"),
    [(4.0, 2.303, 2.303), (4.0, 2.31, 3.9), (2.3, 1.2, 1.3), (2.31, 2.303, 2.31)],
    ids=["a large first loss", "a large first loss that comes back", "most of it is kept", "nothing but noise"],
)
def test_what_was_never_learned_is_not_lost(tmp_path, first, best, last):
    """ln 10 is 2.303: what always predicting the same gives is nothing that was learned."""
    assert "lost" not in told(tmp_path / "a", first, best, last)
