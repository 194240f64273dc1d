"""The weight decay that shrinks layers, against optimizers of torch and weights that nothing else moves."""

import math

import msgspec
import numpy
import pytest
import torch

from gradaudit.signals.updates.strongest_decay import strongest_decay
from tests.build import build_run
from tests.diagnosers.runs import falling, parameters

NAN, INF = math.nan, math.inf
STEPS = 100


def idle(decay, rates, optimizer="SGD", **options):
    """What is left of a weight without a gradient, of an optimizer of torch with these rates [steps]."""
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    made = getattr(torch.optim, optimizer)([weight], lr=1.0, weight_decay=decay, **options)
    weight.grad = torch.zeros_like(weight)
    for rate in rates:
        made.param_groups[0]["lr"] = float(rate)
        made.step()
    return float(weight.detach())


def of(path, decays, rates, remains=0.1, columns=None, optimizer="SGD", steps=STEPS, members=None, **defaults):
    """`decays` and `rates` of the groups, constant or [steps]; layer i is of group i unless `members` tells."""
    members = range(len(decays)) if members is None else members
    tensors = [msgspec.structs.replace(t, group=g) for t, g in zip(parameters(len(members)), members, strict=True)]
    lists = {
        name: numpy.column_stack([numpy.broadcast_to(value, steps) for value in values]).tolist()
        for name, values in (("weight_decay", decays), ("learning_rate", rates))
    }
    run = build_run(path, loss=falling(steps), tensors=tensors, steps=lists, optimizer=optimizer, defaults=defaults)
    columns = numpy.arange(len(members)) if columns is None else numpy.asarray(columns, dtype=int)
    return strongest_decay(run.trainings[0], columns, remains)


def test_it_is_that_of_the_group_in_which_rate_times_decay_is_most(tmp_path):
    found = of(tmp_path / "a", [0.1, 0.5, 0.3], [1e-1, 1e-3, 1e-1])
    assert (found.group, found.value, found.peak_rates) == (2, pytest.approx(0.3), [pytest.approx(1e-1)])
    assert of(tmp_path / "b", [0.1, 0.5, 0.3], [1e-1, 1e-3, 1e-1], columns=[0, 1]).group == 0
    assert of(tmp_path / "c", [0.1, 0.5], [0.0, 0.0]).group == 1, "of equals the greater decay"


def test_the_whole_course_of_the_rates_counts(tmp_path):
    spike = numpy.where(numpy.arange(STEPS) == 5, 0.5, 1e-4)
    found = of(tmp_path / "a", [0.1, 0.1], [spike, 1e-2])
    assert (found.group, found.peak_rates) == (1, [pytest.approx(1e-2)])


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
@pytest.mark.parametrize("rate", [0.01, 0.3])
def test_what_shrinks_an_idle_weight_explains_it_and_the_suggestion_takes_a_tenth_or_less(tmp_path, optimizer, rate):
    rates = numpy.linspace(rate, 0.1 * rate, STEPS)
    left = idle(0.3, rates, optimizer)
    found = of(tmp_path / "a", [0.3], [rates], remains=left, optimizer=optimizer)
    assert found.explains
    kept = idle(found.suggested, rates, optimizer)
    assert found.suggested <= 0.3 / 10 * 1.01
    assert kept > 0.85


def test_the_suggestion_takes_about_a_tenth_where_a_tenth_of_the_decay_would_take_more(tmp_path):
    rates = numpy.full(STEPS, 0.1)
    found = of(tmp_path / "a", [5.0], [rates])
    assert found.suggested == pytest.approx(0.1 / rates.sum())
    assert idle(found.suggested, rates) == pytest.approx(0.9, abs=0.01)


def test_momentum_repeats_what_one_step_takes(tmp_path):
    rates = numpy.full(STEPS, 0.1)
    found = of(tmp_path / "a", [5.0], [rates], momentum=0.9, dampening=0.0)
    assert found.suggested == pytest.approx(0.1 / (rates.sum() / (1 - 0.9)))
    assert 0.9 <= idle(found.suggested, rates, momentum=0.9) < 0.92


@pytest.mark.parametrize(("share", "explains"), [(0.09, False), (0.11, True)])
@pytest.mark.parametrize("remains", [0.9, 1e-3])
def test_decay_explains_where_it_takes_a_tenth_of_what_is_gone(tmp_path, share, explains, remains):
    """On a logarithmic scale."""
    found = of(tmp_path / "a", [share * -math.log(remains)], [1.0 / STEPS], remains=remains)
    assert found.explains is explains
    assert math.isfinite(found.suggested) is explains


@pytest.mark.parametrize(
    ("decay", "optimizer", "remains", "explains"),
    [(1e-6, "Adam", 0.1, True), (0.0, "Adam", 0.1, False), (1e-6, "SGD", NAN, True), (1e-6, "SGD", 0.0, True),
     (0.0, "SGD", 0.0, False), (1e-6, "SGD", 0.1, False), (0.0, "SGD", 0.1, False)],
)  # fmt: skip
def test_what_is_not_known_to_be_too_small_may_explain(tmp_path, decay, optimizer, remains, explains):
    """Adam divides the decay out with the gradient: nothing tells how much it takes."""
    assert of(tmp_path / "a", [decay], [1e-2], remains=remains, optimizer=optimizer).explains is explains


@pytest.mark.parametrize("rate", [NAN, 0.0])
def test_without_a_known_rate_the_suggestion_is_a_hundredth(tmp_path, rate):
    found = of(tmp_path / "a", [0.5], [rate])
    assert (found.value, found.explains, found.suggested) == (0.5, True, pytest.approx(0.005))
    assert found.peak_rates == pytest.approx([rate], nan_ok=True)


def test_layers_of_no_known_group_have_no_decay(tmp_path):
    found = of(tmp_path / "a", [0.5, 0.5], [1e-1, 1e-2], members=(-1, 7))
    assert (found.group, found.value, found.explains) == (-1, 0.0, False)
    assert found.peak_rates == pytest.approx([1e-1, 1e-2])
    assert math.isnan(found.suggested)
    assert of(tmp_path / "b", [0.5], [1e-1], columns=[]).group == -1


def test_one_step_tells(tmp_path):
    found = of(tmp_path / "a", [0.5], [1.0], remains=0.5, steps=1)
    assert (found.group, found.explains, found.suggested) == (0, True, pytest.approx(0.05))


def test_a_group_that_is_added_late_takes_what_its_own_steps_take(tmp_path):
    tensors = [msgspec.structs.replace(tensor, group=tensor.id) for tensor in parameters(2)]
    lists = {
        "weight_decay": [[0.1]] * 90 + [[0.1, 0.5]] * 10,
        "learning_rate": [[0.1]] * 90 + [[0.1, 0.1]] * 10,
    }
    run = build_run(tmp_path / "a", loss=falling(STEPS), tensors=tensors, steps=lists, optimizer="SGD")
    assert strongest_decay(run.trainings[0], numpy.arange(2), 0.1).group == 0
    assert strongest_decay(run.trainings[0], numpy.arange(1, 2), 0.1).group == 1
