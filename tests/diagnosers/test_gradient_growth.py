import msgspec
import numpy
import pytest

from gradaudit.diagnosers.gradient_growth import gradient_growth
from gradaudit.findings import Severity
from gradaudit.schema import LossFacts, ModuleFacts
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, flat, healthy
from tests.diagnosers.sick_gradients import bursting, growing
from tests.diagnosers.verbs import assert_clean, assert_could_not_look, assert_finds

UNKNOWN = msgspec.structs.replace(TEN, function="logged")


def test_a_steady_norm_is_quiet(tmp_path):
    assert "is 1.0 times that of the second fifth" in assert_clean(gradient_growth, healthy(tmp_path))


def test_growth_while_the_loss_falls_is_quiet(tmp_path):
    """Features form: the norm of healthy runs grows 2 to 6 times."""
    assert_clean(gradient_growth, growing(tmp_path / "a", loss=falling()))


def test_a_little_growth_is_quiet(tmp_path):
    assert_clean(gradient_growth, growing(tmp_path / "a", times=2.2))


def test_a_burst_at_the_end_is_no_trend(tmp_path):
    assert_clean(gradient_growth, bursting(tmp_path / "a"))


def test_a_critic_whose_gradient_grows_ninefold_is_quiet(tmp_path):
    assert_clean(gradient_growth, growing(tmp_path / "a", times=9.0, facts=UNKNOWN))


def test_unknown_norms_and_short_runs_cannot_be_judged(tmp_path):
    norms = numpy.where(numpy.arange(200) < 100, 1.0, numpy.nan)
    assert_could_not_look(gradient_growth, build_run(tmp_path / "a", loss=flat(), steps={"gradient_norm": norms}))
    assert_could_not_look(gradient_growth, build_run(tmp_path / "b", loss=flat(99)))


def test_growth_without_progress_is_a_warning(tmp_path):
    finding = assert_finds(gradient_growth, growing(tmp_path / "a"), Severity.WARNING)
    assert finding.title == "Growing gradient norm"
    assert finding.headline == "The gradient norm grows 5.1 times, from 1.12 to 5.65, and the loss does not improve"
    assert finding.measures[0].value == pytest.approx(5.06, abs=0.01)
    assert finding.span.first == 40


def test_growth_of_an_unknown_loss_is_a_note(tmp_path):
    assert_finds(gradient_growth, growing(tmp_path / "a", times=30.0, facts=UNKNOWN), Severity.NOTE)


def test_an_unknown_objective_that_rises_with_it_is_a_warning(tmp_path):
    rising = numpy.geomspace(0.5, 50, 200)
    finding = assert_finds(
        gradient_growth, growing(tmp_path / "a", times=40, loss=rising, facts=UNKNOWN), Severity.WARNING
    )
    assert finding.title == "Rising loss and gradient norm"
    assert finding.headline.endswith(", and the objective rises with it")
    signed = growing(tmp_path / "b", times=40, loss=rising - 1, facts=UNKNOWN)
    assert_finds(gradient_growth, signed, Severity.NOTE)


def test_an_unknown_objective_that_fell_before_it_rises_is_a_note(tmp_path):
    """The loss of a Q network grows with the returns."""
    learns = numpy.interp(numpy.arange(200), [0, 30, 199], [1.0, 0.2, 8.0])
    finding = assert_finds(
        gradient_growth, growing(tmp_path / "a", times=40, loss=learns, facts=UNKNOWN), Severity.NOTE
    )
    assert "worse" not in [measure.option for measure in finding.measures]


def test_what_makes_it_a_warning_is_measured(tmp_path):
    never_lower = numpy.interp(numpy.arange(200), [0, 30, 199], [1.0, 1.0, 8.0])
    finding = assert_finds(gradient_growth, growing(tmp_path / "a", times=40, loss=never_lower, facts=UNKNOWN))
    measure = next(measure for measure in finding.measures if measure.option == "worse")
    assert measure.value == pytest.approx(7.19, abs=0.005)
    assert (measure.comparison, measure.threshold, measure.decides) == (">", 2.0, "warning")


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_scaling_the_loss_changes_nothing(tmp_path, scale):
    norm = scale * numpy.geomspace(1, 10, 200)
    run = build_run(tmp_path / "a", loss=scale * flat(200, 1.2), steps={"gradient_norm": norm}, facts=TEN)
    assert_finds(gradient_growth, run, Severity.WARNING)


def test_only_layers_whose_gradient_grows_are_named(tmp_path):
    gradient = numpy.ones((200, 8))
    gradient[:, 2] = numpy.geomspace(1, 10, 200)
    gradient[:, 6] = numpy.geomspace(1, 1.1, 200)
    assert assert_finds(gradient_growth, growing(tmp_path / "a", stats={"gradient_norm": gradient})).tensors == [
        "layers.1.weight"
    ]


def test_weight_decay_is_blamed_only_where_layers_are_normalised_and_decay(tmp_path):
    def advised(path, decay, kind):
        modules = [ModuleFacts(id=0, name="norm", module_class=kind)]
        norm = numpy.geomspace(1, 6, 200)
        steps = {"gradient_norm": norm, "weight_decay": [[decay]] * 200}
        run = build_run(path, loss=flat(200, 1.2), facts=TEN, modules=modules, steps=steps)
        return any("weight decay" in action.text for action in assert_finds(gradient_growth, run).actions)

    assert advised(tmp_path / "a", 0.8, "LayerNorm")
    assert not advised(tmp_path / "b", 0.8, "Linear")
    assert not advised(tmp_path / "c", 0.0, "LayerNorm")


def test_targets_that_move_make_it_a_note_whatever_the_loss_does(tmp_path):
    """The loss of an agent rises with the returns that it is trained towards."""
    parts = [[10, 1.0 + index, 0.1, 1.0, 0.1] for index in range(16)]
    facts = LossFacts(id=0, function="mse_loss", target_variance=1.0, target_parts=parts)
    loss = numpy.geomspace(0.1, 20, 200)
    finding = assert_finds(gradient_growth, growing(tmp_path / "a", 90.0, loss=loss, facts=facts), Severity.NOTE)
    assert "their mean goes from 2.50 to 14.5" in finding.seen
    assert_clean(gradient_growth, growing(tmp_path / "b", 6.0, loss=loss, facts=facts))
    fixed = msgspec.structs.replace(facts, target_parts=[])
    assert_finds(gradient_growth, growing(tmp_path / "c", 6.0, loss=flat(200, 1.2), facts=fixed), Severity.WARNING)


@pytest.mark.parametrize(("last", "quiet"), [(10.0, True), (2.0, False)])
def test_a_gradient_that_grows_with_its_targets_is_quiet(tmp_path, last, quiet):
    """As of a healthy DQN: the returns go from 3 to 14, and the gradient of their error grows 14 times."""
    parts = [[10, float(size), 0.01, 0.1, 0.01] for size in numpy.linspace(1.0, last, 16)]
    facts = LossFacts(id=0, function="mse_loss", target_variance=1.0, target_parts=parts)
    norm = numpy.geomspace(0.1, 5, 200)
    run = build_run(tmp_path / "a", loss=falling(), facts=facts, steps={"gradient_norm": norm})
    if quiet:
        assert_clean(gradient_growth, run)
    else:
        assert_finds(gradient_growth, run, Severity.NOTE)
