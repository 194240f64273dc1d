import msgspec
import numpy
import pytest

from gradaudit.diagnosers.gradient_growth import Growing, NoGrowth, gradient_growth
from gradaudit.findings import Severity
from gradaudit.schema import LossFacts, ModuleFacts
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, flat, healthy
from tests.diagnosers.sick_gradients import bursting, growing
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_skipped, judged

UNKNOWN = msgspec.structs.replace(TEN, function="logged")


def test_a_steady_norm_is_quiet(tmp_path):
    run = healthy(tmp_path)
    assert "is 1.0 times that of the second fifth" in assert_clean(gradient_growth, run)
    assert judged(gradient_growth, run, NoGrowth).growth.times == 1


def test_growth_while_the_loss_falls_is_quiet(tmp_path):
    """Features form: the norm of healthy runs grows 2 to 6 times."""
    run = growing(tmp_path / "a", loss=falling())
    assert judged(gradient_growth, run, NoGrowth).loss_falls
    assert_clean(gradient_growth, run)


def test_a_little_growth_is_quiet(tmp_path):
    assert_clean(gradient_growth, growing(tmp_path / "a", times=2.2))


def test_a_burst_at_the_end_is_no_trend(tmp_path):
    assert_clean(gradient_growth, bursting(tmp_path / "a"))


def test_a_critic_whose_gradient_grows_ninefold_is_quiet(tmp_path):
    assert_clean(gradient_growth, growing(tmp_path / "a", times=9.0, facts=UNKNOWN))


def test_unknown_norms_and_short_runs_cannot_be_judged(tmp_path):
    norms = numpy.where(numpy.arange(200) < 100, 1.0, numpy.nan)
    assert_skipped(gradient_growth, build_run(tmp_path / "a", loss=flat(), steps={"gradient_norm": norms}))
    assert_skipped(gradient_growth, build_run(tmp_path / "b", loss=flat(99)))


def test_growth_without_progress_is_a_warning(tmp_path):
    run = growing(tmp_path / "a")
    found = judged(gradient_growth, run, Growing)
    assert (found.growth.base, found.growth.last) == pytest.approx((1.12, 5.65), abs=0.01)
    assert (found.relative, found.objective, found.span.first) == (found.growth.times, None, 40)
    finding = assert_finds(gradient_growth, run, Severity.WARNING)
    assert finding.title == "Growing gradient norm"
    assert finding.headline == "The gradient norm grows 5.1 times, from 1.12 to 5.65, and the loss does not improve"
    assert finding.measures[0].value == found.growth.times == pytest.approx(5.06, abs=0.01)


def test_growth_of_an_unknown_loss_is_a_note(tmp_path):
    assert_finds(gradient_growth, growing(tmp_path / "a", times=30.0, facts=UNKNOWN), Severity.NOTE)


def test_an_unknown_objective_that_rises_with_it_is_a_warning(tmp_path):
    rising = numpy.geomspace(0.5, 50, 200)
    run = growing(tmp_path / "a", times=40, loss=rising, facts=UNKNOWN)
    found = judged(gradient_growth, run, Growing)
    assert (found.relative, found.span.first) == (found.growth.times, 0)
    assert found.objective.end / found.objective.start == pytest.approx(100 ** (160 / 199))
    assert found.objective.lowest > 0.9
    assert assert_finds(gradient_growth, run, Severity.WARNING).title == "Rising loss and gradient norm"
    signed = growing(tmp_path / "b", times=40, loss=rising - 1, facts=UNKNOWN)
    assert_finds(gradient_growth, signed, Severity.NOTE)


def test_an_unknown_objective_that_fell_before_it_rises_is_a_note(tmp_path):
    """The loss of a Q network grows with the returns."""
    learns = numpy.interp(numpy.arange(200), [0, 30, 199], [1.0, 0.2, 8.0])
    run = growing(tmp_path / "a", times=40, loss=learns, facts=UNKNOWN)
    assert judged(gradient_growth, run, Growing).objective is None
    finding = assert_finds(gradient_growth, run, Severity.NOTE)
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
    run = growing(tmp_path / "a", stats={"gradient_norm": gradient})
    assert judged(gradient_growth, run, Growing).layers == ("layers.1.weight",)
    assert assert_finds(gradient_growth, run).tensors == ["layers.1.weight"]


def test_weight_decay_is_blamed_only_where_layers_are_normalised_and_decay(tmp_path):
    def advised(path, decay, kind):
        modules = [ModuleFacts(id=0, name="norm", module_class=kind)]
        norm = numpy.geomspace(1, 6, 200)
        steps = {"gradient_norm": norm, "weight_decay": [[decay]] * 200}
        run = build_run(path, loss=flat(200, 1.2), facts=TEN, modules=modules, steps=steps)
        said = any("weight decay" in action.text for action in assert_finds(gradient_growth, run).actions)
        assert said == (judged(gradient_growth, run, Growing).weight_decay > 0)
        return judged(gradient_growth, run, Growing).weight_decay

    assert advised(tmp_path / "a", 0.8, "LayerNorm") == pytest.approx(0.8)
    assert advised(tmp_path / "b", 0.8, "Linear") == 0
    assert advised(tmp_path / "c", 0.0, "LayerNorm") == 0


def test_targets_that_move_make_it_a_note_whatever_the_loss_does(tmp_path):
    """The loss of an agent rises with the returns that it is trained towards."""
    parts = [[10, 1.0 + index, 0.1, 1.0, 0.1] for index in range(16)]
    facts = LossFacts(id=0, function="mse_loss", target_variance=1.0, target_parts=parts)
    loss = numpy.geomspace(0.1, 20, 200)
    finding = assert_finds(gradient_growth, growing(tmp_path / "a", 90.0, loss=loss, facts=facts), Severity.NOTE)
    assert "their mean goes from 2.50 to 14.5" in finding.explanation
    assert_clean(gradient_growth, growing(tmp_path / "b", 6.0, loss=loss, facts=facts))
    fixed = msgspec.structs.replace(facts, target_parts=[])
    assert_finds(gradient_growth, growing(tmp_path / "c", 6.0, loss=flat(200, 1.2), facts=fixed), Severity.WARNING)


def test_why_the_loss_tells_nothing_is_said_in_words(tmp_path):
    seen = assert_finds(gradient_growth, growing(tmp_path / "a", times=30.0, facts=UNKNOWN)).explanation
    assert "whether the model improves: what logged should start at and tend to is not known." in seen


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
        found = judged(gradient_growth, run, Growing)
        assert found.growth.times / found.relative == pytest.approx(1.9 / 1.1, rel=0.1)
        assert_finds(gradient_growth, run, Severity.NOTE)
