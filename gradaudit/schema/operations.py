"""The table of a close look: every operation of the steps that the user asked for."""

from gradaudit.schema.base import Column, Table

OPERATIONS = Table(
    "operations",
    ("step", "operation"),
    "With --closely, one row for each tensor that an operation of torch computed in the steps of that stretch, in "
    "order: where in the script, and whether it is finite. Views, tensors that nothing was written to yet, and what "
    "the optimizer computes are left out.",
    (
        Column("step", "int64", "count", "global_step of the step that the operation belongs to"),
        Column("operation", "int32", "index", "operations of this step before it"),
        Column("name", "string", "", "as the dispatcher calls it: aten.mm.default"),
        Column("phase", "string", "", "'forward' (under autograd), 'no_grad' or 'backward'"),
        Column("module", "int32", "index", "innermost module whose forward was running, as in run.json; -1 none"),
        Column("place", "string", "", "of the script: 'train.py:31 in forward'; with --no-host 'line 31 in forward'"),
        Column("node", "int64", "index", "autograd's sequence number; of a backward operation, its forward's; -1 none"),
        Column("shape", "list<int64>", "count", "of the output"),
        Column("dtype", "string", "", "of the output"),
        Column("nan", "int64", "count", "NaN elements"),
        Column("inf", "int64", "count", "infinite elements"),
        Column("largest", "float32", "", "largest finite absolute value"),
    ),
    "record the run again with gradaudit record --closely FIRST:LAST",
)
