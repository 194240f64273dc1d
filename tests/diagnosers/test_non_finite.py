import numpy
import pytest

from gradaudit.diagnosers.non_finite import non_finite
from gradaudit.findings import Confidence, Severity
from tests.build import build_run
from tests.diagnosers.runs import falling, flat, healthy
from tests.diagnosers.sick import ran_away
from tests.diagnosers.verbs import assert_clean, assert_finds

NAN, INF = float("nan"), float("inf")


def _gradient(steps: int, start: int, tensors: slice, kind: str = "gradient_nan") -> dict:
    bad = numpy.zeros((steps, 8))
    bad[start:, tensors] = 3
    return {kind: bad}


def test_a_finite_run_is_quiet_and_says_how_much_was_looked_at(tmp_path):
    measured = assert_clean(non_finite, healthy(tmp_path))
    assert measured == "200 losses and the gradients of 9 tensors at 200 steps are finite"


def test_a_missing_gradient_is_not_nan(tmp_path):
    stats = {"has_grad": False, **dict.fromkeys(("gradient_norm", "weight_norm", "update_norm", "drift_norm"), NAN)}
    assert_clean(non_finite, build_run(tmp_path / "x", loss=falling(), stats=stats))


def test_a_loss_that_was_never_seen_is_not_nan(tmp_path):
    unseen = {"mean_loss": NAN, "objective": NAN, "loss": -1, "micro_steps": 0}
    assert_clean(non_finite, build_run(tmp_path / "x", loss=falling(), steps=unseen))


def test_a_loss_that_rose_first_is_called_a_divergence(tmp_path):
    finding = assert_finds(non_finite, ran_away(tmp_path / "x"), Severity.CRITICAL)
    assert finding.headline == "The loss is NaN from step 50, and training goes on to step 99"
    assert finding.confidence is Confidence.CERTAIN
    assert "had already run away" in finding.seen
    assert (finding.span.first, finding.span.last) == (50, 99)
    assert finding.actions[0].text == "Lower the learning rate from 0.001 to 1e-4"


def test_a_loss_out_of_the_blue_is_not(tmp_path):
    loss = flat(100)
    loss[50:] = INF
    finding = assert_finds(non_finite, build_run(tmp_path / "x", loss=loss), Severity.CRITICAL)
    assert finding.headline.startswith("The loss is infinite from step 50")
    assert "out of the blue" in finding.seen
    assert "set_detect_anomaly" in finding.actions[0].code


def test_a_gradient_that_breaks_under_a_finite_loss_points_at_the_backward_pass(tmp_path):
    loss = flat(100)
    loss[51:] = NAN
    run = build_run(tmp_path / "x", loss=loss, stats=_gradient(100, 50, slice(0, 4)))
    finding = assert_finds(non_finite, run, Severity.CRITICAL)
    assert finding.headline.startswith("The gradient of layers.0.weight is NaN from step 50")
    assert "the loss is still finite and the gradient is not" in finding.seen
    assert "layers.1.bias" in finding.seen  # the deepest one that is affected: the break is in or behind it
    assert "layers.1.bias" in finding.actions[1].text
    assert finding.tensors == ["layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"]


def test_weights_that_a_step_made_infinite_are_found(tmp_path):
    weight = numpy.ones((100, 8))
    weight[60:, 2] = INF
    finding = assert_finds(non_finite, build_run(tmp_path / "x", loss=falling(100), stats={"weight_norm": weight}))
    assert finding.headline.startswith("The weight layers.1.weight is infinite from step 60")


def test_a_nan_loss_of_a_batch_without_targets_is_a_warning_that_says_so(tmp_path):
    loss = falling(100)
    loss[40] = NAN
    targets, ignored = numpy.full(100, 32), numpy.zeros(100)
    targets[40], ignored[40] = 0, 32
    run = build_run(tmp_path / "x", loss=loss, steps={"targets": targets, "ignored_targets": ignored})
    finding = assert_finds(non_finite, run, Severity.WARNING)
    assert finding.headline == "The loss is NaN at 1 step, first at step 40"
    assert "no valid target" in finding.seen


def test_a_nan_between_recorded_steps_is_placed_by_the_loss(tmp_path):
    loss = flat(200)
    loss[101:] = NAN
    recorded = [*range(100), 132, 164, 196]
    stats = {"gradient_nan": numpy.where(numpy.asarray(recorded) > 100, 5, 0)[:, None]}
    finding = assert_finds(non_finite, build_run(tmp_path / "x", loss=loss, recorded=recorded, stats=stats))
    assert finding.span.first == 101
    assert "8 of 8 tensors are affected at step 132" in finding.seen


def test_a_held_out_loss_that_is_nan_while_training_is_finite_is_a_warning(tmp_path):
    evaluations = [(0, "validation", 2.3), (50, "validation", NAN), (99, "validation", 1.0)]
    finding = assert_finds(
        non_finite, build_run(tmp_path / "x", loss=falling(100), evaluations=evaluations), Severity.WARNING
    )
    assert finding.headline == "The validation loss is NaN or infinite in 1 of 3 evaluations"


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_the_cause_does_not_depend_on_the_scale_of_the_loss(tmp_path, scale):
    plain, scaled = flat(100), flat(100)
    plain[50:] = scaled[50:] = NAN
    first = assert_finds(non_finite, build_run(tmp_path / "a", loss=plain))
    second = assert_finds(
        non_finite, build_run(tmp_path / "b", loss=scaled * scale, stats={"gradient_norm": 0.1 * scale})
    )
    assert first.headline == second.headline
    assert first.actions == second.actions
