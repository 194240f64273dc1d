"""How many elements of a tensor its norms rest on, where every rank holds a part of it."""

import json

import pytest

from gradaudit.reading.run import load
from tests.diagnosers.sick_replicas import LAYERS, QUARTER, RANKS, random_norms, sharded


def told(path, probed):
    """A run of four ranks; rank r looked at `probed[r]` elements of each tensor, None: it does not tell."""
    sharded(path, random_norms())
    for rank, count in enumerate(probed):
        file = path / "run.json" if not rank else path / f"rank{rank:05d}" / "rank.json"
        facts = json.loads(file.read_text())
        for tensor in facts["tensors"]:
            del tensor["probed"]
            if count is not None:
                tensor["probed"] = count
        file.write_text(json.dumps(facts))
    return [tensor.probed for tensor in load(path).meta.tensors]


@pytest.mark.parametrize(
    ("probed", "weight"),
    [([QUARTER] * RANKS, 32 * 32), ([QUARTER, 100, QUARTER, 7], 2 * QUARTER + 107), ([QUARTER, None, 5, 5], -1)],
)
def test_the_shards_of_all_ranks_are_counted_together(tmp_path, probed, weight):
    """The norm at the end is a copy on every rank, of which the first one's values count."""
    assert told(tmp_path / "run", probed) == [weight] * LAYERS + [QUARTER]


def test_a_run_of_an_older_recorder_does_not_tell(tmp_path):
    assert set(told(tmp_path / "run", [None] * RANKS)) == {-1}
