"""What is said of the end of a run rests on records of its last tenth; without them a check cannot look."""

import numpy
import pyarrow.compute
import pyarrow.parquet
import pytest

from gradaudit.audit.runner import examine
from gradaudit.diagnosers import all_diagnosers
from gradaudit.diagnosers.dead_embedding import dead_embedding
from gradaudit.evidence.words.last_tenth import end_unknown
from gradaudit.reading.run import load
from gradaudit.signals.activations.output_spread import output_spread
from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.signals.run.last_tenth import reaches
from tests.diagnosers.sick import SICK, sick_run
from tests.diagnosers.verbs import assert_finds, assert_skipped

# What each of them says of the end, and the table that it reads it in.
TABLES = {
    "dead_relu": "rows",
    "saturated_activation": "modules",
    "noise_module": "tensors",
    "excessive_weight_decay": "tensors",
}


def cut(run, table, share):
    """The same run, whose `table` stops at a share of the steps."""
    (file,) = (run.path / "rank00000").glob(f"{table}-*.parquet")
    rows = pyarrow.parquet.read_table(file)
    last = share * (int(run.steps["global_step"].max()) + 1) - 1
    pyarrow.parquet.write_table(rows.filter(pyarrow.compute.less_equal(rows.column("step"), last)), file)
    return load(run.path)


@pytest.mark.parametrize(("name", "table"), TABLES.items())
def test_a_check_of_the_end_needs_records_of_the_end(tmp_path, name, table):
    (diagnoser,) = (item for item in all_diagnosers() if item.name == name)
    run = sick_run(name, tmp_path / "run")
    assert examine(diagnoser, run).status == "found"
    assert examine(diagnoser, cut(run, table, 0.96)).status == "found"
    outcome = examine(diagnoser, cut(run, table, 0.8))
    assert outcome.status == "skipped", outcome.findings
    assert "how the run ends is not known" in outcome.result.text


def test_rows_that_are_not_recorded_to_the_end_are_not_said_to_stop(tmp_path):
    build, _ = SICK["dead_embedding"]["stopped"]
    run = build(tmp_path / "run")
    assert "Dead embedding rows" in assert_finds(dead_embedding, run).title
    assert "the rows were last recorded at step" in assert_skipped(dead_embedding, cut(run, "rows", 0.8))


def test_what_goes_into_the_loss_in_the_middle_is_not_what_goes_into_it_at_the_end(tmp_path):
    build, _ = SICK["no_learning"]["spread"]
    run = build(tmp_path / "run")
    assert output_spread(training_loss(run.trainings[0])) == pytest.approx(1e-4)
    run = cut(run, "modules", 0.8)
    assert numpy.isnan(output_spread(training_loss(run.trainings[0])))


@pytest.mark.parametrize(
    ("last", "steps", "there"), [(359, 400, True), (358, 400, False), (0, 1, True), (8, 10, True), (7, 10, False)]
)
def test_the_last_tenth(last, steps, there):
    assert reaches(last, steps) is there
    said = end_unknown("the rows", last, steps)
    assert (said is None) is there
    if said is not None:
        where = f"the rows were last recorded at step {last} of {steps - 1}"
        assert said.reason == f"{where}: how the run ends is not known"
