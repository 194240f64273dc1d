"""Which finding explains which: the earliest root first, what follows from it nested under it."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from graphlib import TopologicalSorter

from gradaudit.audit.base_rates import BaseRate, base_rate
from gradaudit.chart_data import Value
from gradaudit.findings import Confidence, Finding, Severity


class RankedFinding(Value, frozen=True, kw_only=True):
    """A finding in its place: `consequences` are the findings that it explains.

    >>> first = gradaudit.analyze("runs/x").ranked[0]
    >>> first.anchor, first.finding.actions[0].text
    ('initial_loss_mismatch', 'Initialise output.weight with a standard deviation of 0.1 or less instead of 1')
    """

    anchor: str
    diagnoser: str
    finding: Finding
    consequences: list["RankedFinding"] = []
    base_rate: BaseRate | None = None  # None where the laboratory says nothing of it

    @property
    def title(self) -> str:
        """The disease by name: what the finding is called, else its diagnoser in words."""
        return title(self.diagnoser, self.finding)

    def below(self) -> Iterator["RankedFinding"]:
        """All that it explains, at any depth, each before what it explains itself.

        >>> list(gradaudit.analyze("runs/x").ranked[0].below())
        []
        """
        for item in self.consequences:
            yield item
            yield from item.below()


def title(diagnoser: str, finding: Finding) -> str:
    """What the finding is called, else its diagnoser in words."""
    return finding.title or diagnoser.replace("_", " ").capitalize()


def in_order(
    found: Iterable[tuple[str, Finding]],
    explains: Mapping[str, tuple[str, ...]],
    window: int = 10,
    changed: Collection[str] = (),
) -> list[RankedFinding]:
    """Order findings, given with their diagnosers: the root of the worst first, what it explains nested under it.

    A finding explains another when its diagnoser says so, when it does not begin more than `window` steps after it
    (an effect cannot precede its cause), and when it is no mere note under something worse. A finding that names what
    it caused (`Finding.caused`) may be a note and stand above what is worse, if that begins no later than ten windows
    after its end, and explains nothing else: a learning rate that was seen to jump is why the loss did. A finding that
    names what it comes from (`Finding.follows`) stands under that, whenever either begins, and explains nothing. Of
    several explanations the nearest is taken, so that chains show. The thresholds of diagnosers in `changed` are not
    those of the laboratory. Raises graphlib.CycleError when `explains` runs in a circle.
    """
    depth = causal_depth(explains)
    items = _anchored(found, depth)
    parent = _parents([(name, finding) for _, name, finding in items], explains, depth, window)

    def build(index: int) -> RankedFinding:
        anchor, name, finding = items[index]
        below = [build(child) for child in range(len(items)) if parent.get(child) == index]
        rate = base_rate(name, finding.severity, changed=name in changed)
        return RankedFinding(anchor=anchor, diagnoser=name, finding=finding, consequences=below, base_rate=rate)

    def worst(item: RankedFinding) -> int:
        return min([item.finding.severity.rank, *(worst(child) for child in item.consequences)])

    # Of roots that are equally bad, exact facts come first: how a training is wired outweighs how it behaves.
    # `sorted` keeps the order of `items` among equals, from cause to effect.
    roots = (build(index) for index in range(len(items)) if index not in parent)
    return sorted(roots, key=lambda item: (worst(item), item.finding.confidence is not Confidence.CERTAIN))


def _anchored(found: Iterable[tuple[str, Finding]], depth: Mapping[str, int]) -> list[tuple[str, str, Finding]]:
    """(anchor, diagnoser, finding), causes before effects; a second finding of a diagnoser is NAME-2."""
    anchors: dict[str, int] = {}
    items: list[tuple[str, str, Finding]] = []
    for name, finding in sorted(
        found, key=lambda pair: (depth.get(pair[0], 0), pair[1].severity.rank, pair[1].span.first, pair[0])
    ):
        anchors[name] = anchors.get(name, 0) + 1
        items.append((name if anchors[name] == 1 else f"{name}-{anchors[name]}", name, finding))
    return items


def _parents(
    items: Sequence[tuple[str, Finding]], explains: Mapping[str, tuple[str, ...]], depth: Mapping[str, int], window: int
) -> dict[int, int]:
    """For each finding that another one explains, by place: the nearest that does."""

    def grave(first: Finding, then: Finding) -> bool:
        return first.severity is not Severity.NOTE or then.severity is Severity.NOTE

    def explained_by(cause: int, effect: int) -> bool:
        (cause_name, first), (effect_name, then) = items[cause], items[effect]
        in_time = first.span.first <= then.span.first + window
        near = then.span.first <= first.span.last + 10 * window
        meant = (effect_name in first.caused and near) if first.caused else grave(first, then)
        return effect_name in explains.get(cause_name, ()) and in_time and meant

    def followed(effect: int) -> list[int]:
        """What a finding comes from by its own word; never another one of that kind, so that no circle closes."""
        then = items[effect][1]
        return [
            cause
            for cause, (name, first) in enumerate(items)
            if name in then.follows and not first.follows and grave(first, then)
        ]

    following = {effect: causes for effect in range(len(items)) if (causes := followed(effect))}
    parent: dict[int, int] = {}
    for effect in range(len(items)):
        # Else causes come before their effects in `items`: there is no circle to close.
        causes = following.get(effect) or [
            cause for cause in range(effect) if cause not in following and explained_by(cause, effect)
        ]
        if causes:
            parent[effect] = max(causes, key=lambda cause: (depth.get(items[cause][0], 0), -cause))
    return parent


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
