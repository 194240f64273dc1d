import pytest

from gradaudit.diagnosers.rank_divergence import rank_divergence
from gradaudit.findings import Severity
from gradaudit.signals.ranks.shard_norm import shard_norm
from tests.diagnosers.runs import healthy
from tests.diagnosers.sick_replicas import clipped_shards, random_norms, replicas, sharded
from tests.diagnosers.verbs import assert_clean, assert_finds


@pytest.mark.parametrize(("whole", "returned"), [(1.0, 5.0), (0.3, 0.3), (1.0, 1.0)])
def test_the_norm_of_all_shards_is_quiet(tmp_path, whole, returned):
    run = clipped_shards(tmp_path / "a", whole, returned)
    assert shard_norm(run).factor == pytest.approx(1.0)
    assert_clean(rank_divergence, run)


def test_without_clipping_or_shards_nothing_is_known(tmp_path):
    assert shard_norm(sharded(tmp_path / "a", random_norms())) is None
    assert shard_norm(healthy(tmp_path / "b")) is None
    whole_models = replicas(tmp_path / "c", [{}], columns={"clip_kind": 1, "clip_threshold": 1.0})
    assert shard_norm(whole_models) is None


def test_two_steps_are_too_few(tmp_path):
    assert shard_norm(clipped_shards(tmp_path / "a", 2.0, 5.0, recorded=range(2))) is None


@pytest.mark.parametrize(
    ("whole", "returned", "headline"),
    [
        (2.0, 5.0, "Clipping leaves a gradient norm of 2.00 where 1.00 was meant"),
        (0.6, 0.3, "Clipping leaves a gradient norm of 0.6 where 0.3 was meant"),
    ],
)
def test_each_rank_that_clips_by_its_own_norm_is_a_note(tmp_path, whole, returned, headline):
    finding = assert_finds(rank_divergence, clipped_shards(tmp_path / "a", whole, returned), Severity.NOTE)
    assert finding.title == "Clipped by the norm of one shard"
    assert finding.headline == headline
    assert finding.measures[0].value == pytest.approx(2.0)
    assert finding.actions[0].code == "model.clip_grad_norm_(max_norm)"
