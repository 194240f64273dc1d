"""Whether an audit names the cause of a pair, and whether it is silent where nothing is wrong."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.field.catalogue import Pair

ALARMS = ("critical", "warning")
Outcome = Literal["outright, first", "outright", "near", "wrong cause", "missed"]
OUTCOMES: tuple[Outcome, ...] = ("outright, first", "outright", "near", "wrong cause", "missed")


@dataclass(frozen=True)
class Told:
    """One finding, as the page tells it: `words` are its title, headline and first action."""

    diagnoser: str
    severity: str
    words: str


def read(path: Path) -> list[Told]:
    """The findings of an audit in the order of the page, from what `gradaudit analyze --format json` wrote."""
    return list(_below(json.loads(path.read_text(encoding="utf-8"))["ranked"]))


def _below(ranked: list[dict[str, Any]]) -> Iterator[Told]:
    for item in ranked:
        finding = item["finding"]
        actions = [action["text"] for action in finding.get("actions", [])[:1]]
        words = " | ".join([finding.get("title", ""), finding["headline"], *actions])
        yield Told(item["diagnoser"], finding["severity"], words)
        yield from _below(item.get("consequences", []))


def alarms(told: list[Told]) -> list[Told]:
    """Those of a warning or worse."""
    return [item for item in told if item.severity in ALARMS]


def names_it(pair: Pair, item: Told) -> bool:
    """Whether this finding is the cause itself, as a warning or worse. A diagnoser that is missing names nothing."""
    said = not pair.says or any(text.lower() in item.words.lower() for text in pair.says)
    return item.diagnoser in pair.outright and item.severity in ALARMS and said


def outcome(pair: Pair, told: list[Told]) -> Outcome:
    """What the audit of the faulty program is worth.

    The cause is near where a finding of one of the pair's diagnosers leads to it; as a note only if nothing warns.
    """
    if told and names_it(pair, told[0]):
        return "outright, first"
    if any(names_it(pair, item) for item in told):
        return "outright"
    loud = alarms(told)
    if any(item.diagnoser in (*pair.outright, *pair.near) for item in loud or told):
        return "near"
    return "wrong cause" if loud else "missed"
