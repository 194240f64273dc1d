"""Modes, buffers and copies of modules."""

from gradaudit.schema.base import Facts


class ModeFacts(Facts, frozen=True, kw_only=True):
    """The training flags of all modules at one moment."""

    moment: str  # step: after the first one; evaluation: in the first one of the model in evaluation mode
    after_step: int = -1  # global_step
    training: bool = True  # of the outermost module; of several, of any
    apart: list[str] = []  # outermost modules whose flag is not that of the module around them; at most 32
    dropouts: list[int] = []  # modules with dropout: in training mode, and all
    norms: list[int] = []  # BatchNorm modules: in training mode, and all
    others: list[int] = []  # further modules without children: in training mode, and all


class ActiveFacts(Facts, frozen=True, kw_only=True):
    """One place where dropout, or BatchNorm's training mode, was active without a gradient in evaluation mode."""

    function: str  # dropout, batch_norm, scaled_dot_product_attention, ...
    kind: str  # child: a module left in training mode; unregistered: one that the model does not hold; functional
    module: str = ""  # the module, else the nearest one around the call that the model holds
    module_class: str = ""  # of the module that called the function; empty when none did
    caller: str = ""  # the script's function
    line: int = 0  # in the file of that function
    probability: float = 0.0
    said: bool = False  # whether the call was given a training flag
    calls: int = 0
    losses: int = 0  # evaluation losses behind these calls
    repeats: float = 0.0  # calls for each of these losses; 0 without a loss
    last: int = -1  # global_step before the last call


class NormFacts(Facts, frozen=True, kw_only=True):
    """The running statistics of one BatchNorm module.

    A look is [steps taken, batches counted (-1: not counted), norm of running_mean, norm of running_var - 1].
    """

    name: str
    momentum: float | None = None  # None: a cumulative average
    training: bool = True  # at the first step
    moved: bool = True  # whether the statistics at the last look are not bit for bit those of the first one
    first: list[float | None] = []
    evaluated: list[float | None] = []  # at the last look before an evaluation
    last: list[float | None] = []


class CopyFacts(Facts, frozen=True, kw_only=True):
    """A module in no optimizer that has the shapes of a trained one."""

    name: str
    of: str  # the trained module
    same_model: bool = False  # whether one outermost module holds both
    tensors: int = 0
    elements: int = 0
    first: int = 0  # steps taken at the first look
    last: int = 0  # at the last look
    looks: int = 0
    equal: int = 0  # looks at which all weights were equal to the trained ones
    equal_at_first: bool = False
    changed: int = 0  # looks at which a weight was another than at the look before
    writes: int = 0  # in-place writes to its weights since the first look, of the most written one
    # By up to 4,096 elements of up to 16 tensors: distance to the trained weights, over their norm. Up to 64 looks.
    distances: list[list[float | None]] = []  # [steps taken, distance]
    bound: float | None = None  # largest |weight| times the root of its inputs: torch's own initialisation keeps to 1
    spread: float | None = None  # largest range within one vector, bias or norm: 0 where training has not begun
    trained_moved: bool = True  # whether the trained weights did
    watched: int = 0  # steps at which its calls were watched for
    called: int = 0  # of these, with a call of it
    without_grad: int = 0  # of these, all without autograd
    compared: int = 0  # of these, where the trained module was called with autograd, too
    same_input: int = 0  # of these, where all that the trained module was given, it was given too
    has_grad: bool = False  # gradients arrive at it
    # Of a copy with BatchNorm, by its first such module, in evaluation mode and without a gradient.
    evaluated: int = 0  # evaluations that were looked at, one for each write to its first weight
    writes_evaluated: int = 0  # in-place writes to its first weight until the last of them
    statistics_filled: bool = False  # by then the module had been in training mode itself
    statistics_moved: bool = True  # by then they were others than at the first look
    plain_average: bool = False  # torch's AveragedModel, an equal average of all, which leaves them to update_bn


class LoadFacts(Facts, frozen=True, kw_only=True):
    """A call of `load_state_dict` that left keys of the checkpoint and tensors of the module without each other.

    Keys that fit under another name are those that have the name and shape of a tensor without a key, once `prefix` is
    replaced by `instead`; those under an entry of the checkpoint, which is `inside`, are counted with it.
    """

    name: str  # the script's variable that holds the module, else its class
    module_class: str = ""
    step: int = -1  # the first step after it
    keys: int = 0  # in the checkpoint
    matched: int = 0  # of them, loaded
    missing: int = 0  # tensors of the module without a key
    renamed: int = 0  # keys that fit under another name
    prefix: str = ""
    instead: str = ""
    inside: str = ""  # the entry of the checkpoint that holds them; empty: the checkpoint itself
    written: int = 0  # of the tensors that they fit, those that the script wrote to or replaced before that step
    trained: bool = False  # the module is part of what an optimizer steps, or holds it
    frozen: int = 0  # of the tensors that they fit, those in no optimizer by then


class ModelStateFacts(Facts, frozen=True, kw_only=True):
    """Modes, buffers and copies."""

    looked: bool = False  # whether a step was looked at: false in runs recorded before there were these facts
    evaluations: int = 0  # losses evaluated with the model in evaluation mode
    active: list[ActiveFacts] = []  # at most 64 places
    modes: list[ModeFacts] = []
    norms: list[NormFacts] = []  # at most 500
    copies: list[CopyFacts] = []  # at most 32
    copies_unknown: str = ""  # why no copies were looked for
    loaded: int = -1  # calls of load_state_dict; -1 where nobody looked
    loads: list[LoadFacts] = []  # of these, where nothing fitted or some fit under another name; at most 32
