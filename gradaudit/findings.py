"""What a diagnoser says: findings, their severity and confidence, and the evidence to look at.

All of these are immutable values that serialise to JSON and back without loss.
"""

import math
import operator
import sys
from enum import StrEnum
from typing import Literal

import msgspec

from gradaudit.chart_data import AnyEvidence, Value


class Severity(StrEnum):
    """How bad it is: training is broken / clearly worse than it needs to be / worth knowing."""

    CRITICAL = "critical"
    WARNING = "warning"
    NOTE = "note"

    @property
    def rank(self) -> int:
        """0 for critical, 1 for warning, 2 for note: sorts worst first."""
        return list(Severity).index(self)


class Confidence(StrEnum):
    """How sure it is; certain only where the values are exact. Low is only ever a note."""

    CERTAIN = "certain"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Span(Value, frozen=True, kw_only=True):
    """The steps over which something was seen, first and last inclusive."""

    first: int
    last: int


class Action(Value, frozen=True, kw_only=True):
    """One thing to try next: a sentence with a number in it and, where it helps, code."""

    text: str
    code: str = ""


Comparison = Literal[">", ">=", "<", "<=", "=="]
# How a number is shown: as it is; a share of a whole, 0.05, as 5 %; a whole number of things; powers of ten.
Unit = Literal["", "fraction", "count", "decades"]
# What a measure that is met speaks for, with the others that decide the same: that there is a finding; that it is at
# least a warning, or critical; that it is no more than a note; the cause that the finding names.
Decides = Literal["finding", "warning", "critical", "note", "cause"]

_ORDERS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "==": operator.eq}


class Measure(Value, frozen=True, kw_only=True):
    """One line of "how this was decided": a number, and the threshold that it was held against.

    Value and threshold are in one unit. JSON has no NaN and no infinity: a value of NaN becomes None, unknown, and
    infinity the largest float. A finding's measures that decide a finding are all met or unknown, but of those that
    share a word in `any_of` one is enough.

    >>> Measure(quantity="rows never hit", value=0.97, comparison=">", threshold=0.8, unit="fraction").met
    True
    """

    quantity: str
    value: float | None
    comparison: Comparison
    threshold: float
    unit: Unit = ""
    option: str = ""  # name of the threshold argument, for --set
    decides: Decides = "finding"
    any_of: str = ""

    def __post_init__(self) -> None:
        """Make plain finite floats of both numbers. Raises ValueError for a threshold of NaN."""
        threshold = _finite(self.threshold)
        if threshold is None:
            raise ValueError(f"the threshold of {self.quantity!r} is not a number")
        msgspec.structs.force_setattr(self, "threshold", threshold)
        msgspec.structs.force_setattr(self, "value", None if self.value is None else _finite(self.value))

    @property
    def met(self) -> bool | None:
        """Whether the value is on this side of the threshold; None where it is unknown."""
        return None if self.value is None else bool(_ORDERS[self.comparison](self.value, self.threshold))


def _finite(number: float) -> float | None:
    """A plain float within what JSON can hold; None for NaN."""
    most = sys.float_info.max
    return None if math.isnan(number) else min(max(float(number), -most), most)


def ratio(  # noqa: PLR0913 -- options, each by its name
    part: tuple[str, float], whole: tuple[str, float], comparison: Comparison, threshold: float, *,
    unit: Unit = "", option: str = "", decides: Decides = "finding", any_of: str = "",
) -> Measure:  # fmt: skip
    """The measure of one number over another, each with its name.

    Where the second is not above 0, of the first number against the threshold times the second.

    >>> ratio(("rise", 0.5), ("best loss", 2.0), ">", 0.03).value
    0.25
    >>> ratio(("rise", 0.5), ("best loss", 0.0), ">", 0.03).quantity
    'rise, against 0.03 times best loss'
    """
    (name, value), (over, size) = part, whole
    if size <= 0:
        quantity, threshold, unit = f"{name}, against {threshold:g} times {over}", threshold * size, ""
    else:
        quantity, value = f"{name} / {over}", float(value) / float(size)
    return Measure(
        quantity=quantity, value=value, comparison=comparison, threshold=threshold, unit=unit, option=option,
        decides=decides, any_of=any_of,
    )  # fmt: skip


class Finding(Value, frozen=True, kw_only=True):
    """One thing that is wrong, with the number in its headline."""

    severity: Severity
    confidence: Confidence
    title: str = ""  # the disease by name, in two to five words: "Vanishing gradient", "NaN from step 6"
    headline: str  # one sentence with the decisive number
    explanation: str
    span: Span
    tensors: list[str] = []
    evidence: list[AnyEvidence] = []
    actions: list[Action] = []
    measures: list[Measure] = []
    # Of the diagnosers that its own explains: those whose findings this one was seen to bring about, worse ones, too.
    # Where it names some, it explains no others.
    caused: list[str] = []
    # Diagnosers that bring this finding about where they find something: it then stands under them and explains
    # nothing, whatever its own diagnoser says.
    follows: list[str] = []
    is_measurement_issue: bool = False  # wrong is what is said of the model, not how it trains


class Result(Value, frozen=True, kw_only=True, tag_field="status"):
    """Base of the five things that a diagnoser can come to; `status` tells them apart in JSON."""

    @property
    def text(self) -> str:
        """What was measured, or why nothing was, in a few words; empty where something was found."""
        return ""


class Found(Result, frozen=True, kw_only=True, tag="found"):
    """Something is wrong."""

    findings: list[Finding]  # the worst first, and of equals the earliest


class Clean(Result, frozen=True, kw_only=True, tag="clean"):
    """Looked and found nothing; `measured` says what was measured, e.g. "first loss 2.31, ln 10 = 2.30"."""

    measured: str

    @property
    def text(self) -> str:
        """What was measured."""
        return self.measured


class NotApplicable(Result, frozen=True, kw_only=True, tag="not_applicable"):
    """The run has no such thing (no embedding, no evaluation loss by design)."""

    reason: str

    @property
    def text(self) -> str:
        """Why there is nothing to judge."""
        return self.reason


class Skipped(Result, frozen=True, kw_only=True, tag="skipped"):
    """Not recorded or too short: why, and how to enable it."""

    reason: str
    enable: str

    @property
    def text(self) -> str:
        """Why it was skipped."""
        return self.reason


class Failed(Result, frozen=True, kw_only=True, tag="failed"):
    """The diagnoser stopped with an error: a bug of ours."""

    traceback: str

    @property
    def text(self) -> str:
        """The last line of the traceback."""
        return self.traceback.strip().rpartition("\n")[2]


AnyResult = Found | Clean | NotApplicable | Skipped | Failed
Verdict = Finding | Clean | NotApplicable | Skipped
