"""The row of a step has the columns of its table, and one that nobody looked at holds what stands for unknown."""

import dataclasses
import math

from gradaudit.record.storage.step_record import StepRow
from gradaudit.schema import STEPS


def test_a_field_for_each_column_of_the_table():
    fields = [field.name for field in dataclasses.fields(StepRow)]
    assert fields == [column.name for column in STEPS.columns]


def test_what_nobody_looked_at_is_unknown():
    row = StepRow(optimizer=2, step=5, global_step=7, time=1.5, seconds=0.25)
    assert (row.optimizer, row.step, row.global_step, row.time, row.seconds) == (2, 5, 7, 1.5, 0.25)
    numbers = (row.objective, row.mean_loss, row.gradient_norm, row.clip_threshold, row.clipped_fraction, row.amp_scale)
    assert all(math.isnan(number) for number in numbers)
    assert (row.loss, row.training, row.stale) == (-1, -1, -1)
    assert (row.targets, row.ignored_targets, row.clip_kind, row.micro_steps, row.batch_size) == (0, 0, 0, 0, 0)
    assert (row.skipped, row.recorded, row.weight_checksum) == (False, False, 0)
    assert row.learning_rate == row.weight_decay == row.momentum == ()
