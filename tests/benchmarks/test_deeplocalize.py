"""The pairs of the DeepLocalize benchmark are what they say: programs whose edits apply, and roots that exist."""

import pytest

from benchmarks.lab.deeplocalize.pairs import PAIRS, SCRIPTS
from gradaudit.diagnosers import all_diagnosers

each_pair = pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)


@each_pair
def test_both_programs_can_be_compiled_and_differ(pair):
    faulty, repaired = pair.text(faulty=True), pair.text(faulty=False)
    compile(faulty, pair.name, "exec")
    compile(repaired, pair.name, "exec")
    assert faulty != repaired


@each_pair
def test_a_root_is_a_diagnoser(pair):
    assert pair.root
    assert set(pair.root) <= {diagnoser.name for diagnoser in all_diagnosers()}


def test_there_are_thirteen_and_every_script_is_used():
    assert len({pair.post for pair in PAIRS}) == len(PAIRS) == 13
    assert {pair.name for pair in PAIRS} == {path.stem for path in SCRIPTS.glob("*.py")}
