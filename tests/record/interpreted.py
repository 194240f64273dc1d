"""Measures gradients with the Triton kernels on the CPU; run by test_kernels in a process with TRITON_INTERPRET=1.

Triton decides when it is imported whether its kernels are compiled or interpreted, so they have a
process of their own: ``python -m tests.record.interpreted FILE`` writes each scene's rows to FILE.
"""

import sys

import numpy
import torch

from gradaudit.record.measure.device import DeviceStatistics, probed_columns
from gradaudit.record.measure.sampler import COLUMNS as SAMPLED_COLUMNS
from gradaudit.record.measure.sampler import ParameterSampler
from tests.record.gradients import gradients, mixed, poisoned


def statistics_of(parameters: list[torch.Tensor], steps: int) -> DeviceStatistics:
    """What a CUDA device would be measured with, on the CPU."""
    return DeviceStatistics(parameters, ParameterSampler(parameters), steps)


def rows(statistics: DeviceStatistics, *steps: list[torch.Tensor | None]) -> numpy.ndarray:
    """[steps, tensors, columns] as the writer reads them."""
    slots = [statistics.measure(step) for step in steps]
    assert not statistics.fault, statistics.fault
    statistics.ring.turn()
    return numpy.stack([slot.read() for slot in slots])


def scenes() -> dict[str, numpy.ndarray]:
    """The rows of every scene, by its name."""
    single = {**gradients(), **poisoned()}
    found = {name: rows(statistics_of([gradient], 1), [gradient])[0, 0] for name, gradient in single.items()}
    several = mixed()
    parameters = [torch.zeros(6) if gradient is None else gradient for gradient in several]
    statistics = statistics_of(parameters, 4)
    # At the second step every gradient has another address, and the missing one is there.
    moved = [torch.ones(6) if gradient is None else gradient.clone() for gradient in several]
    found["mixed"] = rows(statistics, several, moved, several)
    # A gradient that is not what the parameter was would be read beyond its end.
    found["changed"] = rows(statistics_of([torch.zeros(9)], 2), [torch.ones(3)], [torch.ones(9).double()])
    return found | probed()


def probed() -> dict[str, numpy.ndarray]:
    """Three steps of a sampler, and the columns that `ParameterSampler` itself gives for them."""
    statistics = statistics_of(parameters := probed_parameters(), 4)
    ours, theirs = [], []
    sampler = ParameterSampler(parameters)
    for step, changes in enumerate(probed_gradients(parameters)):
        slot = statistics.measure(changes)
        assert statistics.sample_before_step(slot, parameters)
        sampler.before(parameters, changes)
        for parameter, change in zip(parameters, changes, strict=True):
            if change is not None and step != 1:
                parameter -= 0.1 * change
        statistics.sample_after_step(slot, parameters)
        ours.append(slot)
        columns = sampler.after(parameters)
        theirs.append([numpy.array(columns[name]) for name in SAMPLED_COLUMNS])
    statistics.ring.turn()
    found = [list(probed_columns(slot.read()).values()) for slot in ours]
    return {"sampler by the kernels": numpy.array(found), "sampler by numpy": numpy.array(theirs)}


def probed_parameters() -> list[torch.Tensor]:
    """Small ones, which are probed whole, and large ones; one without elements, one with NaN."""
    generator = torch.Generator().manual_seed(3)
    shapes = [(7,), (300, 70), (5000,), (0,), (40, 20), (3,)]
    parameters = [torch.randn(*shape, generator=generator) for shape in shapes]
    parameters[2], parameters[4] = parameters[2].bfloat16(), parameters[4].t()
    parameters[5][1] = float("nan")
    return parameters


def probed_gradients(parameters: list[torch.Tensor]) -> list[list[torch.Tensor | None]]:
    """Three steps; at the second one gradient is missing and one is zero."""
    generator = torch.Generator().manual_seed(4)
    steps: list[list[torch.Tensor | None]] = [
        [torch.randn(parameter.shape, generator=generator).to(parameter.dtype) for parameter in parameters]
        for _ in range(3)
    ]
    steps[1][0], steps[1][1] = None, torch.zeros_like(parameters[1])
    return steps


if __name__ == "__main__":
    numpy.savez(sys.argv[1], **scenes())
