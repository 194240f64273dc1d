import numpy
import pytest

from gradaudit.chart_data import Lines
from gradaudit.diagnosers.overfitting import (
    GeneralisationGap,
    LossesTogether,
    Overfitting,
    TooFewEvaluations,
    overfitting,
)
from gradaudit.findings import Severity
from gradaudit.schema import DataFacts, LossFacts, ModuleFacts
from gradaudit.signals.evaluation.generalisation import EarlyStop, early_stop, shortest_patience
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, healthy
from tests.diagnosers.sick import apart, overfit, overfit_bumpy
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_skipped, judged


def with_evaluations(path, values, split="validation", every=20, loss=None, **changes):
    loss = numpy.linspace(2.3, 0.3, every * len(values)) if loss is None else loss
    evaluations = [(every * index, split, value) for index, value in enumerate(values)]
    return build_run(path, loss=loss, facts=TEN, evaluations=evaluations, **changes)


def test_losses_that_fall_together_are_quiet(tmp_path):
    run = healthy(tmp_path)
    found = judged(overfitting, run, LossesTogether)
    assert found.final == pytest.approx(numpy.median(found.losses.values[-3:]))
    assert_clean(overfitting, run)


def test_a_small_rise_is_quiet(tmp_path):
    assert_clean(overfitting, with_evaluations(tmp_path / "a", [2.3, 1.5, 1.0, 0.8, 0.85, 0.9, 0.9, 0.91]))


def test_a_rise_of_a_tiny_improvement_is_quiet(tmp_path):
    """A recommender that gains little loses a large share of that little, and 1 % of its loss."""
    assert_clean(overfitting, with_evaluations(tmp_path / "a", [0.70, 0.69, 0.675, 0.68, 0.68, 0.681, 0.68]))


def test_losses_that_rounding_leaves_of_zero_do_not_rise(tmp_path):
    """The divergence of a teacher from itself: -8.5e-10, then 7.6e-11, beside a training loss of 2.2."""
    values = [-8.5e-10, -8.4e-10, -8.5e-10, -3e-10, 1e-11, 7e-11, 7.5e-11, 7.6e-11, 7.6e-11, 7.6e-11]
    assert_clean(overfitting, with_evaluations(tmp_path / "a", values))
    assert_finds(overfitting, with_evaluations(tmp_path / "b", [value * 1e8 for value in values]))


def test_one_lucky_evaluation_is_not_the_level_that_was_reached(tmp_path):
    """A noisy validation loss around 0.40 whose best pass happened to be 0.33."""
    values = [0.60, 0.45, 0.40, 0.43, 0.33, 0.42, 0.40, 0.44, 0.39, 0.42, 0.41]
    assert_clean(overfitting, with_evaluations(tmp_path / "a", values))


def test_a_rise_within_the_noise_of_the_evaluations_is_quiet(tmp_path):
    """A validation set of 200 examples, evaluated late: the first evaluation is near the best already."""
    values = [0.380, 0.435, 0.348, 0.411, 0.388, 0.360, 0.406, 0.391, 0.631, 0.428, 0.437]
    loss = numpy.linspace(0.5, 0.25, 20 * len(values))
    assert_clean(overfitting, with_evaluations(tmp_path / "a", values, loss=loss))


def test_learning_by_heart_is_seen_through_noisy_evaluations(tmp_path):
    """Six evaluations of an LSTM whose training loss goes to 0.02."""
    loss = numpy.geomspace(0.8, 0.02, 6 * 40)
    values = [0.660, 0.613, 0.719, 0.681, 0.719, 1.080]
    assert_finds(overfitting, with_evaluations(tmp_path / "a", values, every=40, loss=loss), Severity.WARNING)


def test_one_bad_evaluation_at_the_end_is_quiet(tmp_path):
    assert_clean(overfitting, with_evaluations(tmp_path / "a", [2.3, 1.5, 1.0, 0.8, 0.81, 0.82, 2.0]))


def test_a_rise_of_both_losses_is_no_overfitting(tmp_path):
    loss = numpy.concatenate([numpy.linspace(2.3, 1.0, 80), numpy.linspace(1.0, 1.8, 80)])
    assert_clean(overfitting, with_evaluations(tmp_path / "a", [2.3, 1.8, 1.4, 1.0, 1.2, 1.4, 1.6, 1.8], loss=loss))


def test_a_gap_under_dropout_is_not_judged_by_the_running_loss(tmp_path):
    modules = [ModuleFacts(id=0, name="drop", module_class="Dropout", dropout=0.5)]
    values = [max(1.2, 2.3 - 0.1 * index) for index in range(20)]
    assert_clean(overfitting, with_evaluations(tmp_path / "a", values, modules=modules))


def test_mixup_keeps_the_running_loss_above_and_is_quiet(tmp_path):
    loss = numpy.linspace(2.3, 0.75, 400)
    assert_clean(overfitting, with_evaluations(tmp_path / "a", numpy.geomspace(2.3, 0.2, 20).tolist(), loss=loss))


@pytest.mark.parametrize(
    ("values", "end"),
    [
        ([2.3, 1.0, 1.02, 1.05], 0.1),  # near the best
        ([2.3, 1.0, 1.5, 1.2], 0.1),  # the last is not the highest
        ([2.3, 1.0, 1.5, 2.0], 0.9),  # the training loss is hardly below the best
        ([0.6, 0.05, 0.055, 0.06], 0.01),  # little of what was gained
        ([1.0, 0.9, 1.5], 0.1),  # one after the best
    ],
)
def test_few_evaluations_are_too_few_where_there_is_any_doubt(tmp_path, values, end):
    loss = numpy.linspace(2.3, end, 20 * len(values))
    loss[:20] = numpy.linspace(2.3, min(2.0, 3 * end), 20)
    loss[20:] = numpy.linspace(min(2.0, 1.3 * end), end, len(loss) - 20)
    run = with_evaluations(tmp_path / "a", values, loss=loss)
    assert judged(overfitting, run, TooFewEvaluations).finite == len(values)
    assert_skipped(overfitting, run)


def test_three_evaluations_are_enough_where_the_rise_is_beyond_doubt(tmp_path):
    """A character model on 90 names: the validation loss is above that of an untrained model from the start."""
    loss = numpy.geomspace(3.3, 0.67, 300)
    evaluations = [(99, "validation", 3.58), (199, "validation", 3.91), (299, "validation", 4.00)]
    run = build_run(tmp_path / "a", loss=loss, facts=TEN, evaluations=evaluations)
    finding = assert_finds(overfitting, run, Severity.WARNING)
    assert finding.title == "Overfitting without generalisation", "no better than always predicting the same"
    found = judged(overfitting, run, Overfitting)
    assert (found.losses.best, found.losses.best_step, found.losses.last_step) == (3.58, 99, 299)
    assert (found.rise.final, found.rise.later, found.rise.of_few) == (4.00, 2, True)
    assert "The best of 3 evaluations was at step 99 of 299; the last is 12 % above it." in finding.explanation
    assert {measure.option for measure in finding.measures} == {"rise", "few", "fell", ""}


def test_the_thresholds_of_few_evaluations_hold(tmp_path):
    evaluations = [(99, "validation", 1.5), (199, "validation", 1.6), (299, "validation", 1.9)]
    loss, modules = numpy.geomspace(2.3, 0.2, 300), [ModuleFacts(id=0, name="fc", module_class="Linear")]
    run = build_run(tmp_path / "a", loss=loss, facts=TEN, evaluations=evaluations, modules=modules)
    assert_finds(overfitting, run, Severity.WARNING)
    assert_skipped(overfitting, run, few=0.07)
    assert_skipped(overfitting, run, rise=0.6)


def test_a_last_test_is_no_second_validation(tmp_path):
    values = [2.3, 1.5, 1.0, 0.8, 1.0, 1.2, 1.4, 1.5]
    loss = numpy.linspace(2.3, 0.3, 160)
    for number, last in enumerate(("evaluation 2", "test", "unknown")):
        evaluations = [(20 * index + 19, "evaluation", value) for index, value in enumerate(values)]
        run = build_run(tmp_path / str(number), loss=loss, facts=TEN, evaluations=[*evaluations, (159, last, 0.2)])
        found = judged(overfitting, run, Overfitting)
        assert (found.losses.best, found.losses.best_step, found.rise.final) == (0.8, 79, 1.4), last
        assert_finds(overfitting, run, Severity.WARNING)


def test_splits_that_the_recorder_could_not_tell_apart_are_not_judged(tmp_path):
    run = with_evaluations(tmp_path / "a", [2.3, 1.5, 1.0, 0.8, 1.0, 1.2, 1.4, 1.5], split="unknown")
    assert "several sets of data may be evaluated at one place" in assert_skipped(overfitting, run)


def test_splits_that_cannot_be_told_apart_could_not_be_looked_at(tmp_path):
    evaluations = [(20 * i, split, 1.0) for i in range(8) for split in ("evaluation", "evaluation 2")]
    run = build_run(tmp_path / "run", loss=falling(), evaluations=evaluations)
    assert "evaluation, evaluation 2" in assert_skipped(overfitting, run)


def test_a_run_without_evaluations_could_not_be_looked_at(tmp_path):
    assert_skipped(overfitting, build_run(tmp_path / "run", loss=falling()))


def test_a_held_out_loss_that_turns_up_is_a_warning(tmp_path):
    run = overfit(tmp_path / "run")
    found = judged(overfitting, run, Overfitting)
    assert (found.losses.best, found.losses.best_step) == (pytest.approx(1.1), 200)
    assert found.rise.final == pytest.approx(1.55)
    finding = assert_finds(overfitting, run, Severity.WARNING)
    assert finding.title == "Overfitting since step 200"
    assert finding.headline == "The validation loss rises from 1.10 at step 200 to 1.55 while the training loss falls"
    assert (finding.span.first, finding.span.last) == (200, 399)
    (chart,) = finding.evidence
    assert isinstance(chart, Lines)
    assert chart.shade_from == 200
    (mark,) = chart.marks
    assert (mark.role, mark.x, mark.y) == ("best", 200, pytest.approx(1.1))
    assert [series.role for series in chart.series] == ["main", "evaluation"]


def test_it_says_when_to_have_stopped_and_what_that_saves(tmp_path):
    run = overfit(tmp_path / "run")
    assert judged(overfitting, run, Overfitting).stop == EarlyStop(patience=3, step=260, saved=pytest.approx(0.3475))
    finding = assert_finds(overfitting, run)
    assert finding.actions[0].text == "Keep the checkpoint of step 200: the best validation loss was there"
    assert finding.actions[1].text == (
        "Stop early: a patience of 3 evaluations would have ended the run at step 260, kept step 200 with 1.10 instead "
        "of the last 1.60, and saved 35 % of the run"
    )


def test_the_patience_it_proposes_reaches_the_best_evaluation(tmp_path):
    stop = judged(overfitting, overfit_bumpy(tmp_path / "run"), Overfitting).stop
    assert (stop.patience, stop.step) == (5, 240)


def test_the_only_split_that_is_not_training_is_the_held_out_one(tmp_path):
    values = [2.3, 1.5, 1.0, 0.8, 1.0, 1.2, 1.4, 1.5]
    found = judged(overfitting, with_evaluations(tmp_path / "a", values, split="evaluation"), Overfitting)
    assert (found.losses.split, found.losses.best_step) == ("validation", 60)


def test_a_gap_without_a_rise_is_a_note(tmp_path):
    run = apart(tmp_path / "run")
    found = judged(overfitting, run, GeneralisationGap)
    assert (found.final, found.distance) == (pytest.approx(1.2), pytest.approx(0.885, abs=1e-3))
    assert found.share == pytest.approx(0.885 / 2.3, rel=1e-2)
    finding = assert_finds(overfitting, run, Severity.NOTE)
    assert finding.title == "Generalisation gap"
    assert finding.headline == "The validation loss ends at 1.20, 0.885 above the training loss"


def test_a_gap_to_the_training_loss_in_evaluation_mode_is_a_note(tmp_path):
    held_out = [(20 * i, "validation", max(1.2, 2.3 - 0.1 * i)) for i in range(20)]
    train = [(20 * i, "train", max(0.3, 2.3 - 0.2 * i)) for i in range(20)]
    modules = [ModuleFacts(id=0, name="drop", module_class="Dropout", dropout=0.5)]
    run = build_run(
        tmp_path / "run", loss=numpy.full(400, 1.5), facts=TEN, evaluations=sorted(held_out + train), modules=modules
    )
    found = judged(overfitting, run, GeneralisationGap)
    assert found.share == pytest.approx(0.9 / 2.3, rel=1e-3)
    assert not found.losses.train.running
    assert "(training: evaluation mode)" in assert_finds(overfitting, run, Severity.NOTE).explanation


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_scaling_the_loss_changes_nothing(tmp_path, scale):
    for name, values in (
        ("sick", [2.3, 1.5, 1.0, 0.8, 1.0, 1.2, 1.4, 1.5]),
        ("quiet", [2.3, 1.5, 1.0, 0.8, 0.8, 0.79, 0.78, 0.78]),
    ):
        loss = scale * numpy.linspace(2.3, 0.3, 160)
        run = with_evaluations(tmp_path / name, [scale * value for value in values], loss=loss)
        if name == "sick":
            assert_finds(overfitting, run, Severity.WARNING)
        else:
            assert_clean(overfitting, run)


def test_early_stopping_ends_after_so_many_evaluations_without_a_better_one():
    values = numpy.array([5.0, 4.0, 4.1, 4.2, 3.0, 3.1, 3.2, 3.3])
    assert early_stop(values, patience=2) == 3
    assert early_stop(values, patience=3) == 7
    assert shortest_patience(values, least=1) == 3
    assert early_stop(numpy.array([3.0, 2.0, 1.0]), patience=2) == 2


def test_where_no_evaluation_beats_always_predicting_the_same_no_checkpoint_is_worth_keeping(tmp_path):
    evaluations = [(step, "validation", 2.4 + step / 200) for step in range(-1, 299, 30)]
    run = build_run(tmp_path / "a", loss=falling(300), evaluations=evaluations, facts=TEN)
    found = judged(overfitting, run, Overfitting)
    assert (found.losses.best, found.losses.best_step) == (pytest.approx(2.395), -1)
    assert found.constant == pytest.approx(numpy.log(10), abs=5e-3)
    finding = assert_finds(overfitting, run, Severity.WARNING)
    assert finding.title == "Overfitting without generalisation"
    assert "from 2.40 before the first step to" in finding.headline
    assert finding.actions[0].text.startswith("Find out first why nothing carries over")
    assert not any("Keep the checkpoint" in action.text or "patience" in action.text for action in finding.actions)
    assert "losses fall together" not in finding.evidence[0].caption


def _early(path, first, batches=20, rise=0.06, at=19):
    """A training loss that falls at once, and evaluations from step `at` on, which begin at `first` and rise."""
    loss = 2.3 * numpy.exp(-numpy.arange(400) / 60)
    evaluations = [(20 * i + at, "validation", first + rise * i) for i in range(20)]
    modules = [ModuleFacts(id=0, name="", module_class="Net")]
    data = DataFacts(batch_size=32, batches_per_epoch=batches)
    return build_run(path, loss=loss, facts=TEN, evaluations=evaluations, modules=modules, data=data)


def test_a_gap_of_the_first_evaluation_is_not_called_memorisation_first(tmp_path):
    run = _early(tmp_path / "a", 2.2)
    early = judged(overfitting, run, Overfitting).early
    assert early is not None
    assert (early.start, early.carried) == (pytest.approx(2.3, abs=0.1), pytest.approx(0.1 / 0.62, abs=0.1))
    finding = assert_finds(overfitting, run, Severity.WARNING)
    assert finding.title == "Train-validation gap from the start"
    assert finding.headline.startswith(
        "The validation loss is above the training loss from the start, and rises from 2.20"
    )
    assert finding.actions[0].text.startswith("Evaluate a part of the training data with the code of the evaluation")
    carried = judged(overfitting, _early(tmp_path / "b", 1.8), Overfitting)
    assert (carried.losses.best, carried.losses.best_step, carried.early) == (1.8, 19, None)
    level = assert_finds(overfitting, _early(tmp_path / "d", 2.2, rise=0.0), Severity.NOTE)
    assert level.title == "Train-validation gap from the start"
    assert level.headline.endswith(" above the training loss, and is above it from the start")
    never = assert_finds(overfitting, _early(tmp_path / "e", 1.0, at=-1), Severity.WARNING)
    assert never.title == "Overfitting from the start"
    late = judged(overfitting, _early(tmp_path / "c", 2.2, batches=5), Overfitting)
    assert (late.losses.best, late.early) == (2.2, None), "four epochs may be memorised"


def test_a_first_loss_near_zero_is_no_measure_for_a_gap(tmp_path):
    """A model that starts as the identity; its loss rises with the weight of another term."""
    loss = numpy.linspace(3e-4, 0.25, 400)
    evaluations = [(20 * i, "validation", float(loss[20 * i]) + 1e-3) for i in range(20)]
    modules = [ModuleFacts(id=0, name="", module_class="Net")]
    facts = LossFacts(id=0, function="mse_loss")
    run = build_run(tmp_path / "a", loss=loss, facts=facts, evaluations=evaluations, modules=modules)
    assert_clean(overfitting, run)
