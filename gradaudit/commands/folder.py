"""The runs in a folder."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from gradaudit.schema import UserError

RUNS = Path("runs")


def runs_in(folder: Path) -> list[Path]:
    """The runs in `folder`, the one that was written last first."""
    written: dict[Path, float] = {}
    for name in ("launch.json", "run.json"):
        for file in folder.glob(f"*/{name}"):
            with contextlib.suppress(OSError):  # gone by now
                written[file.parent] = max(written.get(file.parent, 0.0), file.lstat().st_mtime)
    return sorted(written, key=lambda run: (-written[run], run))


def newest_run(folder: Path) -> Path:
    """The run in `folder` that was written last; raises UserError when there is none."""
    found = runs_in(folder)
    if not found:
        raise UserError(f"no run under {folder}/; make one with gradaudit record train.py, or name one")
    return found[0]


def common_folder(runs: Sequence[Path]) -> Path:
    """The folder that holds all of `runs`, as near to them as can be and written as they are."""
    parents = [run.parent for run in runs]
    if all(parent == parents[0] for parent in parents):
        return parents[0]
    return Path(os.path.commonpath([parent.resolve() for parent in parents]))
