"""Tables that would make an analysis of anybody's run long or large: of few rows, but of many of something."""

import numpy
import pyarrow
import pyarrow.parquet
import pytest

from gradaudit.evidence.words.unmet_need import unmet
from gradaudit.reading.limits import MOST_HISTOGRAM_STEPS, MOST_SPLITS
from gradaudit.reading.run import load
from gradaudit.reading.run_file import RunError
from tests.build import build_run
from tests.reading.test_untrusted import zeros

FALLING = numpy.linspace(2.3, 1.0, 50)


@pytest.fixture
def path(tmp_path):
    evaluations = [(step, "validation", 1.0 + step) for step in range(5)]
    return build_run(tmp_path / "run", loss=FALLING, evaluations=evaluations).path


def put(path, name, table, **columns):
    for column, values in columns.items():
        index = table.column_names.index(column)
        table = table.set_column(index, column, pyarrow.array(values).cast(table.schema.field(column).type))
    pyarrow.parquet.write_table(table, path / "rank00000" / f"{name}-000001.parquet", compression="zstd")


def test_as_many_splits_as_a_program_names_are_read(path):
    names = [f"s{i}" for i in range(MOST_SPLITS - 1)]
    put(path, "evaluations", zeros("evaluations", len(names)), split=names, batches=[1] * len(names))
    assert load(path).evaluations["split"].nunique() == MOST_SPLITS


def test_a_curve_for_every_row_is_not_drawn(path):
    """Each split is a series: 20,000 took twelve seconds."""
    put(path, "evaluations", zeros("evaluations", MOST_SPLITS), split=[f"s{i}" for i in range(MOST_SPLITS)])
    run = load(path)
    (problem,) = run.problems
    assert problem.message == f"table evaluations was left out: it has more than {MOST_SPLITS:,} splits"
    assert problem.table == "evaluations"
    assert unmet(run, "evaluations") == (
        "the validation losses could not be read",
        f"fix what was left out: {problem.message}",
    )
    assert len(run.evaluations) == 0


def test_histograms_of_every_step_are_not_read(path):
    """Each step is a frame of its own: 110,000 took a minute."""
    count = MOST_HISTOGRAM_STEPS + 1
    put(path, "histograms", zeros("histograms", count), step=range(count), kind=["gradient"] * count)
    run = load(path)
    (problem,) = run.problems
    assert problem.message == f"table histograms was left out: it has more than {MOST_HISTOGRAM_STEPS:,} steps"
    assert len(run.histograms) == 0


def test_one_long_list_does_not_widen_every_row(path):
    """The rates are a matrix of steps and groups: 6 GB for the one list of 4,096 at the end."""
    count = 200_000
    put(path, "steps", zeros("steps", count), step=range(50, 50 + count), global_step=range(50, 50 + count))
    last = zeros("steps", 1)
    rates = pyarrow.array([[0.1] * 4096], pyarrow.list_(pyarrow.float32()))
    last = last.set_column(last.column_names.index("learning_rate"), "learning_rate", rates)
    pyarrow.parquet.write_table(last, path / "rank00000" / "steps-000002.parquet")
    with pytest.raises(RunError, match="table steps was left out: it takes 19,"):
        load(path)


def test_lists_of_different_lengths_are_laid_out(path):
    from gradaudit.signals.updates.weight_growth import weight_decays

    run = build_run(
        path.parent / "grown", loss=[2.0, 1.0, 1.0],
        steps={"learning_rate": [[0.1], [0.1, 0.2], []], "weight_decay": [[0.5, numpy.nan], [0.25, 0.75], [numpy.inf]]},
    )  # fmt: skip
    nan = numpy.nan
    numpy.testing.assert_allclose(run.trainings[0].learning_rates, [[0.1, nan], [0.1, 0.2], [nan, nan]], rtol=1e-6)
    numpy.testing.assert_allclose(weight_decays(run.trainings[0]), [numpy.finfo(numpy.float32).max, 0.75])
    assert run.training(7).learning_rates.shape == (0, 0)
