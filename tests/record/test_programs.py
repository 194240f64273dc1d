"""Programs of the kinds that people really run: every step, loss and evaluation that they compute is in the record.

They stand in the folder programs/, written by us after the way that public programs are built; each was found recorded
wrongly or not at all once, or stands for a whole family.
"""

import runpy
from pathlib import Path

import pytest

from tests.record.training import recorded, run_of

PROGRAMS = sorted(file for file in Path(__file__).with_name("programs").glob("*.py") if file.stem != "__init__")


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda file: file.stem)
def test_what_a_program_computes_is_in_its_record(tmp_path, program):
    with recorded(tmp_path / "run"):
        expected = runpy.run_path(str(program))["EXPECTED"]
    run = run_of(tmp_path / "run")
    assert not run.meta.disabled
    assert len(run.steps) == expected["steps"] > 0
    assert run.steps["objective"].tolist() == pytest.approx(expected["losses"], rel=1e-5)
    # An update by hand is seen at the next backward: the first and the last one may lack statistics.
    assert run.steps["recorded"].iloc[1:-1].all()
    found = {split: rows["mean_loss"].tolist() for split, rows in run.evaluations.groupby("split", sort=False)}
    assert set(found) == set(expected["evaluations"])
    for split, values in expected["evaluations"].items():
        assert found[split] == pytest.approx(values, rel=1e-5), split
    if "classes" in expected:
        assert {facts.classes for facts in run.meta.losses if facts.classes} == {expected["classes"]}
    if "rate" in expected:
        rates = {round(float(rate), 5) for rates in run.steps["learning_rate"] for rate in rates}
        assert rates == {expected["rate"]}
