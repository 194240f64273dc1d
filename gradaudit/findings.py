"""What a diagnoser says: findings, their severity and confidence, and the evidence to look at.

All of these are immutable values that serialise to JSON and back without loss.
"""

from enum import StrEnum

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
    role: str = "main"  # main | evaluation | flagged | reference
    bad: list[tuple[float, float]] = []


class Mark(Value, frozen=True, kw_only=True):
    """A labelled straight line across a chart, or a point when both `x` and `y` are given."""

    label: str
    x: float | None = None
    y: float | None = None
    role: str = "threshold"  # threshold | reference | best


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
    role: str = "weak"  # lost | weak


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


class Measure(Value, frozen=True, kw_only=True):
    """One line of "how this was decided": what was observed against which threshold."""

    quantity: str
    observed: str
    threshold: str
    option: str = ""  # name of the threshold argument, for --set


class Finding(Value, frozen=True, kw_only=True):
    """One thing that is wrong, with the number in its headline."""

    severity: Severity
    confidence: Confidence
    headline: str
    seen: str
    span: Span
    tensors: list[str] = []
    evidence: list[AnyEvidence] = []
    actions: list[Action] = []
    measures: list[Measure] = []
    # Of the diagnosers that its own explains: those whose findings this one was seen to bring about, worse ones, too.
    # Where it names some, it explains no others.
    led_to: list[str] = []
    # Diagnosers that bring this finding about where they find something: it then stands under them and explains
    # nothing, whatever its own diagnoser says.
    follows: list[str] = []
    measuring: bool = False  # wrong is what is said of the model, not how it trains


class Clean(Value, frozen=True, kw_only=True):
    """Looked and found nothing; `measured` says what was measured, e.g. "first loss 2.31, ln 10 = 2.30"."""

    measured: str


class NotApplicable(Value, frozen=True, kw_only=True):
    """The run has no such thing (no embedding, no evaluation loss by design)."""

    reason: str


class CouldNotLook(Value, frozen=True, kw_only=True):
    """Not recorded or too short: why, and how to enable it."""

    reason: str
    enable: str


Verdict = Finding | Clean | NotApplicable | CouldNotLook
