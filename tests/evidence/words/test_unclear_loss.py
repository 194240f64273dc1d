from typing import get_args, get_type_hints

import pytest

from gradaudit.evidence.words.unclear_loss import movement_in_words, unclear_in_words
from gradaudit.signals.loss.moving_target import Movement
from gradaudit.signals.loss.training_loss import Unclear

TOLD = "cross_entropy at {train}.py:12 is inside a compiled region"


@pytest.mark.parametrize(
    ("unclear", "words"),
    [
        (None, ""),
        (Unclear("compiled", told=TOLD), TOLD),
        (
            Unclear("small term", "mse_loss", share=0.094),
            "mse_loss is about 9.4 % of what is minimised, and where the sum of all terms should start and end is not "
            "known",
        ),
        (
            Unclear("several terms", "mse_loss", first=2.0, last=13e6),
            "mse_loss is one of several terms, or weighted: what is minimised is 2.0 times it at first and 13 million "
            "times at the end",
        ),
        (
            Unclear("moving targets", "mse_loss", movement=Movement("mean", 2.4, 13.6)),
            "its targets move while the model learns, as in reinforcement learning: their mean goes from 2.40 to 13.6",
        ),
    ],
)
def test_a_reason_with_its_numbers(unclear, words):
    assert unclear_in_words(unclear) == words


@pytest.mark.parametrize(("unit", "end"), [("1", "end"), ("targets", "per targets"), ("1 / batch", "per batch")])
def test_a_unit_is_told_but_for_that_of_the_loss(unit, end):
    assert unclear_in_words(Unclear("several terms", "mse_loss", first=1.0, last=2.0, unit=unit)).endswith(end)


@pytest.mark.parametrize("why", get_args(get_type_hints(Unclear)["why"]))
def test_every_reason_has_words(why):
    words = unclear_in_words(Unclear(why, "mse_loss", share=0.1, told=TOLD, first=1.0, last=2.0))
    assert len(words) > 20
    assert not words.endswith(".")


def test_what_moved():
    assert movement_in_words(None) == ""
    assert movement_in_words(Movement("trained")) == "what they are held against is trained, too"
    assert movement_in_words(Movement("spread", 0.85, 3.65)) == "their spread goes from 0.85 to 3.65"
