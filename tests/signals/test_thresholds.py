"""A threshold that the user has set holds wherever its number is used."""

import dataclasses

import pytest

from gradaudit.signals.thresholds import threshold
from tests.build import build_run
from tests.diagnosers.runs import falling
from tests.signals.two_optimizers import two_optimizers

NAME = "divergence.doubled"


@pytest.mark.parametrize(
    ("given", "found"), [({}, 2.0), ({NAME: 3.0}, 3.0), ({NAME: 0.0}, 0.0), ({"divergence.worse": 3.0}, 2.0)]
)
def test_what_was_set_comes_before_the_default(tmp_path, given, found):
    run = dataclasses.replace(build_run(tmp_path / "a", loss=falling(20)), thresholds=given)
    assert threshold(run.trainings[0], NAME, 2.0) == found


def test_it_holds_for_every_training_of_the_run(tmp_path):
    run = dataclasses.replace(two_optimizers(tmp_path / "a", falling(20), falling(20)), thresholds={NAME: 3.0})
    assert [threshold(training, NAME, 2.0) for training in run.trainings] == [3.0, 3.0]
