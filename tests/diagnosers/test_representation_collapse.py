import numpy
import pytest

from gradaudit.diagnosers.representation_collapse import Collapsed, Spread, representation_collapse
from gradaudit.findings import Severity
from tests.build import build_run
from tests.diagnosers.runs import falling
from tests.diagnosers.sick_graphs import collapsing, embedded, of_embeddings
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_objectives_that_compare_no_embeddings_are_none_of_its_business(tmp_path):
    assert_not_applicable(representation_collapse, build_run(tmp_path / "a", loss=falling()))


@pytest.mark.parametrize(
    "values",
    [
        numpy.full(40, 0.8),
        numpy.concatenate([numpy.geomspace(0.8, 0.05, 20), numpy.geomspace(0.05, 0.7, 20)]),  # it recovers
        numpy.geomspace(0.8, 0.15, 40),  # it ends narrow, and tells examples apart
        numpy.full(40, 0.05),  # a network whose outputs hardly differ from the start on
        numpy.geomspace(0.1, 0.05, 40),
    ],
)
def test_embeddings_that_differ_are_quiet(tmp_path, values):
    run = of_embeddings(tmp_path / "a", [embedded(values)])
    assert judged(representation_collapse, run, Spread).layers == 1
    assert_clean(representation_collapse, run)


def test_distances_that_shrink_with_the_scale_are_quiet(tmp_path):
    assert_clean(representation_collapse, collapsing(tmp_path / "a", 0.06, compared="distance"))
    assert_clean(representation_collapse, of_embeddings(tmp_path / "b", [embedded(numpy.full(40, 1e-4))]))


def test_what_was_not_seen_at_the_end_is_skipped(tmp_path):
    assert_skipped(representation_collapse, collapsing(tmp_path / "a", last=150))


@pytest.mark.parametrize("compared", ["cosine", "product", "distance"])
def test_embeddings_that_become_one_are_a_warning(tmp_path, compared):
    run = collapsing(tmp_path / "a", compared=compared)
    found = judged(representation_collapse, run, Collapsed)
    assert (found.layer, found.rows) == ("layers.0", 64)
    finding = assert_finds(representation_collapse, run, Severity.WARNING)
    assert finding.tensors == ["layers.0.weight"]
    assert "their spread ends at 4.4 % of its start" in finding.headline


def test_the_layer_that_lost_most_is_told(tmp_path):
    run = of_embeddings(tmp_path / "a", [embedded(numpy.geomspace(0.8, end, 40)) for end in (0.7, 0.03, 0.05)])
    assert judged(representation_collapse, run, Collapsed).end == pytest.approx(0.033, abs=0.002)
