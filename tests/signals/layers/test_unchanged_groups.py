"""Groups of tensors that stand still: what they amount to, and how they are told apart, against plain numpy."""

import msgspec
import numpy
import pytest

from gradaudit.signals.layers.unchanged import reasons, unchanged
from gradaudit.signals.layers.unchanged_groups import beside_largest, unchanged_by_reason, unchanged_group
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import falling

STEPS = 40


def of(path, tensors, stats, **changes):
    return build_run(path, loss=falling(STEPS), tensors=tensors, stats=stats, **changes).trainings[0]


def names(groups):
    return [(reason, weak, [tensor.name for tensor in tensors]) for reason, weak, tensors in groups]


def test_the_typical_gradient_per_element_over_the_largest(tmp_path):
    norms = numpy.random.default_rng(0).lognormal(-3, 1, (STEPS, 6))
    training = of(tmp_path / "a", linear_stack(3), {"gradient_norm": norms})
    typical = numpy.median(norms, axis=0) / numpy.sqrt([t.elements for t in training.tensors])
    assert beside_largest(training) == pytest.approx(typical / typical.max(), rel=1e-5)
    assert numpy.isnan(beside_largest(of(tmp_path / "b", linear_stack(3), {"gradient_norm": 0.0}))).all()


def test_a_group_counts_its_tensors_and_elements(tmp_path):
    tensors = [msgspec.structs.replace(t, requires_grad=t.id > 1) for t in linear_stack(4, width=8)]
    still = numpy.where(numpy.arange(8) < 2, 0.0, 1e-3)
    training = of(tmp_path / "a", tensors, {"update_norm": still, "drift_norm": still, "gradient_norm": still + 1})
    ((reason, weak, mine),) = unchanged_by_reason(training, unchanged(training), numpy.zeros(8, dtype=bool))
    group = unchanged_group(training, mine, reason, is_faint=weak, backbone=0.5)
    elements = [t.elements for t in training.tensors]
    assert (group.reason, group.cause, group.among) == ("frozen", "frozen", 8)
    assert (group.elements, group.share) == (sum(elements[:2]), pytest.approx(sum(elements[:2]) / sum(elements)))
    assert group.beside_largest == pytest.approx(beside_largest(training)[:2].max())


def test_one_group_for_each_reason_and_faint_ones_apart(tmp_path):
    tensors = [msgspec.structs.replace(t, optimizer=-1 if t.id == 2 else 0) for t in linear_stack(4)]
    norms = numpy.asarray([1, 1, 1, 0, 1e-9, 1, 1, 1])
    training = of(tmp_path / "a", tensors, {"update_norm": 0.0, "drift_norm": 0.0, "gradient_norm": norms})
    fainter = beside_largest(training) < 1e-4
    found = names(unchanged_by_reason(training, numpy.arange(8) < 5, fainter))
    name = [t.name for t in training.tensors]
    assert reasons(training)[3] == "zero gradient"
    assert found == [
        ("no effect", False, name[:2]),
        ("not owned", False, [name[2]]),
        ("zero gradient", False, [name[3]]),
        ("no effect", True, [name[4]]),
    ]


@pytest.mark.parametrize(("backbone", "cause"), [(0.2, "transfer learning"), (0.3, "left out")])
def test_more_than_the_backbone_outside_is_transfer_learning(tmp_path, backbone, cause):
    tensors = [msgspec.structs.replace(t, optimizer=-1 if t.id in (2, 3) else 0) for t in linear_stack(4)]
    still = numpy.where(numpy.isin(numpy.arange(8), (2, 3)), 0.0, 1e-3)
    training = of(tmp_path / "a", tensors, {"update_norm": still, "drift_norm": still})
    mine = training.tensors[2:4]
    share = sum(t.elements for t in mine) / sum(t.elements for t in tensors)
    assert 0.2 < share < 0.3
    assert unchanged_group(training, mine, "not owned", is_faint=False, backbone=backbone).cause == cause


@pytest.mark.parametrize(("rate", "cause"), [(1e-12, "below precision"), (1e-3, "no effect")])
def test_updates_below_the_rounding_of_the_weights_are_told_from_those_that_are_undone(tmp_path, rate, cause):
    stats = {"update_norm": 0.0, "drift_norm": 0.0, "gradient_norm": 0.1, "weight_norm": 1.0}
    training = of(tmp_path / "a", linear_stack(2), stats, steps={"learning_rate": [[rate]] * STEPS})
    group = unchanged_group(training, training.tensors, "no effect", is_faint=False, backbone=0.5)
    assert group.cause == cause
    halved = [msgspec.structs.replace(t, dtype="bfloat16") for t in training.tensors]
    assert unchanged_group(training, halved, "no effect", is_faint=False, backbone=0.5).cause == "half precision"
