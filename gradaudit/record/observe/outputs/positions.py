"""The loss at eight positions of a sequence, on a sample of the sequences of a call, without a wait for the device."""

from typing import Any

import torch

from gradaudit.record.observe.outputs.layout import Layout
from gradaudit.schema.outputs import POSITIONS, PositionPart

_SEQUENCES = 16  # of one call
_FEWEST = 2  # where a vocabulary is large
_ELEMENTS = 2**16  # logits read in one call, unless those of the fewest sequences are more
_BUCKETS = 64  # that targets are counted in; more classes than these share them, and look less spread than they are
_COUNTED = 2 + _BUCKETS + 1  # sum of the losses, targets, targets in each bucket, sequences whose last one is valid


def measure(input: torch.Tensor, target: torch.Tensor, layout: Layout, ignored: int | None, log: bool) -> torch.Tensor:
    """[axes, POSITIONS, counted] sums of one call; along the second axis, and the first where positions may be there.

    `log`: the input holds logarithms of probabilities, not logits.
    """
    if layout.classes_inside:
        return _along(input.movedim(1, 2), target, ignored, log)[None]
    table = input.reshape(layout.first, layout.second, input.shape[1])
    targets = target.reshape(layout.first, layout.second)
    return torch.stack([_along(table, targets, ignored, log), _along(table.transpose(0, 1), targets.T, ignored, log)])


def is_costly(classes: int) -> bool:
    """Whether one look reads more logits than `_ELEMENTS` allows for."""
    return _FEWEST * POSITIONS * classes > _ELEMENTS


def _along(table: torch.Tensor, targets: torch.Tensor, ignored: int | None, log: bool) -> torch.Tensor:
    """[POSITIONS, counted] of outputs [sequences, positions, classes] and targets [sequences, positions]."""
    classes, length = table.shape[2], table.shape[1]
    if length < POSITIONS:
        return torch.zeros((POSITIONS, _COUNTED), dtype=torch.float64, device=table.device)
    most = min(_SEQUENCES, max(_FEWEST, _ELEMENTS // (POSITIONS * classes)))
    step = -(-table.shape[0] // most)
    table, targets = table[::step], targets[::step]
    valid = (targets >= 0) & (targets < classes)
    if ignored is not None:
        valid = valid & (targets != ignored)
    numbers = torch.arange(length, device=targets.device)
    first = torch.where(valid, numbers, length).amin(1)
    last = torch.where(valid, numbers, -1).amax(1)
    sixths = torch.arange(POSITIONS - 2, device=targets.device)
    span = (last - first)[:, None]
    # [sequences, POSITIONS]: of a sequence without a valid target all are its first, and count nothing.
    places = torch.cat([first[:, None] + span * sixths // (POSITIONS - 2), last[:, None] - 1, last[:, None]], dim=1)
    places = places.clamp(0, length - 1)
    counted = valid.gather(1, places) & (span >= POSITIONS - 1)
    picked = targets.gather(1, places).clamp(0, classes - 1).long()
    rows = torch.arange(len(table), device=table.device)[:, None]
    outputs = table[rows, places].float()
    losses = -outputs.gather(2, picked[:, :, None])[:, :, 0]
    if not log:
        losses = losses + outputs.logsumexp(2)
    buckets = (picked % _BUCKETS)[:, :, None] == torch.arange(_BUCKETS, device=table.device)
    whole = (counted[:, :1] & (last[:, None] == length - 1)).expand_as(counted)
    columns = [torch.where(counted, losses, 0.0)[:, :, None], counted[:, :, None], buckets & counted[:, :, None]]
    return torch.cat([*columns, whole[:, :, None]], dim=2).double().sum(0)


def part_of(sums: Any) -> PositionPart:
    """What one part says; `sums` [POSITIONS, counted] is on the host."""
    counts = [int(count) for count in sums[:, 1].tolist()]
    losses = (sums[:, 0] / sums[:, 1].clamp(min=1)).tolist()
    share = sums[:, 2:-1] / sums[:, 1:2].clamp(min=1)
    entropy = -torch.where(share > 0, share * share.log(), 0.0).sum(1)
    return PositionPart(
        losses=[_known(loss) if count else None for loss, count in zip(losses, counts, strict=True)],
        targets=counts,
        entropy=[_known(value) if count else None for value, count in zip(entropy.tolist(), counts, strict=True)],
    )


def is_whole(sums: Any) -> bool:
    """Whether the last position of most sequences looked at has a valid target."""
    return bool(sums[0, -1] > sums[:, 1].max() / 2)


def _known(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
