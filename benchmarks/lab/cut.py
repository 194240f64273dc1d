"""A run as it was after its first steps: what an analysis would have seen had the training ended there."""

from dataclasses import replace

import msgspec
import pandas
import pyarrow
import pyarrow.compute

from gradaudit.reading.run import Run
from gradaudit.reading.segments import read
from gradaudit.schema import TABLES, Meta, Table, arrow_schema

# Which column of a table says when: the step of its optimizer, or the global step.
_OWN = {"steps": "step", "tensors": "step", "rows": "step", "histograms": "step"}
_GLOBAL = {"evaluations": "after_step", "modules": "step", "events": "step"}


def cut(run: Run, count: int) -> Run:
    """`run` up to the `count`-th step of each optimizer, in memory; `run` itself when it is no longer than that.

    The facts in run.json stay those of the whole run: its modules, its end, the labels of all its steps. But parameters
    of a group that was added later are no optimizer's yet, as they would have been then.
    """
    steps = run.steps[run.steps["step"] < count]
    if len(steps) == len(run.steps):
        return run
    last = int(steps["global_step"].max())
    ends = {**{name: (column, count - 1) for name, column in _OWN.items()},
            **{name: (column, last) for name, column in _GLOBAL.items()}}  # fmt: skip
    ranks = tuple(replace(replica, end=min(replica.end, last + 1)) for replica in run.ranks)
    parts = {name: (_until(run, TABLES[name], *end),) for name, end in ends.items()}
    return replace(run, meta=_until_then(run.meta, steps), parts=parts, ranks=ranks)


def _until_then(meta: Meta, steps: pandas.DataFrame) -> Meta:
    """The facts with each tensor whose parameter group has no learning rate in `steps` frozen, and no optimizer's."""
    groups = {number: max(map(len, mine["learning_rate"])) for number, mine in steps.groupby("optimizer")}
    tensors = [
        tensor if tensor.group < groups.get(tensor.optimizer, tensor.group + 1)
        else msgspec.structs.replace(tensor, optimizer=-1, group=-1, requires_grad=False)
        for tensor in meta.tensors
    ]  # fmt: skip
    return msgspec.structs.replace(meta, tensors=tensors)


def _until(run: Run, table: Table, column: str, last: int) -> pyarrow.Table:
    names = [item.name for item in table.columns]
    whole = pyarrow.concat_tables(
        [arrow_schema(table).empty_table(), *(read(part, table, names) for part in run.parts[table.name])]
    )
    return whole.filter(pyarrow.compute.less_equal(whole[column], last))
