"""Triton kernels that reduce all gradients of a CUDA device in one launch, and the launch that merges what they give.

Imported only where Triton is there. A *chunk* is up to CHUNK elements of one gradient and belongs to
one program: nothing is added up by atomics, and the same gradients always give the same bits. Lanes
sum in float32 around a shift, everything above them in float64. A chunk that this could misjudge (NaN,
Inf, very small or large values, a mean far from the shift) is read again in float64, and so is every
chunk of float64.
"""

import torch
import triton
import triton.language as tl

CHUNK = 65_536  # elements of a program: 40 sums of float32 in each lane before float64 takes over
BLOCK = 1024  # elements of one load
# Of every launch. Where it is not asked for, Triton 3.9 warns on the standard error of the user's program.
OPTIONS = {"num_warps": 4, "enable_fp_fusion": True}
MERGED = 128  # chunks merged at a time
PARTIALS = 7  # of a chunk: finite elements, mean, root of the summed squares around it, largest, zeros, NaN, Inf

ELEMENTS = {
    torch.float32: tl.float32,
    torch.bfloat16: tl.bfloat16,
    torch.float16: tl.float16,
    torch.float64: tl.float64,
}


@triton.jit
def pointer_to(address, ELEMENT: tl.constexpr, DIVISOR: tl.constexpr):
    """`address`, a multiple of DIVISOR, as a pointer; Triton 3.0 makes one only of a type that is written out."""
    if ELEMENT == tl.float32:  # noqa: SIM300
        return tl.multiple_of(address.to(tl.pointer_type(tl.float32)), DIVISOR)
    elif ELEMENT == tl.bfloat16:  # noqa: SIM300
        return tl.multiple_of(address.to(tl.pointer_type(tl.bfloat16)), DIVISOR)
    elif ELEMENT == tl.float16:  # noqa: SIM300
        return tl.multiple_of(address.to(tl.pointer_type(tl.float16)), DIVISOR)
    else:
        return tl.multiple_of(address.to(tl.pointer_type(tl.float64)), DIVISOR)


@triton.jit
def _first_look(address, length, BLOCK: tl.constexpr):
    """Shifted float32 sums of a chunk, and whether they can be trusted."""
    lane = tl.arange(0, BLOCK)
    opening = tl.load(address + lane, mask=lane < length, other=0.0).to(tl.float32)
    shift = tl.sum(opening, axis=0) / tl.minimum(length, BLOCK).to(tl.float32)
    sums = tl.zeros([BLOCK], tl.float32)
    squares = tl.zeros([BLOCK], tl.float32)
    tops = tl.zeros([BLOCK], tl.float32)
    zeros = tl.zeros([BLOCK], tl.int32)
    whole = length // BLOCK * BLOCK
    for start in range(0, whole, BLOCK):
        # Without a mask these loads are 16 bytes wide.
        value = tl.load(address + start + lane).to(tl.float32)
        away = value - shift
        sums += away
        squares += away * away
        tops = tl.maximum(tops, tl.abs(value))
        zeros += (value == 0.0).to(tl.int32)
    if whole < length:
        inside = whole + lane < length
        value = tl.load(address + whole + lane, mask=inside, other=0.0).to(tl.float32)
        away = tl.where(inside, value - shift, 0.0)
        sums += away
        squares += away * away
        tops = tl.maximum(tops, tl.abs(value))
        zeros += (inside & (value == 0.0)).to(tl.int32)
    total = tl.sum(sums.to(tl.float64), axis=0)
    square = tl.sum(squares.to(tl.float64), axis=0)
    top = tl.max(tops, axis=0)
    zero = tl.sum(zeros, axis=0)
    count = length.to(tl.float64)
    spread = tl.maximum(square - total * (total / count), 0.0)
    # NaN and Inf make `square` fail its comparison. Squares below 1e-33 lose digits in float32.
    usual = (square < 1e37) & (top < 1e15) & ((top > 1e-15) | (top == 0.0))
    clear = (square <= 16.0 * spread) & (square >= 1e-33 * count)
    constant = (square == 0.0) & (total == 0.0)
    safe = usual & (clear | constant)
    return safe, shift.to(tl.float64) + total / count, tl.sqrt(spread), top.to(tl.float64), zero.to(tl.float64)


@triton.jit
def _careful_look(address, length, BLOCK: tl.constexpr):
    """The same in float64 over the finite elements, scaled by the largest: three passes."""
    lane = tl.arange(0, BLOCK)
    counts = tl.zeros([BLOCK], tl.int32)
    zeros = tl.zeros([BLOCK], tl.int32)
    nans = tl.zeros([BLOCK], tl.int32)
    tops = tl.zeros([BLOCK], tl.float64)
    for start in range(0, length, BLOCK):
        inside = start + lane < length
        value = tl.load(address + start + lane, mask=inside, other=0.0).to(tl.float64)
        finite = tl.abs(value) < float("inf")
        counts += (inside & finite).to(tl.int32)
        zeros += (inside & (value == 0.0)).to(tl.int32)
        nans += (value != value).to(tl.int32)
        tops = tl.maximum(tops, tl.where(finite, tl.abs(value), 0.0))
    count = tl.sum(counts, axis=0)
    top = tl.max(tops, axis=0)
    scale = tl.where(top > 0.0, top, 1.0)
    divisor = tl.maximum(count, 1).to(tl.float64)
    sums = tl.zeros([BLOCK], tl.float64)
    for start in range(0, length, BLOCK):
        inside = start + lane < length
        value = tl.load(address + start + lane, mask=inside, other=0.0).to(tl.float64)
        sums += tl.where(tl.abs(value) < float("inf"), value / scale, 0.0)
    mean = tl.sum(sums, axis=0) / divisor
    squares = tl.zeros([BLOCK], tl.float64)
    for start in range(0, length, BLOCK):
        inside = start + lane < length
        value = tl.load(address + start + lane, mask=inside, other=0.0).to(tl.float64)
        away = tl.where(inside & (tl.abs(value) < float("inf")), value / scale - mean, 0.0)
        squares += away * away
    spread = scale * tl.sqrt(tl.sum(squares, axis=0))
    nan = tl.sum(nans, axis=0)
    inf = length - count - nan
    return (
        count.to(tl.float64),
        scale * mean,
        spread,
        top,
        tl.sum(zeros, axis=0).to(tl.float64),
        nan.to(tl.float64),
        inf.to(tl.float64),
    )


@triton.jit(do_not_specialize=["first"])
def _reduce(
    addresses, owners, offsets, lengths, partials, first,
    ELEMENT: tl.constexpr, DIVISOR: tl.constexpr, PARTIALS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One chunk to its row of `partials`; a gradient at address 0 is missing and its row is not read."""
    chunk = first + tl.program_id(0)
    start = tl.load(addresses + tl.load(owners + chunk))
    if start != 0:
        address = pointer_to(start, ELEMENT, DIVISOR)
        address += tl.multiple_of(tl.load(offsets + chunk), 64)
        length = tl.load(lengths + chunk)
        count = length.to(tl.float64)
        nan = count * 0.0
        inf = count * 0.0
        if ELEMENT == tl.float64:  # noqa: SIM300
            count, mean, spread, top, zero, nan, inf = _careful_look(address, length, BLOCK)
        else:
            safe, mean, spread, top, zero = _first_look(address, length, BLOCK)
            if not safe:
                count, mean, spread, top, zero, nan, inf = _careful_look(address, length, BLOCK)
        out = partials + chunk.to(tl.int64) * PARTIALS
        tl.store(out, count)
        tl.store(out + 1, mean)
        tl.store(out + 2, spread)
        tl.store(out + 3, top)
        tl.store(out + 4, zero)
        tl.store(out + 5, nan)
        tl.store(out + 6, inf)


@triton.jit
def _merge(
    addresses, spans, partials, rows,
    WIDTH: tl.constexpr, PARTIALS: tl.constexpr, MERGED: tl.constexpr,
):  # fmt: skip
    """The chunks of one gradient to the columns of `stats.COLUMNS`, in its row of `rows` [tensors, WIDTH]."""
    tensor = tl.program_id(0)
    out = rows + tensor.to(tl.int64) * WIDTH
    begin = tl.load(spans + 2 * tensor)
    end = tl.load(spans + 2 * tensor + 1)
    missing = tl.load(addresses + tensor) == 0
    if missing:
        end = begin
    lane = tl.arange(0, MERGED)
    counts = tl.zeros([MERGED], tl.float64)
    tops = tl.zeros([MERGED], tl.float64)
    zeros = tl.zeros([MERGED], tl.float64)
    nans = tl.zeros([MERGED], tl.float64)
    infs = tl.zeros([MERGED], tl.float64)
    for start in range(begin, end, MERGED):
        inside = start + lane < end
        at = partials + (start + lane).to(tl.int64) * PARTIALS
        counts += tl.load(at, mask=inside, other=0.0)
        tops = tl.maximum(tops, tl.load(at + 3, mask=inside, other=0.0))
        zeros += tl.load(at + 4, mask=inside, other=0.0)
        nans += tl.load(at + 5, mask=inside, other=0.0)
        infs += tl.load(at + 6, mask=inside, other=0.0)
    count = tl.sum(counts, axis=0)
    top = tl.max(tops, axis=0)
    nan = tl.sum(nans, axis=0)
    inf = tl.sum(infs, axis=0)
    scale = tl.where(top > 0.0, top, 1.0)
    sums = tl.zeros([MERGED], tl.float64)
    squares = tl.zeros([MERGED], tl.float64)
    inner = tl.zeros([MERGED], tl.float64)
    for start in range(begin, end, MERGED):
        inside = start + lane < end
        at = partials + (start + lane).to(tl.int64) * PARTIALS
        weight = tl.load(at, mask=inside, other=0.0)
        mean = tl.load(at + 1, mask=inside, other=0.0) / scale
        spread = tl.load(at + 2, mask=inside, other=0.0) / scale
        sums += weight * mean
        inner += spread * spread
        squares += spread * spread + weight * mean * mean
    divisor = tl.maximum(count, 1.0)
    centre = tl.sum(sums, axis=0) / divisor
    between = tl.zeros([MERGED], tl.float64)
    for start in range(begin, end, MERGED):
        inside = start + lane < end
        at = partials + (start + lane).to(tl.int64) * PARTIALS
        weight = tl.load(at, mask=inside, other=0.0)
        away = tl.load(at + 1, mask=inside, other=0.0) / scale - centre
        between += weight * away * away
    variance = (tl.sum(inner, axis=0) + tl.sum(between, axis=0)) / divisor
    everything = count + nan + inf
    # No finite element at all: the moments are unknown. An empty gradient has moments of zero.
    unknown = missing | ((count == 0.0) & (everything > 0.0))
    none = float("nan")
    tl.store(out, tl.where(missing, 0.0, 1.0).to(tl.float64))
    tl.store(out + 1, tl.where(unknown, none, scale * tl.sqrt(tl.sum(squares, axis=0))))
    tl.store(out + 2, tl.where(unknown, none, scale * centre))
    tl.store(out + 3, tl.where(unknown, none, scale * tl.sqrt(variance)))
    tl.store(out + 4, tl.where(unknown, none, top))
    tl.store(out + 5, tl.where(everything > 0.0, tl.sum(zeros, axis=0) / tl.maximum(everything, 1.0), none))
    tl.store(out + 6, tl.where(missing, none, nan))
    tl.store(out + 7, tl.where(missing, none, inf))
    # The sample's columns stay unknown where none is taken, as at a step that raised.
    for column in tl.static_range(8, WIDTH):
        tl.store(out + column, none)


def reduce(
    addresses: torch.Tensor,
    table: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    partials: torch.Tensor,
    chunks: range,
    dtype: torch.dtype,
    aligned: bool,
) -> None:
    """Reduce the `chunks` of `table`, whose gradients all have `dtype`; `aligned`: and lie at multiples of 16 bytes."""
    _reduce[(len(chunks),)](
        addresses, *table, partials, chunks.start,
        ELEMENT=ELEMENTS[dtype], DIVISOR=16 if aligned else 1, PARTIALS=PARTIALS, BLOCK=BLOCK, **OPTIONS,
    )  # fmt: skip


def merge(addresses: torch.Tensor, spans: torch.Tensor, partials: torch.Tensor, rows: torch.Tensor) -> None:
    """Merge `partials` into `rows` [tensors, width]; `spans` [tensors, 2] is each tensor's first chunk and its end."""
    _merge[(len(rows),)](
        addresses, spans, partials, rows, WIDTH=rows.shape[1], PARTIALS=PARTIALS, MERGED=MERGED, **OPTIONS
    )
