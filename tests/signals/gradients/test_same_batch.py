"""The same few examples at every step, against gradients of torch on the same and on other batches."""

import math

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional

from gradaudit.signals.gradients.same_batch import same_batch
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import falling

STEPS = 60


def cosines(same):
    """[steps, 2]: of successive gradients of a layer's weight and bias, on one batch of 8 or on others."""
    torch.manual_seed(0)
    model, found, before = nn.Linear(32, 32), [], None
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    batch = torch.randn(8, 32), torch.randn(8, 32)
    for _ in range(STEPS):
        inputs, targets = batch if same else (torch.randn(8, 32), torch.randn(8, 32))
        optimizer.zero_grad()
        functional.mse_loss(model(inputs), targets).backward()
        now = [parameter.grad.flatten().clone() for parameter in model.parameters()]
        found.append(
            [float(functional.cosine_similarity(*pair, dim=0)) for pair in zip(now, before or now, strict=True)]
            if before
            else [math.nan] * 2
        )
        before = now
        optimizer.step()
    return numpy.asarray(found)


def size(path, cosine, batch=8):
    run = build_run(path, loss=falling(len(cosine)), tensors=linear_stack(1), stats={"gradient_cosine": cosine},
                    steps={"batch_size": batch})  # fmt: skip
    return same_batch(run.trainings[0])


def test_one_batch_is_told_from_others(tmp_path):
    assert size(tmp_path / "a", cosines(same=True)) == 8
    assert size(tmp_path / "b", cosines(same=False)) == 0


@pytest.mark.parametrize(("cosine", "found"), [(0.81, 8), (0.79, 0), (-1.0, 0), (math.nan, 0), (math.inf, 0)])
def test_the_median_must_be_nearly_one(tmp_path, cosine, found):
    assert size(tmp_path / "a", numpy.full((STEPS, 2), cosine)) == found


def test_batches_of_different_sizes_are_not_one(tmp_path):
    assert size(tmp_path / "a", cosines(same=True), numpy.where(numpy.arange(STEPS) == STEPS - 1, 5, 8)) == 0
    assert size(tmp_path / "b", cosines(same=True), 0) == 0


def test_only_weights_at_the_first_thirty_pairs_of_steps_count(tmp_path):
    early = numpy.where(numpy.arange(STEPS)[:, None] <= 16, [[0.95, 0.0]], 0.0)
    assert size(tmp_path / "a", early) == 8
    late = numpy.where(numpy.arange(STEPS)[:, None] <= 16, [[0.0, 0.95]], 0.95)
    assert size(tmp_path / "b", late) == 0
    assert size(tmp_path / "c", early[:1]) == 0
