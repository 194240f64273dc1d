"""Runs whose gradients are computed in half precision, as their histograms show them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy

from gradaudit.reading.run import Run
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, parameters

STEPS = (0, 10, 64, 128, 192)


def histogram(values: Any, step: int, tensor: int, zeros: int = 0) -> dict[str, Any]:
    """A row of table `histograms` of these positive values."""
    bins = numpy.floor(4 * numpy.log2(numpy.asarray(values, dtype=numpy.float64))).astype(int)
    counts = numpy.bincount(bins - bins.min())
    return {
        "optimizer": 0, "step": step, "tensor": tensor, "kind": "gradient", "elements": len(bins) + zeros,
        "zeros": zeros, "nonfinite": 0, "lowest": int(bins.min()), "positive": counts.tolist(),
        "negative": [0] * len(counts),
    }  # fmt: skip


def gradients(typical: float, *, scale: float = 0.0, decades: float = 0.7) -> Any:
    """[4000]: log-normal sizes around `typical`; as float16 leaves them at this scale, and as they are at 0."""
    sizes = typical * 10 ** (decades * numpy.random.default_rng(0).standard_normal(4000))
    if scale:
        sizes = (sizes * scale).astype(numpy.float16).astype(numpy.float64) / scale
    return sizes[sizes > 0]


def in_half(path: Path, typical: float = 1e-5, *, scale: float = 1.0, dtype: str = "float32", **changes: Any) -> Run:
    """Gradients around `typical` that went through float16 at this scale; 0 for one that never did."""
    values = gradients(typical, scale=scale)
    tensors = [msgspec.structs.replace(tensor, dtype=dtype) for tensor in parameters(4)]
    rows = [histogram(values, step, tensor, zeros=50) for step in STEPS for tensor in range(4)]
    steps = {"amp_scale": scale} if scale not in (0.0, 1.0) else {}
    given = {"facts": TEN, "histograms": rows, "tensors": tensors, "steps": steps, **changes}
    return build_run(path, loss=falling(), **given)


def in_half_well(path: Path) -> Run:
    """Few elements below 2**-14, and 4 % below 2**-24."""
    values = numpy.concatenate([gradients(1e-2), numpy.full(160, 2.0**-26)])
    rows = [histogram(values, step, tensor) for step in STEPS for tensor in range(4)]
    return in_half(path, dtype="float16", histograms=rows)


Case = tuple[Callable[[Path], Run], float]
PRECISION: dict[str, dict[str, Case]] = {
    "fp16_underflow": {
        "": (in_half, 0),
        "coarse": (in_half, 1.0),
        "crushed": (lambda path: in_half(path, 1e-7), 1.0),
        "lost": (in_half_well, 0.0),
    }
}
