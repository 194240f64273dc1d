import numpy
import pytest

from gradaudit.signals.loss.bad_outcome import BadOutcome, bad_outcome
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, flat


def of(path, loss):
    return bad_outcome(build_run(path, loss=loss, facts=TEN).trainings[0])


def test_a_loss_that_falls_is_none(tmp_path):
    assert of(tmp_path / "a", falling()) is None


def test_a_loss_that_leaves_for_good_diverged(tmp_path):
    loss = falling()
    loss[100:] = 40.0
    found = of(tmp_path / "a", loss)
    assert found is not None
    assert found.kind == "diverged"
    assert found.step == pytest.approx(100, abs=3)


@pytest.mark.parametrize(("before", "kind"), [(10.0, "diverged to non-finite"), (None, None)])
def test_non_finite_losses_count_where_the_loss_had_risen_before(tmp_path, before, kind):
    loss = falling()
    if before is not None:
        loss[95:100] = before
    loss[100:] = numpy.nan
    found = of(tmp_path / "a", loss)
    assert (found and found.kind) == kind
    assert found is None or found.step == 100


def test_a_loss_that_stays_at_chance_learned_nothing(tmp_path):
    assert of(tmp_path / "a", flat()) == BadOutcome("learned nothing", None)
