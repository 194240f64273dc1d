"""What a diagnoser says: findings, their severity and confidence, and the evidence to look at.

All of these are immutable values that serialise to JSON and back without loss.
"""

import math
import operator
import sys
from enum import StrEnum
from typing import Literal

import msgspec


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


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the immutable values of an audit."""


class Span(Value, frozen=True, kw_only=True):
    """The steps over which something was seen, first and last inclusive."""

    first: int
    last: int


class Series(Value, frozen=True, kw_only=True):
    """One line of a chart; None is a gap. `low` and `high` are an optional band around it.

    `bad` are stretches of x, first and last, at which the value was NaN or infinite: a gap alone may be unknown.
    """

    name: str
    x: list[float]
    y: list[float | None]
    low: list[float | None] = []
    high: list[float | None] = []
    role: str = "main"  # main | evaluation | flagged | reference; of a comparison "run A", "run B" ...
    bad: list[tuple[float, float]] = []


class Mark(Value, frozen=True, kw_only=True):
    """A labelled straight line across a chart, or a point when both `x` and `y` are given."""

    label: str
    x: float | None = None
    y: float | None = None
    role: Literal["threshold", "reference", "best"] = "threshold"


class Evidence(Value, frozen=True, kw_only=True, tag_field="kind"):
    """Base of the closed union of evidence kinds. `title` names it, `caption` says how to read it."""

    title: str
    caption: str


class Lines(Evidence, frozen=True, kw_only=True, tag="lines"):
    """Values over steps; at most 2,000 points in all."""

    x_label: str
    y_label: str
    series: list[Series]
    marks: list[Mark] = []
    log: bool = False
    shade_from: float | None = None  # wash the plot from this x on


class Dot(Value, frozen=True, kw_only=True):
    """One tensor in a `Dots` chart."""

    label: str
    value: float | None
    group: str  # weight | bias | norm | embedding | activation | other: shape and colour
    flagged: bool = False


class Dots(Evidence, frozen=True, kw_only=True, tag="dots"):
    """One value per tensor, in depth order, on a log axis with shaded decades."""

    x_label: str
    dots: list[Dot]
    marks: list[Mark] = []  # reference values on the x axis
    log: bool = True


class Heatmap(Evidence, frozen=True, kw_only=True, tag="heatmap"):
    """log10 of a value, rows top to bottom (at most 240), columns over steps (at most 280)."""

    rows: list[str]
    first_step: int
    last_step: int
    values: list[list[float | None]]  # log10; None where nothing was recorded, zero or not finite
    zero: list[list[int]] = []  # per row: columns that were exactly zero
    bad: list[list[int]] = []  # per row: columns with NaN or Inf
    groups: list[str] = []  # label of each row's block, same length as rows
    unit: str = "gradient RMS per element"
    empty: str = "not recorded"  # what a cell means that holds no value and is neither zero nor bad
    flagged: list[str] = []  # rows named by a finding


class Bin(Value, frozen=True, kw_only=True):
    """One bar of a `Distribution`."""

    label: str
    count: float
    flagged: bool = False


class Distribution(Evidence, frozen=True, kw_only=True, tag="distribution"):
    """Counts in labelled bins."""

    x_label: str
    y_label: str
    bins: list[Bin]


class Ridge(Value, frozen=True, kw_only=True):
    """One distribution of a `Ridges` chart: the share of its values in each bin."""

    label: str
    shares: list[float]
    remark: str = ""  # a few words at its right end
    flagged: bool = False


class Zone(Value, frozen=True, kw_only=True):
    """A shaded stretch of the axis between two exponents of two; None reaches to the end of the axis."""

    start: float | None
    end: float | None
    label: str
    role: Literal["lost", "weak"] = "weak"


class Ridges(Evidence, frozen=True, kw_only=True, tag="ridges"):
    """Distributions of absolute values over one grid of powers of two, one under the other.

    Bin i runs from 2**(first + i * width) to 2**(first + (i + 1) * width).
    """

    x_label: str
    first: float
    width: float
    ridges: list[Ridge]
    zones: list[Zone] = []


class Numbers(Evidence, frozen=True, kw_only=True, tag="table"):
    """A small table; cells are already formatted."""

    columns: list[str]
    cells: list[list[str]]


AnyEvidence = Lines | Dots | Heatmap | Distribution | Ridges | Numbers


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


def ratio(
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
