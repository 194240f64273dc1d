"""Measures gradients with the Triton kernels on the CPU; run by test_kernels in a process with TRITON_INTERPRET=1.

Triton decides when it is imported whether its kernels are compiled or interpreted, so they have a
process of their own: ``python -m tests.record.interpreted FILE`` writes each scene's rows to FILE.
"""

import sys

import numpy
import torch

from gradaudit.record.device import DeviceStatistics
from gradaudit.record.kernels import CHUNK
from tests.record.gradients import gradients

CPU = torch.device("cpu")


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


def rows(statistics: DeviceStatistics, *steps: list[torch.Tensor | None]) -> numpy.ndarray:
    """[steps, tensors, columns] as the writer reads them."""
    slots = [statistics.measure(step) for step in steps]
    assert not statistics.fault, statistics.fault
    statistics.ring.turn()
    return numpy.stack([slot.read() for slot in slots])


def scenes() -> dict[str, numpy.ndarray]:
    """The rows of every scene, by its name."""
    single = {**gradients(), **poisoned()}
    found = {name: rows(DeviceStatistics([gradient], CPU, 1), [gradient])[0, 0] for name, gradient in single.items()}
    several = mixed()
    parameters = [torch.zeros(6) if gradient is None else gradient for gradient in several]
    statistics = DeviceStatistics(parameters, CPU, 4)
    # At the second step every gradient has another address, and the missing one is there.
    moved = [torch.ones(6) if gradient is None else gradient.clone() for gradient in several]
    found["mixed"] = rows(statistics, several, moved, several)
    # A gradient that is not what the parameter was would be read beyond its end.
    found["changed"] = rows(DeviceStatistics([torch.zeros(9)], CPU, 2), [torch.ones(3)], [torch.ones(9).double()])
    return found


if __name__ == "__main__":
    numpy.savez(sys.argv[1], **scenes())
