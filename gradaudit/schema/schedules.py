"""Learning rate schedulers, gradient scaling, optimizers made anew, and memory."""

from gradaudit.schema.base import Facts


class SchedulerFacts(Facts, frozen=True, kw_only=True):
    """One learning rate scheduler of torch's kind, and the calls of its `step` by the script.

    Calls that its constructor makes, and those of a scheduler that it is part of, are not counted.
    """

    id: int
    scheduler_class: str
    optimizer: int = -1  # id of the optimizer that it was made with; -1 where that one made no step
    nested: bool = False  # part of another scheduler, as of SequentialLR
    parts: list[int] = []  # ids of its own parts
    # Its numbers: public attributes, and of LambdaLR what the functions were given or use. Its lists of numbers.
    numbers: dict[str, float | None] = {}
    lists: dict[str, list[float]] = {}
    calls: int = 0
    first_call: int = -1  # steps of all optimizers before its first call; -1 of none
    last_call: int = -1
    steps: int = 0  # of its own optimizer over the whole run, those that a GradScaler skipped included
    steps_before: int = 0  # of them before the first call
    repeated: int = 0  # calls with no step of any optimizer since the call before
    idle: int = 0  # calls with steps of other optimizers since the call before, and none of its own
    idle_last: int = 0  # of these, the last ones, after its optimizer's last step
    after_one: int = 0  # calls with one step of its own since the call before; the first call is not counted
    after_more: int = 0  # the same with several
    longest: int = 0  # most of its own optimizer's steps between two calls
    # Of ReduceLROnPlateau: whether it waits for its metric to fall or to rise, and [steps of its optimizer before the
    # call, metric] of at most 128 calls, evenly thinned. The metric is null where it was on a device or no number.
    mode: str = ""  # min, max
    metrics: list[list[float | None]] = []
    shares_groups: bool = False  # its optimizer's parameter groups are those of one that steps


class OptimizerLives(Facts, frozen=True, kw_only=True):
    """How often the optimizer of the same class was made over the same parameters."""

    optimizer: int  # as in `optimizers`
    made: int = 1  # those that made a step
    lost: int = 0  # made anew and empty while the weights went on from where they were
    loaded: int = 0  # made anew with the state of another one
    rewritten: int = 0  # made anew after the script had changed the weights
    alternating: bool = False  # an earlier one stepped again after a later one
    stateful: bool = False  # it keeps numbers of its own, such as momentum, between steps
    at: list[int] = []  # global steps of the first ones of those made anew, at most 64
    lives: list[int] = []  # steps of the first ones, at most 64


class ReplacedFacts(Facts, frozen=True, kw_only=True):
    """Parameters of an optimizer without a gradient, and others of living modules that no optimizer holds."""

    optimizer: int
    first_step: int  # the global step at which this was first seen
    last_step: int
    tensors: int  # of the optimizer
    missing: int  # of them without a gradient and in no living module
    without_gradient: bool = False  # none of the optimizer's tensors has a gradient
    strangers: int = 0  # parameters with a gradient in living modules that are in no optimizer
    names: list[str] = []  # of those that have the shape, or nearly, of one of the optimizer's; at most 16
    matches: int = 0  # how many of these there are
    shapes: list[list[int]] = []
    old_shapes: list[list[int]] = []  # of the optimizer's tensors that they stand in place of


class UnregisteredFacts(Facts, frozen=True, kw_only=True):
    """Parameters that an attribute of a module keeps in a plain list, tuple or dict, and that no optimizer holds.

    They have a gradient, no module around the attribute has registered them, and nothing writes to them.
    """

    name: str  # of the attribute, with the path of its module in the outermost one
    holder: str  # class of that module
    container: str = "list"  # list, tuple, dict
    modules: int = 0  # entries that are modules; else they are parameters
    tensors: int = 0
    elements: int = 0
    looks: int = 0  # at which that was so


class ScalingFacts(Facts, frozen=True, kw_only=True):
    """Clipping and unscaling under one GradScaler that is enabled."""

    known: bool = True  # its class does not override what is watched
    steps: int = 0  # calls of step
    updates: int = 0  # calls of update
    unscaled: int = 0  # calls of unscale_ by the script
    clipped_before: int = 0  # steps whose gradients were clipped while they were scaled, and unscaled after
    clipped_after: int = 0  # steps whose gradients were clipped once unscaled
    first_step: int = -1  # the first global step clipped before unscaling
    late_unscale: int = 0  # of `clipped_before`, those that the script itself unscaled after clipping


class MemorySample(Facts, frozen=True, kw_only=True):
    """Memory in use before a step, in bytes; -1 unknown."""

    step: int  # steps of all optimizers so far
    seconds: float  # since the first one
    host: int = -1  # resident memory of the process
    device: int = -1  # allocated by torch on the current CUDA device


class GraphsKept(Facts, frozen=True, kw_only=True):
    """Whether the autograd graphs of earlier losses still exist, of those that were marked."""

    marked: int = 0  # at some backwards, or one of each evaluation; the last one is not counted
    alive: int = 0  # of them at the last look
    most: int = 0  # alive at once
    steps: int = 0  # from the oldest that was alive at the last look to that look


class ScheduleFacts(Facts, frozen=True, kw_only=True):
    """Schedules and scaling."""

    recorded: bool = False  # older versions did not look
    schedulers: list[SchedulerFacts] = []  # at most 64
    lives: list[OptimizerLives] = []  # of optimizers made anew; at most 64
    replaced: list[ReplacedFacts] = []
    unregistered: list[UnregisteredFacts] = []  # at most 16
    scaling: list[ScalingFacts] = []  # at most 8
    memory: list[MemorySample] = []  # at steps a quarter apart, and every minute; at most 256
    graphs: GraphsKept = GraphsKept()  # of objectives
    evaluation_graphs: GraphsKept = GraphsKept()  # of losses in evaluation mode, without a backward
