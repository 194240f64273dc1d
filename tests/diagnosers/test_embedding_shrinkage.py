import math

import msgspec
import numpy
import pytest

from gradaudit.diagnosers.embedding_shrinkage import Kept, Shrunk, embedding_shrinkage
from gradaudit.findings import Severity
from tests.build import linear_stack
from tests.diagnosers.runs import HEALTHY_WITH, healthy
from tests.diagnosers.sick_weights import shrinking
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_a_table_that_keeps_its_size_is_quiet(tmp_path):
    run = healthy(tmp_path, **HEALTHY_WITH["embedding_shrinkage"])
    assert judged(embedding_shrinkage, run, Kept) == Kept(table="embedding.weight", left=1.0)
    measured = assert_clean(embedding_shrinkage, run)
    assert measured == "of the embedding tables embedding.weight ends smallest, at 1.00 times its first norm"


def test_a_table_that_keeps_a_third_is_quiet(tmp_path):
    assert_clean(embedding_shrinkage, shrinking(tmp_path / "a", last=0.35))


def test_a_table_that_swings_is_quiet(tmp_path):
    assert_clean(embedding_shrinkage, shrinking(tmp_path / "a", noise=0.6))


def test_a_decay_too_small_for_it_is_not_blamed(tmp_path):
    """300 steps at 0.01 times 0.1 take 0.3 off the logarithm, and 2.3 are gone."""
    assert_clean(embedding_shrinkage, shrinking(tmp_path / "a", decay=0.1))


def test_without_decay_or_a_table_there_is_nothing_to_judge(tmp_path):
    assert "no weight decay" in assert_not_applicable(embedding_shrinkage, shrinking(tmp_path / "a", decay=0.0))
    layers = linear_stack()
    run = shrinking(tmp_path / "b", tensors=layers, stats={"weight_norm": 1.0})
    assert assert_not_applicable(embedding_shrinkage, run) == "no embedding table is trained"


def test_two_recorded_steps_are_no_course(tmp_path):
    assert_skipped(
        embedding_shrinkage, shrinking(tmp_path / "a", recorded=[0, 299], stats={"weight_norm": [[1.0], [0.1]]})
    )


def test_a_table_that_decay_takes_down_is_a_note(tmp_path):
    run = shrinking(tmp_path / "a")
    found = judged(embedding_shrinkage, run, Shrunk)
    assert (found.tables, found.weight_decay, found.peak_rate) == (("embedding.weight",), 1.0, pytest.approx(0.01))
    assert found.left == pytest.approx(0.1, abs=0.01)
    assert math.exp(-found.decay_path) == pytest.approx(math.exp(-300 * 0.01 * 1))
    assert found.gradient_growth == pytest.approx(5 ** (3 / 5), rel=0.02)
    assert found.gradient_grows
    finding = assert_finds(embedding_shrinkage, run, Severity.NOTE)
    assert finding.title == "Embeddings shrunk by weight decay"
    assert finding.headline == "A weight decay of 1 shrinks embedding.weight to 10 % of its initial norm"
    assert finding.measures[0].value == found.left
    assert finding.actions[0].code == '{"params": [model.embedding.weight], "weight_decay": 0.0}'


def test_a_gradient_that_stays_is_not_said_to_grow(tmp_path):
    run = shrinking(tmp_path / "a", gradient=1.0)
    assert not judged(embedding_shrinkage, run, Shrunk).gradient_grows
    assert "gradient" not in assert_finds(embedding_shrinkage, run).explanation


def test_the_table_that_lost_most_is_told_and_the_other_named(tmp_path):
    first, *layers = linear_stack(embedding=50)
    second = msgspec.structs.replace(first, id=9, depth=9, name="items.weight", module="items")
    norms = numpy.ones((300, 10))
    norms[:, 0], norms[:, 9] = numpy.geomspace(1, 0.2, 300), numpy.geomspace(1, 0.1, 300)
    run = shrinking(tmp_path / "a", tensors=[first, *layers, second], stats={"weight_norm": norms})
    found = judged(embedding_shrinkage, run, Shrunk)
    assert (found.tables, found.left) == (("items.weight", "embedding.weight"), pytest.approx(0.1))
    assert "as does that of embedding.weight" in assert_finds(embedding_shrinkage, run).explanation


def test_of_adam_any_decay_may_have_done_it(tmp_path):
    run = shrinking(tmp_path / "a", decay=1e-3, optimizer="Adam")
    assert math.isnan(judged(embedding_shrinkage, run, Shrunk).decay_path)
    finding = assert_finds(embedding_shrinkage, run)
    assert "decay alone" not in finding.explanation
    assert finding.measures[2].value is None


@pytest.mark.parametrize("every", [1, 10])
def test_cadence_changes_nothing(tmp_path, every):
    norms = numpy.ones((300, 9))
    norms[:, 0] = numpy.geomspace(1, 0.1, 300)
    run = shrinking(tmp_path / "a", recorded=range(0, 300, every), stats={"weight_norm": norms[::every]})
    assert_finds(embedding_shrinkage, run)
