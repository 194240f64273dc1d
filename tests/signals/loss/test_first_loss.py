"""The first loss: a factor between objective and mean, classes in use, how even labels are."""

import math

import msgspec
import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from gradaudit.schema import LossFacts
from gradaudit.signals.loss.first_loss import (
    CLOSE,
    ObjectiveFactor,
    classes_used,
    objective_factor,
    overcome,
    unevenness,
)
from gradaudit.signals.loss.training_loss import training_loss
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import TEN, falling


def factor(path, objective, loss=None, **steps):
    loss = falling() if loss is None else loss
    columns = {"objective": objective, "targets": 64, "batch_size": 16, "micro_steps": 4, **steps}
    return objective_factor(training_loss(build_run(path, loss=loss, facts=TEN, steps=columns).trainings[0]))


def test_a_sum_over_targets_is_torchs_reduction(tmp_path):
    logits, targets = torch.randn(64, 10, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 10
    whole, mean = (float(functional.cross_entropy(logits, targets, reduction=way)) for way in ("sum", "mean"))
    found = factor(tmp_path / "a", whole, [mean])
    assert found == ObjectiveFactor(pytest.approx(64), 64, "targets")


@pytest.mark.parametrize(("times", "found"), [(64, "targets"), (16, "batch"), (4, "micro_steps"), (1, None), (7, None)])
@pytest.mark.parametrize("steps", [1, 200])
def test_known_amounts_are_named(tmp_path, times, found, steps):
    named = factor(tmp_path / "a", times * falling(steps), falling(steps))
    assert named == (found and ObjectiveFactor(pytest.approx(times), times, found))


@pytest.mark.parametrize(("off", "steps", "told"), [(0.04, 200, True), (0.06, 200, False), (0.04, 1, False)])
def test_a_few_steps_tell_less(tmp_path, off, steps, told):
    assert off != CLOSE
    assert (factor(tmp_path / "a", 16 * (1 + off) * falling(steps), falling(steps)) is not None) is told


def test_other_terms_are_no_factor(tmp_path):
    assert factor(tmp_path / "a", falling() * 16 + numpy.linspace(0, 9, 200)) is None


@pytest.mark.parametrize(("times", "found"), [(64, None), (16, None), (4, "micro_steps")])
def test_beside_a_term_that_reaches_other_tensors_only_micro_steps_are_told(tmp_path, times, found):
    tensors = [msgspec.structs.replace(tensor, terms=[0, 1] if tensor.id < 4 else [0]) for tensor in linear_stack()]
    loss = falling()
    columns = {"objective": times * loss, "targets": 64, "batch_size": 16, "micro_steps": 4}
    run = build_run(tmp_path / "a", loss=loss, facts=TEN, steps=columns, tensors=tensors)
    named = objective_factor(training_loss(run.trainings[0]))
    assert (named and named.meaning) == found


@pytest.mark.parametrize("last", [1.0, 3.0, math.nan])
def test_a_level_is_overcome_where_the_median_of_five_stays_below_it(tmp_path, last):
    loss = numpy.linspace(3, 1, 100) + 0.3 * numpy.random.default_rng(0).standard_normal(100)
    loss[95:] = last
    at = overcome(training_loss(build_run(tmp_path / "a", loss=loss, facts=TEN).trainings[0]), 2.0)
    if last != 1:
        assert at is None
        return
    smooth = numpy.asarray([numpy.median(loss[max(0, end - 4) : end + 1]) for end in range(100)])
    assert (smooth[at:] < 2).all()
    assert smooth[at - 1] >= 2


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0])
def test_a_first_loss_that_is_no_number_has_none(tmp_path, value):
    loss = falling()
    loss[0] = value
    assert factor(tmp_path / "a", loss, loss) is None


@pytest.mark.parametrize(
    ("counts", "used"),
    [([5, 5, 0, 0], 2), ([5, 5, 5, 0], 0), ([5, 0, 0, 0], 0), ([5, 0, 5, 0], 0), ([1] * 4 + [0] * 6, 4), ([], 0)],
)
def test_the_first_few_of_twice_as_many_outputs(counts, used):
    assert classes_used(LossFacts(id=0, function="cross_entropy", label_counts=counts), 100) == used


def test_a_vocabulary_is_larger_than_what_is_used_of_it():
    known = LossFacts(id=0, function="cross_entropy", label_counts=[5, 5, 0, 0])
    assert (classes_used(known, 4), classes_used(known, 3)) == (2, 0)


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=10).filter(any), st.integers(1, 100))
def test_unevenness_goes_from_even_to_one_class(counts, times):
    share = numpy.asarray(counts) / numpy.sum(counts)
    expected = (share.max() - 1 / len(share)) / (1 - 1 / len(share))
    for of in (counts, [times * count for count in counts], counts[::-1]):
        assert unevenness(LossFacts(id=0, function="cross_entropy", label_counts=of)) == pytest.approx(max(0, expected))


def test_its_ends_and_what_was_not_counted():
    def of(function="cross_entropy", counts=()):
        return unevenness(LossFacts(id=0, function=function, label_counts=list(counts)))

    assert (of(counts=[7, 7, 7]), of(counts=[0, 9, 0]), of(), of(counts=[0, 0]), of(counts=[5])) == (0, 1, 0, 0, 0)
    assert of("log_softmax", [7, 7]) == 1
