"""The facts about a run's training that diagnosers share, against hand-made runs."""

import math

import msgspec
import numpy
import pandas
import pytest

from gradaudit.audit.runner import analyze
from gradaudit.evidence.words.optimizers import rate_in_words
from gradaudit.reading.run import load
from gradaudit.schema import DataFacts, LossFacts, OptimizerFacts, TensorFacts
from gradaudit.signals.evaluation.validation import training_evaluation, validation
from gradaudit.signals.gradients.finiteness import diverged_before, non_finite_onset
from gradaudit.signals.layers.layers import comparable_layers, weight_layers
from gradaudit.signals.loss.constant_predictor import constant_loss, uniform_loss
from gradaudit.signals.loss.progress import divergence, epochs, not_learning
from gradaudit.signals.loss.training_loss import adversarial, training_loss
from gradaudit.signals.updates.learning_rates import peak_rates, recorded_learning_rates
from gradaudit.signals.updates.ratios import (
    last_half,
    median_update_ratio,
    step_weights,
    update_ratio,
    window,
)
from tests.build import build_run, linear_stack, write_table
from tests.diagnosers.runs import TEN, falling, flat, healthy


def two_optimizers(path, first, second, function="binary_cross_entropy_with_logits", *, shared=False):
    """Two optimizers that take turns; `shared`: the second steps on the first one's backward pass."""
    facts = LossFacts(id=0, function=function, classes=10 if function == "cross_entropy" else 0)
    run = build_run(path, loss=first, facts=facts)
    frames = []
    for optimizer, loss in enumerate((first, second)):
        frame = run.steps.copy()
        frame["optimizer"], frame["global_step"] = optimizer, 2 * frame["step"] + optimizer
        frame["mean_loss"] = frame["objective"] = loss
        if shared and optimizer:
            frame["mean_loss"] = frame["objective"] = numpy.nan
            frame["loss"], frame["micro_steps"] = -1, 0
        frames.append(frame)
    write_table(path / "rank00000", "steps", pandas.concat(frames))
    meta = msgspec.structs.replace(run.meta, optimizers=[OptimizerFacts(id=i, optimizer_class="Adam") for i in (0, 1)])
    (path / "run.json").write_bytes(msgspec.json.encode(meta))
    return load(path)


def test_two_sides_of_a_game_are_told_from_two_optimizers_of_one_loss(tmp_path):
    random = numpy.random.default_rng(0)
    a, b = 0.7 + 0.1 * random.random(100), 0.9 + 0.1 * random.random(100)
    assert adversarial(two_optimizers(tmp_path / "gan", a, b))
    assert not adversarial(two_optimizers(tmp_path / "muon and adam", a, a))
    assert not adversarial(two_optimizers(tmp_path / "shared", a, a, shared=True))
    game = training_loss(two_optimizers(tmp_path / "again", a, b).trainings[0])
    assert "adversarial" in game.not_interpretable
    likelihood = training_loss(two_optimizers(tmp_path / "likelihoods", a, b, "cross_entropy").trainings[0])
    assert not likelihood.not_interpretable


def test_an_optimizer_that_shares_a_backward_pass_shares_its_loss(tmp_path):
    run = two_optimizers(tmp_path / "run", falling(100), falling(100), "cross_entropy", shared=True)
    assert numpy.allclose(training_loss(run.trainings[1]).values, training_loss(run.trainings[0]).values)


def test_the_start_and_the_end_of_a_loss(tmp_path):
    loss = training_loss(build_run(tmp_path / "run", loss=numpy.linspace(10, 0.1, 100), facts=TEN).trainings[0])
    assert loss.first == 10
    assert loss.last == pytest.approx(numpy.linspace(10, 0.1, 100)[-10:].mean())
    assert loss.improvement == pytest.approx(1 - loss.last / 10)
    assert loss.kind == "classification"
    assert loss.not_interpretable == ""


def test_even_guesses():
    assert uniform_loss(LossFacts(id=0, function="cross_entropy", classes=50257), "classification") == math.log(50257)
    assert uniform_loss(LossFacts(id=0, function="binary_cross_entropy"), "binary") == math.log(2)
    assert math.isnan(uniform_loss(LossFacts(id=0, function="mse_loss"), "regression"))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [[], [1.0, 4.0, 10.0]])
def test_the_best_constant_predictor_is_a_minimum(smoothing, weights):
    """Against the loss of many constant predictors, computed as torch does: weighted, smoothed, averaged by weight."""
    counts = numpy.array([700, 200, 100])
    facts = LossFacts(
        id=0, function="cross_entropy", classes=3, label_counts=counts.tolist(), label_smoothing=smoothing,
        class_weights=weights, weighted=bool(weights),
    )  # fmt: skip
    best = constant_loss(facts, "classification")
    weight = numpy.asarray(weights or [1.0, 1.0, 1.0])
    random = numpy.random.default_rng(0)
    for predicted in random.dirichlet([1, 1, 1], size=2000):
        logs = -numpy.log(predicted)
        each = (1 - smoothing) * weight * logs + smoothing / 3 * (weight * logs).sum()
        total = (counts * each).sum() / (counts * weight).sum()
        # With weights torch smooths towards weighted classes; the bound may then be a little above its minimum.
        assert best <= total + (0.2 if weights and smoothing else 1e-9)


def test_the_smoothed_entropy_is_bounded_from_below_when_only_the_entropy_is_known():
    counts = [900, 50, 50]
    share = numpy.asarray(counts) / 1000
    entropy = float(-(share * numpy.log(share)).sum())
    known = LossFacts(id=0, function="cross_entropy", classes=3, label_smoothing=0.2, label_counts=counts)
    unknown = msgspec.structs.replace(known, label_counts=[], label_entropy=entropy)
    assert constant_loss(unknown, "classification") <= constant_loss(known, "classification")


def test_a_loss_that_falls_or_stays_does_not_diverge(tmp_path):
    assert divergence(build_run(tmp_path / "a", loss=falling(), facts=TEN).trainings[0]) is None
    assert divergence(build_run(tmp_path / "b", loss=flat(), facts=TEN).trainings[0]) is None


def test_a_noisy_batch_of_one_does_not_diverge(tmp_path):
    random = numpy.random.default_rng(0)
    facts = LossFacts(id=0, function="mse_loss", target_variance=1.0)
    loss = random.chisquare(1, 300)
    loss[0] = 1e-3
    assert divergence(build_run(tmp_path / "a", loss=loss, facts=facts, steps={"targets": 1}).trainings[0]) is None


def test_a_loss_that_leaves_diverges_where_it_leaves(tmp_path):
    loss = falling()
    loss[60:] = 9.0
    assert divergence(build_run(tmp_path / "a", loss=loss, facts=TEN).trainings[0]) == 62
    unknown = LossFacts(id=0, function="logged")
    assert divergence(build_run(tmp_path / "b", loss=loss, facts=unknown).trainings[0]) is None


def test_learning_nothing_needs_a_hundred_steps_and_known_labels(tmp_path):
    assert not_learning(build_run(tmp_path / "a", loss=flat(), facts=TEN).trainings[0])
    assert not not_learning(build_run(tmp_path / "b", loss=flat(99), facts=TEN).trainings[0])
    assert not not_learning(build_run(tmp_path / "c", loss=falling(), facts=TEN).trainings[0])
    unknown = LossFacts(id=0, function="huber_loss")
    assert not not_learning(build_run(tmp_path / "d", loss=flat(), facts=unknown).trainings[0])


def test_epochs_are_counted_in_micro_steps(tmp_path):
    data = DataFacts(batches_per_epoch=50)
    assert epochs(build_run(tmp_path / "a", loss=falling(100), data=data, steps={"micro_steps": 4}).trainings[0]) == 8
    assert math.isnan(epochs(build_run(tmp_path / "b", loss=falling(100)).trainings[0]))


def test_which_tensors_are_weight_layers(tmp_path):
    def tensor(index, module_class, shape, role="weight", **more):
        return TensorFacts(id=index, name=f"t{index}", role=role, module_class=module_class, shape=shape, depth=index,
                           **{"optimizer": 0, **more})  # fmt: skip

    tensors = [
        tensor(0, "Embedding", [9, 4], role="embedding"),
        tensor(1, "Linear", [4, 4]),
        tensor(2, "Linear", [4], role="bias"),
        tensor(3, "LSTM", [16, 4]),
        tensor(4, "VisionTransformer", [1, 5, 4]),  # a learned position, no layer
        tensor(5, "Conv2d", [4, 4, 3, 3], requires_grad=False),
        tensor(6, "Conv2d", [4, 4, 3, 3], optimizer=-1),
        tensor(7, "Linear", [1, 1]),
    ]
    run = build_run(tmp_path / "a", loss=falling(20), tensors=tensors)
    assert numpy.flatnonzero(weight_layers(run.trainings[0])).tolist() == [1, 3]
    own = [tensor(0, "MyLayer", [4, 4]), tensor(1, "MyLayer", [4], role="bias")]
    assert weight_layers(build_run(tmp_path / "b", loss=falling(20), tensors=own).trainings[0]).tolist() == [
        True,
        False,
    ]


def test_sparse_layers_are_not_compared(tmp_path):
    gradient = numpy.full((100, 8), 0.1)
    gradient[::2, 0] = 0.0
    run = build_run(tmp_path / "a", loss=falling(100), stats={"gradient_norm": gradient})
    assert numpy.flatnonzero(comparable_layers(run.trainings[0])).tolist() == [2, 4, 6]


def test_ratios_are_unknown_where_they_are_meaningless(tmp_path):
    weight = numpy.ones((4, 8))
    weight[0], weight[1] = 0.0, math.inf
    run = build_run(tmp_path / "a", loss=falling(4), stats={"weight_norm": weight, "update_norm": 0.5})
    assert numpy.isnan(update_ratio(run.trainings[0])[:2]).all()
    assert (update_ratio(run.trainings[0])[2:] == 0.5).all()


def test_the_typical_update_leaves_out_what_shrank(tmp_path):
    weight = numpy.ones((10, 8))
    weight[5:] = 0.1
    run = build_run(tmp_path / "a", loss=falling(10), stats={"weight_norm": weight, "update_norm": 0.01})
    assert median_update_ratio(run.trainings[0])[:5].tolist() == pytest.approx([0.01] * 5)
    assert numpy.isnan(median_update_ratio(run.trainings[0])[5:]).all()


def test_thinned_records_stand_for_the_steps_up_to_the_next(tmp_path):
    run = build_run(tmp_path / "a", loss=falling(40), recorded=[0, 1, 2, 10, 20, 36])
    assert step_weights(run.trainings[0]).tolist() == [1, 1, 8, 10, 16, 16]
    assert window(run.trainings[0], 2, 10).tolist() == [False, False, True, True, False, False]
    assert last_half(run.trainings[0]).tolist() == [False, False, False, False, True, True]


def test_recorded_steps_are_placed_on_the_common_clock(tmp_path):
    run = two_optimizers(tmp_path / "run", falling(10), falling(10))
    assert run.trainings[0].recorded_global_steps.tolist() == list(range(0, 20, 2))


def test_learning_rates_by_group_and_by_tensor(tmp_path):
    tensors = [msgspec.structs.replace(tensor, group=tensor.id % 2) for tensor in linear_stack(depth=1)]
    rates = [[0.1, 0.5], [0.2, 0.5], [0.05, 0.5]]
    run = build_run(tmp_path / "a", loss=falling(3), tensors=tensors, steps={"learning_rate": rates}, recorded=[0, 2])
    assert run.trainings[0].learning_rates == pytest.approx(numpy.asarray(rates))
    assert peak_rates(run.trainings[0]) == pytest.approx([0.2, 0.5])
    assert recorded_learning_rates(run.trainings[0]) == pytest.approx(numpy.array([[0.1, 0.5], [0.05, 0.5]]))
    assert rate_in_words(peak_rates(run.trainings[0])) == "0.2 and 0.5", "a range would read as a schedule"
    assert rate_in_words(numpy.asarray([0.1, 0.1])) == "0.1"
    assert rate_in_words(numpy.geomspace(1e-5, 1e-2, 4)) == "1e-5 to 0.01 by group"


def test_the_held_out_split_goes_by_its_name_or_by_being_alone(tmp_path):
    def run_with(name, *splits):
        evaluations = [(step, split, 1.0) for step in range(3) for split in splits]
        return build_run(tmp_path / name, loss=falling(5), evaluations=evaluations)

    def held_out(name, *splits):
        found = validation(run_with(name, *splits))
        return found.split if found else None

    assert held_out("a", "train", "validation", "test") == "validation"
    assert held_out("b", "train", "test") == "test"
    assert held_out("c", "train", "evaluation") == "evaluation"
    assert held_out("d", "evaluation", "evaluation 2") is None
    assert held_out("e", "train") is None
    train = training_evaluation(run_with("f", "train", "validation"))
    assert train is not None
    assert train.steps.tolist() == [0, 1, 2]


def test_a_breakdown_of_a_finite_run_is_none(tmp_path):
    assert non_finite_onset(healthy(tmp_path).trainings[0]) is None


def test_a_breakdown_that_the_scaler_skipped_is_none(tmp_path):
    bad = numpy.zeros((20, 8))
    bad[7] = 1
    skipped = numpy.arange(20) == 7
    run = build_run(tmp_path / "a", loss=falling(20), stats={"gradient_inf": bad}, steps={"skipped": skipped})
    assert non_finite_onset(run.trainings[0]) is None


def test_a_breakdown_knows_how_it_came_about(tmp_path):
    loss = flat(40)
    loss[20:] = math.nan
    calm = non_finite_onset(build_run(tmp_path / "a", loss=loss).trainings[0])
    assert calm is not None
    assert (calm.step, calm.where, calm.what, calm.recovered) == (20, "loss", "NaN", False)
    assert not diverged_before(calm)
    loss[12:20] = 40.0
    wild = non_finite_onset(build_run(tmp_path / "b", loss=loss).trainings[0])
    assert wild is not None
    assert diverged_before(wild)


def test_the_folds_of_a_cross_validation_are_not_one_curve(tmp_path):
    run = build_run(tmp_path / "run", loss=falling(100))
    frame, held_out = run.steps.copy(), []
    frame["optimizer"] = frame["global_step"] // 50
    frame["step"] = frame["global_step"] % 50
    for step in range(5, 100, 10):
        held_out.append({"pass": len(held_out), "split": "validation", "after_step": step, "mean_loss": 1.0})
    write_table(tmp_path / "run" / "rank00000", "steps", frame)
    rows = pandas.DataFrame(held_out).assign(time=0.0, targets=9, batches=1, training=0, loss=0)
    write_table(tmp_path / "run" / "rank00000", "evaluations", rows)
    found = validation(load(tmp_path / "run"))
    assert found is not None
    assert found.steps.tolist() == [5, 15, 25, 35, 45]


def test_a_loss_inside_a_compiled_region_is_named_where_it_is_missed(tmp_path):
    run = build_run(tmp_path, loss=falling(150))
    steps = run.steps.copy()
    steps["mean_loss"], steps["loss"] = numpy.nan, -1
    told = "cross_entropy at train.py:12 is inside a compiled region and was not seen"
    write_table(tmp_path / "rank00000", "steps", steps)
    row = {"time": 0.1, "step": 0, "kind": "compiled", "message": told}
    write_table(tmp_path / "rank00000", "events", pandas.DataFrame([row]))
    assert training_loss(load(tmp_path).trainings[0]).not_interpretable == told
    outcome = {each.diagnoser: each for each in analyze(load(tmp_path)).outcomes}
    assert told in outcome["initial_loss_mismatch"].result.text
    assert told in outcome["overfitting"].result.text
