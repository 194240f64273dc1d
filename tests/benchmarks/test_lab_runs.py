"""A handful of the laboratory's trainings, recorded and analyzed for real: no warning where healthy, else the fault."""

import pytest

from benchmarks.lab import quick, record
from benchmarks.lab.analyze import analysis_key, analyze
from benchmarks.lab.experiments import chosen
from benchmarks.lab.record import folder_of, is_recorded, key_of, record_all

pytestmark = pytest.mark.long

HEALTHY = quick.HEALTHY[:1]  # `make lab-quick` has the others
FAULTY = quick.FAULTY[:2]


@pytest.fixture(scope="module")
def experiments(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record, "LAB", tmp_path_factory.mktemp("lab"))
        wanted = chosen(names=(*HEALTHY, *FAULTY))
        record_all(wanted, seeds=1, jobs=2)
        for item in wanted:
            assert analyze(folder_of(item.name, 0), analysis_key()) == ""
        yield {item.name: item for item in wanted}


@pytest.mark.parametrize("name", [*HEALTHY, *FAULTY])
def test_a_training_is_judged_as_it_should_be(experiments, name):
    right, said = quick.verdict(experiments[name])
    assert right, said


def test_a_finished_run_is_not_recorded_again(experiments, capsys):
    record_all(list(experiments.values()), seeds=1, jobs=1)
    assert "0 of" in capsys.readouterr().out
    assert all(is_recorded(item, 0) for item in experiments.values())
    assert len({key_of(item) for item in experiments.values()}) == len(experiments)
