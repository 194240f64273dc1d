"""What to do for more evaluations: those that came to nothing are not asked for again."""

import numpy
import pytest

from gradaudit.derived.validation import Evaluations, more_evaluations


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ([1.0, 0.9], "evaluate at least 5 times during the run"),
        ([1.0, numpy.nan], "mend what non_finite reports, or evaluate at least 5 times during the run"),
    ],
)
def test_losses_that_are_not_finite_are_mended_first(losses, words):
    seen = Evaluations(split="validation", steps=numpy.arange(2), losses=numpy.asarray(losses), training=False)
    assert more_evaluations(seen, 5) == words
