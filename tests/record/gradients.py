"""Gradients of every scale and type, for the tests of each path that measures them."""

import numpy
import torch


def gradients() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)

    def normal(count, scale=1.0, offset=0.0):
        return torch.randn(count, generator=generator) * scale + offset

    return {
        "small": normal(100, 1e-3),
        "large": normal(300_000, 1e-3),
        "vanishing small": normal(1000, 1e-25),
        "vanishing large": normal(200_000, 1e-25),
        "exploding small": normal(1000, 1e20),
        "exploding large": normal(200_000, 1e20),
        "layer norm 1e-4": normal(200_000, 1e-4, 1.0),
        "layer norm 1e-6": normal(200_000, 1e-6, 1.0),
        "layer norm small": normal(512, 1e-6, 1.0),
        "half zero": torch.where(torch.arange(20_000) % 2 == 0, 0.0, normal(20_000)),
        "bfloat16": normal(20_000).bfloat16(),
        "float16": normal(5000).half(),
        "float64": normal(20_000).double(),
        "transposed": normal(200 * 100).reshape(200, 100).t(),
        "scalar": torch.tensor(3.0),
        "one element": torch.tensor([-2.0]),
    }


def exact(gradient: torch.Tensor) -> dict[str, float]:
    """The statistics of the finite elements in float64, scaled so that no square is too large or too small."""
    everything = gradient.double().numpy().ravel()
    values = everything[numpy.isfinite(everything)]
    scale = numpy.abs(values).max() or 1.0
    return {
        "gradient_norm": scale * numpy.sqrt(((values / scale) ** 2).sum()),
        "gradient_mean": scale * (values / scale).mean(),
        "gradient_std": scale * (values / scale).std(),
        "gradient_max_abs": numpy.abs(values).max(),
        "gradient_zero_fraction": (everything == 0).mean(),
        "gradient_nan": numpy.isnan(everything).sum(),
        "gradient_inf": numpy.isinf(everything).sum(),
    }
