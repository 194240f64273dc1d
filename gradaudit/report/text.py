"""Text made fit to show: what is hidden becomes visible, what is long is clipped, numbers read the same everywhere."""

import re
from datetime import timedelta

from gradaudit.evidence.words.wording import number
from gradaudit.hidden_characters import escaped

LONGEST_NAME = 80  # characters of a name on a page; beyond it the middle is cut
LONGEST_TEXT = 2000


def visible(text: str) -> str:
    """`text` on one line, every hidden character shown as its escape, a tab as a blank."""
    return escaped(text.replace("\t", " "))


def visible_lines(text: str) -> str:
    """`visible` for text that may have several lines, such as code."""
    return "\n".join(visible(line) for line in text.replace("\r\n", "\n").split("\n"))


def logged(text: str) -> str:
    """`text` without what the logs of CI services obey.

    GitHub runs a line that begins with "::", blanks before it or not, and "##[" anywhere.
    """
    return re.sub(r":(?=:)", ": ", text).replace("##[", "## [")


def clipped(text: str, most: int = LONGEST_NAME) -> str:
    """`text` of at most `most` characters, the middle cut out: both ends of a qualified name tell it apart."""
    if len(text) <= most:
        return text
    tail = (most - 1) // 2
    return f"{text[: most - 1 - tail]}…{text[len(text) - tail :]}"


def name(text: str, most: int = LONGEST_NAME) -> str:
    """A run, parameter or split name as pages show it."""
    return clipped(visible(text), most)


def sentence(text: str) -> str:
    """A text of a finding as pages show it."""
    return clipped(visible(text), LONGEST_TEXT)


def quantity(value: float | None, missing: str = "–") -> str:
    """A measured number, or `missing` where there is none."""
    return missing if value is None else number(value)


def large(count: int) -> str:
    """A count of parameters: 512, 98.8 M, 1.2 B."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size * 10 or (count >= size and unit != "k"):
            return f"{count / size:.3g} {unit}"
    return f"{count:,}"


def duration(seconds: float) -> str:
    """A time span in its two largest units: 42 s, 13 min 20 s, 2 h 5 min, 3 d 4 h."""
    if not seconds >= 0:
        return "unknown time"
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = timedelta(seconds=round(seconds))
    hours, rest = divmod(whole.seconds, 3600)
    minutes, left = divmod(rest, 60)
    units = [(whole.days, "d"), (hours, "h"), (minutes, "min"), (left, "s")]
    first = next(i for i, (amount, _) in enumerate(units) if amount)
    return " ".join(f"{amount} {unit}" for amount, unit in units[first : first + 2] if amount)
