import math

import pytest

from gradaudit.signals.data.last_step import left_of_constant, padded_last_steps
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling
from tests.diagnosers.sick_data import sources, waiting


def test_the_padding_before_the_last_step(tmp_path):
    seen = padded_last_steps(waiting(tmp_path))
    assert seen == (640, 560 / 640, 11_200 / 25_600, 20, True)


@pytest.mark.parametrize("step", [{"one_id": False}, {"inside": 561}])
def test_an_id_that_is_a_word_too_is_no_padding(tmp_path, step):
    assert not padded_last_steps(waiting(tmp_path, **step)).one_id


def test_no_such_step_is_none(tmp_path):
    assert padded_last_steps(sources(tmp_path)) is None
    assert padded_last_steps(waiting(tmp_path / "b", found=0)) is None


def test_a_source_without_padding_divides_by_nothing(tmp_path):
    seen = padded_last_steps(waiting(tmp_path, padded=0, padding=0, rows=0, positions=0))
    assert (seen.padded, seen.share, seen.steps) == (0, 0, 0)


def test_the_loss_that_is_left_of_a_constant_prediction(tmp_path):
    assert left_of_constant(build_run(tmp_path / "a", loss=falling(), facts=TEN)) == pytest.approx(0.13, abs=0.02)
    assert math.isnan(left_of_constant(build_run(tmp_path / "b", loss=falling())))
