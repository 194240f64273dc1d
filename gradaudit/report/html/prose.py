"""Reads the running text of a diagnoser's documentation: paragraphs, lists, indented code, words in backticks."""

import re

from gradaudit.report.model import Block, Piece
from gradaudit.report.text import visible

_ITEM = re.compile(r"^(?:[-*]|\d+[.)])\s+")


def prose(text: str) -> tuple[Block, ...]:
    """The blocks of `text`; what is not understood is a paragraph."""
    return tuple(_block(part) for part in re.split(r"\n\s*\n", text.strip("\n")) if part.strip())


def pieces(text: str) -> tuple[Piece, ...]:
    """`text` with what stands in single or double backticks told apart."""
    parts = re.split(r"(``[^`]+``|`[^`]+`)", " ".join(text.split()))
    return tuple(
        Piece(visible(part.strip("`") if part.startswith("`") else part), part.startswith("`") and len(part) > 1)
        for part in parts
        if part
    )


def _block(part: str) -> Block:
    lines = part.strip("\n").split("\n")
    if lines[0].startswith("```"):
        lines = [line for line in lines if not line.startswith("```")]
        return Block("code", ((Piece("\n".join(map(visible, lines))),),))
    if all(line.startswith("    ") for line in lines):
        return Block("code", ((Piece("\n".join(visible(line[4:]) for line in lines)),),))
    if _ITEM.match(lines[0].strip()):
        items: list[str] = []
        for line in lines:
            item = _ITEM.sub("", line.strip())
            if _ITEM.match(line.strip()) or not items:
                items.append(item)
            else:
                items[-1] += f" {item}"
        return Block("list", tuple(pieces(item) for item in items))
    return Block("paragraph", (pieces(part),))
