"""Which samples belong to a loss, the model or a module, and what the last of them come to."""

import math

import numpy
import pandas
import pytest

from gradaudit.signals.activations.module_samples import (
    activation_outputs,
    last_samples,
    loss_inputs,
    model_inputs,
    sampled_activations,
)
from tests.build import build_run
from tests.diagnosers.runs import activation, falling, loss_input, model_input

NAN, INF = math.nan, math.inf


@pytest.fixture
def run(tmp_path):
    samples = [
        *(loss_input(step) for step in (20, 0, 10)),
        loss_input(30, low=NAN),
        loss_input(40, high=INF),
        {**loss_input(5), "loss": 1},
        model_input(0),
        model_input(1, low=NAN, high=NAN),
        activation(7, module=3),
        activation(2, module=3),
        activation(2, module=1),
    ]
    return build_run(tmp_path / "a", loss=falling(50), samples=samples)


def test_samples_of_a_known_range_come_in_order_of_steps(run):
    assert loss_inputs(run, 0)["step"].tolist() == [0, 10, 20]
    assert loss_inputs(run, 1)["step"].tolist() == [5]
    assert loss_inputs(run, 2).empty
    assert model_inputs(run)["step"].tolist() == [0]
    assert activation_outputs(run, 3)["step"].tolist() == [2, 7]
    assert sampled_activations(run) == [1, 3]


def test_a_run_without_samples_has_none(tmp_path):
    run = build_run(tmp_path / "a", loss=falling(50))
    assert model_inputs(run).empty
    assert sampled_activations(run) == []
    assert math.isnan(last_samples(loss_inputs(run, 0), "std"))


@pytest.mark.parametrize("values", [[9, 1, 2, 3, 4, 5], [1, NAN, 2, 3, INF, 8, 13, NAN], [4.0], [NAN, 7], [NAN, INF]])
def test_the_last_five_that_are_known_count(values):
    known = [value for value in values if math.isfinite(value)][-5:]
    expected = numpy.median(known) if known else NAN
    assert last_samples(pandas.DataFrame({"std": values}), "std") == pytest.approx(expected, nan_ok=True)
