import math

from gradaudit.diagnosers.memory_growth import Growth, Level, memory_growth
from gradaudit.findings import Severity
from gradaudit.schema import GraphsKept
from tests.build import build_run
from tests.diagnosers.runs import falling
from tests.diagnosers.sick_schedules import leaking, memory_of
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_skipped, judged


def test_memory_that_stays_is_quiet(tmp_path):
    run = memory_of(tmp_path / "a", host=lambda step: 400)
    found = judged(memory_growth, run, Level)
    assert (found.first, found.last) == (400e6, 400e6)
    assert assert_clean(memory_growth, run) == "resident memory goes from 400 MB to 400 MB after the start"


def test_caches_that_fill_up_and_warmups_are_quiet(tmp_path):
    assert_clean(memory_growth, memory_of(tmp_path / "a", host=lambda step: 400 + 2 * min(step, 300)))
    assert_clean(memory_growth, memory_of(tmp_path / "b", host=lambda step: 400 + 100 * math.log(step)))
    assert_clean(memory_growth, memory_of(tmp_path / "c", host=lambda step: 400 + 0.1 * step))
    first_epoch = memory_of(tmp_path / "d", host=lambda step: 400 + 2 * min(step, 500), batches=500)
    assert_clean(memory_growth, first_epoch)


def test_fragments_and_jumps_are_quiet(tmp_path):
    assert_clean(memory_growth, memory_of(tmp_path / "a", host=lambda step: 400 + 400 * (step > 600)))
    assert_clean(memory_growth, memory_of(tmp_path / "b", host=lambda step: 500 + 90 * (step % 7)))


def test_a_few_graphs_kept_are_quiet(tmp_path):
    few = GraphsKept(marked=26, alive=2, most=2, steps=900)
    assert_clean(memory_growth, memory_of(tmp_path / "a", host=lambda step: 400, graphs=few))
    recent = GraphsKept(marked=26, alive=26, most=26, steps=10)
    assert_clean(memory_growth, memory_of(tmp_path / "b", host=lambda step: 400, graphs=recent))


def test_evaluation_losses_that_are_let_go_are_quiet(tmp_path):
    free = GraphsKept(marked=9)
    assert_clean(memory_growth, memory_of(tmp_path / "a", host=lambda step: 400, evaluated=free))
    best = GraphsKept(marked=9, alive=1, most=2, steps=900)
    assert_clean(memory_growth, memory_of(tmp_path / "b", host=lambda step: 400, evaluated=best))
    recent = GraphsKept(marked=9, alive=9, most=9, steps=100)
    assert_clean(memory_growth, memory_of(tmp_path / "c", host=lambda step: 400, evaluated=recent))


def test_old_and_short_runs(tmp_path):
    assert_skipped(memory_growth, build_run(tmp_path / "a", loss=falling()))
    assert_clean(memory_growth, memory_of(tmp_path / "b", host=lambda step: 400 + step, steps=60))


def test_losses_that_are_kept_are_a_warning(tmp_path):
    run = leaking(tmp_path / "a")
    found = judged(memory_growth, run, Growth)
    assert (found.graphs, found.marked, found.course.kind, round(found.course.per_step)) == (26, 26, "host", 1_000_000)
    finding = assert_finds(memory_growth, run, Severity.WARNING)
    assert finding.title == "Losses kept with their graphs"


def test_kept_graphs_alone_and_growth_of_the_host_alone_are_notes(tmp_path):
    kept = GraphsKept(marked=26, alive=25, most=26, steps=900)
    finding = assert_finds(memory_growth, memory_of(tmp_path / "a", host=lambda step: 400, graphs=kept), Severity.NOTE)
    assert finding.headline == "25 of 26 graphs of earlier losses still exist at the end"
    few = GraphsKept(marked=12, alive=12, most=12, steps=900)
    assert_finds(memory_growth, memory_of(tmp_path / "c", host=lambda step: 400, graphs=few), Severity.NOTE)
    assert_finds(memory_growth, leaking(tmp_path / "b", graphs=False), Severity.NOTE)


def test_growth_on_the_device_is_a_warning(tmp_path):
    run = memory_of(tmp_path / "a", host=lambda step: 400, device=lambda step: 1000 + 2 * step)
    assert judged(memory_growth, run, Growth).course.kind == "device"
    assert_finds(memory_growth, run, Severity.WARNING)


def test_every_graph_of_a_run_kept_is_a_warning(tmp_path):
    kept = GraphsKept(marked=26, alive=26, most=26, steps=900)
    assert_finds(memory_growth, memory_of(tmp_path / "a", host=lambda step: 400, graphs=kept), Severity.WARNING)


def test_evaluation_losses_that_are_kept_are_a_warning_with_growth(tmp_path):
    kept = GraphsKept(marked=6, alive=6, most=6, steps=600)
    run = memory_of(tmp_path / "a", host=lambda step: 400 + step, graphs=GraphsKept(marked=28), evaluated=kept)
    found = judged(memory_growth, run, Growth)
    assert (found.evaluated, found.graphs, found.marked) == (True, 6, 6)
    finding = assert_finds(memory_growth, run, Severity.WARNING)
    assert finding.title == "Evaluation losses kept with graphs"
    assert "no_grad" in finding.actions[0].code
    alone = memory_of(tmp_path / "b", host=lambda step: 400, evaluated=kept)
    assert_finds(memory_growth, alone, Severity.NOTE)
