import numpy
import pytest

from gradaudit.signals.activations.embedding_spread import embedding_spreads
from gradaudit.signals.run.last_tenth import EndUnknown
from tests.build import build_run
from tests.diagnosers.runs import falling
from tests.diagnosers.sick_graphs import embedded, of_embeddings


def test_runs_without_embeddings_have_none(tmp_path):
    assert embedding_spreads(build_run(tmp_path / "a", loss=falling())) == []


def test_few_looks_say_nothing(tmp_path):
    assert embedding_spreads(of_embeddings(tmp_path / "a", [embedded(numpy.ones(7))])) == []


def test_what_was_not_seen_at_the_end_is_said(tmp_path):
    (found,) = embedding_spreads(of_embeddings(tmp_path / "a", [embedded(numpy.ones(20), last=150)]))
    assert isinstance(found, EndUnknown)


def test_angles_are_taken_as_they_are_and_distances_over_the_start(tmp_path):
    values = numpy.linspace(0.8, 0.4, 20)
    angle, distance = embedding_spreads(
        of_embeddings(tmp_path / "a", [embedded(values), embedded(values, compared="distance")])
    )
    assert (angle.start, angle.end) == (pytest.approx(values[1]), pytest.approx(values[-2]))
    assert (distance.start, distance.end) == (pytest.approx(1.0), pytest.approx(values[-2] / values[1]))
    assert angle.layer == "layers.0"
