"""Weights that become others: NaN, blown up in one step, written over; what is measured of them is a consequence."""

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional

from gradaudit.audit.runner import analyze
from gradaudit.signals.gradients.depth_slope import profiled
from gradaudit.signals.layers.replaced import replaced_at
from tests.build import build_run
from tests.diagnosers.runs import falling, healthy, parameters
from tests.record.training import recorded, run_of


def changed(path, at, how, layers=slice(None), recorded=None):
    """Six layers; from step `at` on those of `layers` are others."""
    weight, update = numpy.ones((200, 6)), numpy.full((200, 6), 1e-3)
    drift = numpy.tile(numpy.linspace(0, 0.2, 200)[:, None], 6)
    if how == "leap":
        update[at - 1, layers] = 3.0
        weight[at:, layers] = 3.0
    elif how == "NaN":
        weight[at:, layers] = numpy.nan
    elif how == "written":
        drift[at:, layers] += 1.4  # the norm is as it was, and the weights are not
    stats = {"weight_norm": weight, "update_norm": update, "drift_norm": drift}
    stats = {name: values[recorded] for name, values in stats.items()} if recorded is not None else stats
    return build_run(path, loss=falling(), tensors=parameters(6), stats=stats, recorded=recorded)


@pytest.mark.parametrize("how", ["leap", "NaN", "written"])
@pytest.mark.parametrize("at", [1, 3, 150])
def test_the_first_step_whose_gradients_are_those_of_other_weights(tmp_path, how, at):
    run = changed(tmp_path / "a", at, how)
    assert replaced_at(run.trainings[0]) == at
    assert numpy.flatnonzero(profiled(run.trainings[0])).tolist() == list(range(min(10, at)))


def test_weights_that_are_trained_are_never_others(tmp_path):
    assert replaced_at(healthy(tmp_path).trainings[0]) is None


@pytest.mark.parametrize("how", ["leap", "NaN", "written"])
def test_two_of_six_layers_are_not_the_model(tmp_path, how):
    assert replaced_at(changed(tmp_path / "a", 3, how, slice(0, 2)).trainings[0]) is None


def test_an_update_that_is_not_known_is_no_leap(tmp_path):
    stats = {"weight_norm": 1.0, "update_norm": numpy.full((200, 6), 1e-3)}
    stats["update_norm"][[7, 199]] = numpy.nan
    assert (
        replaced_at(build_run(tmp_path / "a", loss=falling(), tensors=parameters(6), stats=stats).trainings[0]) is None
    )


def test_between_steps_that_were_not_recorded_weights_may_go_far(tmp_path):
    assert replaced_at(changed(tmp_path / "a", 50, "written", recorded=numpy.arange(0, 200, 10)).trainings[0]) is None


def tanh(width=32, depth=8):
    torch.manual_seed(0)
    hidden = [layer for _ in range(depth - 2) for layer in (nn.Linear(width, width), nn.Tanh())]
    return nn.Sequential(nn.Linear(10, width), nn.Tanh(), *hidden, nn.Linear(width, 4))


def test_a_profile_of_weights_that_were_written_over_is_no_cause(tmp_path):
    """Random weights of size 5 at step 3: saturated, with gradients that explode towards the input."""
    with recorded(tmp_path / "run"):
        model, rule = tanh(), torch.randn(10, 4)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for step in range(150):
            if step == 3:
                with torch.no_grad():
                    for parameter in model.parameters():
                        parameter.copy_(5 * torch.randn_like(parameter))
            x = torch.randn(32, 10)
            optimizer.zero_grad()
            functional.cross_entropy(model(x), (x @ rule).argmax(1)).backward()
            optimizer.step()
    run = run_of(tmp_path / "run")
    assert replaced_at(run.trainings[0]) == 3
    causes = {item.diagnoser: cause.diagnoser if cause else "" for item, cause in analyze(run).with_causes()}
    assert causes["divergence"] == ""
    assert "exploding_gradient" not in causes
    assert {causes[name] for name in ("saturated_activation", "layer_imbalance")} == {"divergence"}
