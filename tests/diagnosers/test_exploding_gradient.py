import pytest

from gradaudit.diagnosers.exploding_gradient import Even, Exploding, exploding_gradient
from gradaudit.findings import Confidence, Severity
from gradaudit.schema import ModuleFacts
from tests.build import build_run
from tests.diagnosers.runs import falling, flat, healthy, parameters
from tests.diagnosers.sick import uneven
from tests.diagnosers.sick_gradients import disordered, sloped, stretched
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_even_gradients_are_quiet(tmp_path):
    run = healthy(tmp_path)
    assert "1.0 times the gradient" in assert_clean(exploding_gradient, run)
    assert judged(exploding_gradient, run, Even).slope.drop == 0


def test_the_healthy_extremes_are_quiet(tmp_path):
    assert_clean(exploding_gradient, disordered(tmp_path / "a", -2.5))
    assert_clean(exploding_gradient, stretched(tmp_path / "b", 1.3))


def test_a_slope_that_levels_out_or_has_a_step_the_wrong_way_is_quiet(tmp_path):
    assert_clean(exploding_gradient, stretched(tmp_path / "a", late=0.5))
    assert_clean(exploding_gradient, disordered(tmp_path / "b", -2.5))


def test_a_steady_slope_before_a_head_with_a_gradient_of_its_own_is_a_warning(tmp_path):
    run = stretched(tmp_path / "a")
    found = judged(exploding_gradient, run, Exploding)
    assert found.slope.drop == pytest.approx(-1.72, abs=0.01)
    assert len(found.slope.columns) == 8
    assert (found.option, found.threshold, found.late_threshold) == ("steady", 1.2, 0.6)
    assert "layers.8.weight" not in found.largest
    finding = assert_finds(exploding_gradient, run, Severity.WARNING)
    assert finding.measures[0].value == -found.slope.drop
    assert finding.confidence is Confidence.MEDIUM


def test_the_other_direction_and_one_loud_layer_are_quiet(tmp_path):
    assert_clean(exploding_gradient, sloped(tmp_path / "a", 5.0))
    assert_clean(exploding_gradient, uneven(tmp_path / "b", gradient=-6.0))


def test_three_layers_and_a_late_record_cannot_be_judged(tmp_path):
    assert_not_applicable(exploding_gradient, build_run(tmp_path / "a", loss=falling(), tensors=parameters(3)))
    assert_skipped(exploding_gradient, build_run(tmp_path / "b", loss=falling(), recorded=[50, 199]))


def test_a_gradient_that_grows_towards_the_input_is_a_warning(tmp_path):
    run = sloped(tmp_path / "a", -5.0)
    found = judged(exploding_gradient, run, Exploding)
    assert 10**-found.slope.drop == pytest.approx(19_300, rel=0.01)
    assert len(found.slope.columns) == 8
    assert found.option == "decades"
    assert found.per_layer == pytest.approx(5.2, abs=0.05)
    finding = assert_finds(exploding_gradient, run, Severity.WARNING)
    assert finding.headline == "The gradient grows 19,300 times on its way back through 8 layers"
    assert finding.measures[0].value == -found.slope.drop


def test_it_is_critical_when_it_stays_and_nothing_is_learned(tmp_path):
    assert_finds(exploding_gradient, sloped(tmp_path / "a", -5.0, loss=flat()), Severity.CRITICAL)
    assert_finds(exploding_gradient, sloped(tmp_path / "b", -5.0, loss=flat(), late=0.0), Severity.WARNING)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_scaling_the_loss_changes_nothing(tmp_path, scale):
    assert_finds(exploding_gradient, sloped(tmp_path / "a", -5.0, loss=scale * falling()), Severity.WARNING)


@pytest.mark.parametrize(
    ("kind", "activations", "code"),
    [("Tanh", ("tanh",), "tanh"), ("Sigmoid", ("sigmoid",), "xavier"), ("ReLU", (), "kaiming")],
)
def test_the_initialisation_is_that_of_the_activations(tmp_path, kind, activations, code):
    modules = [ModuleFacts(id=0, name="0", module_class=kind)]
    run = sloped(tmp_path / "a", -5.0, modules=modules)
    assert judged(exploding_gradient, run, Exploding).activations == activations
    assert code in assert_finds(exploding_gradient, run).actions[0].code.partition("#")[0]
