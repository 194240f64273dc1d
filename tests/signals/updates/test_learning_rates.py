"""Learning rates by step and group, and which of torch's optimizers divide out the size of the gradient."""

import math

import msgspec
import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradaudit.schema import BY_HAND
from gradaudit.signals.updates.learning_rates import (
    BLIP,
    at_most,
    below,
    by_hand,
    is_adaptive,
    line_search,
    maximizes,
    optimizer_class,
    peak_rates,
    recorded_learning_rates,
    same_rate,
    sustained,
)
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import falling
from tests.signals.two_optimizers import two_optimizers

NAN, INF = math.nan, math.inf
OPTIMIZERS = ["SGD", "ASGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "RMSprop", "Adagrad", "Adadelta", "Adafactor"]


def of(path, **changes):
    return build_run(path, loss=falling(3), **changes).trainings[0]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_adaptive_are_those_whose_updates_do_not_grow_with_the_gradient(tmp_path, name):
    moved = []
    for size in (1.0, 1000.0):
        parameter = torch.nn.Parameter(torch.zeros(4, 4))
        optimizer = getattr(torch.optim, name)([parameter], lr=1e-3)
        for _ in range(20):
            before = parameter.detach().clone()
            parameter.grad = torch.full((4, 4), size)
            optimizer.step()
        moved.append(float((parameter.detach() - before).norm()))  # RAdam's first five steps are those of SGD
    assert is_adaptive(of(tmp_path / "a", optimizer=name)) is (moved[1] < 10 * moved[0])


@pytest.mark.parametrize(("rate", "adaptive"), [(1e-3, False), (NAN, True)])
def test_updates_by_hand_of_an_unknown_formula_may_be_adaptive(tmp_path, rate, adaptive):
    training = of(tmp_path / "a", optimizer=BY_HAND, steps={"learning_rate": [[rate]] * 3})
    assert (by_hand(training), is_adaptive(training)) == (True, adaptive)


def test_what_an_optimizer_says_of_itself(tmp_path):
    plain, other = of(tmp_path / "a"), of(tmp_path / "b", optimizer="LBFGS", defaults={"maximize": True})
    assert [line_search(one) for one in (plain, other)] == [False, True]
    assert [maximizes(one) for one in (plain, other)] == [False, True]
    assert [optimizer_class(one) for one in (plain, other)] == ["AdamW", "LBFGS"]
    assert not by_hand(plain)


def test_each_tensor_has_the_rate_of_its_group(tmp_path):
    tensors = [
        msgspec.structs.replace(tensor, group=group)
        for tensor, group in zip(linear_stack(2), (0, 1, -1, 7), strict=True)
    ]
    rates = [[0.1, 0.5], [0.2, 0.5], [0.05, 0.5]]
    training = of(tmp_path / "a", tensors=tensors, steps={"learning_rate": rates}, recorded=[0, 2])
    expected = [[0.1, 0.5, NAN, NAN], [0.05, 0.5, NAN, NAN]]
    numpy.testing.assert_allclose(recorded_learning_rates(training), expected, rtol=1e-6)
    assert peak_rates(training) == pytest.approx([0.2, 0.5])


def test_a_group_that_was_added_later_has_no_rate_before(tmp_path):
    tensors = [msgspec.structs.replace(tensor, group=tensor.id % 2) for tensor in linear_stack(1)]
    training = of(tmp_path / "a", tensors=tensors, steps={"learning_rate": [[0.1], [0.1, INF], [0.1, 0.3]]})
    assert recorded_learning_rates(training).ravel().tolist() == pytest.approx(
        [0.1, NAN, 0.1, INF, 0.1, 0.3], nan_ok=True
    )
    assert peak_rates(training) == pytest.approx([0.1, 0.3])
    none = of(tmp_path / "b", steps={"learning_rate": [[NAN]] * 3})
    assert numpy.isnan(peak_rates(none)).all()


def test_two_trainings_have_rates_of_their_own(tmp_path):
    run = two_optimizers(tmp_path / "a", falling(3), falling(3), steps={"learning_rate": [[0.1], [0.2], [0.3]]})
    for training in run.trainings:
        numpy.testing.assert_allclose(recorded_learning_rates(training), [[0.1] * 2, [0.2] * 2, [0.3] * 2], rtol=1e-6)


@given(st.floats(1e-6, 1e3), st.floats(1e-3, 1.0))
def test_a_share_of_a_peak_survives_float32(peak, share):
    rates = numpy.float32([share * peak, 1.001 * share * peak]).astype(float)
    assert at_most(rates, share, float(numpy.float32(peak))).tolist() == [True, False]


@given(st.floats(1e-6, 1e3), st.floats(1e-3, 1.0))
def test_just_a_share_of_a_peak_is_not_below_it_in_float32(peak, share):
    rates = numpy.float32([0.999 * share * peak, share * peak]).astype(float)
    assert below(rates, share, float(numpy.float32(peak))).tolist() == [True, False]


@pytest.mark.parametrize(("length", "kept"), [(1, False), (BLIP, False), (BLIP + 1, True)])
@pytest.mark.parametrize("times", [3.1, 1e4, INF])
def test_a_jump_that_is_soon_undone_is_a_blip(times, length, kept):
    rate = numpy.ones(40)
    rate[10 : 10 + length] *= times
    assert sustained(rate).tolist() == (rate if kept else numpy.ones(40)).tolist()


def test_schedules_have_no_blips_and_a_rise_from_zero_is_none():
    for rate in (numpy.geomspace(1, 1e-4, 40), numpy.geomspace(1e-4, 1, 40), numpy.asarray([0.0, 1, 0, 1, 0])):
        assert sustained(rate).tolist() == rate.tolist()


def test_one_line_sets_one_rate():
    assert same_rate(numpy.asarray([0.1, NAN, 0.1]))
    assert not same_rate(numpy.asarray([0.1, 0.2]))
    assert not same_rate(numpy.asarray([NAN]))
