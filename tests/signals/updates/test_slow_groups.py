"""Parameter groups with a learning rate far below the largest."""

import math

import msgspec
import numpy
import pytest

from gradaudit.signals.updates.slow_groups import slow_groups
from tests.build import build_run
from tests.diagnosers.runs import falling, parameters
from tests.signals.two_optimizers import two_optimizers

NAN, INF = math.nan, math.inf
STEPS = 20


def groups(path, *rates, members=(0, 1, 2, 0), limit=0.01, **changes):
    """What is slow of groups with these rates, each one number or [steps]; `members` is the group of each layer."""
    tensors = [msgspec.structs.replace(t, group=g) for t, g in zip(parameters(len(members)), members, strict=True)]
    tensors = changes.pop("tensors", tensors)
    columns = numpy.column_stack([numpy.broadcast_to(rate, STEPS) for rate in rates]).tolist()
    run = build_run(path, loss=falling(STEPS), tensors=tensors, steps={"learning_rate": columns}, **changes)
    return slow_groups(run.trainings[0], limit)


def test_a_group_far_below_the_largest_is_slow(tmp_path):
    (found,) = groups(tmp_path / "a", 0.1, 1e-4, 0.05, members=(0, 1, 2, 1))
    assert (found.group, found.layers) == (1, ("layers.1.weight", "layers.3.weight"))
    assert (found.peak_rate, found.largest_rate) == (pytest.approx(1e-4), pytest.approx(0.1))
    assert (found.first, found.last) == (0, STEPS - 1)


def test_each_slow_group_is_told_in_order(tmp_path):
    assert [one.group for one in groups(tmp_path / "a", 1e-5, 0.1, 1e-4)] == [0, 2]


@pytest.mark.parametrize(("share", "slow"), [(0.009, True), (0.011, False)])
def test_peaks_are_compared_and_not_what_decays(tmp_path, share, slow):
    decay = numpy.linspace(1, 0, STEPS)
    assert bool(groups(tmp_path / "a", 0.1 * decay, share * 0.1 * decay, 0.1)) is slow
    late = numpy.zeros(STEPS)
    late[-1] = share * 0.1
    assert bool(groups(tmp_path / "b", 0.1 * decay, late, 0.1)) is slow


@pytest.mark.parametrize("largest", [1e-1, 1e-2, 1e-3, 3e-4, 1e-4])
def test_just_the_share_is_not_below_it(tmp_path, largest):
    """Rates are kept as float32, in which a thousandth of one may be a little less."""
    assert groups(tmp_path / "a", largest, largest / 1000, largest, limit=1e-3) == []
    assert len(groups(tmp_path / "b", largest, largest / 1001, largest, limit=1e-3)) == 1


@pytest.mark.parametrize("rate", [0.0, NAN, INF, -1.0])
def test_a_rate_that_is_zero_or_unknown_is_another_matter(tmp_path, rate):
    assert groups(tmp_path / "a", 0.1, rate, 0.1) == []
    assert groups(tmp_path / "b", rate, 1e-5, rate, members=(1, 1, 1, 1)) == [], (
        "one usable rate has no other beside it"
    )


def test_the_largest_may_be_of_a_group_without_layers(tmp_path):
    assert [one.group for one in groups(tmp_path / "a", 1e-5, 1e-5, 0.1, members=(0, 1, 0, 0))] == [0, 1]
    assert groups(tmp_path / "b", 0.1, 0.1, 1e-5, members=(0, 1, 0, 0)) == []


def test_biases_are_no_layers(tmp_path):
    tensors = parameters(4)
    tensors[1] = msgspec.structs.replace(tensors[1], group=1, role="bias", shape=[32])
    assert groups(tmp_path / "a", 0.1, 1e-5, tensors=tensors) == []
    tensors[2] = msgspec.structs.replace(tensors[2], group=1)
    assert [one.layers for one in groups(tmp_path / "b", 0.1, 1e-5, tensors=tensors)] == [("layers.2.weight",)]


def test_a_group_that_is_added_late_counts_from_then_on(tmp_path):
    """A list of rates is shorter before."""
    tensors = [msgspec.structs.replace(tensor, group=tensor.id % 2) for tensor in parameters(4)]
    rates = [[0.1]] * (STEPS - 1) + [[0.1, 1e-5]]
    run = build_run(tmp_path / "a", loss=falling(STEPS), tensors=tensors, steps={"learning_rate": rates})
    (found,) = slow_groups(run.trainings[0], 0.01)
    assert (found.group, found.peak_rate) == (1, pytest.approx(1e-5))


def test_groups_of_another_optimizer_are_not_compared(tmp_path):
    run = two_optimizers(tmp_path / "a", falling(STEPS), falling(STEPS))
    assert [slow_groups(training, 1.1) for training in run.trainings] == [[], []]


def test_one_step_is_enough(tmp_path):
    tensors = [msgspec.structs.replace(tensor, group=tensor.id % 2) for tensor in parameters(2)]
    run = build_run(tmp_path / "a", loss=[2.0], tensors=tensors, steps={"learning_rate": [[0.1, 1e-5]]})
    (found,) = slow_groups(run.trainings[0], 0.01)
    assert (found.first, found.last) == (0, 0)
