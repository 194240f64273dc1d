"""Which diagnosers come before which in the chain of causes."""

from collections.abc import Mapping
from graphlib import TopologicalSorter


def causal_depth(explains: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """For each diagnoser the length of the longest chain of causes before it; 0 for one that nothing explains."""
    causes: dict[str, list[str]] = {name: [] for name in explains}
    for name, effects in explains.items():
        for effect in effects:
            causes.setdefault(effect, []).append(name)
    depth: dict[str, int] = {}
    for name in TopologicalSorter(causes).static_order():
        depth[name] = max((depth[cause] + 1 for cause in causes[name]), default=0)
    return depth
