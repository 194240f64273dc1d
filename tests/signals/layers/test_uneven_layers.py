"""How far layers are apart, against medians and ranges by numpy."""

import math

import msgspec
import numpy
import pytest

from gradaudit.signals.layers.layer_profile import APART
from gradaudit.signals.layers.layers import comparable_layers
from gradaudit.signals.layers.uneven_layers import layer_outliers, spreads_of
from tests.build import build_run
from tests.diagnosers.runs import falling, parameters

NAN, INF = math.nan, math.inf
STEPS = 100
ALL = numpy.ones(4, dtype=bool)
SIZES = 10 ** numpy.random.default_rng(0).normal(-3, 0.5, (2, STEPS, 4))


def of(path, updates=1e-3, gradients=0.1, **changes):
    stats = {"update_norm": updates, "gradient_norm": gradients, "weight_norm": 2.0, **changes.pop("stats", {})}
    settings = {"tensors": parameters(4), "optimizer": "SGD", **changes}
    steps = len(settings.pop("loss", numpy.ones(STEPS)))
    return build_run(path, loss=falling(steps), stats=stats, **settings).trainings[0]


def middles(values):
    """[layers] of both windows."""
    return [numpy.log10(numpy.median(part, axis=0)) for part in (values[10:61], values[50:])]


@pytest.mark.parametrize("chosen", [[0, 1, 2, 3], [1, 3], [2]])
def test_spreads_are_those_of_the_window_in_which_layers_are_closer(tmp_path, chosen):
    some = numpy.isin(numpy.arange(4), chosen)
    found = spreads_of(of(tmp_path / "a", *SIZES), some)
    updates, gradients = ([numpy.ptp(middle[chosen]) for middle in middles(values)] for values in SIZES)
    assert found.layers == len(chosen)
    assert found.updates == pytest.approx(min(updates), abs=1e-5)
    assert found.gradients == pytest.approx(min(gradients), abs=1e-5)


def test_the_gap_is_between_gradients_as_they_are(tmp_path):
    """And not over the weights."""
    training = of(tmp_path / "a", gradients=[1.0, 2.0, 200.0, 100.0], stats={"weight_norm": [1.0, 10.0, 1e4, 1.0]})
    gap = spreads_of(training, ALL).gap
    assert (gap.early, gap.late) == (pytest.approx(math.log10(50)), pytest.approx(math.log10(50)))
    assert spreads_of(training, numpy.asarray([True, True, False, False])).gap.early == pytest.approx(math.log10(2))


def test_a_layer_that_is_not_comparable_has_no_place_among_the_chosen(tmp_path):
    """One that starts at zero lies between those that are compared."""
    training = of(tmp_path / "a", [1e-3, 1e-9, 1e-3, 1e-2], stats={"weight_norm": [2.0, 0.0, 2.0, 2.0]})
    chosen = comparable_layers(training)
    assert chosen.tolist() == [True, False, True, True]
    assert spreads_of(training, chosen).updates == pytest.approx(1.0)
    found = layer_outliers(training, chosen, "update")
    assert (found.layers, found.among) == (("layers.3.weight",), 3)


@pytest.mark.parametrize("value", [0.0, NAN, INF])
def test_a_layer_without_a_finite_ratio_does_not_count(tmp_path, value):
    updates = numpy.asarray([1e-3, value, 1e-3, 1e-1])
    training = of(tmp_path / "a", updates)
    assert spreads_of(training, ALL).updates == pytest.approx(2.0)
    assert layer_outliers(training, ALL, "update").layers == ("layers.3.weight",)


@pytest.mark.parametrize(("times", "slower"), [(1e-3, True), (1e3, False)])
@pytest.mark.parametrize(("quantity", "stat"), [("update", 0), ("gradient", 1)])
def test_the_one_that_is_furthest_from_the_median_comes_first(tmp_path, quantity, stat, times, slower):
    sizes = [numpy.ones(6), numpy.ones(6)]
    sizes[stat] = numpy.asarray([1.0, times**0.5, 1.0, times, 1.0, 1.0])
    training = of(tmp_path / "a", *sizes, tensors=parameters(6))
    found = layer_outliers(training, numpy.ones(6, dtype=bool), quantity)
    assert found.layers == ("layers.3.weight", "layers.1.weight")
    assert (found.module, found.is_slower, found.among) == ("layers.3", slower, 6)
    assert found.times == pytest.approx(max(times, 1 / times), rel=1e-4)
    assert found.quantity == quantity


def test_they_stand_out_in_the_last_half(tmp_path):
    updates = numpy.full((STEPS, 4), 1e-3)
    updates[:50, 0] *= 1000
    updates[50:, 2] *= 10 ** (APART + 0.1)
    assert layer_outliers(of(tmp_path / "a", updates), ALL, "update").layers == ("layers.2.weight",)


def test_of_layers_that_are_even_one_is_told(tmp_path):
    found = layer_outliers(of(tmp_path / "a", [1e-3, 1e-3, 1.1e-3, 1e-3]), ALL, "update")
    assert (found.layers, found.times) == (("layers.2.weight",), pytest.approx(1.1, rel=1e-4))


def test_the_layers_of_an_own_learning_rate_are_no_slower(tmp_path):
    tensors = [msgspec.structs.replace(tensor, group=tensor.id % 2) for tensor in parameters(4)]
    rates = {"learning_rate": [[1e-3, 1e-1]] * STEPS}
    training = of(tmp_path / "a", [1e-3, 1e-1, 1e-3, 1e-1], tensors=tensors, steps=rates)
    assert spreads_of(training, ALL).updates == pytest.approx(0, abs=1e-5)
    assert layer_outliers(training, ALL, "update").largest_rate == pytest.approx(0.1)


@pytest.mark.parametrize(("optimizer", "adaptive"), [("SGD", False), ("Adam", True)])
def test_what_the_optimizer_does(tmp_path, optimizer, adaptive):
    found = layer_outliers(of(tmp_path / "a", SIZES[0], optimizer=optimizer), ALL, "update")
    assert (found.is_adaptive, found.largest_rate) == (adaptive, pytest.approx(1e-3))
    unknown = of(tmp_path / "b", SIZES[0], steps={"learning_rate": [[NAN]] * STEPS})
    assert math.isnan(layer_outliers(unknown, ALL, "update").largest_rate)


def test_a_layer_that_starts_small_is_told_with_its_size(tmp_path):
    """Linear layers of 32 inputs start at an RMS of 1 / sqrt(3 * 32); these elements are 1,024."""
    usual = 32 / math.sqrt(3 * 32)
    norms = usual * numpy.asarray([1.0, 0.01, 1.0, 1.0])
    found = layer_outliers(of(tmp_path / "a", 1e-3, stats={"weight_norm": norms}), ALL, "update")
    assert found.layers == ("layers.1.weight",)
    assert (found.initial.own, found.initial.others) == (pytest.approx(0.01, rel=1e-5), pytest.approx(1, rel=1e-5))
    assert found.initial.own_is_odd
    alike = of(tmp_path / "b", [1e-3, 1e-1, 1e-3, 1e-3], stats={"weight_norm": usual})
    assert layer_outliers(alike, ALL, "update").initial is None


def test_a_layer_that_is_recorded_late_has_a_profile_from_then_on(tmp_path):
    updates = numpy.full((STEPS, 4), 1e-3)
    updates[:70, 1], updates[70:, 1] = NAN, 1.0
    norms = numpy.full((STEPS, 4), 2.0)
    norms[:70, 1] = NAN
    training = of(tmp_path / "a", updates, stats={"weight_norm": norms})
    assert spreads_of(training, ALL).updates == pytest.approx(0, abs=1e-5), "nothing is known of it early"
    found = layer_outliers(training, ALL, "update")
    assert (found.layers, found.initial) == (("layers.1.weight",), None)


def test_a_run_of_one_step_has_no_early_window(tmp_path):
    training = of(tmp_path / "a", [1e-3, 1e-1, 1e-3, 1e-3], loss=[1.0])
    found = spreads_of(training, ALL)
    assert (found.updates, found.gap.early, found.gap.both) == (0, 0, 0)
    assert layer_outliers(training, ALL, "update").layers == ("layers.1.weight",)
