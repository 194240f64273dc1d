"""The texts of a measure: its value, its threshold, whether it is met and what it decides; made here alone."""

from typing import Literal

from gradaudit.evidence.words.wording import count, number, percent, setting
from gradaudit.findings import Measure, Unit
from gradaudit.report.model import MeasureView
from gradaudit.report.text import name

_MOST_DIGITS = 17  # as many as tell two floats apart
_LARGE = 1e300  # what no loss is: an infinity, written as the largest float
_MET: dict[bool | None, Literal["met", "not met", "unknown"]] = {True: "met", False: "not met", None: "unknown"}


def view(measure: Measure) -> MeasureView:
    """A measure as pages show it."""
    value, threshold = _both(measure.value, measure.threshold, measure.unit)
    return MeasureView(
        quantity=name(measure.quantity),
        observed=value,
        threshold=f"{measure.comparison} {threshold}",
        met=_MET[measure.met],
        decides=("one of: " if measure.any_of else "") + measure.decides,
        option=name(measure.option),
    )


def _both(value: float | None, threshold: float, unit: Unit) -> tuple[str, str]:
    """Value and threshold, with as many digits as it takes to tell them apart."""
    if value is None or value == threshold or _shown(value, unit) != _shown(threshold, unit):
        return "unknown" if value is None else _shown(value, unit), _limit(threshold, unit)
    scale, sign = (100, " %") if unit == "fraction" else (1, "")
    for digits in range(4, _MOST_DIGITS + 1):
        texts = setting(scale * value, digits) + sign, setting(scale * threshold, digits) + sign
        if texts[0] != texts[1]:
            break
    return texts


def _shown(value: float, unit: Unit) -> str:
    """A value as sentences show it, too."""
    if abs(value) > _LARGE:
        return "infinity" if value > 0 else "-infinity"
    if unit == "fraction":
        # No share that is none at all is shown as 0.000 %.
        return percent(value) if value == 0 or abs(value) >= 1e-5 else f"{number(100 * value)} %"
    if unit == "decades":
        return f"{number(value)} decades"
    return count(value) if unit == "count" and value == round(value) else number(value)


def _limit(threshold: float, unit: Unit) -> str:
    """A threshold as a user types it."""
    return _shown(threshold, unit) if unit in ("fraction", "count") else setting(threshold)
