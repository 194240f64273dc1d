"""The facts of a run, as in ``run.json``."""

from gradaudit.schema.base import Facts
from gradaudit.schema.graph import GraphFacts
from gradaudit.schema.loaders import LoaderFacts
from gradaudit.schema.model_state import ModelStateFacts
from gradaudit.schema.outputs import OutputFacts
from gradaudit.schema.schedules import ScheduleFacts

# History: 1 - the first format.
FORMAT_VERSION = 1
BY_HAND = "updates by hand"  # the optimizer_class of parameters that the script itself changes


class TensorFacts(Facts, frozen=True, kw_only=True):
    """One parameter tensor; `id` is the index used by the tables."""

    id: int
    name: str  # as model.named_parameters() gives it, wrappers stripped
    aliases: list[str] = []  # further names of a tied tensor
    role: str = "other"  # weight | bias | norm | embedding | other
    module: str = ""  # qualified name of the owning module
    module_class: str = ""
    shape: list[int] = []
    dtype: str = "float32"
    depth: int = 0  # registration order, 0 nearest the input
    optimizer: int = -1  # the optimizer that owns it; -1 none
    recorded_with: int = 0  # the optimizer whose steps carry its rows in `tensors`
    group: int = -1
    requires_grad: bool = True
    placements: list[str] = []  # how it is laid over the ranks; empty when every rank holds it whole
    output_axis: int = -1  # the dimension that counts the module's outputs: 0 in Linear and Conv; -1 elsewhere
    share: int = -1  # elements that this rank's statistics stand for: its shard, 0 of a copy; -1 all of them
    probed: int = -1  # elements behind its weight, update and drift norms; `elements` when exact, -1 unknown
    terms: list[int] = []  # numbers of the terms of the objective that reach it; empty where one does, or nobody looked

    @property
    def elements(self) -> int:
        """Number of elements."""
        count = 1
        for size in self.shape:
            count *= size
        return count


class ModuleFacts(Facts, frozen=True, kw_only=True):
    """One module of a recorded model."""

    id: int
    name: str
    module_class: str
    parameters: int = 0
    dropout: float | None = None  # drop probability
    batch_norm: bool = False
    batch_norm_values: int = 0  # values per channel of its first training batch (batch size x positions); 0 unknown
    # Where parameters beside it had no gradient: the steps over which its calls were watched for, how many of the
    # modules watched were called before its first call (-1 it had none), and whether none of its calls was under
    # autograd.
    watched: int = 0
    first_call: int = -1
    without_gradient: bool = False


class OptimizerFacts(Facts, frozen=True, kw_only=True):
    """One optimizer; `defaults` holds its numeric and boolean options, a null for one that is NaN or infinite."""

    id: int
    optimizer_class: str
    label: str = ""  # variable name in the script when several optimizers exist
    groups: int = 1
    defaults: dict[str, float | bool | list[float | None] | None] = {}


class LossFacts(Facts, frozen=True, kw_only=True):
    """One kind of call of a loss function; label facts are sums over the training so far."""

    id: int
    function: str  # cross_entropy, nll_loss, mse_loss, ... or 'logged' for Recorder.log
    classes: int = 0  # N; 0 when it is no classification loss
    reduction: str = "mean"
    label_smoothing: float = 0.0
    class_weights: list[float | None] = []  # at most 1,000, then left out; null is NaN or infinite
    weighted: bool = False
    ignore_index: int | None = None
    soft_targets: bool = False
    label_counts: list[int] = []  # targets per class of the training steps looked at; left out above 1,000 classes
    label_entropy: float | None = None  # nats, of the training targets: the best constant predictor's loss
    target_mean: float | None = None  # regression and binary losses
    target_variance: float | None = None
    # Of a regression: the variance about the mean of each output, mean over the outputs, and for up to 32 equal parts
    # of the training [calls, mean, its standard deviation over the calls, spread within a call, that of the spread].
    output_variance: float | None = None
    target_parts: list[list[float]] = []
    target_trained: bool | None = None  # the target had a gradient of its own; None when nobody looked
    binary_entropy: float | None = None  # nats: mean entropy of binary targets per output
    # The last operation of the predictions: softmax (over so many numbers, 0 unknown), log_softmax, sigmoid, tanh or
    # relu; empty where it is another one, or not always the same; None when nobody could look.
    activation: str | None = None
    softmax_over: int = 0
    # Shapes of prediction and target that torch stretched over each other, in a training and in an evaluation loss;
    # empty when it did not, None when nobody looked.
    broadcast: list[list[int]] | None = None
    evaluation_broadcast: list[list[int]] | None = None


class DataFacts(Facts, frozen=True, kw_only=True):
    """What is known of the data."""

    batch_size: int = 0
    batches_per_epoch: int = 0  # 0 when no DataLoader told


class PrivateFacts(Facts, frozen=True, kw_only=True):
    """What never leaves the machine unless asked: empty when recorded with --no-host."""

    host: str = ""
    user: str = ""
    directory: str = ""
    command: list[str] = []


class DisabledFacts(Facts, frozen=True, kw_only=True):
    """An observer of the recorder that failed and was ended, while the recording went on."""

    observer: str  # what is no longer recorded: losses, histograms, ...
    reason: str
    step: int = 0  # global_step


class Meta(Facts, frozen=True, kw_only=True):
    """The facts of a run, as in ``run.json``."""

    format_version: int = FORMAT_VERSION
    name: str = ""
    gradaudit_version: str = ""
    started: str = ""  # ISO 8601, UTC
    ended: str = ""
    state: str = "running"  # running | finished | failed | interrupted; killed is found out when read
    pid: int = 0
    exit_code: int | None = None  # where the process itself knew it: after os._exit
    python_version: str = ""
    torch_version: str = ""
    device: str = ""
    rank: int = 0
    world_size: int = 1
    attempt: int = 0  # number of this process's folder: rank00000, rank00000.1, ...
    restarts: int = 0  # how often torchrun had restarted the ranks
    every: int = 1  # cadence of tensor statistics, in steps; 0: as often as the recorder's budget allowed
    tensors: list[TensorFacts] = []
    modules: list[ModuleFacts] = []
    optimizers: list[OptimizerFacts] = []
    losses: list[LossFacts] = []
    data: DataFacts = DataFacts()
    graph: GraphFacts = GraphFacts()
    loaders: list[LoaderFacts] = []
    outputs: OutputFacts = OutputFacts()
    model_state: ModelStateFacts = ModelStateFacts()
    schedules: ScheduleFacts = ScheduleFacts()
    disabled: list[DisabledFacts] = []
    private: PrivateFacts = PrivateFacts()
