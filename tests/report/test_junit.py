"""JUnit XML: a case for each diagnoser, red only where the user asked for it."""

from xml.etree import ElementTree

import pytest

from gradaudit.audit.result import Audit
from gradaudit.report import junit


def cases(audit: Audit, fail_on: str = "never") -> dict[str, ElementTree.Element]:
    root = ElementTree.fromstring(junit.render(audit, fail_on))
    return {case.get("name", ""): case for case in root.iter("testcase")}


def test_there_is_a_case_for_each_diagnoser(audit: Audit) -> None:
    assert list(cases(audit)) == [outcome.diagnoser for outcome in audit.outcomes]


@pytest.mark.parametrize(
    ("fail_on", "failing"),
    [
        ("never", set()),
        ("critical", {"frozen_parameter", "non_finite"}),
        ("warning", {"frozen_parameter", "non_finite", "layer_imbalance", "overfitting"}),
        ("note", {"frozen_parameter", "non_finite", "layer_imbalance", "overfitting", "dead_embedding"}),
    ],
)
def test_a_case_fails_only_at_or_above_fail_on(audit: Audit, fail_on: str, failing: set[str]) -> None:
    found = cases(audit, fail_on)
    assert {name for name, case in found.items() if case.find("failure") is not None} == failing
    suite = ElementTree.fromstring(junit.render(audit, fail_on))[0]
    assert suite.get("failures") == str(len(failing))
    assert (suite.get("tests"), suite.get("skipped"), suite.get("errors")) == ("12", "4", "0")


def test_below_fail_on_a_finding_is_still_told(audit: Audit) -> None:
    case = cases(audit, "critical")["dead_embedding"]
    assert "note: 100 of 8,192 embedding rows" in case.findtext("system-out", "")


def test_what_did_not_look_is_skipped_with_the_reason(audit: Audit) -> None:
    found = cases(audit, "note")
    skipped = {name: case.find("skipped") for name, case in found.items()}
    assert {name: element.get("message") for name, element in skipped.items() if element is not None} == {
        "amp_overflow": "not applicable: the run trains without a GradScaler",
        "rank_divergence": "not applicable: the run has one process",
        "dead_relu": "skipped: the run has no modules. To enable: record with --activations",
        "small_batch_normalization": "could not run: KeyError: 'x'",
    }


def test_a_hostile_audit_is_well_formed(hostile_audit: Audit) -> None:
    text = junit.render(hostile_audit, "note")
    assert {element.tag for element in ElementTree.fromstring(text).iter()} == {
        "testsuites", "testsuite", "testcase", "failure", "skipped", "system-out"
    }  # fmt: skip
    for character in "\x00\x01\x07\x1b\u202e\ufffe\uffff":
        assert character not in text
    text.encode("utf-8")
