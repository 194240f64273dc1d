import msgspec
import numpy
import pyarrow.parquet
import pytest

from gradaudit.diagnosers.rank_divergence import rank_divergence
from gradaudit.findings import Severity
from gradaudit.reading.run import load
from gradaudit.signals.ranks.shards_apart import shards_apart
from tests.build import build_run, write_table
from tests.diagnosers.runs import TEN, falling, parameters
from tests.diagnosers.sick_replicas import LAYERS, QUARTER, RANKS, STEPS, random_norms, sharded
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable


def test_shards_of_their_own_and_equal_copies_are_quiet(tmp_path):
    measured = assert_clean(rank_divergence, sharded(tmp_path / "a", random_norms()))
    assert measured == (
        "no half of the 4 sharded weights has equal shards at step 0, and copies of 1 tensor agree at step 99, over 4 "
        "ranks"
    )


def test_shards_of_one_seed_that_stay_equal_are_a_note(tmp_path):
    norms = random_norms()
    norms[3] = norms[1]
    run = sharded(tmp_path / "a", norms)
    finding = assert_finds(rank_divergence, run, Severity.NOTE)
    assert finding.title == "Identical shards on two ranks"
    assert finding.headline == "Ranks 1 and 3 start with identical shards of 4 of 4 weights"
    assert finding.measures[0].value == 1
    assert finding.tensors == [f"layers.{layer}.weight" for layer in range(LAYERS)]
    assert "At step 99 they still are: the two compute the same" in finding.explanation


def test_shards_of_one_seed_that_part_are_a_note(tmp_path):
    norms = random_norms()
    norms[3, 0] = norms[1, 0]
    found = shards_apart(sharded(tmp_path / "a", norms))
    assert (found.judged, len(found.twins), found.pair, found.still) == (4, 4, (1, 3), 0)
    assert (
        "At step 99, 0 of 4 still are."
        in assert_finds(rank_divergence, load(tmp_path / "a"), Severity.NOTE).explanation
    )


def test_a_minority_of_equal_shards_is_quiet(tmp_path):
    """As of a weight that starts as a part of the unit matrix."""
    norms = random_norms()
    norms[:, :, 0] = 2.0
    assert_clean(rank_divergence, sharded(tmp_path / "a", norms))


def test_another_largest_element_is_another_shard(tmp_path):
    norms = random_norms()
    norms[:] = norms[0]
    run = sharded(tmp_path / "a", norms)
    assert len(shards_apart(run).twins) == 4
    largest = numpy.linspace(0.09, 0.11, RANKS)
    for rank in range(RANKS):
        file = tmp_path / "a" / f"rank{rank:05d}" / "tensors-000000.parquet"
        frame = pyarrow.parquet.read_table(file).to_pandas()
        write_table(file.parent, "tensors", frame.assign(weight_max_abs=largest[rank]))
    assert shards_apart(load(tmp_path / "a")).twins == ()


def test_constant_weights_are_equal_whatever_the_seed(tmp_path):
    run = sharded(tmp_path / "a", numpy.full((RANKS, STEPS, LAYERS), 0.1 * QUARTER**0.5))
    assert shards_apart(run).judged == 0


def test_copies_that_part_are_a_note(tmp_path):
    copies = numpy.ones((RANKS, STEPS))
    copies[2] += numpy.linspace(0, 0.05, STEPS)
    finding = assert_finds(rank_divergence, sharded(tmp_path / "a", random_norms(), copies=copies), Severity.NOTE)
    assert finding.headline == "Copies of 1 of 1 replicated tensors differ between ranks"
    assert finding.tensors == ["norm.weight"]
    assert finding.measures[0].value == pytest.approx(0.05 / 1.05)


def test_copies_that_differ_by_rounding_are_quiet(tmp_path):
    copies = numpy.ones((RANKS, STEPS))
    copies[2] += 1e-6
    assert_clean(rank_divergence, sharded(tmp_path / "a", random_norms(), copies=copies))


@pytest.mark.parametrize("recorded", [range(50, STEPS)])
def test_a_record_that_begins_later_says_nothing_of_the_start(tmp_path, recorded):
    norms = random_norms()
    norms[3] = norms[1]
    assert shards_apart(sharded(tmp_path / "a", norms, recorded=recorded)).judged == 0


def test_shards_of_one_rank_alone_are_not_judged(tmp_path):
    tensors = [msgspec.structs.replace(tensor, placements=["S(0)"], share=QUARTER) for tensor in parameters(LAYERS)]
    run = build_run(tmp_path / "a", loss=falling(STEPS), tensors=tensors, facts=TEN, world_size=RANKS)
    assert "parts of one model" in assert_not_applicable(rank_divergence, run)
