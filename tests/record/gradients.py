"""Gradients of every scale and type, for the tests of each path that measures them."""

import numpy
import torch

CHUNK = 65_536  # elements that the kernels take at once


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


def poisoned() -> dict[str, torch.Tensor]:
    """Gradients that the float32 sums cannot be trusted with."""
    generator = torch.Generator().manual_seed(1)
    holes = torch.randn(3 * CHUNK + 17, generator=generator)
    holes[[3, CHUNK + 5, CHUNK + 6]] = torch.tensor([float("nan"), float("inf"), -float("inf")])
    holes[7] = 0.0
    outlier = torch.randn(CHUNK + 100, generator=generator) * 1e-4
    outlier[5] = 1000.0
    return {
        "NaN and Inf": holes,
        "an outlier among the first": outlier,
        "float64 beyond float32": torch.randn(2000, generator=generator).double() * 1e200,
        "constant": torch.full((70_001,), 0.1),
        "zeros": torch.zeros(70_001),
        "a mean of a thousand": torch.randn(100_000, generator=generator) * 0.1 + 1000,
        "bfloat16 with NaN": torch.tensor([1.0, float("nan"), 3.0]).bfloat16(),
        "half of it far away": torch.cat([torch.zeros(40_000), torch.ones(40_000) + 1e-5]),
    }


def mixed() -> list[torch.Tensor | None]:
    """What one optimizer may hold at a step: what the kernels read, and what they leave to torch."""
    generator = torch.Generator().manual_seed(2)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return [
        normal(300, 300),
        None,
        torch.zeros(0),
        normal(40, 30).t(),
        normal(64, 64)[:, :32],
        normal(1001)[1:],
        normal(8, 4, 6, 6).to(memory_format=torch.channels_last),
        torch.sparse_coo_tensor(
            torch.tensor([[4, 1, 4]]), normal(3, 5), (10, 5), check_invariants=True
        ),
        torch.complex(normal(9), normal(9)),
        normal(700).bfloat16(),
        normal(5, 2).double(),
        torch.tensor(float("nan")),
    ]  # fmt: skip


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
