"""Whether tensors stand still and why, against parameters that torch steps."""

import math

import msgspec
import numpy
import pytest

from gradaudit.signals.embeddings.embedding_rows import row_history
from gradaudit.signals.layers.unchanged import (
    all_owned,
    column_of,
    fed_with_zeros,
    is_unchanged,
    one_of_many,
    reason_unchanged,
    reasons,
    unchanged,
)
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import embedding_rows, falling
from tests.record.training import recorded, run_of

STEPS, NAN = 40, math.nan


def of(path, tensors=None, stats=None, **changes):
    tensors = linear_stack(2) if tensors is None else tensors
    return build_run(path, loss=falling(STEPS), tensors=tensors, stats=stats or {}, **changes).trainings[0]


def test_what_torch_steps_moves_and_the_rest_stands_still(tmp_path):
    import torch
    from torch import nn

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 2))
    model[1].requires_grad_(False)
    groups = [{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 0.0}]
    start = [parameter.detach().clone() for parameter in model.parameters()]
    with recorded(tmp_path / "run"):
        optimizer = torch.optim.SGD(groups, lr=0.1)
        for _ in range(10):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(torch.randn(16, 8)), torch.arange(16) % 2).backward()
            optimizer.step()
    training = run_of(tmp_path / "run").trainings[0]
    still = [bool(torch.equal(*pair)) for pair in zip(start, model.parameters(), strict=True)]
    assert unchanged(training).tolist() == still == [False, False, True, True, True, True]
    assert reasons(training)[2:] == ["fixed", "fixed", "rate zero", "rate zero"]


@pytest.mark.parametrize("value", [1e-9, math.inf])
@pytest.mark.parametrize("stat", ["update_norm", "drift_norm"])
def test_one_step_that_moves_is_enough(tmp_path, stat, value):
    stats = {"update_norm": numpy.zeros((STEPS, 4)), "drift_norm": numpy.zeros((STEPS, 4))}
    assert unchanged(of(tmp_path / "a", stats=stats)).all()
    stats[stat][7, 1] = value
    training = of(tmp_path / "b", stats=stats)
    assert unchanged(training).tolist() == [True, False, True, True]
    assert not is_unchanged(training, training.tensors[1], None)
    assert is_unchanged(training, training.tensors[0], None)


def test_an_unknown_update_is_no_proof_of_rest(tmp_path):
    updates = numpy.zeros((STEPS, 4))
    updates[3, 0] = NAN
    training = of(tmp_path / "a", stats={"update_norm": updates, "drift_norm": 0.0})
    assert unchanged(training).tolist() == [False, True, True, True]
    assert not is_unchanged(training, training.tensors[0], None)


@pytest.mark.parametrize(("same", "still"), [(True, True), (False, False)])
def test_a_checksum_proves_rest_where_the_update_is_unknown(tmp_path, same, still):
    tensors = linear_stack(1, embedding=50)
    rows = [{**row, "moved": 0, "checksum": 7 if same else row["step"]} for row in embedding_rows(STEPS, 0, 50, 30)]
    training = of(tmp_path / "a", tensors, {"update_norm": [NAN, 1, 1], "drift_norm": [NAN, 1, 1]}, rows=rows)
    assert is_unchanged(training, tensors[0], row_history(training, 0)) is still


def test_the_first_reason_that_holds(tmp_path):
    tensors = linear_stack(4)
    tensors = [
        msgspec.structs.replace(tensors[0], requires_grad=False, optimizer=-1),
        msgspec.structs.replace(tensors[1], requires_grad=False),
        msgspec.structs.replace(tensors[2], optimizer=-1),
        msgspec.structs.replace(tensors[3], optimizer=-1),
        msgspec.structs.replace(tensors[4], group=1),
        *tensors[5:],
    ]
    there = numpy.asarray([False, False, True, False, True, False, True, True])
    norms = numpy.asarray([0, 0, 1, 0, 1, 0, 0, 1.0])
    rates = {"learning_rate": [[1e-3, 0.0]] * STEPS}
    training = of(tmp_path / "a", tensors, {"has_grad": there, "gradient_norm": norms}, steps=rates)
    expected = ["fixed", "frozen", "not owned", "idle", "rate zero", "no gradient", "zero gradient", "no effect"]
    assert reasons(training) == expected
    assert [reason_unchanged(training, tensor) for tensor in training.tensors] == expected
    assert [column_of(training, tensor) for tensor in training.tensors] == list(range(8))


def test_a_bias_with_a_gradient_beside_weights_without_any_is_fed_with_zeros(tmp_path):
    training = of(tmp_path / "a", stats={"gradient_norm": [0.0, 1.0, 0.0, 0.0]})
    assert fed_with_zeros(training).tolist() == [True, False, False, False]


def test_all_of_the_optimizer_and_one_of_many(tmp_path):
    moved = numpy.where(numpy.arange(8) // 2 == 1, 0.0, 1e-3)
    training = of(tmp_path / "a", linear_stack(4), {"update_norm": moved, "drift_norm": moved})
    first, second = list(training.tensors[:2]), list(training.tensors[2:4])
    assert all_owned(training, list(training.tensors))
    assert not all_owned(training, first)
    assert one_of_many(training, second)
    # What nothing that moves comes before is a front, and no expert beside others.
    front = of(
        tmp_path / "b", linear_stack(4), {"update_norm": numpy.roll(moved, -2), "drift_norm": numpy.roll(moved, -2)}
    )
    assert not one_of_many(front, list(front.tensors[:2]))
