"""The benchmark's models are what their names say, seen without a GPU."""

import gc

import torch

from benchmarks.gpu import GPT, small
from gradaudit.record.measure.device import WIDTH
from gradaudit.record.measure.ring import Ring
from gradaudit.record.observe.tensors import TensorTable
from gradaudit.record.observers import Observers


def test_the_shapes_are_those_of_gpt_2():
    with torch.device("meta"):
        model = GPT()
    assert sum(parameter.numel() for parameter in model.parameters()) == 124_439_808
    assert len(list(model.parameters())) == 148
    assert model(torch.zeros(2, 16, dtype=torch.long, device="meta")).shape == (2, 16, 50257)


def test_the_small_model_has_a_million_parameters():
    model, loss = small(torch.device("meta"))
    assert round(sum(parameter.numel() for parameter in model.parameters()), -4) == 1_060_000
    loss().backward()


def tensors():
    """Every tensor on the meta device."""
    return [thing for thing in gc.get_objects() if type(thing) is torch.Tensor and thing.device.type == "meta"]


def test_what_is_kept_on_the_device_is_below_two_percent_of_gpt_2():
    device = torch.device("meta")
    with device:
        model = GPT()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    others = set(map(id, tensors()))
    parameter_set, parameters = TensorTable(Observers(lambda: 0, print), [model]).parameter_set(optimizer)
    ring = Ring(len(parameters), WIDTH, device)
    kept = {thing for thing in tensors() if id(thing) not in others and thing._base is None} | set(ring._halves)
    assert parameter_set.counters
    samples = (
        3 * 4 * parameter_set.sampler.counts.sum()
    )  # of the gradients, and of the weights before a step and at first
    used = samples + sum(thing.nbytes for thing in kept)
    assert 0.01 < used / sum(parameter.nbytes for parameter in parameters) < 0.02
