"""Every table of a run and its columns: name, type, unit and meaning."""

from typing import Any

from gradaudit.schema.base import Column, Table
from gradaudit.schema.operations import OPERATIONS

_SAMPLED = "from a sample of up to 4,096 elements"  # of a tensor; smaller ones are taken whole


_OPTIMIZER = Column("optimizer", "int16", "index", "optimizer, as in run.json")
_STEP = Column("step", "int64", "count", "calls of this optimizer's step before this one")
_TENSOR = Column("tensor", "int32", "index", "parameter tensor, as in run.json")

STEPS = Table(
    "steps",
    ("optimizer", "step"),
    "One row for each call of an optimizer's step.",
    (
        _OPTIMIZER,
        _STEP,
        Column("global_step", "int64", "count", "optimizer steps of this process before this one, all optimizers"),
        Column("time", "float64", "s", "since recording started"),
        Column("seconds", "float32", "s", "since the previous optimizer step of this process"),
        Column("objective", "float64", "loss", "sum of the backward roots since the last step"),
        Column("mean_loss", "float64", "loss", "mean loss per valid target of the loss function, over the micro-steps"),
        Column("loss", "int16", "index", "loss function behind mean_loss, as in run.json; -1 when none was seen"),
        Column("targets", "int64", "count", "valid targets behind mean_loss"),
        Column("ignored_targets", "int64", "count", "targets equal to the loss's ignore_index"),
        Column("learning_rate", "list<float32>", "", "of each parameter group"),
        Column("weight_decay", "list<float32>", "", "of each parameter group"),
        Column("momentum", "list<float32>", "", "of each parameter group: momentum, or Adam's first beta"),
        Column("gradient_norm", "float64", "", "L2 norm over the optimizer's tensors, before clipping"),
        Column(
            "clip_threshold",
            "float64",
            "",
            "max_norm or clip_value of the clipping before this step; NaN without",
        ),
        Column("clip_kind", "int8", "code", "0 no clipping, 1 clip_grad_norm_, 2 clip_grad_value_"),
        Column("clipped_fraction", "float32", "fraction", "elements that clip_grad_value_ changed; NaN elsewhere"),
        Column("amp_scale", "float32", "", "GradScaler's scale; NaN without one"),
        Column("skipped", "bool", "", "the GradScaler skipped this step because of an overflow"),
        Column(
            "micro_steps",
            "int32",
            "count",
            "backward calls since the last step, without those whose gradients were cleared before it",
        ),
        Column(
            "batch_size",
            "int64",
            "count",
            "first dimension of the loss's input, summed over micro-steps; 0 unknown",
        ),
        Column("training", "int8", "flag", "training flag of the root module: 1, 0, or -1 unknown"),
        Column("stale", "int8", "flag", "gradients were not zeroed since the previous step: 1, 0, or -1 unknown"),
        Column("recorded", "bool", "", "tensor statistics were recorded at this step"),
        Column(
            "weight_checksum",
            "int64",
            "",
            "sum of the bit patterns of the weights before this step, taken at every 64th step of an optimizer where "
            "several ranks hold copies of the model; else 0",
        ),
    ),
    "steps are recorded at every call of an optimizer's step, and where a script changes its parameters by hand",
)

EVALUATIONS = Table(
    "evaluations",
    ("pass", "split"),
    "One row for each split of each evaluation pass: losses computed between two training steps without a backward.",
    (
        Column("pass", "int32", "count", "evaluation passes before this one"),
        Column("split", "string", "", "'train', 'validation', 'test', a label of a place in the script, or 'unknown'"),
        Column("after_step", "int64", "count", "global_step of the last training step; -1 before the first"),
        Column("time", "float64", "s", "since recording started"),
        Column("mean_loss", "float64", "loss", "mean loss per valid target over the pass"),
        Column("targets", "int64", "count", "valid targets"),
        Column("batches", "int32", "count", "calls of the loss function"),
        Column("training", "int8", "flag", "training flag of the root module during the pass: 1, 0, or -1 unknown"),
        Column("loss", "int16", "index", "loss function, as in run.json; -1 when given by Recorder.log"),
    ),
    "compute the validation loss under torch.no_grad() with a torch.nn.functional loss (nn.CrossEntropyLoss uses one), "
    'or call Recorder.log(loss=..., split="validation")',
)

TENSORS = Table(
    "tensors",
    ("optimizer", "step", "tensor"),
    "One row for each parameter tensor at each recorded step. Gradients are those the optimizer saw: after "
    "clipping and unscaling. A tensor without a gradient has has_grad false and NaN statistics.",
    (
        _OPTIMIZER,
        _STEP,
        _TENSOR,
        Column("has_grad", "bool", "", "the gradient was not None"),
        Column("gradient_norm", "float32", "", "L2 norm of the finite elements"),
        Column("gradient_mean", "float32", "", "mean of the finite elements"),
        Column("gradient_std", "float32", "", "population standard deviation of the finite elements"),
        Column("gradient_max_abs", "float32", "", "largest finite absolute value"),
        Column(
            "gradient_zero_fraction",
            "float32",
            "fraction",
            "elements exactly zero; a few of them, scattered over a large tensor on the CPU, may be given as none",
        ),
        Column("gradient_nan", "int64", "count", "NaN elements"),
        Column("gradient_inf", "int64", "count", "infinite elements"),
        Column("weight_norm", "float32", "", f"L2 norm of the weights before the step, estimated {_SAMPLED}"),
        Column("update_norm", "float32", "", f"L2 norm of the change made by this step, estimated {_SAMPLED}"),
        Column("drift_norm", "float32", "", f"L2 norm of the change since recording started, estimated {_SAMPLED}"),
        Column("weight_max_abs", "float32", "", f"largest absolute weight before the step, {_SAMPLED}"),
        Column("unchanged_fraction", "float32", "fraction", f"weights that this step left as they were, {_SAMPLED}"),
        Column("update_weight_cosine", "float32", "", f"cosine of this step's update with the weights, {_SAMPLED}"),
        Column(
            "gradient_cosine",
            "float32",
            "",
            f"cosine of the gradient with that of the recorded step before, {_SAMPLED}",
        ),
    ),
    "record the run again with gradaudit record, without --every or with a smaller one",
)

ROWS = Table(
    "rows",
    ("optimizer", "step", "tensor"),
    "One row for each embedding table, and for each weight of a Linear or Conv module, at every tenth recorded step, "
    "and more often where the last tenth of the run would have none: which of its rows are being trained. A row of a "
    "weight is an output of its module.",
    (
        _OPTIMIZER,
        _STEP,
        _TENSOR,
        Column("rows", "int64", "count", "rows of the table, or outputs of the module"),
        Column("tracked", "int64", "count", "rows followed one by one; fewer than `rows` only for very large tables"),
        Column("hit", "int64", "count", "tracked rows with a non-zero gradient at this step"),
        Column("ever_hit", "int64", "count", "tracked rows with a non-zero gradient so far"),
        Column(
            "moved",
            "int64",
            "count",
            "tracked rows that differ from their value at the first recorded step; -1 for outputs",
        ),
        Column("stopped", "int64", "count", "tracked rows hit 5 times or more, silent for 20 mean intervals"),
        Column("silent", "int64", "count", "tracked rows whose gradient was zero at the last 30 recorded steps"),
        Column(
            "checksum",
            "int64",
            "",
            "sum of the table's bit patterns: equal only if the table did not change; 0 for outputs",
        ),
        Column("hits_histogram", "list<int64>", "count", "tracked rows by hits so far: 0, 1, 2-3, 4-7, 8-15, ..."),
        Column(
            "movement",
            "list<float32>",
            "fraction",
            "median of |w - w0| / |w0| in each hits bin; NaN when empty",
        ),
        Column("never_hit_rows", "list<int64>", "index", "up to 32 rows without a gradient so far"),
        Column("stopped_rows", "list<int64>", "index", "up to 32 rows counted in `stopped`"),
    ),
    "recorded for nn.Embedding, nn.EmbeddingBag, nn.Linear and nn.Conv1d to nn.Conv3d",
)

HISTOGRAMS = Table(
    "histograms",
    ("optimizer", "step", "tensor", "kind"),
    "Signed log2 histograms of the gradients that the optimizer saw and of the weights before the step: at every 64th "
    "step, before that so often that the last tenth of the run has some, and from step 2048 on 16 times in each "
    "doubling of the steps. Bin b counts the elements whose absolute value lies from 2**(b/4) up to 2**((b+1)/4). Of a "
    "tensor cut up over ranks, the first rank's part is counted; of more than 4,096 tensors, evenly spaced ones.",
    (
        _OPTIMIZER,
        _STEP,
        _TENSOR,
        Column("kind", "string", "", "'gradient' or 'parameter'"),
        Column("elements", "int64", "count", "elements counted: the whole tensor, or a sample of it"),
        Column("zeros", "int64", "count", "elements exactly zero"),
        Column("nonfinite", "int64", "count", "NaN and infinite elements"),
        Column("lowest", "int16", "index", "the bin b of the first entry of the two lists"),
        Column("positive", "list<int32>", "count", "positive elements in each bin, upward from `lowest`"),
        Column("negative", "list<int32>", "count", "negative elements in each bin, upward from `lowest`"),
    ),
    "recorded with the tensor statistics; record the run again with this version",
)

MODULES = Table(
    "modules",
    ("step", "module", "loss", "kind"),
    "Samples of what goes into the training loss, at every recorded step, and with --activations, at every tenth and "
    "in the last tenth of the run, of what goes into the model and comes out of its activation modules. Features and "
    "units are the last of two or three dimensions, else the second one.",
    (
        Column("step", "int64", "count", "global_step of the step that the sample belongs to"),
        Column("module", "int32", "index", "module, as in run.json; -1 for the input of a loss"),
        Column("loss", "int16", "index", "loss function whose input was sampled, as in run.json; -1 for a module"),
        Column("kind", "string", "", "'loss_input', 'input' (of the model) or 'output' (of an activation module)"),
        Column("elements", "int64", "count", "elements looked at"),
        Column("minimum", "float32", "", "smallest finite element"),
        Column("maximum", "float32", "", "largest finite element"),
        Column("mean", "float32", "", "mean of the finite elements"),
        Column("std", "float32", "", "population standard deviation of the finite elements"),
        Column("nonfinite", "int64", "count", "NaN and infinite elements"),
        Column("row_sum_error", "float32", "", "mean of |sum over the classes - 1|; NaN where the loss has no classes"),
        Column(
            "batch_spread",
            "float32",
            "",
            "sample standard deviation of an output over the batch, mean over the outputs; NaN for a batch of one",
        ),
        Column("feature_std_ratio", "float32", "ratio", "largest to smallest non-zero standard deviation of a feature"),
        Column("saturated_fraction", "float32", "fraction", "sigmoid outputs outside (.01, .99), tanh outside .99"),
        Column("zero_fraction", "float32", "fraction", "elements exactly zero"),
        Column("dead_fraction", "float32", "fraction", "units that were zero for every example looked at"),
    ),
    "the loss's input is sampled where the loss is one of torch.nn.functional; "
    "the activations with gradaudit record --activations",
)

EVENTS = Table(
    "events",
    ("time",),
    "What happened to the recording itself.",
    (
        Column("time", "float64", "s", "since recording started"),
        Column("step", "int64", "count", "global_step"),
        Column("kind", "string", "", "'dropped', 'disabled', 'restarted', 'compiled' (a loss unseen), ..."),
        Column("message", "string", "", "in words"),
    ),
    "written only when something happens",
)

TABLES: dict[str, Table] = {
    table.name: table for table in (STEPS, EVALUATIONS, TENSORS, HISTOGRAMS, ROWS, MODULES, OPERATIONS, EVENTS)
}


def arrow_schema(table: Table) -> Any:
    """The pyarrow.Schema of `table`."""
    import pyarrow

    return pyarrow.schema([(column.name, arrow_type(column.dtype)) for column in table.columns])


def arrow_type(dtype: str) -> Any:
    """The pyarrow.DataType of a column's type; raises AttributeError where there is none of that name."""
    import pyarrow

    if dtype.startswith("list<"):
        return pyarrow.list_(arrow_type(dtype[5:-1]))
    return getattr(pyarrow, {"string": "utf8", "bool": "bool_"}.get(dtype, dtype))()
