"""What the field suite holds: pairs of programs, faulty and repaired, and healthy ones that look odd."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from benchmarks.lab.configuration import edited

FIELD = Path(__file__).parent
Half = Literal["given", "development", "unseen", "held-out"]
HALVES: tuple[Half, ...] = ("given", "development", "unseen", "held-out")
Variant = Literal["faulty", "repaired", "healthy"]


class Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A public report whose thread settles the cause: `pairs/NAME.py` is repaired, and `edits` make it faulty.

    `outright` names the diagnosers of which one names the cause itself, existing or planned; it is empty where none is
    planned. With `says`, the title, headline or first action must hold one of these texts, too. `near` names those that
    lead somebody to the cause. `measure` is what the program prints as its result, and costs.csv holds both results.
    """

    name: str
    subject: str
    source: str
    edits: list[tuple[str, str]]
    measure: str
    outright: list[str] = []
    near: list[str] = []
    says: list[str] = []


class Healthy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A program `healthy/NAME.py` that is as it should be; `odd` says what looks wrong about it."""

    name: str
    subject: str
    odd: str
    source: str = ""


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`catalogue/HALF.toml`."""

    pair: list[Pair] = []
    healthy: list[Healthy] = []


@dataclass(frozen=True)
class Program:
    """One program as it is run."""

    name: str
    variant: Variant
    half: Half
    text: str

    @property
    def folder(self) -> str:
        """The name of its folder below build/field/runs."""
        return f"{self.name}-{self.variant}"


@cache
def files() -> dict[Half, File]:
    """Every half that there is, in the order of HALVES."""
    there = {half: FIELD / "catalogue" / f"{half}.toml" for half in HALVES}
    return {half: msgspec.toml.decode(path.read_bytes(), type=File) for half, path in there.items() if path.exists()}


def pairs(half: str = "all", names: tuple[str, ...] = ()) -> dict[str, tuple[Half, Pair]]:
    """The pairs of one half, or of all; with `names`, only these."""
    return {
        pair.name: (mine, pair)
        for mine, file in files().items()
        for pair in file.pair
        if half in ("all", mine) and (not names or pair.name in names)
    }


def healthy(half: str = "all", names: tuple[str, ...] = ()) -> dict[str, tuple[Half, Healthy]]:
    """The healthy programs of one half, or of all; with `names`, only these."""
    return {
        item.name: (mine, item)
        for mine, file in files().items()
        for item in file.healthy
        if half in ("all", mine) and (not names or item.name in names)
    }


def programs(half: str = "all", names: tuple[str, ...] = ()) -> list[Program]:
    """The programs to be run: two of every pair, and the healthy ones. Raises ValueError where an edit does not fit."""
    found = []
    for mine, pair in pairs(half, names).values():
        repaired = (FIELD / "pairs" / f"{pair.name}.py").read_text(encoding="utf-8")
        found.append(Program(pair.name, "faulty", mine, edited(repaired, tuple(pair.edits))))
        found.append(Program(pair.name, "repaired", mine, repaired))
    for mine, item in healthy(half, names).values():
        text = (FIELD / "healthy" / f"{item.name}.py").read_text(encoding="utf-8")
        found.append(Program(item.name, "healthy", mine, text))
    return found
