"""What the documents say of the code, written from the code; ``python -m tests.documentation`` writes it anew.

A Markdown file holds generated blocks between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``; the pages of the
diagnosers are generated whole.
"""

import re
from collections.abc import Callable
from pathlib import Path

from tests.documentation import api, diagnosers, facts, layers, program, results

ROOT = Path(__file__).parents[2]
REWRITE = "make docs"

BLOCKS: dict[str, Callable[[], str]] = {
    "api": api.block,
    "base-rates": results.base_rates_block,
    "columns": program.columns_block,
    "contracts": layers.contracts_block,
    "cost": results.cost_block,
    "demo": program.demo_block,
    "diagnosers": diagnosers.headlines_block,
    "facts": facts.facts_block,
    "help": program.help_block,
    "internals": program.internals_block,
    "layers": layers.layers_block,
}
_BLOCK = re.compile(r"(<!-- begin ([\w-]+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)


def texts() -> list[Path]:
    """The documents written by hand, with or without generated blocks."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(text: str) -> list[str]:
    """The names of the generated blocks in `text`."""
    return [match[2] for match in _BLOCK.finditer(text)]


def renewed(text: str) -> str:
    """`text` with every generated block written anew. Raises KeyError for a block that nothing writes."""
    return _BLOCK.sub(lambda match: f"{match[1]}{BLOCKS[match[2]]()}\n{match[3]}", text)


def pages() -> dict[Path, str]:
    """The pages that are generated whole."""
    return {ROOT / "docs" / "diagnosers" / name: text for name, text in diagnosers.pages().items()}
