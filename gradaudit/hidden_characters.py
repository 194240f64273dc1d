"""Characters that do not show as what they are: they steer a terminal, reorder or hide text, or are no characters."""

import re

# Control characters, marks that reorder or hide text, and code points that XML and UTF-8 refuse.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202f"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)


def escaped(text: str) -> str:
    r"""`text` on one line, with each hidden character as its escape: a line break as \n, a tab as \t."""
    return _HIDDEN.sub(lambda match: match.group().encode("unicode_escape").decode(), text)
