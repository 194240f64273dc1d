"""What attention may look at: whether its mask hides later positions, and which ids its padding mask leaves visible."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from gradaudit.record.internals import transformed
from gradaudit.record.observe.graph.nodes import ELEMENTWISE, SAME, VIEWS, parents_of, shape_before, shape_of
from gradaudit.record.observe.graph.walk import number_of
from gradaudit.record.observe.loss.hand_written import kind_of
from gradaudit.schema.loaders import AttendedFacts

_CALLS = 32  # of one step that are looked at
_BEHIND = 400  # nodes between keys and ids
_IN_PLACE = 4000  # nodes between predictions and ids
_HIDDEN = -1000.0  # what is added to a score that is hidden: -10,000 at least; a bias is less
# What gives each position from the same position of what it is given.
_POSITIONWISE = {"Addmm", "Mm", "Linear", "NativeLayerNorm", "Transpose", "Permute", "T", "Squeeze", "Unsqueeze",
                 "Slice", *SAME, *ELEMENTWISE}  # fmt: skip
_REORDERED = {"Flip", "Index", "IndexSelect", "Gather"}
_COUNTS, _LEAST, _MOST = slice(0, 4), slice(4, 6), slice(6, 8)  # of the numbers of a mask


class Attention(NamedTuple):
    """One call: its queries and keys, the axis of their positions, and its masks."""

    queries: torch.Tensor
    keys: torch.Tensor
    axis: int
    hides_later: bool  # a mask between positions, which may be causal
    visible: torch.Tensor | None  # [examples, keys] or [examples, queries, keys]: bool, or what is added to the scores
    kept_is: bool = True  # of a bool one: what is visible


def fused(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Attention | None:
    """A call of scaled_dot_product_attention."""
    call = dict(zip(("query", "key", "value", "attn_mask", "dropout_p", "is_causal"), args, strict=False)) | kwargs
    query, key, mask = call["query"], call["key"], call.get("attn_mask")
    if not _plain(query) or not _plain(key) or query.ndim < 3 or key.ndim < 3:
        return None
    if mask is not None and (not _plain(mask) or mask.ndim < 2):
        return None
    # A mask of the keys alone is one row, or one that is stretched.
    of_keys = mask is not None and (mask.shape[-2] == 1 or mask.stride(-2) == 0)
    hides = bool(call.get("is_causal")) or (mask is not None and not of_keys)
    return Attention(query, key, -2, hides, mask[:, 0] if mask is not None and mask.ndim == 4 else None)


def weighing(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Attention | None:
    """A call of multi_head_attention_forward, as the module makes it: tensors [positions, examples, features]."""
    if len(args) < 2 or not _plain(args[0]) or not _plain(args[1]) or args[1].ndim != 3:
        return None
    padding, mask = kwargs.get("key_padding_mask"), kwargs.get("attn_mask")
    return Attention(args[0], args[1], 0, mask is not None, padding, kept_is=False)


@dataclass
class Attended:
    """What attention over the ids of one embedding call of a step was seen to do; counts on the device."""

    open: int = 0  # calls of self-attention without a mask between positions
    masked: int = 0
    masks: int = 0  # padding masks that were compared
    numbers: torch.Tensor | None = None

    def facts(self, embedding: int, numbers: torch.Tensor | None, in_place: bool) -> AttendedFacts:
        """What goes into run.json, from the numbers on the host."""
        rows, partly, inverted, hidden, _, fewest, _, most = numbers.tolist() if numbers is not None else [0] * 8
        one_id = numbers is not None and bool(numbers[4] == numbers[6])
        return AttendedFacts(
            embedding=embedding, open=self.open, masked=self.masked, in_place=in_place, masks=self.masks, rows=rows,
            partly=partly, inverted=inverted, hidden=hidden, one_id=inverted > 0 and one_id,
            fewest=fewest if inverted else 0, most=most if inverted else 0,
        )  # fmt: skip


@dataclass
class Embedded:
    """The embedding calls of the step that is being made: by the number of the operation, that of the ids."""

    made: dict[int, int] = field(default_factory=dict)
    calls: int = 0  # of attention

    def note(self, number: int, result: Any) -> None:
        """The ids of this number became `result`."""
        node = result.grad_fn if isinstance(result, torch.Tensor) else None
        made = number_of(node) if node is not None else None
        if made is not None:
            self.made[made] = number

    def behind(self, keys: torch.Tensor, ids: list[torch.Tensor], length: int) -> int | None:
        """The nearest ids of sequences of this length that keys were computed from."""
        queue, seen = deque([keys.grad_fn]), {keys.grad_fn}
        while queue and len(seen) < _BEHIND:
            node = queue.popleft()
            if node is None:
                continue
            number = self._number(node)
            if number is not None and length in ids[number].shape:
                return number
            for parent, _ in parents_of(node):
                if parent not in seen:
                    seen.add(parent)
                    queue.append(parent)
        return None

    def unpacked(self, node: Any, ids: list[torch.Tensor]) -> int | None:
        """The nearest ids that a recurrent layer was run over, where they were not packed, turned round or gathered."""
        queue, seen = deque([node]), {node}
        while queue and len(seen) < _BEHIND:
            node = queue.popleft()
            number = self._number(node)
            if number is not None or "PackPaddedSequence" in node.name() or kind_of(node.name()) in _REORDERED:
                return number
            new = [parent for parent, _ in parents_of(node) if parent not in seen]
            # The steps of a layer below are as many as there are positions: the last stands for them.
            new = new[-1:] if kind_of(node.name()) == "Stack" else new
            seen.update(new)
            queue += new
        return None

    def in_place(self, prediction: torch.Tensor) -> set[int]:
        """The ids that predictions are made from position by position, as along a residual stream."""
        queue, seen, found = [prediction.grad_fn], {prediction.grad_fn}, set()
        while queue and len(seen) < _IN_PLACE:
            node = queue.pop()
            if node is None:
                continue
            number = self._number(node)
            if number is not None:
                found.add(number)
            elif is_positionwise(node):
                new = [parent for parent, _ in parents_of(node) if parent not in seen]
                seen.update(new)
                queue += new
        return found

    def _number(self, node: Any) -> int | None:
        made = number_of(node) if kind_of(node.name()) == "Embedding" else None
        return None if made is None else self.made.get(made)


def look(call: Attention, here: Embedded, ids: list[torch.Tensor], known: dict[int, Attended]) -> None:
    """Look at a call of attention, over one of the `ids` of this step."""
    here.calls += 1
    if here.calls > _CALLS or transformed():
        return
    length = call.keys.shape[call.axis]
    number = here.behind(call.keys, ids, length)
    if number is None:
        return
    entry = known.setdefault(number, Attended())
    if call.queries.shape[call.axis] == length and here.behind(call.queries, ids, length) == number:
        entry.masked += call.hides_later
        entry.open += not call.hides_later
    if call.visible is not None:
        with torch.no_grad():
            numbers = _of_mask(call, ids[number])
        if numbers is not None and (entry.numbers is None or entry.numbers.device == numbers.device):
            entry.numbers = numbers if entry.numbers is None else _join(entry.numbers, numbers)
            entry.masks += 1


def _of_mask(call: Attention, ids: torch.Tensor) -> torch.Tensor | None:
    """[8]: rows, those with some keys hidden, those inverted, those with all hidden; id and number of what is left."""
    mask = call.visible
    if mask is not None and _plain(mask) and mask.ndim == 3:
        # What some query sees: in packed texts each sees its own alone, and the last may see nothing but padding.
        mask = mask[:, 0] if mask.shape[1] == 1 or mask.stride(1) == 0 else mask.detach().amax(1)
    if mask is None or not _plain(mask) or mask.ndim != 2 or mask.device != ids.device:
        return None
    ids = ids if mask.shape == ids.shape else ids.t()
    if mask.shape != ids.shape or len(ids) < 2:
        return None
    kept = (mask if call.kept_is else ~mask) if mask.dtype == torch.bool else mask.detach() > _HIDDEN
    count = kept.sum(1)
    partly = (count > 0) & (count < kept.shape[1])
    (least, most), (first, last) = _range(ids, kept), _range(ids, ~kept)
    # Padding is at one end; a mask that keeps one kind of token anywhere may be meant.
    at_one_end = (kept[:, 1:] != kept[:, :-1]).sum(1) == 1
    inverted = partly & (least == most) & (first != last) & at_one_end
    high = torch.iinfo(torch.int64).max
    lowest = [values.masked_fill(~inverted, high).amin() for values in (least, count)]
    highest = [values.masked_fill(~inverted, -1).amax() for values in (least, count)]
    total = torch.full_like(count[0], len(ids))
    return torch.stack([total, partly.sum(), inverted.sum(), (count == 0).sum(), *lowest, *highest])


def _range(ids: torch.Tensor, among: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The smallest and the largest id of each row among some positions."""
    ids = ids.to(torch.int64)
    return ids.masked_fill(~among, torch.iinfo(torch.int64).max).amin(1), ids.masked_fill(~among, -1).amax(1)


def _join(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    least, most = torch.minimum(one, other), torch.maximum(one, other)
    return torch.cat([one[_COUNTS] + other[_COUNTS], least[_LEAST], most[_MOST]])


def is_positionwise(node: Any) -> bool:
    """Whether an operation gives each position from the same position of what it is given."""
    kind = kind_of(node.name())
    if kind in VIEWS:
        before, after = shape_before(node), shape_of(node)
        return bool(before) and bool(after) and before[-1] == after[-1]  # type: ignore[index]
    return kind in _POSITIONWISE


def _plain(tensor: Any) -> bool:
    return type(tensor) is torch.Tensor and tensor.layout is torch.strided and not tensor.is_nested
