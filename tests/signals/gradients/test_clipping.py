"""How much clipping takes away, against gradients that torch clips."""

import math

import msgspec
import numpy
import pytest
import torch

from gradaudit.signals.gradients.clipping import after_clipping, clipping
from tests.build import build_run
from tests.diagnosers.runs import falling, parameters
from tests.signals.two_optimizers import two_optimizers

STEPS, LIMIT = 40, 1.0


def clipped(how, *, scale=1.0, part=3):
    """Norms before clipping [steps], and norm and largest of each of three tensors after it [steps, 3]."""
    torch.manual_seed(0)
    before, norms, largest = [], [], []
    for step in range(STEPS):
        tensors = [torch.zeros(32, 32, requires_grad=True) for _ in range(3)]
        for tensor in tensors:
            tensor.grad = torch.randn(32, 32) * (step + 1) / STEPS / 16 * scale
        before.append(float(torch.stack([tensor.grad.norm() for tensor in tensors]).norm()))
        how(tensors[:part], LIMIT)
        norms.append([float(tensor.grad.norm()) for tensor in tensors])
        largest.append([float(tensor.grad.abs().max()) for tensor in tensors])
    return numpy.asarray(before), numpy.asarray(norms), numpy.asarray(largest)


def of(path, kind, before, norms, largest, **changes):
    steps = {"gradient_norm": before, "clip_threshold": LIMIT, "clip_kind": kind, **changes}
    stats = {"gradient_norm": norms, "gradient_max_abs": largest}
    return build_run(path, loss=falling(STEPS), tensors=parameters(3), stats=stats, steps=steps).trainings[0]


def test_by_norm(tmp_path):
    before, norms, largest = clipped(torch.nn.utils.clip_grad_norm_)
    found = clipping(of(tmp_path / "a", 1, before, norms, largest))
    half = before[STEPS // 2 :]
    assert (found.kind, found.since, found.partial) == ("norm", 0, False)
    assert found.steps.tolist() == list(range(STEPS // 2, STEPS))
    assert found.clipped == (half > LIMIT).mean()
    assert found.excess == found.divided == pytest.approx(numpy.median(half / LIMIT))


def test_by_value(tmp_path):
    before, norms, largest = clipped(torch.nn.utils.clip_grad_value_, scale=16)
    found = clipping(of(tmp_path / "a", 2, before, norms, largest))
    whole = numpy.sqrt((norms**2).sum(axis=1))[STEPS // 2 :]
    assert (found.kind, found.clipped, found.partial) == ("value", 1.0, False)
    assert found.excess == pytest.approx(numpy.median(whole / math.sqrt(3 * 32 * 32) / LIMIT))
    assert found.divided == pytest.approx(numpy.median(before[STEPS // 2 :] / whole))


@pytest.mark.parametrize(("how", "kind"), [(torch.nn.utils.clip_grad_norm_, 1), (torch.nn.utils.clip_grad_value_, 2)])
def test_a_part_that_is_clipped_leaves_the_whole_above_the_limit(tmp_path, how, kind):
    assert clipping(of(tmp_path / "a", kind, *clipped(how, scale=16, part=1))).partial


def test_steps_that_were_not_clipped_count_in_the_share(tmp_path):
    before, norms, largest = clipped(torch.nn.utils.clip_grad_norm_, scale=16)
    kinds = numpy.where(numpy.arange(STEPS) % 2, 1, 0)
    found = clipping(of(tmp_path / "a", 1, before, norms, largest, clip_kind=kinds))
    assert (found.clipped, found.since, len(found.steps)) == (0.5, 1, STEPS // 4)
    early = numpy.where(numpy.arange(STEPS) < STEPS // 2, 1, 0)
    assert clipping(of(tmp_path / "b", 1, before, norms, largest, clip_kind=early)) is None


def test_steps_that_are_no_numbers_are_not_counted(tmp_path):
    before, norms, largest = clipped(torch.nn.utils.clip_grad_norm_, scale=16)
    before[-5:] = math.nan
    assert clipping(of(tmp_path / "a", 1, before, norms, largest)).clipped == 1.0
    before[:] = math.inf
    assert clipping(of(tmp_path / "b", 1, before, norms, largest)).clipped == 0.0


def test_tensors_of_no_optimizer_do_not_count(tmp_path):
    tensors = parameters(3)
    tensors[2] = msgspec.structs.replace(tensors[2], optimizer=-1)
    stats = {"gradient_norm": [3.0, 4.0, 9.0]}
    run = build_run(tmp_path / "a", loss=falling(9), tensors=tensors, stats=stats)
    numpy.testing.assert_allclose(after_clipping(run.trainings[0], numpy.arange(9), "norm"), 5.0)


def test_the_gradient_after_clipping_is_that_of_the_optimizers_own_tensors(tmp_path):
    norms, largest = numpy.asarray([3.0, 4.0, 9.0, 9.0]), numpy.asarray([2.0, 1.0, 9.0, 9.0])
    stats = {"gradient_norm": norms, "gradient_max_abs": largest}
    training = two_optimizers(tmp_path / "a", falling(9), falling(9), stats=stats, recorded=range(0, 9, 2)).trainings[0]
    asked = numpy.arange(5)
    for what, value in (("norm", 5.0), ("largest", 2.0), ("rms", 5 / math.sqrt(32 * 32 + 32))):
        found = after_clipping(training, asked, what)
        numpy.testing.assert_allclose(found, [value, math.nan, value, math.nan, value], rtol=1e-6)
