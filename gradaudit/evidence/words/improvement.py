"""From where to where a loss goes, in words."""

from gradaudit.evidence.words.wording import count, factor, number, percent
from gradaudit.signals.loss.improvement import Improvement


def course_in_words(loss: Improvement) -> str:
    """From where to where the loss goes, and over which steps either is taken."""
    return (
        f"the loss goes from {number(loss.start)} (median of the first {count(loss.start_steps)} steps) to "
        f"{number(loss.last)} (mean of the last {count(loss.last_steps)})"
    )


def change_in_words(loss: Improvement) -> str:
    """What became of the loss, after "the loss"; of a share that is known."""
    if loss.share < -2:
        return f"ends {factor(1 - loss.share)} times as high as it starts"
    return f"falls by {percent(loss.share)}" if loss.share > 0 else f"rises by {percent(-loss.share)}"
