import msgspec
import numpy
import pytest

from gradaudit.diagnosers.output_head_growth import GrowingHead, NoFall, StableHead, output_head_growth
from gradaudit.findings import Severity
from gradaudit.schema import LossFacts
from gradaudit.signals.layers.output_head import output_head
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import HEALTHY_WITH, TEN, falling, healthy, loss_input, parameters
from tests.diagnosers.sick_weights import cooling
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_a_loss_that_settles_is_quiet(tmp_path):
    run = healthy(tmp_path, **HEALTHY_WITH["output_head_growth"])
    found = judged(output_head_growth, run, StableHead)
    assert (found.head, found.cooldown.head_growth) == ("layers.3.weight", 1.0)
    assert "layers.3.weight ends at 1.0 times its norm" in assert_clean(output_head_growth, run)


def test_a_head_that_grows_while_the_loss_falls_is_quiet(tmp_path):
    assert_clean(output_head_growth, cooling(tmp_path / "a", loss_rebound=-0.3))


def test_a_loss_that_climbs_by_less_than_its_noise_is_quiet(tmp_path):
    assert_clean(output_head_growth, cooling(tmp_path / "a", loss_rebound=0.01))


def test_a_head_that_stays_or_grows_with_all_layers_is_quiet(tmp_path):
    assert_clean(output_head_growth, cooling(tmp_path / "a", head=1.5))
    assert_clean(output_head_growth, cooling(tmp_path / "b", others=3.0))


def test_a_last_noisy_tenth_is_no_climb(tmp_path):
    at = numpy.arange(400)
    loss = numpy.where(at < 364, numpy.interp(at, [0, 363], [2.3, 1.0]), 1.3)
    run = cooling(tmp_path / "a")
    assert_finds(output_head_growth, run)
    quiet = build_run(
        tmp_path / "b", loss=loss, facts=TEN, tensors=parameters(6),
        stats={"weight_norm": run.trainings[0].matrix("weight_norm")},
        steps={"learning_rate": list(run.steps["learning_rate"])},
    )  # fmt: skip
    assert_clean(output_head_growth, quiet)


def test_a_constant_rate_and_one_that_falls_too_late_are_not_judged(tmp_path):
    assert_not_applicable(output_head_growth, cooling(tmp_path / "a", end=1.0))
    late = numpy.where(numpy.arange(400) < 360, 1e-3, 1e-5)
    late_fall = cooling(tmp_path / "b", rates=late)
    assert judged(output_head_growth, late_fall, NoFall)
    assert "does not fall to 50 % of its peak over 50 steps" in assert_not_applicable(output_head_growth, late_fall)


def test_one_wrong_step_is_no_peak(tmp_path):
    rates = 1e-3 * numpy.interp(numpy.arange(400), [0, 40, 399], [1.0, 1.0, 0.0])
    rates[395] = 5e-3
    assert_finds(output_head_growth, cooling(tmp_path / "a", rates=rates))


def test_unknown_losses_and_heads_that_start_at_zero_are_not_judged(tmp_path):
    assert_not_applicable(output_head_growth, cooling(tmp_path / "a", facts=LossFacts(id=0, function="logged")))
    norms = numpy.ones((400, 6))
    norms[0, -1] = 0.0
    reason = assert_not_applicable(output_head_growth, cooling(tmp_path / "b", stats={"weight_norm": norms}))
    assert "starts at zero" in reason


def test_weights_of_the_first_half_alone_say_nothing_of_the_end(tmp_path):
    run = cooling(tmp_path / "a", recorded=range(200), stats={"weight_norm": 1.0})
    assert_skipped(output_head_growth, run)


def test_a_head_that_grows_while_the_loss_climbs_is_a_note(tmp_path):
    samples = [loss_input(step, low=-4.0 if step <= 80 else -40.0) for step in range(0, 400, 5)]
    run = cooling(tmp_path / "a", samples=samples)
    found = judged(output_head_growth, run, GrowingHead)
    # The rate leaves 0.9 of its peak at step 76.
    assert found.cooldown.head_growth == pytest.approx(4 ** (323 / 359), rel=0.01)
    assert found.outputs == (4.0, 40.0)
    assert (found.head, found.grows_alone, found.classifies) == ("layers.5.weight", True, True)
    finding = assert_finds(output_head_growth, run, Severity.NOTE)
    assert finding.title == "Output layer norm keeps growing"
    assert finding.headline.startswith("The output layer grows 3.5 times while the learning rate falls, and the loss")
    assert finding.measures[0].value == found.cooldown.head_growth
    assert finding.span.first == pytest.approx(75, abs=2)
    assert finding.tensors == ["layers.5.weight"]
    assert "z-loss" in finding.actions[0].text
    assert "divergence" in finding.caused


def test_where_all_layers_grow_it_stands_above_nothing_worse(tmp_path):
    run = cooling(tmp_path / "a", others=2.0)
    assert not judged(output_head_growth, run, GrowingHead).grows_alone
    assert assert_finds(output_head_growth, run).caused == []


@pytest.mark.parametrize("scale", [1e-4, 1e4])
@pytest.mark.parametrize("every", [1, 4])
def test_scale_and_cadence_change_nothing(tmp_path, scale, every):
    run = cooling(tmp_path / "a")
    norms = run.trainings[0].matrix("weight_norm")
    again = build_run(
        tmp_path / "b", loss=scale * run.steps["mean_loss"].to_numpy(), tensors=parameters(6),
        facts=LossFacts(id=0, function="mse_loss", target_variance=scale), recorded=range(0, 400, every),
        stats={"weight_norm": scale * norms[::every]}, steps={"learning_rate": list(run.steps["learning_rate"])},
    )  # fmt: skip
    assert_finds(output_head_growth, again)


def test_the_head_is_the_weight_with_a_row_for_each_class(tmp_path):
    def of(path, shapes, roles, aliases=()):
        tensors = [
            msgspec.structs.replace(t, shape=shape, role=role, aliases=list(aliases) if role == "embedding" else [])
            for t, shape, role in zip(parameters(len(shapes)), shapes, roles, strict=True)
        ]
        return output_head(build_run(path, loss=falling(20), tensors=tensors, facts=TEN).trainings[0])

    weight = ["weight"] * 3
    assert of(tmp_path / "a", [[32, 8], [10, 32], [32, 32]], weight) == 1
    assert of(tmp_path / "b", [[32, 8], [32, 32], [7, 32]], weight) == 2
    table = ["embedding", "weight", "weight"]
    assert of(tmp_path / "c", [[10, 32], [32, 32], [32, 32]], table, ["head.weight"]) == 0
    assert of(tmp_path / "d", [[10, 32], [32, 32], [32, 32]], table) == 2
    assert of(tmp_path / "e", [[10, 32], [32, 32], [10, 32]], table) == 2
    assert output_head(build_run(tmp_path / "f", loss=falling(20), tensors=linear_stack(depth=0)).trainings[0]) is None
