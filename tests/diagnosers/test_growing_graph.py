from gradaudit.diagnosers.growing_graph import Constant, Growing, growing_graph
from gradaudit.findings import Severity
from tests.build import build_run
from tests.diagnosers.graphs import looks
from tests.diagnosers.runs import falling
from tests.diagnosers.sick_graphs import growing, of_graph
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_skipped, judged


def test_graphs_of_one_size_are_quiet(tmp_path):
    run = of_graph(tmp_path / "a")
    assert judged(growing_graph, run, Constant) == Constant(13, 40, 0)
    assert_clean(growing_graph, run)


def test_longer_sequences_are_quiet(tmp_path):
    """A curriculum: the graphs grow, and none reaches into an earlier step."""
    assert_clean(growing_graph, growing(tmp_path / "a", back=0))


def test_what_was_made_once_at_the_start_is_quiet(tmp_path):
    assert_clean(growing_graph, growing(tmp_path / "a", each=0))


def test_truncated_backpropagation_is_quiet(tmp_path):
    facts = looks(lambda step: 40 + min(step, 20), lambda step: min(step, 20))
    assert_clean(growing_graph, of_graph(tmp_path / "a", looks=facts))


def test_without_a_graph_nothing_is_known(tmp_path):
    assert_skipped(growing_graph, build_run(tmp_path / "a", loss=falling()))


def test_a_graph_that_reaches_back_to_the_start_is_a_warning(tmp_path):
    run = growing(tmp_path / "a")
    found = judged(growing_graph, run, Growing)
    assert (found.first_nodes, found.nodes, found.step, found.reach) == (40, 552, 128, 128)
    finding = assert_finds(growing_graph, run, Severity.WARNING)
    assert finding.headline == "The graph of step 128 reaches back 128 steps: 552 operations, 40 at first"


def test_how_much_longer_the_steps_take_is_told(tmp_path):
    run = growing(tmp_path / "a", seconds=[0.01 * (1 + step) for step in range(200)])
    assert judged(growing_graph, run, Growing).slower > 5
    finding = assert_finds(growing_graph, run, Severity.WARNING)
    assert "times as long as one in the first" in finding.explanation
    assert finding.measures[-1].met
    level = growing(tmp_path / "b")
    assert judged(growing_graph, level, Growing).slower == 1
    assert "times as long" not in assert_finds(growing_graph, level, Severity.WARNING).explanation
