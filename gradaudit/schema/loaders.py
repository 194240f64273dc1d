"""What the batches of a DataLoader, or of a script's own, hold: counts, moments and positions, never an example."""

from gradaudit.schema.base import Facts


class ChannelFacts(Facts, frozen=True, kw_only=True):
    """One channel of images, as InputFacts."""

    mean: float | None = None
    std: float | None = None
    skewness: float | None = None
    kurtosis: float | None = None
    mean_scatter: float | None = None
    std_scatter: float | None = None


class InputFacts(Facts, frozen=True, kw_only=True):
    """One floating tensor of a batch; moments are over a sample of the elements of the batches that were looked at."""

    place: str  # where it is in a batch: an index or a key, with dots between levels
    dtype: str = "float32"
    shape: list[int] = []  # of the first batch
    batches: int = 0
    examples: int = 0
    elements: int = 0
    mean: float | None = None
    std: float | None = None
    skewness: float | None = None
    kurtosis: float | None = None  # 3 of a normal distribution
    minimum: float | None = None
    maximum: float | None = None
    mean_scatter: float | None = None  # standard deviation over the batches of their means
    std_scatter: float | None = None  # and of their standard deviations
    nonfinite_share: float = 0.0
    constant_share: float | None = None  # of the features, those equal in all examples of a batch; None: too few
    channels: list[ChannelFacts] = []  # of images [examples, channels, ...] with 2 to 4 of them


class AlignmentFacts(Facts, frozen=True, kw_only=True):
    """The integer targets of one loss of a step against the ids of an embedding call, position by position."""

    loss: int = 0  # which loss of the step, in the order of the calls
    embedding: int = 0  # which embedding call of the step
    calls: int = 0  # that were compared
    sequences: int = 0
    # Of shifts -1, 0, +1, +2 of the ids: valid targets with a partner, and those equal to it. At +1 a target is the
    # next id. The position is that of the prediction: what a slice before the loss leaves out is counted.
    compared: list[int] = []
    equal: list[int] = []
    ids_calls: int = 1  # embedding calls of sequences in a step


class AttendedFacts(Facts, frozen=True, kw_only=True):
    """What attention in training may look at, over the ids of one embedding call of a step."""

    embedding: int = 0  # which embedding call of the step
    open: int = 0  # calls of self-attention without a mask between positions
    masked: int = 0  # with one, which may be causal
    in_place: bool = False  # the predictions are made from these ids position by position, as along a residual stream
    # Masks of keys against the ids; of a mask between positions, what the last one sees.
    masks: int = 0
    rows: int = 0  # sequences in these
    partly: int = 0  # of those, with some keys hidden
    inverted: int = 0  # of those, where all that is visible, at one end, is one id, and what is hidden is several
    hidden: int = 0  # sequences with all keys hidden
    one_id: bool = False  # it is the same id in all inverted ones
    fewest: int = 0  # visible keys in an inverted one, at the least
    most: int = 0  # and at the most


class PaddingFacts(Facts, frozen=True, kw_only=True):
    """The id at the end of sequences whose label positions are ignored, which may be padding, an end token, or both."""

    batches: int = 0  # that were looked at
    padded: int = 0  # of those, with such an id
    one_id: bool = True  # it was the same one in all of them
    rows: int = 0  # in `padded`
    ended: int = 0  # of those, that end with the id
    shortest: int = 0  # batches in which the shortest run of it at the end of a row has length 1
    widths: int = 0  # different lengths of the sequences, at most 64
    attended: int = 0  # positions with the id whose attention mask is not 0
    inside: int = 0  # positions with the id that have other ids on both sides
    learned: int = 0  # targets with the id that are not ignored
    varied: int = 0  # of `padded`, whose labels are ids, and in which different ids stand before that at the end


class EchoFacts(Facts, frozen=True, kw_only=True):
    """A target of one number that was equal to one and the same input position in every example that was looked at."""

    batches: int = 0  # that were looked at; 0 where no position is such
    examples: int = 0
    windows: int = 0  # of the batches, in which examples hold the same values at other positions: windows of one series
    sizes: list[int] = []  # of the input of one example
    position: list[int] = []  # in it, the last of those that are equal
    positions: int = 0  # that are equal


class LastStepFacts(Facts, frozen=True, kw_only=True):
    """Predictions that are made from the last step of a recurrent layer alone, and the padding before that step."""

    looks: int = 0  # losses whose graph was looked at
    found: int = 0  # of those, made from the last step over sequences of ids that are not packed, in one direction
    rows: int = 0  # sequences in these
    positions: int = 0  # in these
    padded: int = 0  # of the rows, that end in four positions or more with one id
    padding: int = 0  # positions in these runs
    inside: int = 0  # positions before them with the same id
    one_id: bool = False  # it is the same id in all of them


class LoaderFacts(Facts, frozen=True, kw_only=True):
    """One source of batches: a data set gone over by DataLoaders, or what the script makes itself."""

    id: int
    role: str = ""  # training: backwards followed its batches; evaluation: none did
    loader: bool = True  # False: the script makes its batches itself, seen through its losses and embeddings alone
    dataset: int = -1  # sources with one number share their data set; -1 unknown
    sampler: str = ""  # class of the sampler, or of the batch sampler where the script gave one
    sequential: bool = False  # torch's own SequentialSampler
    iterable: bool = False
    workers: int = 0
    examples: int = 0  # in the data set; 0 unknown
    batch_size: int = 0
    batches: int = 0  # that it yielded
    passes: int = 0
    after: list[int] = []  # sources that trained between its last pass and the one before, where any did
    looked: int = 0  # batches that were looked at
    inputs: list[InputFacts] = []
    # Labels of a classification, one for each example, in the training batches that were looked at.
    classes: int = 0  # that were seen in the whole training
    label_batches: int = 0
    labels_in_batch: float = 0.0  # mean number of labels
    distinct: float = 0.0  # mean number of distinct classes
    shuffled_distinct: float = 0.0  # the same of batches drawn at random from all labels seen
    alignments: list[AlignmentFacts] = []
    causal: str = ""  # why a prediction cannot see later positions: attention, mask, recurrent; empty: unknown
    attended: list[AttendedFacts] = []
    padding: PaddingFacts = PaddingFacts()
    echo: EchoFacts = EchoFacts()
    last_step: LastStepFacts = LastStepFacts()
    # Salted hashes of single examples, which are never written.
    hashed: int = 0
    repeated: int = 0  # of those, equal to an earlier one of the same pass
    rich: bool = False  # they are those of so many different numbers that equal ones are copies
    compared_with: int = -1  # the training source that an evaluation source was compared with
    shared: int = 0  # hashed examples that are among those hashed there
    shared_indices: int = -1  # examples of two Subsets of one data set that are in both; -1 they are no such Subsets
    orders: int = 0  # passes whose first examples were compared with those of the pass before
    same_order: int = 0  # of those, that begin with the same examples in the same order
    rounds: int = 0  # times that each worker yielded a batch, and these were compared
    same_batches: int = 0  # of those, in which all workers yielded the same examples
    random_states: int = 0  # numpy or random generators that the data set holds, of which each worker has a copy
    worker_init: bool = False  # the loader has a worker_init_fn
