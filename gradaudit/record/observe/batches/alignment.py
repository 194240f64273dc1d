"""How the integer targets of a loss sit against the ids of an embedding call: equal at which shift."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from gradaudit.record.internals import private
from gradaudit.schema.loaders import AlignmentFacts

SHIFTS = (-1, 0, 1, 2)
_SEQUENCES = 32  # of a batch
_LENGTH = 4096  # positions
_MOST = 4  # embedding calls, and losses, of one step
_MOST_IDS = 2_000_000  # of one call
_SHORTEST = 4  # positions of what is taken for a sequence
_DEEP = 16  # operations between a slice of the predictions and the loss
_MOST_NODES = 4000
_CORNER = 8  # rows and columns of a buffer that tell a causal mask
_MOVES = ("View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "Transpose", "Permute", "T", "Clone", "ToCopy",
          "Alias")  # fmt: skip


@dataclass
class Alignments:
    """Counts of equal positions so far, on the device of the ids, and the ids of the step that is being made."""

    counts: dict[tuple[int, int], torch.Tensor] = field(default_factory=dict)  # (loss, embedding): [2, 4, 2]
    calls: dict[tuple[int, int], int] = field(default_factory=dict)
    sequences: dict[tuple[int, int], int] = field(default_factory=dict)
    ids_calls: int = 0
    causal: str | None = None  # None: nobody looked

    def compare(self, loss: int, ids: list[torch.Tensor], prediction: torch.Tensor, target: torch.Tensor,
                ignored: int | None) -> None:  # fmt: skip
        """Compare the targets of one loss of a step with the ids [sequences, positions] of its embedding calls."""
        offset = first_position(prediction)
        if loss >= _MOST or offset is None or target.is_floating_point() or target.is_complex():
            return
        self.ids_calls = max(self.ids_calls, len(ids))
        for number, each in enumerate(ids):
            if each.device != target.device:
                continue
            counts = [_equal(each, target, offset, ignored), _equal(each.t(), target, offset, ignored)]
            if counts[0] is None and counts[1] is None:
                continue
            nothing = torch.zeros(len(SHIFTS), 2, dtype=torch.int64, device=each.device)
            found = torch.stack([nothing if one is None else one for one in counts])
            key = (loss, number)
            known = self.counts.get(key)
            if known is None:
                self.counts[key] = found
            elif known.device == found.device:
                known += found
            self.calls[key] = self.calls.get(key, 0) + 1
            self.sequences[key] = self.sequences.get(key, 0) + min(_SEQUENCES, len(each))

    def facts(self, on_host: dict[tuple[int, int], torch.Tensor]) -> list[AlignmentFacts]:
        """What goes into run.json, from the counts on the host."""
        found = []
        for (loss, number), counts in on_host.items():
            # Sequences are rows or columns; where both fit, what is equal more often tells.
            table = max(counts.tolist(), key=lambda axis: max((one[1] / one[0] if one[0] else 0.0) for one in axis))
            found.append(
                AlignmentFacts(
                    loss=loss,
                    embedding=number,
                    calls=self.calls.get((loss, number), 0),
                    sequences=self.sequences.get((loss, number), 0),
                    compared=[int(one[0]) for one in table],
                    equal=[int(one[1]) for one in table],
                    ids_calls=self.ids_calls,
                )
            )
        return found


def kept(ids: list[torch.Tensor], input: Any) -> bool:
    """Keep a copy of the ids of an embedding call, where they are sequences: until the loss of this step."""
    if type(input) is not torch.Tensor or input.ndim != 2 or len(ids) >= _MOST:
        return False
    # Position ids are one row.
    if max(input.shape) < _SHORTEST or input.shape[0] < 2 or not 0 < input.numel() <= _MOST_IDS:
        return False
    ids.append(input.detach().clone())
    return True


def _equal(ids: torch.Tensor, target: torch.Tensor, offset: int, ignored: int | None) -> torch.Tensor | None:
    """[shifts, 2]: valid targets with a partner in `ids` [sequences, positions], and those equal to it."""
    rows, length = ids.shape
    if target.numel() % rows or length < _SHORTEST:
        return None
    width = target.numel() // rows
    if not _SHORTEST - 2 < width <= length:
        return None
    if target.ndim == 2 and tuple(target.shape) not in ((rows, width), (width, rows)):
        return None
    table = target.detach().reshape(rows, width) if target.ndim != 2 or target.shape[0] == rows else target.detach().t()
    table, ids = table[:_SEQUENCES, :_LENGTH], ids[:_SEQUENCES]
    valid = table >= 0 if ignored is None else table != ignored
    counts = []
    for shift in SHIFTS:
        first = max(0, -(offset + shift))
        last = min(table.shape[1], length - offset - shift)
        if last <= first:
            counts.append(torch.zeros(2, dtype=torch.int64, device=ids.device))
            continue
        inside = valid[:, first:last]
        same = (table[:, first:last] == ids[:, first + offset + shift : last + offset + shift]) & inside
        counts.append(torch.stack([inside.sum(), same.sum()]))
    return torch.stack(counts)


def first_position(prediction: torch.Tensor) -> int | None:
    """The first position of the sequence that the loss gets a prediction of; None where that is not told."""
    node: Any = prediction.grad_fn
    start = 0
    for _ in range(_DEEP):
        if node is None:
            return start
        name = node.name().removesuffix("0").removesuffix("Backward")
        if name == "Slice":
            begun = private(node, "_saved_start")
            if not isinstance(begun, int) or begun >= 2**63 or begun < 0:
                return None
            start += begun
        elif name.startswith("Index") or name in ("MaskedSelect", "Gather"):
            return None
        elif name not in _MOVES:
            return start
        node = node.next_functions[0][0] if node.next_functions else None
    return start


def causal_by_graph(root: Any) -> bool:
    """Whether some attention behind a loss is causal, as scaled_dot_product_attention notes it."""
    queue, seen = [root], {root}
    while queue and len(seen) < _MOST_NODES:
        node = queue.pop()
        if node.name().startswith("ScaledDotProduct") and private(node, "_saved_is_causal") is True:
            return True
        for then, _ in node.next_functions:
            if then is not None and then not in seen:
                seen.add(then)
                queue.append(then)
    return False


def causal_by_modules(roots: Any) -> str:
    """Why the modules of a model cannot see later positions: a triangular mask among buffers, or one recurrent net."""
    recurrent: list[nn.RNNBase] = []
    for root in roots:
        for module in list(root.modules())[:_MOST_NODES]:
            if isinstance(module, nn.RNNBase):
                recurrent.append(module)
            for buffer in module.buffers(recurse=False):
                if _triangular(buffer):
                    return "mask"
    return "recurrent" if len(recurrent) == 1 and not recurrent[0].bidirectional else ""


def _triangular(buffer: Any) -> bool:
    """Whether a buffer [..., positions, positions] hides what comes later, or marks it."""
    if type(buffer) is not torch.Tensor or not buffer.is_cpu or buffer.ndim < 2 or buffer.layout is not torch.strided:
        return False
    if buffer.shape[-1] != buffer.shape[-2] or buffer.shape[-1] < _CORNER or buffer.shape[:-2].numel() != 1:
        return False
    corner = buffer.detach().reshape(buffer.shape[-2:])[:_CORNER, :_CORNER]
    lower = torch.ones(_CORNER, _CORNER, dtype=torch.bool).tril()
    return all(bool((corner[half] == corner[half][0]).all()) for half in (lower, ~lower)) and bool(
        corner[0, 0] != corner[0, 1]
    )
