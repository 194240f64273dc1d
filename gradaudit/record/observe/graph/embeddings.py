"""How much embeddings differ over a batch, where an objective compares them: by angle, by distance or by product.

The graph before a loss tells what the last layer of a network gave is compared with, and the node of that layer keeps
its input and weight. A few rows of the embeddings are computed anew from these; nothing is unpacked, and no module is
hooked.
"""

import math
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from gradaudit.record.internals import private
from gradaudit.record.observe.graph.nodes import ELEMENTWISE, VIEWS, parents_of, shape_of
from gradaudit.record.observe.graph.terms import Identifiers
from gradaudit.record.observe.loss.hand_written import kind_of
from gradaudit.record.observe.model_state.looks import Look
from gradaudit.schema import EmbeddingFacts, EmbeddingLookFacts

_MOST_NODES = 256  # walked before the layers
_MOST = 8  # layers whose outputs are followed
_FEWEST = 8  # rows, and columns: of fewer the spread says little, and one column is a score
_ROWS, _COLUMNS = 64, 256  # of one look
_EACH, _GROWTH = 8, 1.1  # first steps that are all looked at; and by how much the steps grow then
_BEFORE = 4  # operations between the softmax of attention and its product: views, dropout
_NORMS = {"LinalgVectorNorm", "Norm"}
_DISTANCES = {"EuclideanDist", "Cdist", "Pdist"}
_PRODUCTS = {"Mm", "Bmm"}
_VAIN = 3  # backwards without a comparison, after which the next ones are not looked at
_DIFFERENCES = {"Sub", "Rsub"}
_TURNS = {"T", "Transpose", "Permute"}
_LOOK_UPS = {"Embedding", "Gather", "Index", "IndexSelect"}
_MOST_PARTS = 32  # nodes that a weight may be made of
_OTHERS = {"Addmm", "Convolution", "NativeLayerNorm", "NativeBatchNorm", "CudnnBatchNorm", "Embedding", "Linear"}


class _Layer(NamedTuple):
    """A linear layer whose output is compared."""

    node: Any
    weight: torch.Tensor  # [outputs, inputs]
    bias: torch.Tensor | None
    compared: str  # cosine, distance, product


@dataclass(eq=False)
class _Followed:
    held: "weakref.ref[torch.Tensor]"
    compared: str
    rows: int
    tensor: int = -1
    looks: list[Look] = field(default_factory=list)


class Embeddings:
    """What is known so far. Used under the recording's lock."""

    def __init__(self) -> None:
        self._followed: dict[int, _Followed] = {}  # by identity of the weight
        self._wait = 0
        self._in_vain = 0  # backwards in a row that compare no embeddings

    def wants(self, step: int) -> bool:
        """Whether a backward before this step is looked at: in the last tenth of any run, and of few others."""
        return step >= self._wait

    def look(self, step: int, roots: Sequence[Any]) -> None:
        """A backward is about to run from `roots`."""
        found = [layer for root in roots if isinstance(root, torch.Tensor) for layer in _compared(root.grad_fn)]
        # Optimizers that take turns have objectives of their own: a few in a row are looked at.
        self._in_vain = 0 if found else self._in_vain + 1
        if step >= _EACH and (found or self._in_vain >= _VAIN):
            # Where nothing was ever compared, that is asked again when the steps have doubled.
            self._wait, self._in_vain = max(step + 1, int((_GROWTH if self._followed else 2.0) * step)), 0
        for layer in found:
            self._note(step, layer)

    def _note(self, step: int, layer: _Layer) -> None:
        followed = self._followed.get(id(layer.weight))
        if followed is not None and followed.looks and followed.looks[-1].step == step:
            return
        if followed is None or followed.held() is not layer.weight:
            if len(self._followed) >= _MOST:
                return
            shape = shape_of(layer.node) or (0,)
            followed = self._followed[id(layer.weight)] = _Followed(weakref.ref(layer.weight), layer.compared, shape[0])
        numbers = _measured(layer)
        if numbers is not None:
            followed.looks.append(Look.of(step, numbers))

    def name(self, known: Identifiers) -> None:
        """Find the numbers of the weights, while they exist."""
        for key, followed in self._followed.items():
            entry = known.get(key)
            if followed.tensor < 0 and entry is not None and entry[0]() is followed.held() is not None:
                followed.tensor = entry[1]

    def facts(self) -> list[EmbeddingFacts]:
        """What goes into run.json; called by the writer's thread, waits for the device."""
        return [_told(followed) for followed in list(self._followed.values()) if followed.looks]


def _compared(root: Any) -> list[_Layer]:
    """The linear layers whose outputs an objective compares with each other, or with others'."""
    queue, seen = ([root], {root}) if root is not None else ([], set())
    layers: dict[Any, tuple[torch.Tensor, torch.Tensor | None]] = {}
    kinds: dict[Any, set[str]] = {}  # of what is computed of each node's result, by the way to the root
    normed: set[Any] = set()
    while queue and len(seen) <= _MOST_NODES:
        node = queue.pop(0)
        kind = kind_of(node.name())
        weights = [parent for parent, _ in parents_of(node) if kind in _PRODUCTS and _is_softmax(parent)]
        above = kinds.get(node, set()) | ({kind} if kind in _NORMS | _DISTANCES else set())
        if kind in _DIFFERENCES and sum(parent is not None for parent, _ in node.next_functions) < 2:
            above = above - _NORMS  # the length of an error against data: a regression
        for place, (parent, output) in enumerate(node.next_functions):
            if parent is None:
                continue
            product = {kind} if kind in _PRODUCTS and not weights and _is_compared(node, place) else set()
            kinds.setdefault(parent, set()).update(above | product)
            if kind in _NORMS:
                normed.add(parent)
            if parent in seen or parent in weights:
                continue
            layer = _layer(parent, output)
            if layer is not None:
                layers[parent] = layer
            elif kind_of(parent.name()) not in _OTHERS:
                seen.add(parent)
                queue.append(parent)
    return [
        _Layer(node, *layer, _word(kinds[node], node in normed))
        for node, layer in layers.items()
        if kinds[node] & (_NORMS | _DISTANCES | _PRODUCTS)
    ]


def _is_softmax(node: Any) -> bool:
    """Whether a factor of a product is the weights of attention: what they weigh is not compared."""
    for _ in range(_BEFORE):
        parents = parents_of(node)
        if kind_of(node.name()) == "Softmax" or len(parents) != 1:
            break
        node = parents[0][0]
    return kind_of(node.name()) == "Softmax"


def _is_compared(product: Any, place: int) -> bool:
    """Whether a product compares the rows of its factor at `place` with something.

    A layer whose weight is computed, scaled for one, compares nothing, nor does a matrix that mixes rows, as that of
    the neighbours in a graph.
    """
    sides = [parent for parent, _ in product.next_functions]
    if place == 1 and not any(map(_is_turned, sides)):
        return False
    return len(sides) != 2 or not _is_of_parameters(sides[1 - place])


def _is_turned(node: Any) -> bool:
    while node is not None and kind_of(node.name()) in VIEWS | {"Clone", "Expand", "Unsqueeze"}:
        node = node.next_functions[0][0]
    return node is not None and kind_of(node.name()) in _TURNS


def _is_of_parameters(node: Any) -> bool:
    """Whether something is computed of parameters alone; data has no node, and enters where a parent is missing."""
    queue = [node] if node is not None else []
    seen = set(queue)
    while queue:
        node = queue.pop()
        kind = kind_of(node.name())
        data = kind not in ELEMENTWISE and any(parent is None for parent, _ in node.next_functions)
        if data or kind in _LOOK_UPS or len(seen) > _MOST_PARTS:
            return False
        new = {parent for parent, _ in parents_of(node)} - seen
        seen |= new
        queue += new
    return bool(seen)


def _word(kinds: set[str], normed: bool) -> str:
    if normed:
        return "cosine"
    return "distance" if kinds & (_NORMS | _DISTANCES) else "product"


def _layer(node: Any, output: int) -> tuple[torch.Tensor, torch.Tensor | None] | None:
    """Weight and bias of the linear layer that gave a table of embeddings; None of anything else."""
    kind, shape = kind_of(node.name()), shape_of(node, output)
    if kind not in ("Addmm", "Mm") or shape is None or len(shape) != 2 or min(shape) < _FEWEST:
        return None
    parents = [parent for parent, _ in node.next_functions]
    weight = next(_leaves(parents[-1]), None)
    bias = next(_leaves(parents[0]), None) if kind == "Addmm" else None
    if (
        weight is None
        or not _is_turned(parents[-1])
        or weight.ndim != 2
        or weight.shape[0] != shape[1]
        or (kind == "Addmm" and bias is None)
    ):
        return None
    return weight, bias


def _leaves(node: Any) -> Iterator[torch.Tensor]:
    """The parameter that a node holds, or its transpose."""
    if node is not None and kind_of(node.name()) == "T":
        node = node.next_functions[0][0]
    held = getattr(node, "variable", None)
    if isinstance(held, torch.Tensor):
        yield held


def _measured(layer: _Layer) -> torch.Tensor | None:
    """[3]: spread of the directions, standard deviation over the batch, and root mean square, of the embeddings."""
    saved = private(layer.node, "_raw_saved_mat1") or private(layer.node, "_raw_saved_self")
    if saved is None or getattr(saved, "unpack_hook", saved) is not None:
        return None
    given = getattr(saved, "data", None)
    if type(given) is not torch.Tensor or given.ndim != 2 or given.layout != torch.strided:
        return None
    with torch.no_grad():
        rows = given.detach()[:: -(-given.shape[0] // _ROWS)].float()
        columns = slice(None, None, -(-layer.weight.shape[0] // _COLUMNS))
        table = rows @ layer.weight.detach()[columns].float().T
        if layer.bias is not None:
            table = table + layer.bias.detach()[columns].float()
        table = table.double()
        directions = table / table.norm(dim=1, keepdim=True).clamp(min=1e-300)
        spread = directions.std(0).mean() * math.sqrt(table.shape[1])
        return torch.stack([spread, table.var(0).mean().sqrt(), table.square().mean().sqrt()])


def _told(followed: _Followed) -> EmbeddingFacts:
    rows = [(look.step, *look.numbers().tolist()) for look in list(followed.looks)]
    return EmbeddingFacts(
        tensor=followed.tensor,
        compared=followed.compared,
        rows=followed.rows,
        looks=[
            EmbeddingLookFacts(step=step, directions=_known(directions), std=_known(std), rms=_known(rms))
            for step, directions, std, rms in rows
        ],
    )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
