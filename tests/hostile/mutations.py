"""Ways to damage a run or to prepare it, each from a seeded generator; `mutate` applies one to three of them."""

import json
import os
import shutil
import socket
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

from tests.hostile.tables import TABLE_MUTATIONS

FACTS: list[Any] = [
    None, True, -1, 0, 1, 2**31 - 1, 2**31, 2**53 + 1, 2**63 - 1, 2**64, -(2**63), 10**400, 0.5, 1e308, -1e308, 1e-320,
    "", "x" * 100_000, "\x1b[31m\u202e\n\x00", "</script><b>", "nan", "\ud7ff\U0010ffff", [], {}, [[]], [None],
    ["a"], [2**62] * 40, [0], [-1], {"a": 1}, [[1, 2], [3]], "2026-13-45T99:99:99Z", "running", "failed",
    [1e308] * 3, ["x" * 5000] * 50,
]  # fmt: skip


def files(run: Path) -> list[Path]:
    """The plain files of a run."""
    return sorted(file for file in run.rglob("*") if file.is_file() and not file.is_symlink())


def data_files(run: Path) -> list[Path]:
    """Those of the tables."""
    return [file for file in files(run) if file.suffix in (".parquet", ".arrows")] or files(run)


# Bytes


def flip(run: Path, random: Random) -> None:
    """Change some bytes of a file."""
    file = random.choice(files(run))
    data = bytearray(file.read_bytes())
    for _ in range(random.choice([1, 2, 8, 64])):
        data[random.randrange(len(data))] = random.randrange(256)
    file.write_bytes(data)


def flip_the_end(run: Path, random: Random) -> None:
    """Change bytes of a footer, or of the last message."""
    file = random.choice(data_files(run))
    data = bytearray(file.read_bytes())
    for _ in range(random.choice([1, 2, 4])):
        data[-1 - random.randrange(min(len(data), 3000))] = random.choice([0, 1, 127, 128, 255, random.randrange(256)])
    file.write_bytes(data)


def cut(run: Path, random: Random) -> None:
    """Cut a file off, or take a piece out of its middle."""
    file = random.choice(files(run))
    data = file.read_bytes()
    at = random.randrange(len(data))
    file.write_bytes(data[:at] + (data[at + random.randrange(1, 500) :] if random.random() < 0.4 else b""))


def overwrite(run: Path, random: Random) -> None:
    """Write a stretch of one byte, or of another file, over a part of a file."""
    file, other = random.choice(files(run)), random.choice(files(run))
    data = bytearray(file.read_bytes())
    at, size = random.randrange(len(data)), random.randrange(1, 4000)
    source = bytes([random.choice([0, 255, 128])]) * size if random.random() < 0.5 else other.read_bytes()[:size]
    data[at : at + size] = source
    file.write_bytes(data)


# Files


def remove(run: Path, random: Random) -> None:
    """Remove a file or a folder."""
    victim = random.choice(sorted(run.rglob("*")))
    shutil.rmtree(victim) if victim.is_dir() else victim.unlink()


def empty(run: Path, random: Random) -> None:
    """A file of no bytes."""
    random.choice(files(run)).write_bytes(b"")


def swap(run: Path, random: Random) -> None:
    """One file takes the name of another."""
    one, other = random.choice(files(run)), random.choice(files(run))
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)


def multiply(run: Path, random: Random) -> None:
    """A segment that is there many times, or a rank."""
    file = random.choice(data_files(run))
    if random.random() < 0.3:
        try:
            meta = json.loads((run / "run.json").read_bytes())
        except (OSError, ValueError, RecursionError):
            meta = {}
        for number in range(1, random.choice([2, 40])):
            target = run / f"rank{number:05d}"
            if not target.exists():
                shutil.copytree(file.parent, target, symlinks=True)
                facts = {**meta, "rank": number} if isinstance(meta, dict) else meta
                (target / "rank.json").write_text(json.dumps(facts))
        return
    name = file.name.split(".")[0].split("-")[0]
    for number in range(100, 100 + random.choice([1, 3, 60])):
        shutil.copy(file, file.parent / f"{name}-{number:06d}.parquet")


# Facts


def _leaves(value: Any) -> list[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in items for found in [(value, key), *_leaves(item)]]


def facts(run: Path, random: Random) -> None:
    """Other values in run.json or rank.json."""
    places = [file for file in files(run) if file.name in ("run.json", "rank.json")]
    if not places:
        return
    file = random.choice(places)
    try:
        whole = json.loads(file.read_bytes())
        _leaves(whole)
    except (ValueError, RecursionError):
        return
    for _ in range(random.choice([1, 1, 3, 20])):
        leaves = _leaves(whole)
        if not leaves:
            break
        parent, key = random.choice(leaves)
        kind = random.random()
        if kind < 0.7:
            parent[key] = deepcopy(random.choice(FACTS))
        elif kind < 0.85:
            parent.pop(key)
        elif isinstance(parent, list):
            parent += [deepcopy(parent[key]) for _ in range(random.choice([1, 50]))]
        else:
            parent[random.choice(sorted(parent))] = deepcopy(parent[key])
    file.write_text(json.dumps(whole))


def same_facts(run: Path, random: Random) -> None:
    """One field of all tensors, modules, optimizers or losses becomes the same."""
    file = run / "run.json"
    try:
        whole = json.loads(file.read_bytes())
        table = whole[random.choice(["tensors", "modules", "optimizers", "losses"])]
        field = random.choice(sorted(table[0]))
        value = deepcopy(random.choice([table[0][field], random.choice(FACTS)]))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return
    for entry in table:
        entry[field] = value
    file.write_text(json.dumps(whole))


def deep(run: Path, random: Random) -> None:
    """JSON that is nested beyond any stack, in a known or an unknown field."""
    file = run / random.choice(["run.json", "rank00000/rank.json"])
    depth = random.choice([100, 5000, 1_000_000])
    name = random.choice(["tensors", "unknown", "format_version", "losses", "private"])
    if file.parent.is_dir() and not file.is_dir():
        file.write_text(f'{{"{name}": {"[" * depth}{"]" * depth}}}')


# Links and special files


def link(run: Path, random: Random) -> None:
    """A link in place of a file or folder, or beside it."""
    victim = random.choice(sorted(run.rglob("*")))
    target = random.choice(["/dev/zero", "/etc/passwd", "/", "nowhere", victim.name, "../run.json", "aside"])
    if target == "aside":
        aside = run.parent / "aside"
        if not aside.exists():
            victim.rename(aside)
        target = str(aside)
    if victim.is_dir() and not victim.is_symlink():
        shutil.rmtree(victim)
    elif victim.is_symlink() or victim.exists():
        victim.unlink()
    victim.symlink_to(target)


def special(run: Path, random: Random) -> None:
    """A pipe, a socket, a folder, or a huge file of nothing, in place of a file or beside it."""
    rank = run / "rank00000"
    beside = [rank / "rank.json", rank / "steps.live.arrows", rank / "tensors-000009.parquet", run / "rank00007",
              run / "launch.json"]  # fmt: skip
    victim = random.choice([*files(run), *beside])
    if not victim.parent.is_dir():
        return
    if victim.is_symlink() or victim.is_file():
        victim.unlink()
    elif victim.exists():
        return
    match random.choice(["pipe", "socket", "folder", "sparse", "device"]):
        case "pipe":
            os.mkfifo(victim)
        case "socket":
            here = os.getcwd()
            os.chdir(victim.parent)  # the name of a socket may have 107 bytes
            try:
                with socket.socket(socket.AF_UNIX) as end:
                    end.bind(victim.name)
            finally:
                os.chdir(here)
        case "folder":
            victim.mkdir()
        case "sparse":
            with victim.open("wb") as file:
                file.truncate(random.choice([10**8, 250_000_000, 10**12]))
        case "device":
            try:
                os.mknod(victim, 0o666 | 0o020000, os.makedev(1, 5))  # /dev/zero
            except PermissionError:
                victim.symlink_to("/dev/zero")


def locked(run: Path, random: Random) -> None:
    """A name that is no text, or a file that nobody may read."""
    if random.random() < 0.5:
        (run / "rank00000").mkdir(exist_ok=True) if not (run / "rank00000").is_symlink() else None
        os.close(os.open(os.fsencode(run) + b"/rank\xff\xfe", os.O_CREAT | os.O_WRONLY))
    else:
        random.choice(files(run)).chmod(0)


Mutation = Callable[[Path, Random], None]
MUTATIONS: list[Mutation] = [
    flip, flip_the_end, cut, overwrite, remove, empty, swap, multiply, facts, facts, facts, same_facts, deep, link,
    special, locked, *TABLE_MUTATIONS,
]  # fmt: skip


def mutate(run: Path, seed: int) -> list[str]:
    """Mutate the run; gives the names of what was done. The same seed does the same."""
    random = Random(seed)
    done = []
    for number in range(random.choice([1, 1, 1, 2, 3])):
        # Each kind has its turn first, the rest is drawn.
        mutation = MUTATIONS[seed // 6 % len(MUTATIONS)] if not number else random.choice(MUTATIONS)
        if files(run):
            mutation(run, random)
            done.append(mutation.__name__)
    return done
