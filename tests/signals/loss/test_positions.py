"""The loss at the positions of a sequence at the end of a training, against means worked out by hand."""

from types import SimpleNamespace

import numpy
import pytest

from gradaudit.schema import Meta, OutputFacts
from gradaudit.schema.outputs import POSITIONS, PositionFacts, PositionPart
from gradaudit.signals.loss.positions import sequence_losses


def run_with(*positions):
    return SimpleNamespace(meta=Meta(outputs=OutputFacts(positions=list(positions))))


def part(loss, targets=10, entropy=2.0):
    return PositionPart(losses=[loss] * POSITIONS, targets=[targets] * POSITIONS, entropy=[entropy] * POSITIONS)


def facts(training, evaluation=(), **options):
    return PositionFacts(
        **{"loss": 0, "classes": 9, "time_axis": 1, "length": 13, **options},
        training=list(training), evaluation=list(evaluation),
    )  # fmt: skip


def test_nothing_was_looked_at():
    empty = PositionPart(losses=[None] * POSITIONS, targets=[0] * POSITIONS, entropy=[None] * POSITIONS)
    assert list(sequence_losses(run_with(facts([]), facts([empty])))) == []


def test_the_last_parts_weighed_by_their_targets():
    parts = [part(9.0, targets=1000), part(1.0), part(2.0, targets=30), part(3.0), part(4.0)]
    (found,) = sequence_losses(run_with(facts(parts)))
    assert found.training.losses == pytest.approx([(10 + 60 + 30 + 40) / 60] * POSITIONS)
    assert found.training.targets.tolist() == [60] * POSITIONS
    assert found.training.entropy == pytest.approx([2.0] * POSITIONS)
    assert found.evaluation is None


def test_the_last_position_and_the_largest_of_the_others():
    one = PositionPart(losses=[0.1, 0.2, 0.3, 0.1, 0.1, 0.1, 0.1, 5.0], targets=[4] * 8, entropy=[1.0] * 8)
    profile = next(sequence_losses(run_with(facts([one])))).training
    assert (profile.last, profile.others) == (pytest.approx(5.0), pytest.approx(0.3))


def test_a_position_without_targets_is_not_known():
    one = PositionPart(losses=[None, *[1.0] * 7], targets=[0, *[4] * 7], entropy=[None, *[1.0] * 7])
    profile = next(sequence_losses(run_with(facts([one])))).training
    assert numpy.isnan(profile.losses).tolist() == [True, *[False] * 7]


def test_the_places_of_a_sequence_of_thirteen():
    found = next(sequence_losses(run_with(facts([part(1.0)]))))
    assert found.places.tolist() == [1, 3, 5, 7, 9, 11, 12, 13]


def test_an_evaluation_by_a_loss_of_its_own():
    mean, total = facts([part(1.0)]), facts([], [part(2.0)], loss=1)
    (found,) = sequence_losses(run_with(mean, total))
    assert found.evaluation.losses == pytest.approx([2.0] * POSITIONS)
    other = facts([], [part(2.0)], loss=1, classes=5)
    assert next(sequence_losses(run_with(mean, other))).evaluation is None
