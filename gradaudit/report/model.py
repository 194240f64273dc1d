"""Everything that the page's templates see: plain views, text already clean, pictures already drawn."""

import re
from dataclasses import dataclass, field
from typing import Literal

from markupsafe import Markup

_NUMERIC = re.compile(r"[-−+]?\d|NaN$|\(\d")  # 12 %, −3.4e-4, (64, 1)
Icon = Literal["critical", "warning", "note", "passed", "absent", "failed"]


@dataclass(frozen=True)
class Sources:
    """The style sheet and the script of every page, and the names that the content security policy has for them."""

    css: Markup = field(repr=False)
    js: Markup = field(repr=False)
    css_hash: str
    js_hash: str


@dataclass(frozen=True)
class Piece:
    """A stretch of running text; `code` for what stands in backticks."""

    text: str
    code: bool = False


@dataclass(frozen=True)
class Block:
    """One block of running text: a paragraph has one line of pieces, a list one for each entry, code one piece."""

    kind: Literal["paragraph", "list", "code"]
    lines: tuple[tuple[Piece, ...], ...]


@dataclass(frozen=True)
class TableView:
    """A number table; the first column names the row."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: int = 0  # rows that are only in the JSON

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns are set to the right: those behind the first of which a cell begins like a number."""
        return tuple(
            place > 0 and any(_NUMERIC.match(row[place]) for row in self.rows) for place in range(len(self.head))
        )


@dataclass(frozen=True)
class LegendEntry:
    """One entry of a chart's legend."""

    name: str
    colour: str
    dash: str = ""
    shape: str = "line"  # line | area | band (a line on its area) | circle | square | triangle-up | diamond | cross
    area: str = ""  # its colour
    opacity: float = 1.0


@dataclass(frozen=True)
class ColourScale:
    """A heatmap's colour scale."""

    low: str
    high: str
    unit: str
    stops: tuple[tuple[str, str], ...]
    special: tuple[tuple[str, str], ...] = ()  # colours outside the scale that occur, and what they mean


@dataclass(frozen=True)
class Legend:
    """What the colours, dashes and shapes of a chart mean; empty where nothing has to be told apart."""

    entries: tuple[LegendEntry, ...] = ()
    scale: ColourScale | None = None


@dataclass(frozen=True)
class FigureView:
    """A chart in two widths with its caption and its numbers; without pictures the numbers stand alone."""

    id: str
    title: str
    caption: str
    wide: Markup | None
    narrow: Markup | None
    table: TableView
    legend: Legend = Legend()
    note: str = ""  # why there is no picture
    tooltip: str = ""  # JSON: what the script needs to say what is under the pointer


@dataclass(frozen=True)
class ActionView:
    """One thing to try."""

    text: str
    code: str


@dataclass(frozen=True)
class MeasureView:
    """One line of "how this was decided"."""

    quantity: str
    observed: str
    threshold: str
    met: Literal["met", "not met", "unknown"]
    decides: str  # finding, warning, critical, note or cause; "one of: " before what has alternatives
    option: str


@dataclass(frozen=True)
class CardView:
    """A finding, and the findings it explains."""

    id: str
    diagnoser: str
    icon: Icon
    severity: str
    confidence: str
    title: str  # the disease by name
    headline: str
    explanation: str
    steps: str
    laboratory: str  # how often such a finding was seen in healthy and in faulty runs
    figures: tuple[FigureView, ...]
    why: tuple[Block, ...]
    wrong: tuple[Block, ...]
    actions: tuple[ActionView, ...]
    advice: tuple[Block, ...]  # of the diagnoser, where the finding has no action of its own
    measures: tuple[MeasureView, ...]
    cause: str  # headline of the finding that explains this one
    cause_id: str
    consequences: tuple["CardView", ...] = ()


@dataclass(frozen=True)
class CheckRow:
    """A diagnoser without a finding, and why."""

    name: str
    text: str
    more: str = ""
    traceback: str = ""


@dataclass(frozen=True)
class Count:
    """One of the counts under the verdict."""

    icon: Icon
    number: int
    label: str
    href: str


@dataclass(frozen=True)
class TopAction:
    """One of the things to do first."""

    text: str
    reason: str
    href: str


@dataclass(frozen=True)
class Fact:
    """A number with its name and what it means."""

    name: str
    value: str
    note: str = ""
    literal: bool = False  # a text as somebody typed it: its signs and spaces stay


@dataclass(frozen=True)
class ParameterView:
    """One line of the parameter table."""

    name: str
    elements: str
    gradient: str
    ratio: str
    norm: str
    spark: str  # an SVG path in a box of 90 x 18
    flagged: bool


@dataclass(frozen=True)
class Page:
    """The whole page."""

    title: str
    name: str
    line: str
    banner: str
    icon: Icon
    verdict: str
    counts: tuple[Count, ...]
    top_actions: tuple[TopAction, ...]
    summary_facts: tuple[Fact, ...]
    run_figures: tuple[FigureView, ...]
    layers: FigureView | None
    distribution: FigureView | None  # of the gradients, by block
    over_time: FigureView | None  # the same, over the steps
    cards: tuple[CardView, ...]
    cards_left_out: int
    passed: tuple[CheckRow, ...]
    not_applicable: tuple[CheckRow, ...]
    skipped: tuple[CheckRow, ...]
    failed: tuple[CheckRow, ...]
    parameters: tuple[ParameterView, ...]
    parameters_total: int
    run_facts: tuple[Fact, ...]
    problems: tuple[str, ...]
    glossary: tuple[Fact, ...]
    version: str
    sources: Sources

    def all_cards(self) -> list[CardView]:
        """Every card, each root before its consequences."""
        flat: list[CardView] = []
        waiting = list(self.cards)
        while waiting:
            card = waiting.pop(0)
            flat.append(card)
            waiting = [*card.consequences, *waiting]
        return flat
