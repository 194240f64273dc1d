"""Triton kernels that do what `sampler.ParameterSampler` does, in one launch before a step and one after it.

One program takes all sampled elements of a tensor and adds them up in float64.
"""

import torch
import triton
import triton.language as tl

from gradaudit.record.measure.kernels import ELEMENTS, OPTIONS, pointer_to

BLOCK = 1024


@triton.jit
def _before(
    gradients, parameters, members, layout, starts, previous, before, rows,
    ELEMENT: tl.constexpr, KEPT: tl.constexpr, WIDTH: tl.constexpr, COLUMN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Keep a tensor's sampled gradient and weights; the cosine of the gradient with the one kept before."""
    tensor = tl.load(members + tl.program_id(0)).to(tl.int64)
    count, stride = tl.load(layout + 2 * tensor), tl.load(layout + 2 * tensor + 1)
    start = tl.load(starts + tensor)
    at = tl.load(gradients + tensor)
    held = tl.where(at != 0, count, 0)  # not a mask of one element: Triton 3.9's interpreter cannot stretch it
    gradient = pointer_to(at, ELEMENT, 1)
    parameter = pointer_to(tl.load(parameters + tensor), ELEMENT, 1)
    lane = tl.arange(0, BLOCK)
    both = tl.zeros([BLOCK], tl.float64)
    one = tl.zeros([BLOCK], tl.float64)
    other = tl.zeros([BLOCK], tl.float64)
    for offset in range(0, count, BLOCK):
        inside = offset + lane < count
        place = (offset + lane).to(tl.int64) * stride
        kept = start + offset + lane
        # A missing gradient is zeros.
        now = tl.load(gradient + place, mask=offset + lane < held, other=0.0).to(KEPT)
        then = tl.load(previous + kept, mask=inside, other=0.0).to(tl.float64)
        tl.store(previous + kept, now, mask=inside)
        wide = now.to(tl.float64)
        both += wide * then
        one += wide * wide
        other += then * then
        tl.store(before + kept, tl.load(parameter + place, mask=inside, other=0.0).to(KEPT), mask=inside)
    cosine = tl.sum(both, axis=0) / tl.sqrt(tl.sum(one, axis=0) * tl.sum(other, axis=0))
    tl.store(rows + tensor * WIDTH + COLUMN, cosine)


@triton.jit
def _after(
    parameters, members, layout, starts, before, origin, scales, rows,
    ELEMENT: tl.constexpr, KEPT: tl.constexpr, WIDTH: tl.constexpr, COLUMN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Compare a tensor's sampled weights with those before the step and at the first one."""
    tensor = tl.load(members + tl.program_id(0)).to(tl.int64)
    count, stride = tl.load(layout + 2 * tensor), tl.load(layout + 2 * tensor + 1)
    start = tl.load(starts + tensor)
    parameter = pointer_to(tl.load(parameters + tensor), ELEMENT, 1)
    lane = tl.arange(0, BLOCK)
    weights = tl.zeros([BLOCK], tl.float64)
    updates = tl.zeros([BLOCK], tl.float64)
    drifts = tl.zeros([BLOCK], tl.float64)
    both = tl.zeros([BLOCK], tl.float64)
    tops = tl.zeros([BLOCK], tl.float64)
    same = tl.zeros([BLOCK], tl.int32)
    for offset in range(0, count, BLOCK):
        inside = offset + lane < count
        kept = start + offset + lane
        old = tl.load(before + kept, mask=inside, other=0.0).to(tl.float64)
        first = tl.load(origin + kept, mask=inside, other=0.0).to(tl.float64)
        place = (offset + lane).to(tl.int64) * stride
        new = tl.load(parameter + place, mask=inside, other=0.0).to(KEPT).to(tl.float64)
        weights += old * old
        updates += (new - old) * (new - old)
        drifts += (new - first) * (new - first)
        both += (new - old) * old
        tops = tl.maximum(tops, tl.abs(old))
        same += (inside & (new == old)).to(tl.int32)
    scale = tl.load(scales + tensor)
    weight = tl.sum(weights, axis=0)
    update = tl.sum(updates, axis=0)
    top = tl.max(tops, axis=0)
    share = tl.sum(same, axis=0).to(tl.float64) / count.to(tl.float64)
    out = rows + tensor * WIDTH + COLUMN
    tl.store(out, scale * tl.sqrt(weight))
    tl.store(out + 1, scale * tl.sqrt(update))
    tl.store(out + 2, scale * tl.sqrt(tl.sum(drifts, axis=0)))
    # The largest of numbers leaves NaN out; their sum does not.
    tl.store(out + 3, tl.where(weight == weight, top, weight))
    tl.store(out + 4, share)
    tl.store(out + 5, tl.sum(both, axis=0) / tl.sqrt(weight * update))


def sample_before_step(
    gradients: torch.Tensor,
    parameters: torch.Tensor,
    members: torch.Tensor,
    layout: tuple[torch.Tensor, torch.Tensor],
    kept: tuple[torch.Tensor, torch.Tensor],
    rows: torch.Tensor,
    column: int,
    dtype: torch.dtype,
) -> None:
    """Look at the tensors `members` of type `dtype`; the gradients' cosine goes to `column` of `rows`.

    `gradients` and `parameters` are addresses [tensors], `layout` [tensors, 2] count and stride, and [tensors]
    places in `kept`: the gradients kept before, and the weights.
    """
    _before[(len(members),)](
        gradients, parameters, members, *layout, *kept, rows, ELEMENT=ELEMENTS[dtype], KEPT=ELEMENTS[kept[0].dtype],
        WIDTH=rows.shape[1], COLUMN=column, BLOCK=BLOCK, **OPTIONS,
    )  # fmt: skip


def sample_after_step(
    parameters: torch.Tensor,
    members: torch.Tensor,
    layout: tuple[torch.Tensor, torch.Tensor],
    kept: tuple[torch.Tensor, torch.Tensor],
    scales: torch.Tensor,
    rows: torch.Tensor,
    column: int,
    dtype: torch.dtype,
) -> None:
    """Write the six columns of the weights, from `column` of `rows` on; `kept`: those before the step and at first."""
    _after[(len(members),)](
        parameters, members, *layout, *kept, scales, rows, ELEMENT=ELEMENTS[dtype], KEPT=ELEMENTS[kept[0].dtype],
        WIDTH=rows.shape[1], COLUMN=column, BLOCK=BLOCK, **OPTIONS,
    )  # fmt: skip
