"""What every report shows without any finding: curves, heatmaps and the parameter table, reduced."""

from gradaudit.findings import Heatmap, Mark, Series, Value
from gradaudit.run import Run


class ParameterRow(Value, frozen=True, kw_only=True):
    """One line of the parameter table; numbers are medians over the last half of the run."""

    name: str
    elements: int
    role: str
    gradient_rms: float | None  # per element
    update_ratio: float | None  # |update| / |weight|
    weight_norm: float | None
    spark: list[float | None] = []  # log10 gradient RMS over the run, at most 30 points
    flagged: bool = False


class Overview(Value, frozen=True, kw_only=True):
    """The run at a glance."""

    steps: int
    seconds: float
    parameters: int
    tensors: int
    first_loss: float | None
    last_loss: float | None  # mean of the last 10 % of steps
    loss_name: str  # "mean_loss" of which function, or "objective"
    loss: list[Series]  # training: one series an optimizer, with band
    evaluations: list[Series]
    uniform: Mark | None  # ln(N), the loss of a uniform guess
    best_evaluation: Mark | None
    learning_rate: list[Series]  # one a parameter group, equal ones merged
    gradient_norm: list[Series]
    clip_threshold: float | None
    matrices: Heatmap | None
    vectors: Heatmap | None  # norms and biases
    table: list[ParameterRow]
    facts: list[tuple[str, str]]


def overview(run: Run, flagged: set[str]) -> Overview:
    """Reduce `run` to what the pages draw; rows of tensors named in `flagged` keep their own line."""
    raise NotImplementedError
