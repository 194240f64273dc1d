"""Whether what was observed meets its threshold, as far as the two texts of a measure say so."""

import math
import re

_NUMBER = r"(?P<number>[\d,]*\.?\d+(?:e-?\d+)?)(?P<unit> %)?"
_LONGEST = 80  # characters
_OBSERVED = re.compile(rf"(?P<sign>-?){_NUMBER}", re.ASCII)
_THRESHOLD = re.compile(
    rf"(?P<order>>=|<=|>|<) {_NUMBER}(?: (?:is (?:a note|a warning|critical)|means it ran away))?", re.ASCII
)


def met(observed: str, threshold: str) -> str:
    """ "met", "not met", or "" where a text is more than a number, or both are rounded to the same one."""
    if max(len(observed), len(threshold)) > _LONGEST:
        return ""
    seen, limit = _OBSERVED.fullmatch(observed), _THRESHOLD.fullmatch(threshold)
    if not seen or not limit or seen["unit"] != limit["unit"]:
        return ""
    value, bound = float(f"{seen['sign']}{seen['number'].replace(',', '')}"), float(limit["number"].replace(",", ""))
    if not math.isfinite(value) or not math.isfinite(bound) or (value == bound and "=" not in limit["order"]):
        return ""
    above = value >= bound if ">" in limit["order"] else value <= bound
    return "met" if above else "not met"
