"""What the charts of a report draw: already reduced, and in JSON as they are drawn."""

from typing import Literal

import msgspec


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the immutable values of an audit."""


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
