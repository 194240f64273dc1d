import msgspec
import numpy
import pytest

from gradaudit.chart_data import Dots
from gradaudit.diagnosers.exploding_gradient import exploding_gradient
from gradaudit.diagnosers.layer_imbalance import layer_imbalance
from gradaudit.diagnosers.vanishing_gradient import Vanishing, vanishing_gradient
from gradaudit.findings import Severity
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, flat, healthy, parameters
from tests.diagnosers.sick import uneven
from tests.diagnosers.sick_gradients import sloped
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def nets(path, modules, gradient):
    tensors = [
        msgspec.structs.replace(t, name=f"{module}.weight", module=module)
        for t, module in zip(parameters(4), modules, strict=True)
    ]
    return build_run(path, loss=falling(), tensors=tensors, stats={"gradient_norm": numpy.asarray(gradient)})


def test_even_gradients_are_quiet(tmp_path):
    assert "1.0 times the gradient" in assert_clean(vanishing_gradient, healthy(tmp_path))


def test_the_healthy_extremes_are_quiet(tmp_path):
    assert_clean(vanishing_gradient, sloped(tmp_path / "a", 2.5))


def test_one_quiet_layer_is_no_slope(tmp_path):
    assert_clean(vanishing_gradient, uneven(tmp_path / "a", gradient=6.0))


def test_layers_that_start_at_zero_are_left_out(tmp_path):
    gradient = numpy.full((200, 8), 0.1)
    gradient[:, :2] = 1e-6
    weight = numpy.ones((200, 8))
    weight[0, :2] = 0.0
    stats = {"gradient_norm": gradient, "weight_norm": weight}
    assert_clean(vanishing_gradient, build_run(tmp_path / "a", loss=falling(), tensors=parameters(8), stats=stats))


def test_layers_behind_a_dead_one_have_no_gradient_and_no_slope(tmp_path):
    gradient = numpy.full((200, 8), 0.1)
    gradient[:, :3] = 0.0
    run = build_run(tmp_path / "a", loss=falling(), tensors=parameters(8), stats={"gradient_norm": gradient})
    assert_clean(vanishing_gradient, run)


def test_three_layers_and_a_late_record_cannot_be_judged(tmp_path):
    assert_not_applicable(vanishing_gradient, build_run(tmp_path / "a", loss=falling(), tensors=parameters(3)))
    assert_skipped(vanishing_gradient, build_run(tmp_path / "b", loss=falling(), recorded=[50, 199]))


def test_two_nets_side_by_side_are_no_chain(tmp_path):
    quiet, loud = [2e-5, 1.7e-5], [0.02, 0.022]  # a policy of small outputs beside the net of its values
    for name, gradient in (("a", quiet + loud), ("b", loud + quiet)):
        run = nets(tmp_path / name, ("body.policy.0", "body.policy.2", "body.value.0", "body.value.2"), gradient)
        assert_not_applicable(vanishing_gradient, run)
        assert_not_applicable(exploding_gradient, run)


def test_a_chain_of_named_parts_fades_over_both(tmp_path):
    names = ("body.encoder.0", "body.encoder.2", "body.decoder.0", "body.decoder.2")
    run = nets(tmp_path, names, [1e-6, 1e-5, 1e-3, 1e-2])  # two of its four decades from part to part
    assert_finds(vanishing_gradient, run, Severity.WARNING)


def test_a_fading_gradient_is_a_warning(tmp_path):
    run = sloped(tmp_path / "a")
    found = judged(vanishing_gradient, run, Vanishing)
    assert 10**found.slope.drop == pytest.approx(19_300, rel=0.01)
    assert len(found.slope.columns) == 8
    assert found.weakest == ("layers.0.weight", "layers.1.weight", "layers.2.weight")
    finding = assert_finds(vanishing_gradient, run, Severity.WARNING)
    assert finding.measures[0].value == found.slope.drop
    dots = finding.evidence[0]
    assert isinstance(dots, Dots)
    assert [dot.flagged for dot in dots.dots][1:4] == [True, True, False]


def test_it_is_critical_when_it_stays_and_nothing_is_learned(tmp_path):
    assert_finds(vanishing_gradient, sloped(tmp_path / "a", loss=flat()), Severity.CRITICAL)
    assert_finds(vanishing_gradient, sloped(tmp_path / "b", loss=flat(), late=0.5), Severity.WARNING)


def test_a_branch_is_found_inside_a_model_without_a_slope(tmp_path):
    tensors = [
        msgspec.structs.replace(t, name=f"{'ab'[t.id // 6]}.{t.id}.weight", module=f"{'ab'[t.id // 6]}.{t.id}")
        for t in parameters(12)
    ]
    gradient = numpy.concatenate([numpy.full(6, 0.1), numpy.logspace(-5, 0, 6)])
    run = build_run(tmp_path / "a", loss=falling(), tensors=tensors, stats={"gradient_norm": gradient}, facts=TEN)
    found = judged(vanishing_gradient, run, Vanishing)
    assert (found.slope.branch, len(found.slope.columns)) == ("b", 6)
    assert {name.partition(".")[0] for name in found.weakest} == {"b"}


def test_it_is_said_once_and_not_as_an_imbalance_too(tmp_path):
    assert "along the depth" in assert_clean(layer_imbalance, sloped(tmp_path / "a"))


@pytest.mark.parametrize("scale", [1e-4, 1e4])
@pytest.mark.parametrize("every", [1, 5])
def test_scale_and_cadence_change_nothing(tmp_path, scale, every):
    gradient = scale * numpy.logspace(-5, 0, 8)
    run = build_run(
        tmp_path / "a", loss=scale * falling(), tensors=parameters(8), stats={"gradient_norm": gradient},
        recorded=range(0, 200, every), optimizer="SGD",
    )  # fmt: skip
    finding = assert_finds(vanishing_gradient, run, Severity.WARNING)
    assert finding.measures[0].value == pytest.approx(numpy.log10(19_300), abs=0.01)


def test_siblings_are_no_depth(tmp_path):
    """A value net is registered before the policy net, and has a thousandth of its gradient."""
    gradient = numpy.concatenate([numpy.logspace(-4.2, -4, 4), numpy.logspace(-0.2, 0, 4)])
    tensors = [msgspec.structs.replace(tensor, terms=[int(tensor.id > 3)]) for tensor in parameters(8)]
    stats = {"gradient_norm": gradient}
    assert_clean(vanishing_gradient, build_run(tmp_path / "a", loss=falling(), tensors=tensors, stats=stats))
    one = build_run(tmp_path / "b", loss=falling(), tensors=parameters(8), stats=stats)
    assert_finds(vanishing_gradient, one, Severity.WARNING)


def test_a_slope_within_one_term_is_found(tmp_path):
    gradient = numpy.concatenate([numpy.full(4, 1.0), numpy.logspace(-6, 0, 4)])
    tensors = [msgspec.structs.replace(tensor, terms=[int(tensor.id > 3)]) for tensor in parameters(8)]
    run = build_run(tmp_path / "a", loss=falling(), tensors=tensors, stats={"gradient_norm": gradient})
    finding = assert_finds(vanishing_gradient, run, Severity.WARNING)
    assert finding.tensors[0] == "layers.4.weight"
