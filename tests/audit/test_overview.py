"""The overview says what happened: exact zero, NaN and absence apart, and nothing that the run does not hold."""

import math
from pathlib import Path
from typing import Any

import numpy
import pytest

from gradaudit.audit.overview import Overview, overview
from gradaudit.chart_data import Heatmap
from gradaudit.evidence.charts.heatmap import MOST_COLUMNS, MOST_ROWS
from gradaudit.report.charts.figures import Budget
from gradaudit.report.html.run_figures import layers_figure
from gradaudit.report.html.view import summary_facts
from gradaudit.schema import LossFacts, PrivateFacts, TensorFacts
from gradaudit.signals.gradients.gradient_scale import Track
from gradaudit.signals.loss.training_loss import training_loss
from tests.build import build_run, linear_stack


def look(path: Path, flagged: frozenset[str] = frozenset(), **run: Any) -> Overview:
    """The overview of a run that was built for the test."""
    return overview(build_run(path / "run", **{"loss": numpy.linspace(2.3, 1.0, 50), **run}), set(flagged))


def matrices(view: Overview) -> Heatmap:
    assert view.matrices is not None
    return view.matrices


def test_the_mean_loss_is_shown_where_one_was_seen(tmp_path: Path) -> None:
    view = look(tmp_path, steps={"objective": 64 * numpy.linspace(2.3, 1.0, 50)})
    assert view.loss[0].y[0] == pytest.approx(2.3)
    assert view.loss_name == "cross_entropy"
    assert view.first_loss == pytest.approx(2.3)


def test_the_objective_is_shown_where_no_loss_function_was_seen(tmp_path: Path) -> None:
    view = look(tmp_path, steps={"mean_loss": numpy.nan, "loss": -1, "objective": numpy.linspace(7, 5, 50)})
    assert view.loss[0].y[0] == pytest.approx(7)
    assert (view.loss_name, view.uniform, view.non_finite_losses) == ("objective", None, 0)


@pytest.mark.parametrize(
    ("facts", "expected", "words"),
    [
        (LossFacts(id=0, function="cross_entropy", classes=8192), math.log(8192), "ln(8,192) = 9.01"),
        (LossFacts(id=0, function="binary_cross_entropy_with_logits"), math.log(2), "ln(2) = 0.69"),
    ],
    ids=["classes", "binary"],
)
def test_a_classification_has_the_loss_of_a_uniform_guess(
    tmp_path: Path, facts: LossFacts, expected: float, words: str
) -> None:
    mark = look(tmp_path, facts=facts).uniform
    assert mark is not None
    assert mark.y == pytest.approx(expected, rel=1e-3)
    assert mark.label.startswith(words)


def test_a_regression_has_none(tmp_path: Path) -> None:
    assert look(tmp_path, facts=LossFacts(id=0, function="mse_loss")).uniform is None


def test_the_best_evaluation_is_that_of_the_validation_split(tmp_path: Path) -> None:
    values = [(-1, "validation", 2.4), (9, "validation", 1.5), (9, "train", 0.1), (19, "validation", 1.9)]
    view = look(tmp_path, evaluations=values)
    assert [series.name for series in view.evaluations] == ["validation", "train, evaluated"]
    assert view.evaluations[0].x == [0, 9, 19], "before the first step is step 0"
    assert view.best_evaluation is not None
    assert (view.best_evaluation.x, view.best_evaluation.y) == (9, 1.5)


@pytest.mark.parametrize(
    ("splits", "names", "validation"),
    [
        (["evaluation"], ["validation"], "validation"),
        (["dev", "train"], ["validation", "train, evaluated"], "validation"),
        (["test"], ["test"], "test"),
        (["evaluation", "evaluation 2"], ["unnamed split", "unnamed split 2"], ""),
        (["unknown"], ["unknown"], ""),
    ],
)
def test_no_curve_is_called_validation_that_may_be_another(
    tmp_path: Path, splits: list[str], names: list[str], validation: str
) -> None:
    view = look(tmp_path, evaluations=[(at, split, 3.0 - at / 20) for at in (9, 19, 29) for split in splits])
    assert [series.name for series in view.evaluations] == names
    assert view.validation == validation
    assert bool(view.best_evaluation) == bool(validation)
    assert bool(view.gap) <= bool(validation)


def test_there_is_no_best_among_splits_without_a_name(tmp_path: Path) -> None:
    values = [(at, split, 1.0 + at) for at in (9, 19) for split in ("train.py:10", "train.py:20")]
    assert look(tmp_path, evaluations=values).best_evaluation is None


def test_nan_losses_are_counted(tmp_path: Path) -> None:
    loss = numpy.linspace(2.3, 1.0, 50)
    loss[30:] = numpy.nan
    view = look(tmp_path, loss=loss)
    assert (view.non_finite_losses, view.first_non_finite, view.last_loss) == (20, 30, None)
    assert view.last_non_finite == "NaN"
    assert summary_facts(view)[0].value == "2.30 → NaN"
    assert view.loss[0].y[40] is None


@pytest.mark.parametrize(("last", "word"), [(1.0, ""), (numpy.inf, "Inf"), (-numpy.inf, "-Inf")])
def test_what_training_ends_in_has_a_name(tmp_path: Path, last: float, word: str) -> None:
    loss = numpy.linspace(2.3, 1.0, 50)
    loss[20] = numpy.nan
    loss[-1] = last
    view = look(tmp_path, loss=loss)
    assert view.last_non_finite == word
    assert summary_facts(view)[0].value.endswith(f"→ {word or '1.05'}")


def test_groups_with_one_learning_rate_are_one_line(tmp_path: Path) -> None:
    rates = [[0.1 * i, 0.2, 0.1 * i, 0.1 * i] for i in range(50)]
    view = look(tmp_path, steps={"learning_rate": rates})
    assert [series.name for series in view.learning_rate] == ["groups 0, 2–3", "group 1"]


def test_clipping_by_value_is_no_threshold_of_the_norm(tmp_path: Path) -> None:
    assert look(tmp_path / "norm", steps={"clip_kind": 1, "clip_threshold": 0.5}).clip_threshold == 0.5
    assert look(tmp_path / "value", steps={"clip_kind": 2, "clip_threshold": 0.5}).clip_threshold is None


def test_zero_missing_nan_and_a_value_are_told_apart(tmp_path: Path) -> None:
    gradient = numpy.full((50, 8), 0.32)  # of a 32 x 32 matrix: 0.01 per element
    gradient[:, 2] = 0.0
    gradient[:, 4] = numpy.nan
    has = numpy.ones((50, 8), bool)
    has[:, 4] = False
    nan = numpy.zeros((50, 8), int)
    nan[17, 6] = 1  # once, in one element
    view = matrices(look(tmp_path, stats={"gradient_norm": gradient, "has_grad": has, "gradient_nan": nan}))
    assert view.rows == [f"layers.{i}.weight" for i in range(4)]
    assert view.values[0] == [-2.0] * 50
    assert (view.zero[0], view.bad[0]) == ([], [])
    assert view.zero[1] == view.zero[2] == list(range(50)), "a gradient of None is drawn as none"
    assert view.bad[3] == [17]
    assert view.values[3][16] == -2.0


def test_a_nan_of_one_step_survives_the_reduction(tmp_path: Path) -> None:
    nan = numpy.zeros((3000, 4), int)
    nan[1234, 0] = 1
    view = matrices(look(tmp_path, loss=numpy.ones(3000), tensors=linear_stack(2), stats={"gradient_nan": nan}))
    assert len(view.values[0]) == MOST_COLUMNS
    assert view.bad[0] == [1234 * MOST_COLUMNS // 3000]


def test_sparse_statistics_leave_no_holes(tmp_path: Path) -> None:
    recorded = [*range(100), *range(128, 2000, 64)]
    view = matrices(look(tmp_path, loss=numpy.ones(2000), recorded=recorded))
    assert (view.first_step, view.last_step) == (0, 2000)
    assert all(value is not None for value in view.values[0])


def test_tensors_are_split_by_their_dimensions(tmp_path: Path) -> None:
    view = look(tmp_path)
    assert view.vectors is not None
    assert [row.rpartition(".")[2] for row in view.vectors.rows] == ["bias"] * 4
    assert matrices(view).groups == [f"layers.{i}" for i in range(4)]


@pytest.mark.parametrize(
    "name", ["h.{block}.{i}.weight", "l{i}.weight", "a.{i}"], ids=["nested", "flat", "all in one module"]
)
def test_many_tensors_share_rows_and_flagged_ones_do_not(tmp_path: Path, name: str) -> None:
    names = [name.format(block=i // 12, i=i) for i in range(1200)]
    tensors = [
        TensorFacts(id=i, name=names[i], role="weight", shape=[2, 2], depth=i, optimizer=0, group=0)
        for i in range(1200)
    ]
    flagged = frozenset((names[3], names[777]))
    view = matrices(look(tmp_path, loss=numpy.ones(4), tensors=tensors, flagged=flagged))
    assert flagged <= set(view.rows)
    assert set(view.flagged) == flagged
    assert len(view.rows) == len(view.values) == len(view.groups) <= MOST_ROWS
    assert len(set(view.groups)) <= 18
    merged = [row for row in view.rows if "tensors)" in row]
    assert sum(int(row.rpartition("(")[2].split()[0]) for row in merged) + len(view.rows) - len(merged) == 1200


def test_everything_flagged_is_still_bounded(tmp_path: Path) -> None:
    tensors = [
        TensorFacts(id=i, name=f"l{i}.weight", role="weight", shape=[2, 2], depth=i, optimizer=0, group=0)
        for i in range(2000)
    ]
    names = frozenset(tensor.name for tensor in tensors)
    assert len(matrices(look(tmp_path, loss=numpy.ones(3), tensors=tensors, flagged=names)).rows) <= MOST_ROWS


def test_the_table_holds_medians_of_the_last_half(tmp_path: Path) -> None:
    gradient = numpy.repeat(numpy.where(numpy.arange(50) < 25, 3.2, 0.32)[:, None], 8, axis=1)
    stats = {"gradient_norm": gradient, "update_norm": 2e-3, "weight_norm": 2.0}
    row = look(tmp_path, stats=stats, flagged=frozenset({"layers.0.weight"})).table[0]
    assert (row.name, row.elements, row.flagged) == ("layers.0.weight", 1024, True)
    assert (row.gradient_rms, row.update_ratio, row.weight_norm) == (0.01, 1e-3, 2.0)
    assert (row.spark[0], row.spark[-1]) == (-1.0, -2.0)
    assert len(row.spark) == 30


def test_a_weight_of_zero_has_no_ratio(tmp_path: Path) -> None:
    assert look(tmp_path, stats={"weight_norm": 0.0}).table[0].update_ratio is None


def test_facts_never_name_the_machine(tmp_path: Path) -> None:
    private = PrivateFacts(host="machine-7", user="ada", directory="/home/ada", command=["train.py"])
    words = " ".join(f"{key} {value}" for key, value in look(tmp_path, private=private).facts)
    assert "AdamW" in words
    assert not any(secret in words for secret in ("machine-7", "ada ", "/home", "train.py"))


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_tile_and_the_findings_end_in_one_loss(tmp_path: Path, steps: int) -> None:
    """Of a short run the last tenth is a step or two; both take at least five."""
    run = build_run(tmp_path / "run", loss=numpy.geomspace(8.0, 1.0, steps))
    assert overview(run, set()).last_loss == pytest.approx(training_loss(run.trainings[0]).last, rel=1e-3)


@pytest.mark.parametrize("steps", [1, 2])
def test_short_runs_have_an_overview(tmp_path: Path, steps: int) -> None:
    view = look(tmp_path, loss=numpy.ones(steps))
    assert view.steps == steps
    assert len(view.loss[0].y) == steps


def test_a_run_without_tensor_statistics_has_an_overview(tmp_path: Path) -> None:
    view = look(tmp_path, recorded=[])
    assert (view.matrices, view.vectors, view.table) == (None, None, [])


def test_two_optimizers_are_two_lines(tmp_path: Path) -> None:
    owner = numpy.arange(50) % 2
    view = look(tmp_path, steps={"optimizer": owner, "step": numpy.arange(50) // 2})
    assert [series.name for series in view.loss] == ["train, AdamW 0", "train, optimizer 1"]
    assert view.loss[1].x[0] == 1


def test_the_best_evaluation_is_judged_on_values_that_were_not_rounded(tmp_path: Path) -> None:
    values = [(-1, "validation", 2.4), (9, "validation", 1.50004), (19, "validation", 1.50001), (29, "validation", 1.6)]
    best = look(tmp_path, evaluations=values).best_evaluation
    assert best is not None
    assert (best.x, best.y) == (19, 1.50001)


def test_two_optimizers_have_a_pair_of_losses_each(tmp_path: Path) -> None:
    owner = numpy.arange(50) % 2
    loss = numpy.where(owner == 0, 5.0, 0.5)
    view = look(tmp_path, loss=loss, steps={"optimizer": owner, "step": numpy.arange(50) // 2})
    tiles = [(fact.name, fact.value) for fact in summary_facts(view)[:2]]
    assert tiles == [("Training loss, AdamW 0", "5.00 → 5.00"), ("Training loss, optimizer 1", "0.5 → 0.5")]
    assert (view.first_loss, view.last_loss) == (None, None), "the mean of two losses is nobody's"


def test_optimizers_that_share_a_backward_pass_share_its_loss(tmp_path: Path) -> None:
    owner = numpy.arange(50) % 2
    nothing = {"mean_loss": numpy.where(owner == 1, numpy.nan, 2.0), "loss": numpy.where(owner == 1, -1, 0)}
    nothing |= {"objective": nothing["mean_loss"], "micro_steps": 1 - owner}
    view = look(tmp_path, steps={"optimizer": owner, "step": numpy.arange(50) // 2, **nothing})
    assert [(one.optimizer, one.first, one.last) for one in view.ends] == [("", 2.0, 2.0)]


def test_the_tile_tells_the_update_of_the_median_layer_that_the_chart_draws(tmp_path: Path) -> None:
    update = numpy.full((50, 8), 1.0)
    update[:, [0, 2, 4, 6]] = [1e-3, 2e-3, 4e-3, 9e-3]  # of four layers: the middle lies between two
    update[:25] *= 100  # the first half
    view = look(tmp_path, stats={"update_norm": update, "weight_norm": 1.0})
    assert view.update_ratio == pytest.approx(3e-3)
    drawn = [y for series in view.layer_update_ratios if series.name.startswith("median") for y in series.y[25:]]
    assert set(drawn) == {view.update_ratio}
    assert "last half" in next(fact.note for fact in summary_facts(view) if fact.name == "Update / weight")


def test_the_last_half_is_of_the_steps_and_not_of_what_was_recorded(tmp_path: Path) -> None:
    recorded = [*range(30), 60, 90]
    update = numpy.where(numpy.asarray(recorded) < 50, 1e-2, 1e-3)[:, None] * numpy.ones((1, 8))
    view = look(tmp_path, loss=numpy.ones(100), recorded=recorded, stats={"update_norm": update, "weight_norm": 1.0})
    assert view.update_ratio == pytest.approx(1e-3)
    assert view.table[0].update_ratio == pytest.approx(1e-3)


def test_the_time_is_that_of_the_steps_without_what_came_before(tmp_path: Path) -> None:
    view = look(tmp_path, steps={"time": 10 + 0.5 * numpy.arange(50)})
    time = next(fact for fact in summary_facts(view) if fact.name == "Time")
    assert (time.value, time.note) == ("24.5 s", "first step to last; 2.00 steps per second")


def test_the_facts_name_the_learning_rates_of_a_schedule(tmp_path: Path) -> None:
    rates = [[1e-4 * (i + 1)] if i < 10 else [1e-3 * (50 - i) / 40] for i in range(50)]
    facts = dict(look(tmp_path, steps={"learning_rate": rates}).facts)
    assert "learning rate 1e-4 at the first step, 0.001 at most, 2.5e-5 at the last" in facts["Optimizer"]


def test_steps_that_a_scaler_skipped_unseen_are_told_under_the_heatmap(tmp_path: Path) -> None:
    skipped = numpy.arange(50) % 10 == 7
    recorded = [i for i in range(50) if i % 10 != 7 or i == 47]
    view = look(tmp_path, steps={"skipped": skipped}, recorded=recorded)
    assert view.skipped_unseen == 4
    figure = layers_figure(view, Budget())
    assert figure is not None
    assert "skipped 4 steps; no tensor was recorded there" in figure.caption


def test_a_step_of_another_optimizer_is_no_zero(tmp_path: Path) -> None:
    """Before the first step of its own a tensor is not recorded."""
    run = build_run(tmp_path / "run", loss=numpy.ones(2), recorded=[1])
    log, zero, bad = Track(run.trainings[0]).reduced(numpy.asarray([0.0, 1.0, 2.0]))
    assert numpy.isnan(log[0]).all()
    assert numpy.isfinite(log[1]).all()
    assert not zero.any()
    assert not bad.any()
