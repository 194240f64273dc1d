"""Every training of the laboratory, healthy and faulty, with the text that is run and the half that it belongs to."""

from dataclasses import dataclass
from functools import cache

from benchmarks.lab.configuration import Fault, Half, edited
from benchmarks.lab.faulty import FAULTY
from benchmarks.lab.healthy import HEALTHY


@dataclass(frozen=True)
class Experiment:
    """One training; `fault` is None when it is healthy."""

    name: str
    script: str
    half: Half
    text: str
    fault: Fault | None = None


@cache
def experiments() -> tuple[Experiment, ...]:
    """All of them, healthy first. Raises ValueError for an edit that does not fit, KeyError for an unknown base."""
    healthy = {item.name: Experiment(item.name, item.script, item.half, item.text) for item in HEALTHY}
    faulty = [
        Experiment(item.name, healthy[item.base].script, healthy[item.base].half,
                   edited(healthy[item.base].text, item.edits), item)
        for item in FAULTY
    ]  # fmt: skip
    return (*healthy.values(), *faulty)


def chosen(half: str = "all", kind: str = "all", names: tuple[str, ...] = ()) -> list[Experiment]:
    """Those of one half, of one kind ("healthy" or "faulty"), or with these names. Raises KeyError for a wrong name."""
    known = {item.name for item in experiments()}
    for name in names:
        if name not in known:
            raise KeyError(f"no experiment is called {name!r}")
    return [
        item
        for item in experiments()
        if half in ("all", item.half)
        and kind in ("all", "faulty" if item.fault else "healthy")
        and (not names or item.name in names)
    ]
