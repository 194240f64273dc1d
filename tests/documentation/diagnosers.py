"""The pages of the diagnosers, from their docstrings and thresholds."""

from collections.abc import Iterable
from pathlib import Path

from gradaudit.audit.base_rates import base_rate
from gradaudit.diagnoser import SECTIONS, Diagnoser
from gradaudit.diagnosers import all_diagnosers
from gradaudit.findings import Severity
from gradaudit.report.explain import need_rows, threshold_rows
from gradaudit.report.laboratory import told
from tests.samples import FOLDER as SAMPLES

NOTICE = "<!-- Written by `make docs` from gradaudit/diagnosers; do not edit. -->"
WORST_IN_WORDS = {
    Severity.CRITICAL: "At worst **critical**: training is broken, or part of it does nothing.",
    Severity.WARNING: "At worst a **warning**: training is clearly worse than it needs to be.",
    Severity.NOTE: "Always a **note**: worth knowing.",
}


_BESIDE = 4


def headlines_block() -> str:
    """Every diagnoser with its failing sentence, folded."""
    items = list(all_diagnosers())
    lines = [f"[`{one.name}`](docs/diagnosers/{one.name}.md): {one.documentation.headline}" for one in items]
    # A page shows a line for each; the source holds several in one, or README.md would be as long as its list.
    rows = ["<br>".join(lines[first : first + _BESIDE]) for first in range(0, len(lines), _BESIDE)]
    summary = f"<details>\n<summary>{len(items)} diagnosers, a line each</summary>"
    return "\n\n".join([summary, "<br>\n".join(rows), "</details>"])


def pages() -> dict[str, str]:
    """The page of each diagnoser by the name of its file, and README.md that lists them."""
    items = list(all_diagnosers())
    return {f"{item.name}.md": page(item, items) for item in items} | {"README.md": index(items)}


def index(items: Iterable[Diagnoser]) -> str:
    """The list of all pages."""
    rows = [
        f"| [{item.name}]({item.name}.md) | {item.worst} | {_cell(item.documentation.headline)} |" for item in items
    ]
    intro = (
        "One page a diagnoser: what it looks for, why it matters, what to try and when it is wrong. "
        "`gradaudit explain NAME` prints the same in the terminal."
    )
    table = "\n".join(["| name | at worst | what a run shows |", "|---|---|---|", *rows])
    return "\n\n".join([NOTICE, "# Diagnosers", intro, table]) + "\n"


def page(item: Diagnoser, items: Iterable[Diagnoser]) -> str:
    """The page of one diagnoser."""
    parts = [NOTICE, f"# {item.name}", f"*{' '.join(item.documentation.headline.split())}*", _place(item, items)]
    for title in SECTIONS:
        parts += [f"## {title}", item.documentation.sections[title]]
    return (
        "\n\n".join([*parts, "## Thresholds", _thresholds(item), "## What it needs", _needs(item), *_seen(item)]) + "\n"
    )


def _place(item: Diagnoser, items: Iterable[Diagnoser]) -> str:
    """How severe it can be, what it explains and what explains it."""
    explained_by = [other.name for other in items if item.name in other.explains]
    sentences = [WORST_IN_WORDS[item.worst]]
    if item.explains:
        sentences.append(f"Its findings explain those of {_links(item.explains)}.")
    if explained_by:
        whose = "They" if item.explains else "Its findings"
        sentences.append(f"{whose} may be explained by {_links(explained_by)}.")
    return " ".join(sentences)


def _links(names: Iterable[str]) -> str:
    *most, last = (f"[{name}]({name}.md)" for name in names)
    return f"{', '.join(most)} and {last}" if most else last


def _thresholds(item: Diagnoser) -> str:
    rows = [f"| `{name}` | {value} | {_cell(reason)} |" for name, value, reason in threshold_rows(item)]
    if not rows:
        return "None: it reads an exact fact."
    settings = "[pyproject.toml](../analyzing.md#settings-of-a-project)"
    example = f"Change one with `--set {item.name}.{next(iter(item.thresholds))}=VALUE`, or in {settings}."
    return "\n".join(["| threshold | default | reason |", "|---|---|---|", *rows, "", example])


def _needs(item: Diagnoser) -> str:
    lines = []
    for need, meaning in need_rows(item):
        table = need.partition(".")[0]
        lines.append(f"- [`{need}`](../format.md#{table}): {meaning}" if meaning else f"- {need}")
    return "\n".join(lines)


def _seen(item: Diagnoser) -> list[str]:
    """Where to see it, and how often the laboratory did."""
    parts = []
    if (SAMPLES / item.name / "train.py").exists():
        link = Path("../../sample_runs") / item.name
        parts.append(
            f"A real training that shows it: [train.py]({link}/train.py), and "
            f"[what gradaudit says about it]({link}/findings.txt)."
        )
    rate = told(base_rate(item.name, Severity.NOTE)).removeprefix("Laboratory: ")
    if rate:
        parts.append(f"In the [laboratory](../../benchmarks/lab/README.md): {rate}.")
    return ["## Where it was seen", *parts] if parts else []


def _cell(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|")
