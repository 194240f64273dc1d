"""The page of a diagnoser as terminal text, and what it is made of."""

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence

import click

from gradaudit.diagnoser import SECTIONS, Diagnoser
from gradaudit.schema import TABLES


def listing(diagnosers: Iterable[Diagnoser], *, width: int = 88) -> str:
    """Every diagnoser with its failing sentence, for the terminal."""
    diagnosers = list(diagnosers)
    longest = max((len(item.name) for item in diagnosers), default=0)
    lines = []
    for item in diagnosers:
        name = item.name.ljust(longest)
        wrapped = _wrap(item.documentation.headline, width, "  " + " " * longest).lstrip()
        lines.append(f"{click.style(name, bold=True)}  {wrapped}")
    return "\n".join([*lines, "", "gradaudit explain NAME tells more about one of them."])


def text(diagnoser: Diagnoser, *, width: int = 88) -> str:
    """The whole page of one diagnoser, for the terminal."""
    sections = diagnoser.documentation.sections
    blocks = [click.style(diagnoser.name, bold=True)]
    blocks += [_wrap(sentence, width) for sentence in (diagnoser.documentation.headline, _place(diagnoser))]
    blocks += [f"{click.style(title, bold=True)}\n{_body(sections[title], width)}" for title in SECTIONS]
    thresholds = _aligned(threshold_rows(diagnoser), width) or ["  none"]
    if diagnoser.thresholds:
        thresholds.append(f"  Change one with --set {diagnoser.name}.{next(iter(diagnoser.thresholds))}=VALUE")
    blocks.append("\n".join([click.style("Thresholds", bold=True), *thresholds]))
    blocks.append("\n".join([click.style("What it needs", bold=True), *_aligned(need_rows(diagnoser), width)]))
    return "\n\n".join(blocks)


def threshold_reasons(diagnoser: Diagnoser) -> dict[str, str]:
    """The comment that stands on the line of each threshold in the source, or on the lines above it."""
    reasons: dict[str, str] = {}
    above: list[str] = []
    for line in diagnoser.limits_source.splitlines():
        comment = re.match(r"\s*# ?(.*)", line)
        argument = re.match(r"\s*(\w+)\s*:[^#]*=[^#]*(?:#\s*(.*))?$", line)
        if comment:
            above.append(comment[1].strip())
            continue
        if argument and argument[1] in diagnoser.thresholds and argument[1] not in reasons:
            reasons[argument[1]] = " ".join([*above, (argument[2] or "").strip()]).strip()
        above = []
    return reasons


def _place(diagnoser: Diagnoser) -> str:
    """How severe its findings can be, and which other findings they explain."""
    explains = f" Its findings explain those of {', '.join(diagnoser.explains)}." if diagnoser.explains else ""
    return f"At worst {diagnoser.worst}.{explains}"


def threshold_rows(diagnoser: Diagnoser) -> list[tuple[str, str, str]]:
    """Each threshold with its default and the reason of it."""
    reasons = threshold_reasons(diagnoser)
    return [(name, f"{value:g}", reasons.get(name, "")) for name, value in diagnoser.thresholds.items()]


def need_rows(diagnoser: Diagnoser) -> list[tuple[str, str]]:
    """Each table or column that must be recorded with what it holds, and the fewest steps."""
    rows = []
    for need in diagnoser.needs:
        table, _, column = need.partition(".")
        rows.append((need, TABLES[table].column(column).doc if column else TABLES[table].doc))
    steps = f"{diagnoser.minimum_steps} step{'s' if diagnoser.minimum_steps != 1 else ''} at least"
    return [*rows, (steps, "")]


def _aligned(rows: Sequence[tuple[str, ...]], width: int) -> list[str]:
    """Rows as indented columns; the last column is wrapped."""
    widths = [max(len(cell) for cell in column) for column in list(zip(*rows, strict=True))[:-1]]
    lines = []
    for *cells, last in rows:
        head = "  " + "".join(cell.ljust(size) + "  " for cell, size in zip(cells, widths, strict=True))
        lines.append(_wrap(last, width, " " * len(head), first=head).rstrip() or head.rstrip())
    return lines


def _body(body: str, width: int) -> str:
    """A documentation section wrapped to `width`: paragraphs and list items flow, code blocks stay."""
    return "\n".join(_paragraphs(body, width))


def _paragraphs(body: str, width: int) -> Iterator[str]:
    for index, block in enumerate(re.split(r"\n\s*\n", body.strip())):
        if index:
            yield ""
        if block.startswith(("    ", "```", "|")):
            yield textwrap.indent("\n".join(line for line in block.splitlines() if not line.startswith("```")), "    ")
            continue
        for item in re.split(r"\n(?=\s*[-*] )", block):
            is_item = re.match(r"\s*[-*] ", item)
            yield _wrap(item, width, "    " if is_item else "  ", first="  ")


def _wrap(words: str, width: int, indent: str = "", first: str | None = None) -> str:
    return textwrap.fill(
        " ".join(words.split()),
        width=max(width, len(indent) + 24),
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
