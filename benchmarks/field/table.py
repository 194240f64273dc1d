"""The table of the field suite in benchmarks/RESULTS.md."""

import csv
from collections import Counter
from collections.abc import Sequence
from datetime import date

from benchmarks.field.catalogue import FIELD, HALVES, Pair, Program, healthy, pairs
from benchmarks.field.judge import OUTCOMES, Told, alarms, outcome, read
from benchmarks.field.record import folder_of, is_analyzed
from benchmarks.lab.table import markdown
from gradaudit.diagnosers import all_diagnosers

COSTS = FIELD / "costs.csv"
Audits = dict[tuple[str, str, int], list[Told]]


def audits(programs: list[Program], seeds: int) -> Audits:
    """The findings of every program that was recorded and analyzed, by (name, variant, seed)."""
    return {
        (program.name, program.variant, seed): read(folder_of(program, seed) / "audit.json")
        for program in programs
        for seed in range(seeds)
        if is_analyzed(program, seed)
    }


def costs() -> dict[str, list[tuple[float, float]]]:
    """(faulty, repaired) results of every pair without a recorder, a seed after the other."""
    if not COSTS.exists():
        return {}
    with COSTS.open(encoding="utf-8") as lines:
        found: dict[str, list[tuple[float, float]]] = {}
        for row in csv.DictReader(lines):
            found.setdefault(row["pair"], []).append((float(row["faulty"]), float(row["repaired"])))
        return found


def summary(found: Audits) -> str:
    """A row for each half: how many pairs are named, and how many programs without a fault are silent."""
    rows = []
    for half in HALVES:
        judged = [
            outcome(pairs()[name][1], told)
            for (name, variant, _), told in found.items()
            if variant == "faulty" and pairs()[name][0] == half
        ]
        quiet = [
            (variant, not alarms(told))
            for (name, variant, _), told in found.items()
            if variant != "faulty" and {**pairs(), **healthy()}[name][0] == half
        ]
        if judged or quiet:
            counts = Counter(judged)
            silent = [
                _share([is_silent for kind, is_silent in quiet if kind == variant])
                for variant in ("repaired", "healthy")
            ]
            rows.append([half, str(len(judged)), *(str(counts[kind]) for kind in OUTCOMES), *silent])
    return markdown(["half", "faulty runs", *OUTCOMES, "repaired silent", "healthy silent"], rows)


def _share(hits: list[bool]) -> str:
    return f"{sum(hits)} of {len(hits)}" if hits else ""


def pair_rows(found: Audits, half: str) -> list[list[str]]:
    """A row for each pair of one half."""
    known, paid, rows = {item.name for item in all_diagnosers()}, costs(), []
    for name, (_, pair) in pairs(half).items():
        seeds = [seed for key, variant, seed in found if (key, variant) == (name, "faulty")]
        if not seeds:
            continue
        judged = [outcome(pair, found[name, "faulty", seed]) for seed in seeds]
        first = found[name, "faulty", seeds[0]][:1]
        loud = sorted({item.diagnoser for seed in seeds for item in alarms(found.get((name, "repaired", seed), []))})
        rows.append([
            f"`{name}`",
            pair.subject,
            should(pair, known),
            cost(pair, paid.get(name, [])),
            ", ".join(dict.fromkeys(judged)),
            f"`{first[0].diagnoser}` ({first[0].severity})" if first else "nothing",
            ", ".join(loud) or silence(found, name),
        ])  # fmt: skip
    return rows


def silence(found: Audits, name: str) -> str:
    """What is said of a repaired program that nothing warns of."""
    return "silent" if any((key, variant) == (name, "repaired") for key, variant, _ in found) else "not run"


def cost(pair: Pair, results: list[tuple[float, float]]) -> str:
    """What the faulty and the repaired program reach without a recorder."""
    if not results:
        return "not measured"
    faulty, repaired = zip(*results, strict=True)
    return f"{pair.measure}: {_spread(faulty)}, repaired {_spread(repaired)}"


def should(pair: Pair, known: set[str]) -> str:
    """Which diagnosers name the cause; those that are not there yet are marked."""
    return ", ".join(f"`{name}`{'' if name in known else ' (not there)'}" for name in pair.outright) or "none planned"


def _spread(values: Sequence[float]) -> str:
    told = dict.fromkeys(f"{value:.3g}" for value in (min(values), max(values)))
    return " to ".join(told)


def healthy_rows(found: Audits) -> list[list[str]]:
    """A row for each healthy program."""
    rows = []
    for name, (_, item) in healthy().items():
        mine = [told for (key, variant, _), told in found.items() if (key, variant) == (name, "healthy")]
        if mine:
            loud = sorted({one.diagnoser for told in mine for one in alarms(told)})
            rows.append([f"`{name}`", item.subject, item.odd, ", ".join(loud) or "silent"])
    return rows


def block(found: Audits, commit: str) -> str:
    """The dated block."""
    parts = [f"### {date.today().isoformat()}, the field suite", f"`make field`, commit {commit}.", summary(found)]
    names = ["pair", "what is wrong", "should be named by", "cost, without a recorder", "outcome", "first", "repaired"]
    for half in HALVES:
        if rows := pair_rows(found, half):
            parts += [f"Pairs, {half}:", markdown(names, rows)]
    if rows := healthy_rows(found):
        parts += ["Healthy programs:", markdown(["program", "what it is", "what looks odd", "warned by"], rows)]
    return "\n\n".join(parts) + "\n"
