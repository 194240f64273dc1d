"""The laboratory's faults are what they say: small edits, known names, enough of each kind, and measured to hurt."""

import difflib
import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import pytest

import gradaudit.diagnosers
from benchmarks.field.catalogue import pairs
from benchmarks.lab import faulty
from benchmarks.lab.configuration import NEVER_COUNT, edited, half_of
from benchmarks.lab.faulty import FAULTY, INJECTED, harmful, measured_costs
from benchmarks.lab.healthy import HEALTHY

BASES = {item.name: item for item in HEALTHY}
KNOWN = {path.stem for path in Path(gradaudit.diagnosers.__file__).parent.glob("*.py")}

# Diagnosers that came after the last look: the halves that are held out stay as they were, without a fault of theirs.
WRITTEN_LATER = {
    "embedding_shrinkage", "epsilon_dominates", "output_head_growth", "twice_averaged_loss", "unreachable_target",
}  # fmt: skip

# A diagnoser's name since, and the one under which the held-out faults were committed: nothing else of them changed.
RENAMED = ("activation_before_loss", "double_softmax")

each_fault = pytest.mark.parametrize("fault", INJECTED, ids=lambda fault: fault.name)


@each_fault
def test_a_fault_is_an_edit_of_at_most_three_lines_that_still_compiles(fault):
    text = BASES[fault.base].text
    broken = edited(text, fault.edits)
    compile(broken, fault.name, "exec")
    old, new = ([line for line in part.splitlines() if line.strip()] for part in (text, broken))
    changes = [line for line in difflib.ndiff(old, new) if line[0] in "+-"]
    assert sum(line[0] == "+" for line in changes) <= 3
    assert sum(line[0] == "-" for line in changes) <= 3
    assert changes


@each_fault
def test_a_fault_accepts_diagnosers_that_exist(fault):
    assert fault.accepted
    assert fault.root
    assert set(fault.root) <= set(fault.accepted) <= KNOWN
    assert fault.fault == fault.accepted[0]


@each_fault
def test_schedule_and_label_notes_are_accepted_for_their_own_faults_only(fault):
    assert not set(fault.accepted) & (set(NEVER_COUNT) - {fault.fault})


def test_every_fault_was_measured_to_hurt():
    costs = measured_costs()
    assert not [fault.name for fault in FAULTY if not harmful(fault, costs)]


def test_an_injection_that_does_not_hurt_is_no_fault():
    fault = next(item for item in INJECTED if item.harm == "loss")
    assert not harmful(fault, {})
    assert not harmful(fault, {fault.name: [0.5, 0.09]})
    assert harmful(fault, {fault.name: [0.5, 0.11]})


def test_every_kind_has_three_models_and_both_halves():
    models = defaultdict(set)
    for fault in FAULTY:
        models[fault.fault].add(BASES[fault.base].script)
    for kind, scripts in models.items():
        assert len(scripts) >= 3, kind
        assert "development" in (halves := {half_of(script) for script in scripts}), kind
        assert bool(halves & {"held-out", "unseen"}) is (kind not in WRITTEN_LATER), kind
    # What a fault of wiring, data or state looks like is taken from reality, by the field suite.
    in_the_field = {name for _, pair in pairs().values() for name in pair.outright} | {"growing_graph"}  # has none yet
    assert set(models) | in_the_field >= KNOWN - {"__init__"}
    assert set(models) <= KNOWN
    assert len(FAULTY) >= 100


def test_all_faults_differ():
    assert not [name for name, count in Counter(item.name for item in INJECTED).items() if count > 1]
    texts = Counter(edited(BASES[item.base].text, item.edits) for item in INJECTED)
    assert not [text for text, count in texts.items() if count > 1]


def test_the_list_names_injections_that_exist():
    listed = (Path(faulty.__file__).parent / "faulty.txt").read_text().split()
    assert sorted(listed) == sorted(fault.name for fault in FAULTY)


def test_the_held_out_faults_stay_as_they_were_committed():
    held_out = sorted(
        repr((fault.name, fault.base, fault.edits, fault.accepted, fault.root, fault.harm)).replace(*RENAMED)
        for fault in FAULTY
        if BASES[fault.base].half == "held-out"
    )
    assert len(held_out) == 96
    assert hashlib.sha256("\n".join(held_out).encode()).hexdigest()[:16] == "a94b96621ed96b0a"


def test_the_unseen_faults_stay_as_they_were_committed():
    unseen = sorted(
        repr((fault.name, fault.base, fault.edits, fault.accepted, fault.root, fault.harm)).replace(*RENAMED)
        for fault in FAULTY
        if BASES[fault.base].half == "unseen"
    )
    assert len(unseen) == 30
    assert hashlib.sha256("\n".join(unseen).encode()).hexdigest()[:16] == "66bc1ca310d41922"
