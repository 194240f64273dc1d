"""Which split is judged, and what to do for more evaluations: those that came to nothing are not asked for again."""

import numpy
import pandas
import pytest

from gradaudit.evidence.words.validation import more_evaluations
from gradaudit.reading.run import load
from gradaudit.signals.evaluation.validation import Evaluations, training_evaluation, validation
from tests.build import build_run, write_table
from tests.diagnosers.runs import falling

ALONG = range(9, 100, 10)  # evaluations while a training of 100 steps goes on


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ([1.0, 0.9], "evaluate at least 5 times during the run"),
        ([1.0, numpy.nan], "fix what non_finite reports, or evaluate at least 5 times during the run"),
    ],
)
def test_losses_that_are_not_finite_are_mended_first(losses, words):
    seen = Evaluations(split="validation", steps=numpy.arange(2), losses=numpy.asarray(losses), training=False)
    assert more_evaluations(seen, 5) == words


@pytest.mark.parametrize(
    ("splits", "chosen"),
    [
        ({"evaluation": ALONG, "evaluation 2": [99]}, ("evaluation", "validation")),
        ({"evaluation 2": ALONG, "evaluation": [-1]}, ("evaluation 2", "validation")),
        ({"evaluation": ALONG, "test": [99], "train": [99]}, ("evaluation", "validation")),
        ({"test": ALONG, "validation": [99]}, ("test", "test")),
        ({"val": ALONG, "test": ALONG}, ("val", "validation")),
        ({"validation": ALONG, "validation 2": ALONG}, ("validation", "validation")),
        ({"test": [99]}, ("test", "test")),
        ({"evaluation": ALONG, "evaluation 2": ALONG}, None),
        ({"evaluation": ALONG, "unknown": ALONG}, None),
        ({"evaluation": ALONG, "unknown": [99]}, ("evaluation", "validation")),
        ({"unknown": ALONG}, None),
        ({"unknown": ALONG, "train": ALONG}, None),
        ({"unknown": ALONG, "validation": ALONG}, ("validation", "validation")),
    ],
)
def test_the_split_that_is_judged_goes_along_with_the_training(tmp_path, splits, chosen):
    evaluations = sorted((step, split, 1.0) for split, steps in splits.items() for step in steps)
    found = validation(build_run(tmp_path / "run", loss=falling(100), evaluations=evaluations))
    assert (None if found is None else (found.split, found.name)) == chosen


def test_a_split_that_was_taken_back_is_none(tmp_path):
    """The recorder wrote a pass before it knew what its data was."""
    evaluations = sorted((step, split, 1.0) for split in ("validation", "evaluation") for step in ALONG)
    run = build_run(tmp_path / "run", loss=falling(100), evaluations=evaluations)
    frame = run.evaluations.copy()
    frame.loc[frame["split"] == "validation", ["batches", "targets"]] = 0
    frame.to_parquet(run.path / "rank00000" / "evaluations-000000.parquet", index=False)
    assert load(run.path).evaluations["split"].unique().tolist() == ["evaluation"]


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
