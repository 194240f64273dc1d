"""What targets and outputs were, column by column, and the loss at the positions of a sequence."""

from gradaudit.schema.base import Facts

POSITIONS = 8  # of a sequence: six from its first target on at equal distances, the last but one, and the last


class PositionPart(Facts, frozen=True, kw_only=True):
    """The loss at eight positions, over one of up to 16 equal parts of the calls; null where it is not known."""

    losses: list[float | None] = []  # mean of each position, in nats
    targets: list[int] = []  # looked at in each position
    entropy: list[float | None] = []  # of the targets in each position, in nats, at the least


class PositionFacts(Facts, frozen=True, kw_only=True):
    """A loss over sequences of integer targets, looked at on a sample. Ignored targets at either end are no part."""

    loss: int
    classes: int
    time_axis: int  # of targets [sequences, positions]: 1, or 0 where positions come first; both are kept if unclear
    length: int = 0  # positions of the longest sequences
    whole: bool = True  # the last output has a target; else the script drops it, or ignores its target
    training: list[PositionPart] = []
    evaluation: list[PositionPart] = []


class ColumnPart(Facts, frozen=True, kw_only=True):
    """Means over the columns, in one of up to 16 equal parts of the training calls; null where one is not finite."""

    rows: int  # examples looked at
    target_variance: float | None = None  # within the part, about the mean of each column
    target_shift: float | None = None  # square of what the mean of a column differs by from that of the whole training
    output_variance: float | None = None  # over the examples of one batch
    error: float | None = None  # square of output - target


class Column(Facts, frozen=True, kw_only=True):
    """One output of a loss without classes: the whole training's targets, and the outputs of its last quarter."""

    target_mean: float | None = None
    target_std: float | None = None
    output_std: float | None = None  # over the examples of one batch
    error: float | None = None  # mean square of output - target


class ColumnFacts(Facts, frozen=True, kw_only=True):
    """Targets and outputs of a loss without classes, looked at on a sample of its training calls."""

    loss: int
    outputs: int  # elements of one example
    seen: int = 0  # of them, evenly spaced; at most 4,096
    probabilities: bool = False  # outputs are logits, and were turned into probabilities
    parts: list[ColumnPart] = []
    columns: list[Column] = []  # where there are up to 64


class OutputFacts(Facts, frozen=True, kw_only=True):
    """Targets and outputs of the training loss."""

    looked: bool = False  # false in runs of older versions
    positions: list[PositionFacts] = []
    columns: list[ColumnFacts] = []
    inside: int = 0  # losses of integer targets that a compiled region makes: where sequences end is not known
