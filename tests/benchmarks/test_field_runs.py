"""A few pairs of the field suite, recorded and analyzed for real: `make field-quick` as a test."""

import pytest

from benchmarks.field import record
from benchmarks.field.__main__ import QUICK, complaint
from benchmarks.field.catalogue import programs

pytestmark = pytest.mark.timeout(600)  # s; on a quiet machine a minute


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record, "BUILD", tmp_path_factory.mktemp("field"))
        wanted = programs(names=QUICK)
        assert record.run_all(wanted, seeds=1, jobs=2) == []
        yield {program.folder: program for program in wanted}


@pytest.mark.parametrize("folder", [f"{name}-{variant}" for name in QUICK for variant in ("faulty", "repaired")])
def test_a_program_is_judged_as_it_should_be(quick, folder):
    assert not complaint(quick[folder])
