"""What the autograd graph behind the objective showed."""

from gradaudit.schema.base import Facts


class OperationFacts(Facts, frozen=True, kw_only=True):
    """One operation on the way from a loss to its input, by the kind of its autograd node: Mean, Softmax, View."""

    kind: str  # of a function of the script's own or a compiled region its class
    sizes: list[int] | None = None  # of what it gave; None where torch does not say it, as 2.4
    axis: int | None = None  # that a softmax is over, counted from the front


class FactorFacts(Facts, frozen=True, kw_only=True):
    """The number that a term is multiplied with before it is added to the others; that of a GradScaler is left out."""

    step: int = 0  # global, of the first backward with it
    batch: int = 0  # examples of the loss before that backward; 0 unknown
    factor: float | None = None  # None where it is on a device, or no plain number


class TermFacts(Facts, frozen=True, kw_only=True):
    """One term of the objective: a summand of a backward root, with the parameters that it reaches."""

    id: int
    function: str = ""  # mse_loss, nll_loss, mean, sum, ...: what its first node is of; empty of another operation
    first: int = 0  # global step of the first backward that it was seen in
    last: int = 0
    tensors: list[int] = []  # parameter tensors that it reaches, by number; at most 10,000
    unknown: int = 0  # further tensors that it reaches: in no optimizer, and in no model of one
    opaque: bool = False  # a function of the script's own is behind it, which may reach more, as a checkpoint does
    compiled: bool = False  # a compiled region is behind it
    optimizers: list[int] = []  # that stepped next after a backward of it
    # Of the backwards looked at: how often an optimizer that stepped next owned something that it reaches; and of
    # those where none did, how often another term of the same root was reached, of another root, or none at all.
    used: int = 0
    beside: int = 0
    apart: int = 0
    alone: int = 0
    operations: list[OperationFacts] = []  # before it, from the loss down: at most 16
    factors: list[FactorFacts] = []  # each other one, or of another batch size; at most 8
    # (N) or (N, 1), as a layer gave it, and the (N, N) that torch stretched it to before all of that was averaged.
    broadcast: list[list[int]] = []


class ConstantSourceFacts(Facts, frozen=True, kw_only=True):
    """What a constant may come from: a loss without a graph, called since the last backward, or a script's variable."""

    loss: int = -1  # index into losses; -1 of a variable
    function: str = ""
    variable: str = ""  # a scalar without a gradient that the function which calls backward adds to the objective
    enabled: bool = True  # gradients were enabled at each call
    values: list[float | None] = []  # one for each of `rest`; None where it was not there


class ConstantFacts(Facts, frozen=True, kw_only=True):
    """A number, or a tensor without a gradient, among the summands of backward roots with the same terms beside it."""

    terms: list[int] = []  # beside it, by id
    first: int = 0  # global step
    last: int = 0
    looks: int = 1  # backwards with it
    without: int = 0  # backwards of the same terms without it
    factor: float | None = None  # that the first one is multiplied with; None where that is not known
    # Backwards before which gradients of a tensor that is no parameter were asked for, without a graph of their own.
    derived: int = 0
    # What is left of the objective without the terms beside it; None where the value of one is not known. At most 64.
    rest: list[float | None] = []
    size: list[float | None] = []  # sum of the absolute values of what that is a difference of
    sources: list[ConstantSourceFacts] = []


class SoftmaxFacts(Facts, frozen=True, kw_only=True):
    """Softmaxes with one shape and axis in one place of the graph."""

    kind: str = "softmax"  # softmax, log_softmax
    sizes: list[int] = []
    axis: int = 0  # counted from the front
    scores: bool = False  # of products of activations with activations, as in attention
    summed: int | None = None  # the axis that a product with the weights sums over; None where none follows
    last: bool = False  # nothing but a choice or a logarithm lies between it and a loss
    count: int = 1  # in all graphs looked at
    rows: int = 0  # first dimension of that loss's input; 0 unknown


class AttentionFacts(Facts, frozen=True, kw_only=True):
    """Fused attentions whose results have one shape, behind a loss of one number of examples."""

    sizes: list[int] = []  # examples, heads, queries, features, as the attention takes them
    batch: int = 0  # examples of the loss before the backward; 0 unknown
    count: int = 1


class ViewFacts(Facts, frozen=True, kw_only=True):
    """A view or reshape that reads the numbers of one axis as those of another."""

    before: list[int] = []
    after: list[int] = []
    source: str = ""  # convolution, recurrent, linear, ...: the layer that gave what is viewed
    # channels, axes, heads: which of them it mixes up. "scan" is no fault by itself: a recurrent layer runs along the
    # first axis of `before`, as an embedding gave it.
    fault: str = ""
    before_loss: bool = False  # the loss takes its classes along the last axis of it
    count: int = 1


class GraphLookFacts(Facts, frozen=True, kw_only=True):
    """The graph of one backward."""

    step: int = 0  # global
    optimizers: list[int] = []  # that stepped next
    nodes: int = 0
    reaches_back: int = 0  # global steps: that many before this one the oldest operation was made, or more


class OutsideFacts(Facts, frozen=True, kw_only=True):
    """A parameter of no optimizer that the objective reaches beside those that are stepped."""

    name: str = ""  # of a module's, with the class of the outermost module in front
    sizes: list[int] = []
    first: int = 0  # global step
    last: int = 0
    looks: int = 1  # steps
    sampled: int = 0  # elements that the norm and the largest element are of, at first sight
    norm: float | None = None
    largest: float | None = None
    moved: bool = False  # it changed between the first and the last look


class EmbeddingLookFacts(Facts, frozen=True, kw_only=True):
    """A sample of the embeddings of one batch; None where a number is not finite."""

    step: int  # global
    # Mean over the columns of the standard deviation over the batch, of rows of length 1, times the root of their
    # number: about 1 where they point anywhere, 0 where all point one way.
    directions: float | None = None
    std: float | None = None  # over the batch, root mean square over the columns
    rms: float | None = None


class EmbeddingFacts(Facts, frozen=True, kw_only=True):
    """What a linear layer gives, where the objective compares it: in the first steps, then in steps that grow."""

    tensor: int = -1  # weight of the layer, by id; -1 of none in an optimizer
    compared: str = ""  # cosine, where the length does not count; distance; product
    rows: int = 0  # of the first batch
    looks: list[EmbeddingLookFacts] = []


class GraphFacts(Facts, frozen=True, kw_only=True):
    """The graph behind the objective, at the first steps, at steps that double, and where batches change size."""

    looks: list[GraphLookFacts] = []
    terms: list[TermFacts] = []
    constants: list[ConstantFacts] = []
    softmaxes: list[SoftmaxFacts] = []
    attentions: list[AttentionFacts] = []
    views: list[ViewFacts] = []
    leaf_roots: int = 0  # backwards whose root is no result of any operation: it was only told to require a gradient
    outside: list[OutsideFacts] = []  # at most 256
    embeddings: list[EmbeddingFacts] = []  # at most 8
    cut_checkpoint: bool = False  # torch warned that no input of a reentrant checkpoint requires a gradient
    shapes: bool = False  # torch told the shapes of operations
