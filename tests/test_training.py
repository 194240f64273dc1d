"""A training, against the tables of its run as pandas has them; and that a signal is worked out once."""

import dataclasses
import gc
import weakref

import msgspec
import numpy
import pandas
import pytest

from gradaudit.audit.runner import analyze
from gradaudit.reading.run import Run, load
from gradaudit.schema import OptimizerFacts
from gradaudit.training import Training, signal
from tests.build import build_run, linear_stack, write_table
from tests.diagnosers.runs import falling

STEPS, EVERY = 24, 4  # steps of each optimizer, of which every fourth is recorded


@pytest.fixture
def two(tmp_path):
    """Two optimizers that take turns, by number 0 and 5; the second has one layer, two groups and no facts."""
    owner = [0, 0, 0, 0, 5, 5]
    tensors = [
        msgspec.structs.replace(tensor, optimizer=number, recorded_with=number, depth=20 - tensor.id)
        for tensor, number in zip(linear_stack(depth=3), owner, strict=True)
    ]
    run = build_run(tmp_path / "run", loss=falling(STEPS), tensors=tensors)
    frames = []
    for place, number in enumerate((0, 5)):
        rates = [[0.1 * step] if not place else [0.2] * (1 + (step > 9)) for step in range(STEPS)]
        frames.append(
            run.steps.assign(optimizer=number, global_step=2 * run.steps["step"] + place, learning_rate=rates)
        )
    write_table(run.path / "rank00000", "steps", pandas.concat(frames))
    statistics = pandas.DataFrame(
        {
            "optimizer": tensor.optimizer,
            "step": step,
            "tensor": tensor.id,
            "weight_norm": tensor.id + step / 100,
        }
        for step in range(0, STEPS, EVERY)
        for tensor in tensors
        if (step, tensor.id) != (8, 5)
    )
    write_table(run.path / "rank00000", "tensors", statistics)
    meta = msgspec.structs.replace(run.meta, optimizers=[OptimizerFacts(id=0, optimizer_class="SGD")])
    (run.path / "run.json").write_bytes(msgspec.json.encode(meta))
    return load(run.path), statistics


def test_each_optimizer_that_made_a_step_has_a_training(two):
    run, _ = two
    first, second = run.trainings
    assert (first.id, second.id) == (0, 5)
    assert run.trainings[0] is first
    assert first.optimizer is not None
    assert first.optimizer.optimizer_class == "SGD"
    assert second.optimizer is None
    assert first.run is run


def test_its_steps_are_those_of_the_table(two):
    run, _ = two
    for training in run.trainings:
        expected = run.steps[run.steps["optimizer"] == training.id].sort_values("step").reset_index(drop=True)
        pandas.testing.assert_frame_equal(training.steps, expected)
        assert len(training.steps) == STEPS


def test_its_tensors_come_in_the_order_of_their_depth(two):
    run, _ = two
    assert [[tensor.id for tensor in training.tensors] for training in run.trainings] == [[3, 2, 1, 0], [5, 4]]


def test_its_matrices_are_the_pivot_of_the_table(two):
    run, statistics = two
    for training in run.trainings:
        mine = statistics[statistics["optimizer"] == training.id]
        pivot = mine.pivot(index="step", columns="tensor", values="weight_norm")
        matrix = training.matrix("weight_norm")
        numpy.testing.assert_allclose(matrix, pivot[[t.id for t in training.tensors]].to_numpy(), rtol=1e-6)
        assert matrix.dtype == numpy.float64
        assert training.recorded.tolist() == pivot.index.tolist() == list(range(0, STEPS, EVERY))
    assert numpy.isnan(run.trainings[1].matrix("weight_norm")[2, 0])
    with pytest.raises(KeyError):
        run.trainings[0].matrix("weight")


def test_its_recorded_steps_have_a_place_among_those_of_all(two):
    run, _ = two
    for place, training in enumerate(run.trainings):
        assert training.recorded_global_steps.tolist() == [2 * s + place for s in range(0, STEPS, EVERY)]


def test_a_group_that_came_later_has_no_learning_rate_before(two):
    first, second = two[0].trainings
    assert first.learning_rates[:, 0] == pytest.approx(0.1 * numpy.arange(STEPS))
    assert second.learning_rates.shape == (STEPS, 2)
    assert numpy.isnan(second.learning_rates[:10, 1]).all()
    assert second.learning_rates[10:, 1] == pytest.approx(0.2)


def test_a_training_of_which_nothing_was_recorded(tmp_path):
    (training,) = build_run(tmp_path, loss=falling(5), recorded=[]).trainings
    assert training.recorded.tolist() == training.recorded_global_steps.tolist() == []
    assert training.matrix("weight_norm").shape == (0, len(training.tensors))


def test_the_frame_of_a_training_is_not_the_run_s(tmp_path):
    run = build_run(tmp_path, loss=falling(5))
    run.trainings[0].steps["mine"] = 1
    assert "mine" not in run.steps


def test_a_signal_is_worked_out_once_for_each_subject_and_arguments(tmp_path):
    calls = []

    @signal
    def costly(training: Training, times: int, *, more: int = 0) -> int:
        calls.append((training.id, times, more))
        return times * len(training.steps) + more

    @signal
    def as_a_whole(run: Run) -> int:
        calls.append(len(run.trainings))
        return len(run.steps)

    run, other = (build_run(tmp_path / name, loss=falling(5)) for name in "ab")
    (training,) = run.trainings
    assert [costly(training, 2), costly(training, 2), costly(training, 3)] == [10, 10, 15]
    assert costly(training, 2, more=1) == costly(training, 2, more=1) == 11
    assert costly(other.trainings[0], 2) == 10
    assert as_a_whole(run) == as_a_whole(run) == 5
    assert calls == [(0, 2, 0), (0, 3, 0), (0, 2, 1), (0, 2, 0), 1]


def test_a_signal_takes_the_arguments_of_its_function_only(tmp_path):
    @signal
    def costly(training: Training, times: int) -> int:
        return times

    (training,) = build_run(tmp_path, loss=falling(5)).trainings
    with pytest.raises(TypeError, match="missing 1 required"):
        costly(training)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unhashable"):
        costly(training, [1])  # type: ignore[arg-type]


def test_what_was_worked_out_goes_with_the_run(tmp_path):
    run = build_run(tmp_path, loss=falling(5))
    for training in run.trainings:
        assert len(training.steps) == training.matrix("weight_norm").shape[0] == 5
    grave = weakref.ref(run)
    del run, training
    gc.collect()
    assert grave() is None


def alive():
    """The runs and trainings that this process holds; not by isinstance, which asks lazy objects of torch."""
    return [thing for thing in gc.get_objects() if type(thing) in (Run, Training)]


def test_an_analysis_holds_no_run_when_it_is_done(tmp_path):
    run = build_run(tmp_path, loss=falling(200))
    gc.collect()
    before = alive()
    gc.disable()
    try:
        analyze(run)
        held = [thing for thing in alive() if not any(thing is one for one in before)]
    finally:
        gc.enable()
    assert held == []
    assert run.path == tmp_path


def test_an_analysis_keeps_the_patterns_that_a_run_has(tmp_path):
    frozen = {"update_norm": 0.0, "drift_norm": 0.0, "unchanged_fraction": 1.0}
    run = dataclasses.replace(build_run(tmp_path, loss=falling(200), stats=frozen), expected_frozen=("layers.*",))
    (kept,) = analyze(run, select=["frozen_parameter"]).outcomes
    (other,) = analyze(run, select=["frozen_parameter"], expected_frozen=["nothing"]).outcomes
    assert (kept.status, other.status) != ("found", "found")
    assert other.status == "found"
