import msgspec
import numpy
import pandas
import pytest

from gradaudit.diagnosers.non_finite import Finite, NonFinite, NonFiniteEvaluations, non_finite
from gradaudit.findings import Confidence, Severity
from gradaudit.reading.run import load
from gradaudit.schema import DisabledFacts, ModuleFacts
from gradaudit.signals.loss.odd_batch import Batch
from tests.build import build_run, write_table
from tests.diagnosers.runs import activation, falling, flat, healthy, loss_input, parameters
from tests.diagnosers.sick import diverged_before
from tests.diagnosers.verbs import assert_clean, assert_finds, judged

NAN, INF = float("nan"), float("inf")


def _gradient(steps: int, start: int, tensors: slice, kind: str = "gradient_nan") -> dict:
    bad = numpy.zeros((steps, 8))
    bad[start:, tensors] = 3
    return {kind: bad}


def test_a_finite_run_is_quiet_and_says_how_much_was_looked_at(tmp_path):
    run = healthy(tmp_path)
    found = judged(non_finite, run, Finite)
    assert (found.losses, found.tensors, found.recorded, found.skipped) == (200, 9, 200, 0)
    assert assert_clean(non_finite, run) == "200 losses and the gradients of 9 tensors at 200 steps are finite"


def test_a_missing_gradient_is_not_nan(tmp_path):
    stats = {"has_grad": False, **dict.fromkeys(("gradient_norm", "weight_norm", "update_norm", "drift_norm"), NAN)}
    assert_clean(non_finite, build_run(tmp_path / "x", loss=falling(), stats=stats))


def test_a_loss_that_was_never_seen_is_not_nan(tmp_path):
    unseen = {"mean_loss": NAN, "objective": NAN, "loss": -1, "micro_steps": 0}
    assert_clean(non_finite, build_run(tmp_path / "x", loss=falling(), steps=unseen))


def test_a_loss_that_rose_first_is_called_a_divergence(tmp_path):
    run = diverged_before(tmp_path / "x")
    found = judged(non_finite, run, NonFinite)
    assert (found.onset.where, found.onset.what, found.onset.step, found.last) == ("loss", "NaN", 50, 99)
    assert found.diverged
    assert found.onset.rise == pytest.approx(50 / 2.3, rel=0.05)
    finding = assert_finds(non_finite, run, Severity.CRITICAL)
    assert finding.title == "NaN loss from step 50"
    assert finding.headline == "The loss is NaN from step 50, and training goes on to step 99"
    assert finding.confidence is Confidence.CERTAIN
    assert finding.measures[1].value == found.onset.rise
    assert (finding.span.first, finding.span.last) == (50, 99)
    assert finding.actions[0].text == "Lower the learning rate from 0.001 to 1e-4"


def test_a_loss_out_of_the_blue_is_not(tmp_path):
    loss = flat(100)
    loss[50:] = INF
    run = build_run(tmp_path / "x", loss=loss)
    found = judged(non_finite, run, NonFinite)
    assert (found.onset.where, found.onset.what, found.onset.step) == ("loss", "infinite", 50)
    assert not found.diverged
    assert found.loss_before == pytest.approx(numpy.median(loss[40:50]))
    finding = assert_finds(non_finite, run, Severity.CRITICAL)
    assert finding.span.first == 50
    # The forward pass broke: anomaly detection would name the first function of the backward, the end of the model.
    assert finding.actions[0].code == "gradaudit record --closely 48:50 train.py"
    assert finding.actions[1].text.startswith("Find the first module whose output is not finite, at step 50")
    assert "register_forward_hook" in finding.actions[1].code
    assert "set_detect_anomaly" not in str(finding.actions)


def test_a_gradient_that_breaks_under_a_finite_loss_points_at_the_backward_pass(tmp_path):
    loss = flat(100)
    loss[51:] = NAN
    run = build_run(tmp_path / "x", loss=loss, stats=_gradient(100, 50, slice(0, 4)))
    onset = judged(non_finite, run, NonFinite).onset
    assert (onset.where, onset.what, onset.step, onset.loss_finite) == ("gradient", "NaN", 50, True)
    finding = assert_finds(non_finite, run, Severity.CRITICAL)
    assert finding.tensors == ["layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"]
    assert finding.headline.startswith("The gradient of layers.0.weight is NaN from step 50")
    assert finding.actions[0].code == "gradaudit record --closely 48:50 train.py"
    assert "set_detect_anomaly" in finding.actions[1].code
    assert "layers.1.bias" in finding.actions[2].text, "the deepest one: the break is in or behind it"


def test_weights_that_a_step_made_infinite_are_found(tmp_path):
    weight = numpy.ones((100, 8))
    weight[60:, 2] = INF
    run = build_run(tmp_path / "x", loss=falling(100), stats={"weight_norm": weight})
    found = judged(non_finite, run, NonFinite)
    assert (found.onset.where, found.onset.what, found.onset.step, found.at_start) == ("weight", "infinite", 60, False)
    assert found.onset.tensors == ("layers.1.weight",)
    assert assert_finds(non_finite, run).title == "Infinite weights from step 60"


def test_long_names_leave_the_headline_short(tmp_path):
    tensors = [msgspec.structs.replace(t, name=f"{'encoder.' * 9}{t.id}.weight") for t in parameters(8)]
    gradient = _gradient(100, 50, slice(0, 4))
    finding = assert_finds(non_finite, build_run(tmp_path / "x", loss=falling(100), tensors=tensors, stats=gradient))
    assert len(finding.headline) <= 110
    assert finding.headline.startswith("A gradient is NaN")
    assert finding.tensors[0] in finding.explanation


def test_a_nan_loss_of_a_batch_without_targets_is_a_warning_that_says_so(tmp_path):
    loss = falling(100)
    loss[40] = NAN
    targets, ignored = numpy.full(100, 32), numpy.zeros(100)
    targets[40], ignored[40] = 0, 32
    run = build_run(tmp_path / "x", loss=loss, steps={"targets": targets, "ignored_targets": ignored})
    found = judged(non_finite, run, NonFinite)
    assert (found.onset.step, found.onset.recovered, found.batch.odd) == (40, True, "all ignored")
    finding = assert_finds(non_finite, run, Severity.WARNING)
    assert finding.title == "NaN loss at step 40"
    assert finding.headline == "The loss is NaN at step 40, where all targets are ignored"


def test_a_nan_between_recorded_steps_is_placed_by_the_loss(tmp_path):
    loss = flat(200)
    loss[101:] = NAN
    recorded = [*range(100), 132, 164, 196]
    stats = {"gradient_nan": numpy.where(numpy.asarray(recorded) > 100, 5, 0)[:, None]}
    run = build_run(tmp_path / "x", loss=loss, recorded=recorded, stats=stats)
    onset = judged(non_finite, run, NonFinite).onset
    assert (onset.step, onset.tensors_step, len(onset.tensors)) == (101, 132, 8)
    finding = assert_finds(non_finite, run)
    assert finding.span.first == 101
    assert "8 of 8 tensors are affected at step 132" in finding.explanation


def test_a_held_out_loss_that_is_nan_while_training_is_finite_is_a_warning(tmp_path):
    evaluations = [(0, "validation", 2.3), (50, "validation", NAN), (99, "validation", 1.0)]
    run = build_run(tmp_path / "x", loss=falling(100), evaluations=evaluations)
    found = judged(non_finite, run, NonFiniteEvaluations)
    assert (found.split, found.steps, found.evaluations) == ("validation", (50,), 3)
    finding = assert_finds(non_finite, run, Severity.WARNING)
    assert finding.title == "Non-finite validation loss"
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


def _broken_batch(path, **row):
    """NaN from step 60 on, at which the batch is another one than the 32 examples of the others."""
    loss = flat(100)
    loss[60:] = NAN
    columns = {name: numpy.full(100, 32) for name in ("batch_size", "targets")} | {"ignored_targets": numpy.zeros(100)}
    for name, value in row.items():
        columns[name][60] = value
    return build_run(path, loss=loss, steps=columns)


def test_a_batch_of_one_is_named(tmp_path):
    run = _broken_batch(tmp_path / "a", batch_size=1, targets=1)
    assert judged(non_finite, run, NonFinite).batch == Batch("one example", size=1, usual=32)
    finding = assert_finds(non_finite, run, Severity.CRITICAL)
    assert (
        finding.headline == "The loss is NaN from step 60, at a batch of one example, and training goes on to step 99"
    )
    assert finding.actions[0].text == "Do not normalise over a batch of one example"


def test_a_batch_of_none_and_a_small_one_are_told(tmp_path):
    none = _broken_batch(tmp_path / "a", batch_size=0, targets=0)
    assert judged(non_finite, none, NonFinite).batch == Batch("no example", size=0, usual=32)
    assert assert_finds(non_finite, none).headline.startswith("The loss is NaN from step 60, at a batch without")
    small = _broken_batch(tmp_path / "b", batch_size=5, targets=5)
    assert judged(non_finite, small, NonFinite).batch == Batch("small", size=5, usual=32)
    finding = assert_finds(non_finite, small)
    assert "That batch is the smallest so far: 5 examples, and 32 are usual." in finding.explanation
    assert "register_forward_hook" in finding.actions[1].code
    usual = _broken_batch(tmp_path / "c")
    assert judged(non_finite, usual, NonFinite).batch == Batch("", size=32, usual=32)
    assert "batch" not in assert_finds(non_finite, usual).explanation


def test_a_batch_of_one_is_not_blamed_for_a_divergence(tmp_path):
    run = diverged_before(tmp_path / "x")
    sizes = numpy.where(numpy.arange(100) == 50, 1, 32)
    frame = run.steps.assign(batch_size=sizes, targets=sizes)
    write_table(tmp_path / "x" / "rank00000", "steps", frame)
    found = judged(non_finite, load(tmp_path / "x"), NonFinite)
    assert found.diverged
    assert found.batch == Batch()


def test_a_weight_that_was_broken_before_the_first_step_is_named(tmp_path):
    """Loss and gradients are NaN as well: what no step made broke first."""
    weight, gradient = numpy.ones((50, 8)), numpy.zeros((50, 8))
    weight[:, 2], gradient[:, 2:] = NAN, 4
    stats = {"weight_norm": weight, "gradient_nan": gradient, "update_norm": numpy.where(weight == 1, 1e-3, NAN)}
    run = build_run(tmp_path / "x", loss=numpy.full(50, NAN), stats=stats)
    found = judged(non_finite, run, NonFinite)
    assert (found.onset.where, found.onset.what, found.at_start) == ("weight", "NaN", True)
    assert found.onset.tensors == ("layers.1.weight",)
    finding = assert_finds(non_finite, run)
    assert finding.title == "NaN weights before training"
    assert (
        finding.headline == "The weight layers.1.weight is NaN before the first step, and training goes on to step 49"
    )
    assert "initialised" in finding.actions[0].text


def test_a_loss_that_is_nan_at_every_step_was_seen(tmp_path):
    run = build_run(tmp_path / "x", loss=numpy.full(20, NAN), stats={"gradient_nan": 3})
    found = judged(non_finite, run, NonFinite)
    assert (found.onset.where, found.onset.step, found.last) == ("loss", 0, 19)
    assert not found.onset.loss_finite
    assert "still finite" not in assert_finds(non_finite, run).explanation


def test_an_objective_that_the_recorder_lost_is_not_nan(tmp_path):
    loss = falling(100)
    objective = numpy.where(numpy.arange(100) < 40, loss, NAN)
    lost = [DisabledFacts(observer="objectives", reason="a fault", step=44)]
    assert_clean(non_finite, build_run(tmp_path / "x", loss=loss, steps={"objective": objective}, disabled=lost))


@pytest.mark.parametrize(("bad", "said"), [(320, "not finite, in 100 % of the elements"), (0, "was finite, as far as")])
def test_the_sampled_input_of_the_loss_tells_model_from_loss(tmp_path, bad, said):
    loss = flat(100)
    loss[60:] = NAN
    samples = [loss_input(step, nonfinite=bad if step == 60 else 0) for step in range(0, 100, 10)]
    finding = assert_finds(non_finite, build_run(tmp_path / "x", loss=loss, samples=samples))
    assert said in finding.explanation


def test_the_operation_of_a_close_look_is_named(tmp_path):
    loss = flat(100)
    loss[60:] = NAN
    run = build_run(tmp_path / "x", loss=loss)
    operation = {
        "name": "aten.log.default", "phase": "forward", "module": -1, "node": 4, "shape": [8], "dtype": "float32",
        "inf": 0, "largest": 1.0,
    }  # fmt: skip
    rows = [
        {**operation, "step": step, "operation": number, "nan": nan, "place": f"train.py:{7 + nan} in forward"}
        for step, number, nan in ((59, 0, 0), (60, 0, 0), (60, 1, 2))
    ]
    run.__dict__["operations"] = pandas.DataFrame(rows)
    found = judged(non_finite, run, NonFinite).operation
    assert (found.name, found.place, found.share) == ("log", "train.py:9 in forward", 0.25)
    finding = assert_finds(non_finite, run, Severity.CRITICAL)
    assert finding.actions[0].text == "Look at train.py:9 in forward: log is the first to give NaN values"


def test_a_recorded_module_that_broke_first_is_named(tmp_path):
    loss = flat(100)
    loss[60:] = NAN
    modules = [ModuleFacts(id=number, name=name, module_class="Tanh") for number, name in enumerate("abc")]
    samples = [activation(60, module=number, nonfinite=9 * (number > 0)) for number in (2, 1, 0)]
    run = build_run(tmp_path / "x", loss=loss, samples=samples, modules=modules)
    assert assert_finds(non_finite, run).actions[0].text == (
        "Look at b: it is the first module whose recorded output is not finite at step 60"
    )
