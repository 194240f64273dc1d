"""Which split is judged, and what to do for more evaluations: those that came to nothing are not asked for again."""

import numpy
import pytest

from gradaudit.evidence.words.validation import more_evaluations
from gradaudit.reading.run import load
from gradaudit.signals.evaluation.validation import Evaluations, validation
from tests.build import build_run
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
