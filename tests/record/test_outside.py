"""Parameters that the objective reaches and no optimizer holds."""

import copy
import dataclasses

import msgspec
import pytest
import torch
from torch import nn

from gradaudit.diagnosers.unregistered_parameter import unregistered_parameter
from gradaudit.findings import Severity
from tests.diagnosers.verbs import assert_clean, assert_finds
from tests.record.training import recorded, run_of


class Listed(nn.Module):
    """Layers in a Python list, which parameters() does not know."""

    def __init__(self):
        super().__init__()
        self.front, self.back = nn.Linear(6, 32), nn.Linear(32, 1)
        self.hidden = [nn.Sequential(nn.Linear(32, 32), nn.Tanh()) for _ in range(2)]

    def forward(self, x):
        x = self.front(x)
        for layer in self.hidden:
            x = layer(x)
        return self.back(x)


def trained(path, model, optimizers, steps=8, between=lambda step: None, inputs=lambda: torch.randn(16, 6)):
    """The run of a regression."""
    with recorded(path):
        if isinstance(model, type):
            model = model()
            optimizers = [model.parameters()]
        made = [torch.optim.SGD(each, 0.01) for each in optimizers]
        for step in range(steps):
            x = inputs()
            for optimizer in made:
                optimizer.zero_grad()
            (model(x) - x[:, :1]).square().mean().backward()
            for optimizer in made:
                optimizer.step()
            between(step)
    return run_of(path)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_a_model_whose_layers_are_registered_is_quiet(tmp_path):
    model = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 1))
    run = trained(tmp_path / "a", model, [model.parameters()], inputs=lambda: torch.randn(16, 6, requires_grad=True))
    assert run.meta.graph.outside == []
    assert_clean(unregistered_parameter, run)


def values():
    return nn.Sequential(nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))


def bootstrapped(path, target, steps=8):
    """Learning from targets that another network gives, with a gradient that nobody uses."""
    model = values()
    if target is None:
        target = copy.deepcopy(model)
    with recorded(path):
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        for _ in range(steps):
            x = torch.randn(16, 6)
            optimizer.zero_grad()
            (model(x) - x[:, :1] - 0.9 * target(x.roll(1, 0))).square().mean().backward()
            optimizer.step()
    return run_of(path)


def test_a_target_network_that_began_as_a_copy_is_quiet(tmp_path):
    run = bootstrapped(tmp_path / "a", None)
    assert len(run.meta.graph.outside) == 6
    assert_clean(unregistered_parameter, run)


def test_a_network_of_the_same_shapes_with_weights_of_its_own_is_a_warning(tmp_path):
    run = bootstrapped(tmp_path / "a", values())
    assert_finds(unregistered_parameter, run, Severity.WARNING)


def test_several_optimizers_are_quiet(tmp_path):
    model = Listed()
    run = trained(tmp_path / "a", model, [model.parameters(), *(layer.parameters() for layer in model.hidden)])
    assert run.meta.graph.outside == []
    assert_clean(unregistered_parameter, run)


def test_what_a_later_optimizer_takes_is_quiet(tmp_path):
    """First the new ends are trained, then all of it."""
    model = Listed()
    hidden = [parameter for layer in model.hidden for parameter in layer.parameters()]
    with recorded(tmp_path / "a"):
        for chosen in ([*model.parameters()], [*model.parameters(), *hidden]):
            optimizer = torch.optim.SGD(chosen, 0.01)
            for _ in range(8):
                x = torch.randn(16, 6)
                optimizer.zero_grad()
                model(x).square().mean().backward()
                optimizer.step()
    run = run_of(tmp_path / "a")
    assert run.meta.graph.outside == []
    assert_clean(unregistered_parameter, run)


def test_frozen_layers_beside_a_pretrained_part_are_quiet(tmp_path):
    """A network that was trained before, behind what is trained, and left out of the optimizer: a perceptual loss."""
    model = Listed()
    with torch.no_grad():
        for layer in model.hidden:
            layer[0].weight.copy_(torch.randn(32, 32).pow(3) * 0.1)
    assert_clean(unregistered_parameter, trained(tmp_path / "a", model, [model.parameters()]))


def test_adapters_on_frozen_layers_are_quiet(tmp_path):
    model = Listed()
    for layer in model.hidden:
        layer.requires_grad_(False)
    run = trained(tmp_path / "a", model, [model.parameters()])
    assert run.meta.graph.outside == []
    assert_clean(unregistered_parameter, run)


def test_what_the_script_updates_itself_is_quiet(tmp_path):
    """As of a master copy, or of an optimizer that is none of torch's."""
    model = Listed()

    def update(_):
        for layer in model.hidden:
            for parameter in layer.parameters():
                parameter.data -= 0.01 * parameter.grad
                parameter.grad = None

    assert_clean(unregistered_parameter, trained(tmp_path / "a", model, [model.parameters()], between=update))


def test_layers_in_a_list_are_a_warning(tmp_path):
    run = trained(tmp_path / "a", Listed, ())
    outside = run.meta.graph.outside
    assert [(one.name, one.moved) for one in outside][:1] == [("Sequential.0.weight", False)]
    assert len(outside) == 4
    assert {one.looks for one in outside} == {8}
    # The list itself is found, too, and told in its place.
    finding = assert_finds(unregistered_parameter, run, Severity.CRITICAL)
    assert finding.headline == "Listed.hidden is a plain list: no optimizer holds its 4 parameters"
    facts = msgspec.structs.replace(run.meta.schedules, unregistered=[])
    unlisted = dataclasses.replace(run, meta=msgspec.structs.replace(run.meta, schedules=facts))
    finding = assert_finds(unregistered_parameter, unlisted, Severity.WARNING)
    assert finding.headline == "The objective reaches 8 parameter tensors, and the optimizer holds 4 of them"
