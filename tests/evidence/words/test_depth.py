"""What became of a loss that gained nothing, in a sentence."""

import math

from gradaudit.evidence.words.depth import outcome_sentence
from gradaudit.signals.loss.nothing_gained import NothingGained


def test_each_outcome_has_its_sentence():
    lost = outcome_sentence(NothingGained("lost", 2.3, 1.2, 2.4))
    assert lost.startswith("The model has lost what it had learned: the loss starts at 2.3")
    assert outcome_sentence(NothingGained("never learned", 2.3, math.nan, 2.3)) == "The model has learned nothing."
    assert "ends at 2.4" in outcome_sentence(NothingGained("broke", 2.3, math.nan, 2.4))
