"""The import contracts of pyproject.toml, as documents show them."""

import tomllib
from pathlib import Path
from typing import Any

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def contracts() -> list[dict[str, Any]]:
    """The contracts of import-linter, in order."""
    config = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))
    return list(config["tool"]["importlinter"]["contracts"])


def layers_block() -> str:
    """The layers of the whole package, the highest first, a line each."""
    whole = next(one for one in contracts() if one.get("containers") == ["gradaudit"])
    return _drawn(whole["layers"])


def contracts_block() -> str:
    """The layers inside each room that has some."""
    rooms = [one for one in contracts() if one["type"] == "layers" and one["containers"] != ["gradaudit"]]
    return "\n\n".join(
        f"**`{room['containers'][0].replace('.', '/')}/`**: {_sentence(room['name'])}\n\n{_drawn(room['layers'])}"
        for room in rooms
    )


def _sentence(name: str) -> str:
    return f"{name[0].lower()}{name[1:]}."


def _drawn(rows: list[str]) -> str:
    return "\n".join(["```text", *rows, "```"])
