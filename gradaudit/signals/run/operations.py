"""Which operation of torch was the first to compute what is not finite: from the steps of a close look."""

import math
from dataclasses import dataclass
from typing import Any

from gradaudit.reading.run import Run

# These put an infinity where the script wants one, as a mask does before a softmax.
_MADE = (
    *("masked_fill", "masked_fill_", "full", "full_like", "new_full", "fill_", "scalar_tensor", "lift_fresh", "where"),
    *("triu", "tril", "zeros_like", "_to_copy", "clone", "copy_", "add", "sub", "mul", "cat", "stack"),
)


@dataclass(frozen=True)
class BrokenOperation:
    """The first operation of a step whose output is not finite."""

    step: int  # global
    name: str  # without the dispatcher's namespace and overload: log
    backward: bool
    module: str  # innermost, as in run.json; of a backward operation, where its forward ran; empty outside of modules
    place: str  # line of the script, likewise
    what: str  # NaN or infinite
    share: float  # of the output's elements
    earlier: int  # operations of the same step before it


def first_broken(run: Run, step: int) -> BrokenOperation | None:
    """The first operation of a global step that computed NaN, or an infinity that is not there at other steps.

    None where no operation of that step was recorded, or all are finite. An infinity that a script puts into every
    step, as the -inf of an attention mask, is none; of a stretch of one step, only what torch computes counts.
    """
    mine = _rows(run, step)
    usual = {_key(row) for row in _rows(run, step - 1) if row["inf"]}
    alone = not _rows(run, step - 1)
    for place, row in enumerate(mine):
        odd = row["inf"] and _key(row) not in usual and not (alone and _name(row) in _MADE)
        if row["nan"] or odd:
            return _described(run, mine, place)
    return None


def _rows(run: Run, step: int) -> list[dict[str, Any]]:
    operations = run.operations
    mine = operations[operations["step"] == step] if len(operations) else operations
    return [{str(name): value for name, value in row.items()} for row in mine.to_dict("records")]


def _name(row: dict[str, Any]) -> str:
    return str(row["name"]).split(".")[1] if "." in row["name"] else str(row["name"])


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["name"], row["phase"], row["module"], row["place"]


def _described(run: Run, rows: list[dict[str, Any]], place: int) -> BrokenOperation:
    row = rows[place]
    backward = row["phase"] == "backward"
    # A backward pass has no line of its own: what it undoes has.
    undone = (one for one in rows if backward and one["phase"] == "forward" and one["node"] == row["node"])
    at = next(undone, row)
    names = {module.id: module.name or module.module_class for module in run.meta.modules}
    elements = math.prod(int(size) for size in row["shape"])
    return BrokenOperation(
        step=int(row["step"]),
        name=_name(row),
        backward=backward,
        module=names.get(int(at["module"]), ""),
        place=str(at["place"]),
        what="NaN" if row["nan"] else "infinite",
        share=(row["nan"] or row["inf"]) / elements if elements else math.nan,
        earlier=place,
    )
