"""The data sets that are evaluated at one place, told apart by their identity, else by their order within a pass.

A place that says nothing may evaluate one set, batch by batch, or several sets. Two sets are never averaged: where
batches and sets look alike, the split is unknown.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gradaudit.record.observe.evaluation.identity import Token, alive
from gradaudit.record.observe.evaluation.source import Over

UNKNOWN = "unknown"
MOST = 8  # data sets at one place; more are batches that look like data
_MOST_SITES = 10_000  # code that a script makes at every step would otherwise be kept for ever
FEW = 3  # things evaluated once each that may be splits; more are batches

Tokens = tuple[tuple[Token, ...], ...]


class Level(NamedTuple):
    """What may tell data apart: the parameters of a function (`over` is None), or the variables of a loop in it."""

    tokens: tuple[Token, ...]
    over: Over | None = None
    sure: bool = False  # these are data sets, and no batches
    trained: bool = False  # it is what is trained on


class Part(NamedTuple):
    """What a loss belongs to: a split that has a name, or the data at a place, outermost level first."""

    name: str | None
    levels: tuple[Level, ...] = ()
    site: tuple[Any, ...] = ()


class Key(NamedTuple):
    """A part, as far as it is told apart at its place."""

    name: str | None
    site: tuple[Any, ...]
    tokens: Tokens


@dataclass
class _Site:
    """What is known of a place, or of a name."""

    levels: tuple[Level, ...] = ()  # of the last loss
    cut: int | None = None  # from this level on there are batches
    known: dict[str, Tokens] = field(default_factory=dict)  # by label, the data that had it last
    usual: int = 0  # data sets in the last pass


_sites: dict[tuple[str | None, tuple[Any, ...]], _Site] = {}


def forget() -> None:
    """Start anew."""
    _sites.clear()


def key_of(part: Part) -> Key:
    """What tells this part from others."""
    if (part.name, part.site) not in _sites and len(_sites) >= _MOST_SITES:
        _sites.clear()
    site = _sites.setdefault((part.name, part.site), _Site())
    site.levels = part.levels
    return Key(part.name, part.site, tuple(level.tokens for level in part.levels)[: site.cut])


def crowded(key: Key, keys: Iterable[Key]) -> bool:
    """Whether there are too many parts at a place to be data sets; what tells its last ones apart no longer counts."""
    mine = [each.tokens for each in keys if each[:2] == key[:2]]
    if len(mine) <= MOST:
        return False
    _sites[key[:2]].cut = _innermost(mine)
    return True


def shortened(key: Key) -> Key:
    """The key as it is now that its place is `crowded`."""
    return key._replace(tokens=key.tokens[: _sites[key[:2]].cut])


def labels(calls: Mapping[Key, int], *, ended: bool) -> dict[Key, str]:
    """The split of each part of a pass, of so many losses; `ended` when no more will follow."""
    found: dict[Key, str] = {}
    for place in dict.fromkeys(key[:2] for key in calls):
        site = _sites.setdefault(place, _Site())
        mine = {key.tokens: count for key, count in calls.items() if key[:2] == place}
        depth = _depth(site, mine)
        if depth is None:
            found |= {Key(*place, tokens): UNKNOWN for tokens in mine}
            continue
        sets = list(dict.fromkeys(tokens[:depth] for tokens in mine))
        named = _named(site, place[0], sets)
        found |= {Key(*place, tokens): named[tokens[:depth]] for tokens in mine}
        if ended:
            site.usual = len(sets)
    return found


def _innermost(tokens: Sequence[Tokens]) -> int:
    """The innermost level at which parts differ that are alike further out."""
    deepest = max(map(len, tokens))
    return max(level for level in range(deepest) if _many(tokens, level + 1) > _many(tokens, level))


def _many(tokens: Sequence[Tokens], depth: int) -> int:
    return len({each[:depth] for each in tokens})


def _depth(site: _Site, calls: Mapping[Tokens, int]) -> int | None:
    """How many levels tell data sets apart; those further in are of batches. None when that is not clear."""
    depth = max(map(len, calls))
    while True:
        parts: dict[Tokens, int] = {}
        for tokens, count in calls.items():
            parts[tokens[:depth]] = parts.get(tokens[:depth], 0) + count
        if len(parts) == 1:
            return depth
        level = _innermost(list(parts))
        kind = site.levels[level] if level < len(site.levels) else Level(())
        loop = next((each.over for each in site.levels[level::-1] if each.over is not None), None)
        if kind.sure or kind.over == "splits":
            return depth
        if loop != "batches":
            if max(parts.values()) > 1:
                return depth  # evaluated batch by batch
            if _many(list(parts), level) == 1 and len(parts) <= FEW:
                return None
        depth = level


def _named(site: _Site, name: str | None, sets: Sequence[Tokens]) -> dict[Tokens, str]:
    """A label for each data set: that of the same data before, else of what stood at its place in the last pass."""
    found: dict[Tokens, str] = {}
    for label, known in site.known.items():
        same = [each for each in sets if each == known[: len(each)] and each not in found]
        found |= dict.fromkeys(same[:1], label)
    gone = [label for label, known in site.known.items() if label not in found.values() and not alive(known)]
    for each in sets:
        if each not in found:
            if gone and len(sets) != site.usual and name is None:
                found[each] = UNKNOWN
                continue
            found[each] = gone.pop(0) if gone else _new(name)
        site.known[found[each]] = each
    return found


def _new(name: str | None) -> str:
    number = 1 + sum(len(site.known) for (other, _), site in _sites.items() if other == name)
    first = name or "evaluation"
    return first if number == 1 else f"{first} {number}"
