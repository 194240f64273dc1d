"""Measures gradients with the Triton kernels on the CPU; run by test_kernels in a process with TRITON_INTERPRET=1.

Triton decides when it is imported whether its kernels are compiled or interpreted, so they have a
process of their own: ``python -m tests.record.interpreted FILE`` writes each scene's rows to FILE.
"""

import sys

import numpy
import torch

from gradaudit.record.device import DeviceStatistics
from tests.record.gradients import gradients, mixed, poisoned

CPU = torch.device("cpu")


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
