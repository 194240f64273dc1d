"""Copies of trained parts, against torch's own deep copies."""

import copy

import numpy
import pytest
import torch
from torch import nn

from gradaudit.schema import TensorFacts
from gradaudit.signals.layers.copies import copies
from tests.build import build_run
from tests.diagnosers.runs import falling


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))


def found(path, parts, trained=("policy",), late=0):
    """{name: name of the trained twin}; `parts` are modules by name, recorded from step `late` on."""
    named = [
        (f"{part}.{name}", p.detach(), part in trained)
        for part, module in parts.items()
        for name, p in module.named_parameters()
    ]
    tensors = [
        TensorFacts(id=i, name=name, role=name.rpartition(".")[2], module=name.rpartition(".")[0],
                    module_class="Linear", shape=list(p.shape), depth=i, optimizer=0 if own else -1)
        for i, (name, p, own) in enumerate(named)
    ]  # fmt: skip
    norms = numpy.tile([float(p.norm()) for _, p, _ in named], (20, 1))
    largest = numpy.tile([float(p.abs().max()) for _, p, _ in named], (20, 1))
    for values in (norms, largest):
        values[late + 1 :] *= 2  # what training makes of them later has nothing to do with it
        values[:late] = numpy.nan
    stats = {"has_grad": [own for _, _, own in named], "weight_norm": norms, "weight_max_abs": largest}
    run = build_run(path, loss=falling(20), tensors=tensors, stats=stats)
    return {run.meta.tensors[mine].name: twin.name for mine, twin in copies(run).items()}


NAMES = [name for name, _ in net().named_parameters()]


@pytest.mark.parametrize("late", [0, 7])
def test_a_deep_copy_without_gradients_is_one(tmp_path, late):
    policy = net()
    expected = {f"target.{name}": f"policy.{name}" for name in NAMES}
    assert found(tmp_path / "a", {"policy": policy, "target": copy.deepcopy(policy)}, late=late) == expected


def test_another_seed_is_none_and_one_that_is_trained_is_none(tmp_path):
    assert found(tmp_path / "a", {"policy": net(0), "target": net(1)}) == {}
    assert found(tmp_path / "b", {"policy": net(), "target": net()}, trained=("policy", "target")) == {}


def test_one_tensor_that_differs_makes_its_part_none(tmp_path):
    policy = net()
    target = copy.deepcopy(policy)
    with torch.no_grad():
        target[1].bias[0] += 1e-3
    assert set(found(tmp_path / "a", {"policy": policy, "target": target})) == {"target.0.weight", "target.0.bias"}


def test_layers_of_one_list_may_start_equal(tmp_path):
    assert found(tmp_path / "a", {"layers.0": net(), "layers.1": net()}, trained=("layers.0",)) == {}
    assert len(found(tmp_path / "b", {"nets.0.x": net(), "target": net()}, trained=("nets.0.x",))) == len(NAMES)


def test_zeros_are_equal_without_being_copies(tmp_path):
    empty = net()
    for parameter in empty.parameters():
        nn.init.zeros_(parameter)
    assert found(tmp_path / "a", {"policy": empty, "target": copy.deepcopy(empty)}) == {}


def test_equal_norms_of_other_values_are_no_copies(tmp_path):
    """(3, 4) and (5, 0) have one norm and another greatest element."""
    parts = {"policy": net(), "target": net()}
    for (name, part), values in zip(parts.items(), ((3.0, 4.0), (5.0, 0.0)), strict=True):
        for parameter in part.parameters():
            nn.init.zeros_(parameter)
            parameter.data.view(-1)[:2] = torch.tensor(values)
        assert float(part[0].weight.detach().norm()) == 5, name
    assert found(tmp_path / "a", parts) == {}
