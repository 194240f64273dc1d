"""What is special about one batch."""

import numpy
import pytest

from gradaudit.signals.loss.odd_batch import Batch, batch_at
from tests.build import build_run
from tests.diagnosers.runs import falling


@pytest.mark.parametrize(
    ("size", "targets", "ignored", "odd"),
    [(32, 32, 0, ""), (32, 0, 32, "all ignored"), (0, 0, 0, "no example"), (1, 1, 0, "one example"), (8, 8, 0, "small"),
     (9, 9, 0, "")],
)  # fmt: skip
def test_it_is_told_by_its_size_and_targets(tmp_path, size, targets, ignored, odd):
    columns = {name: numpy.full(100, value) for name, value in
               {"batch_size": 32, "targets": 32, "ignored_targets": 0}.items()}  # fmt: skip
    for name, value in zip(columns, (size, targets, ignored), strict=True):
        columns[name][60] = value
    (training,) = build_run(tmp_path / "a", loss=falling(100), steps=columns).trainings
    assert batch_at(training, 60) == Batch(odd, size, 32)
    assert batch_at(training, 1000) == Batch()
