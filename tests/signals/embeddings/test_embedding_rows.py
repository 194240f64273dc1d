"""The history of a table, against its records."""

import math

import numpy
import pytest

from gradaudit.signals.embeddings.embedding_rows import bin_label, row_history
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import falling

HIT, EVER, MOVED = [20, 0, 30], [20, 20, 60], [0, 15, 55]


def history(path, tensor=0, count=3, **more):
    columns = {"tracked": 80, "rows": 1000, "stopped": 2, "silent": 0, "hits_histogram": [20, 0, 60],
               "movement": [math.nan, math.nan, 0.1], "never_hit_rows": [3, 5],
               "stopped_rows": [9], **more}  # fmt: skip
    rows = [
        {"optimizer": 0, "step": 10 * at, "tensor": 0, "hit": HIT[at], "ever_hit": EVER[at], "moved": MOVED[at],
         "checksum": at, **columns}
        for at in range(count)
    ]  # fmt: skip
    run = build_run(path, loss=falling(40), tensors=linear_stack(embedding=1000), rows=rows)
    return row_history(run.trainings[0], tensor)


def test_counts_are_those_of_the_last_record_and_shares_are_of_the_tracked_rows(tmp_path):
    found = history(tmp_path / "a")
    assert (found.first_step, found.last_step, found.rows, found.tracked) == (0, 20, 1000, 80)
    assert (found.ever_hit, found.never_hit, found.moved, found.stopped) == (60, 20, 55, 2)
    assert (found.hits, found.never_hit_rows, found.stopped_rows) == ([20, 0, 60], [3, 5], [9])
    assert found.movement == pytest.approx([math.nan, math.nan, 0.1], nan_ok=True)
    assert found.steps.tolist() == [0, 10, 20]
    numpy.testing.assert_allclose(found.reached, numpy.asarray(EVER) / 80)
    numpy.testing.assert_allclose(found.changed, numpy.asarray(MOVED) / 80)


def test_the_share_that_is_hit_is_that_of_steps_with_a_hit(tmp_path):
    assert history(tmp_path / "a").hit_share == pytest.approx(numpy.median([20, 30]) / 80)
    assert math.isnan(history(tmp_path / "b", hit=0).hit_share)


@pytest.mark.parametrize(("count", "checksum", "same"), [(3, 7, True), (1, 7, False)])
def test_two_equal_checksums_prove_rest(tmp_path, count, checksum, same):
    assert history(tmp_path / "a", count=count, checksum=checksum).same_checksum is same
    assert not history(tmp_path / "b", count=count).same_checksum


def test_a_table_of_no_rows_and_one_that_was_not_recorded(tmp_path):
    empty = history(tmp_path / "a", tracked=0, hit=0, ever_hit=0, moved=0)
    assert (empty.reached.tolist(), empty.changed.tolist()) == ([0, 0, 0], [0, 0, 0])
    assert history(tmp_path / "b", tensor=1) is None


def test_bins_double():
    """Bin b holds the numbers of hits with b bits."""
    for hits in range(1, 3000):
        low, _, high = bin_label(hits.bit_length()).replace(",", "").partition("-")
        assert int(low) <= hits <= int(high or low)
    assert [bin_label(index) for index in range(5)] == ["0", "1", "2-3", "4-7", "8-15"]
