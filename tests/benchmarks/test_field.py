"""The field suite is what it says: edits that apply, programs that print a result, a judge that asks for the cause."""

import json

import pytest

from benchmarks.field import table
from benchmarks.field.__main__ import QUICK
from benchmarks.field.catalogue import FIELD, Pair, healthy, pairs, programs
from benchmarks.field.judge import Told, alarms, outcome, read
from benchmarks.field.record import RESULT, Program, bare
from gradaudit.diagnosers import all_diagnosers

each_program = pytest.mark.parametrize("program", programs(), ids=lambda program: program.folder)
PAIR = Pair(
    name="pair", subject="", source="", edits=[], measure="", outright=["stale_copy", "planned"], near=["no_learning"]
)


def told(*findings):
    return [Told(name, severity, f"title of {name}") for name, severity in findings]


def test_nothing_found_is_a_miss():
    assert outcome(PAIR, []) == "missed"
    assert outcome(PAIR, told(("dead_relu", "note"))) == "missed"


def test_another_warning_is_a_wrong_cause():
    assert outcome(PAIR, told(("dead_relu", "warning"))) == "wrong cause"
    assert outcome(PAIR, told(("dead_relu", "warning"), ("no_learning", "note"))) == "wrong cause"


def test_what_leads_to_the_cause_is_near():
    assert outcome(PAIR, told(("no_learning", "note"))) == "near"
    assert outcome(PAIR, told(("dead_relu", "warning"), ("no_learning", "critical"))) == "near"


def test_the_cause_as_a_note_is_near_only():
    assert outcome(PAIR, told(("stale_copy", "note"))) == "near"


def test_the_cause_counts_in_full_where_it_stands_first():
    assert outcome(PAIR, told(("stale_copy", "warning"), ("no_learning", "critical"))) == "outright, first"
    assert outcome(PAIR, told(("no_learning", "critical"), ("stale_copy", "warning"))) == "outright"
    assert outcome(PAIR, told(("dead_relu", "note"), ("stale_copy", "warning"))) == "outright"


def test_a_finding_must_say_what_the_pair_asks_for():
    asked = Pair(name="", subject="", source="", edits=[], measure="", outright=["stale_copy"], says=["Title OF stale"])
    assert outcome(asked, told(("stale_copy", "warning"))) == "outright, first"
    asked = Pair(name="", subject="", source="", edits=[], measure="", outright=["stale_copy"], says=["teacher"])
    assert outcome(asked, told(("stale_copy", "warning"))) == "near"


def test_alarms_are_warnings_and_criticals():
    assert [item.diagnoser for item in alarms(told(("a", "note"), ("b", "warning"), ("c", "critical")))] == ["b", "c"]


def test_an_audit_is_read_in_the_order_of_the_page(tmp_path):
    def ranked(name, *below):
        finding = {"severity": "warning", "headline": f"head of {name}", "actions": [{"text": "act"}, {"text": "more"}]}
        return {"anchor": name, "diagnoser": name, "finding": finding, "consequences": list(below)}

    path = tmp_path / "audit.json"
    path.write_text(json.dumps({"ranked": [ranked("a", ranked("b", ranked("c"))), ranked("d")]}))
    found = read(path)
    assert [item.diagnoser for item in found] == ["a", "b", "c", "d"]
    assert found[0].words == " | head of a | act"


@each_program
def test_a_program_can_be_compiled_and_prints_a_result(program):
    compile(program.text, program.folder, "exec")
    assert 'print(f"result {' in program.text


def test_every_script_is_in_the_catalogue_once():
    assert not set(pairs()) & set(healthy())
    for kind, names in (("pairs", pairs()), ("healthy", healthy())):
        assert {path.stem for path in (FIELD / kind).glob("*.py")} == set(names)


@pytest.mark.parametrize("pair", [pair for _, pair in pairs().values()], ids=lambda pair: pair.name)
def test_a_pair_names_its_source_and_what_leads_to_it_exists(pair):
    site, _, subject = pair.source.partition(": ")
    assert site
    assert subject
    assert set(pair.near) <= {item.name for item in all_diagnosers()} | set(pair.outright)


def test_a_fault_costs_something_with_every_seed():
    for name, results in table.costs().items():
        better = {repaired > faulty for faulty, repaired in results}
        assert len(better) == 1, f"{name} is not always worse with its fault: {results}"
        least = min(abs(faulty - repaired) / max(abs(faulty), abs(repaired)) for faulty, repaired in results)
        assert least > 0.03, f"the fault of {name} costs nothing to speak of: {results}"


def test_every_pair_was_measured():
    assert set(table.costs()) == set(pairs())


def test_quick_ones_exist():
    assert set(QUICK) <= set(pairs())


def test_a_bare_program_gives_its_result():
    assert bare(Program("one", "healthy", "given", "print('result 0.5')"), 0) == 0.5
    with pytest.raises(RuntimeError, match="one-healthy printed no result"):
        bare(Program("one", "healthy", "given", "print('nothing')"), 0)
    assert not RESULT.search("no result 1")
