"""The gradients of a run on the number line of float16, drawn."""

import numpy

from gradaudit.chart_data import Ridge, Ridges, Zone
from gradaudit.evidence.charts.reduce import blocks, short
from gradaudit.evidence.words.wording import percent
from gradaudit.signals.gradients.half_precision import LOWEST, NORMAL, OCTAVE, SMALLEST, Gradients


def gradient_sizes(seen: Gradients, coarse: float) -> Ridges:
    """How the elements of each block are spread over sizes, as float16 saw them; more than `coarse` below 2**-14 is
    flagged."""
    sums = {label: numpy.zeros(seen.counts.shape[1], dtype=numpy.int64) for label in blocks(seen.names)}
    for label, counts in zip(blocks(seen.names), seen.counts, strict=True):
        sums[label] = sums[label] + counts
    some = numpy.flatnonzero(seen.counts.sum(axis=0))
    # A ridge is drawn over octaves: in finer bins float16's steps would make a comb of its small end.
    first = min(int(some[0]) + LOWEST, SMALLEST - 8) // OCTAVE * OCTAVE
    last = -(-max(int(some[-1]) + 1 + LOWEST, NORMAL + 8) // OCTAVE) * OCTAVE
    ridges = []
    for label, counts in sums.items():
        total = int(counts.sum())
        if not total:
            continue
        octaves = counts[first - LOWEST : last - LOWEST].reshape(-1, OCTAVE).sum(axis=1) / total
        small = float(counts[: NORMAL - LOWEST].sum() / total)
        ridges.append(
            Ridge(
                label=label,
                shares=[short(float(share)) or 0.0 for share in octaves],
                remark=f"{percent(small)} below 2^-14",
                flagged=small > coarse,
            )
        )
    scaled = f", times the GradScaler's {seen.scale:g}" if seen.scale != 1 else ""
    return Ridges(
        title="Size of the gradient's elements",
        caption=f"One ridge for each block of the model, the input at the top: its gradient elements other than zero "
        f"by absolute value, as float16 saw them{scaled}, in octaves. Below 2^-14 = 6.1e-5 float16 keeps fewer "
        "than 11 bits, and below 6e-8 nothing.",
        x_label="absolute value of a gradient element",
        first=first / OCTAVE,
        width=1.0,
        ridges=ridges,
        zones=[
            Zone(start=None, end=SMALLEST / OCTAVE, label="zero in fp16", role="lost"),
            Zone(start=SMALLEST / OCTAVE, end=NORMAL / OCTAVE, label="fp16 subnormal", role="weak"),
        ],
    )
