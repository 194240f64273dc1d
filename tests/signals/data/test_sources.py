import math

import pytest

from gradaudit.schema.loaders import AlignmentFacts, LoaderFacts
from gradaudit.signals.data.sources import (
    Pair,
    equal_share,
    evaluation_sources,
    input_pairs,
    last_step,
    overlap,
    training_sources,
)
from tests.build import build_run
from tests.diagnosers.sick_data import EVALUATION, IMAGES, OWN, TRAINING, changed, sources


def test_sources_by_their_role(tmp_path):
    own = changed(OWN, id=2, role="evaluation")
    run = build_run(tmp_path / "a", loss=[2.0, 1.0], loaders=[TRAINING, EVALUATION, own])
    assert [source.id for source in training_sources(run)] == [0]
    assert [source.id for source in evaluation_sources(run)] == [1]
    assert last_step(run) == 1


def test_a_pair_is_of_one_place_and_kind(tmp_path):
    others = [changed(IMAGES, place="1"), changed(IMAGES, dtype="float16"), changed(IMAGES, shape=[32, 8])]
    run = sources(tmp_path / "a", None, {"inputs": [IMAGES, *others]})
    assert [pair.evaluation for pair in input_pairs(run, run.meta.loaders[1])] == [IMAGES]


def test_scale_shift_and_form():
    pair = Pair(IMAGES, changed(IMAGES, mean=0.5, std=2.0))
    assert (pair.scale, pair.shift, pair.same_form, pair.beyond_chance) == (2.0, 0.5, True, True)
    assert not Pair(IMAGES, changed(IMAGES, kurtosis=4.0)).same_form
    assert not Pair(IMAGES, changed(IMAGES, skewness=-0.8)).same_form
    assert not Pair(IMAGES, IMAGES).beyond_chance
    unknown = Pair(IMAGES, changed(IMAGES, mean=None, std=None, kurtosis=None))
    assert math.isnan(unknown.scale)
    assert math.isnan(unknown.shift)
    assert not unknown.same_form


def test_few_examples_and_scattered_batches_differ_by_chance():
    assert not Pair(IMAGES, changed(IMAGES, mean=0.6, std=1.6, examples=10)).beyond_chance
    assert not Pair(IMAGES, changed(IMAGES, mean=0.6, mean_scatter=0.5)).beyond_chance


def test_shares_of_equal_positions():
    facts = AlignmentFacts(compared=[10, 0, 8, 8], equal=[1, 0, 8, 2])
    assert [equal_share(facts, shift) for shift in (-1, 0, 1, 2)] == [0.1, 0, 1, 0.25]
    assert equal_share(AlignmentFacts(), 2) == 0


def test_the_share_of_an_overlap_is_of_all_the_training(tmp_path):
    """Of 4,000 training examples 1,000 were compared: a quarter of those shared was found."""
    run = sources(tmp_path / "a", {"examples": 4000, "hashed": 1000, "repeated": 5}, {"shared": 40})
    found = overlap(run, run.meta.loaders[1])
    assert (found.examples, found.shared, found.share) == (400, 40, pytest.approx(0.4))
    assert found.by_chance == pytest.approx(2 * 400 * 5 / 1000)
    copies = sources(tmp_path / "d", {"repeated": 5, "rich": True}, {"shared": 40, "rich": True})
    assert overlap(copies, copies.meta.loaders[1]).by_chance == 0
    exact = sources(tmp_path / "b", None, {"shared_indices": 100})
    assert overlap(exact, exact.meta.loaders[1])[1:3] == (100, 0.25)
    disjoint = sources(tmp_path / "e", None, {"shared_indices": 0, "shared": 100})
    assert overlap(disjoint, disjoint.meta.loaders[1])[1:] == (100, 0.25, 0.0, False)
    nothing = build_run(tmp_path / "c", loss=[1.0], loaders=[LoaderFacts(id=0)])
    assert overlap(nothing, nothing.meta.loaders[0]) is None
