"""A healthy training and the faults that one setting makes of it: each is the first thing that is said."""

import pytest

from gradaudit.audit.runner import analyze
from gradaudit.findings import Severity
from tests.characters import train
from tests.record.training import recorded, run_of
from tests.thin import thin

FAULTS = {
    "learning rate high": ({"lr": 1.0}, "learning_rate_too_high"),
    "learning rate tiny": ({"lr": 1e-9}, "learning_rate_too_low"),
    "learning rate zero": ({"lr": 0.0}, "frozen_parameter"),
    "clip tiny": ({"clip": 1e-9}, "constant_clipping"),
    "overfit": ({"characters": 600, "steps": 300}, "overfitting"),
    "StepLR gamma 0": ({"gamma": 0.0}, "learning_rate_schedule"),
}


@pytest.fixture(scope="module")
def audits(tmp_path_factory):
    """The audit of a training with these settings, trained once."""
    known = {}

    def audit_of(**settings):
        key = repr(settings)
        if key not in known:
            with recorded(tmp_path_factory.mktemp("run")) as folder:
                train(**settings)
            known[key] = analyze(run_of(folder))
        return known[key]

    return audit_of


def test_a_healthy_training_is_not_warned_of(audits):
    audit = audits()
    assert [item.diagnoser for item in audit.all_ranked() if item.finding.severity is not Severity.NOTE] == []


@pytest.mark.parametrize("fault", thin(6, FAULTS))
def test_a_fault_of_one_setting_is_named_first(audits, fault):
    settings, name = FAULTS[fault]
    audit = audits(**settings)
    first = audit.ranked[0]
    assert first.diagnoser == name, [(item.diagnoser, cause and cause.diagnoser) for item, cause in audit.with_causes()]
    # It stands alone: whatever else was found at warning or above is explained by it.
    others = [item.diagnoser for item in audit.ranked[1:] if item.finding.severity is not Severity.NOTE]
    assert others == []


def test_parameters_that_a_tiny_rate_cannot_move_stand_under_it(audits):
    """LayerNorm's weights are 1, and 1 + 1e-9 is 1 in float32."""
    ranked = audits(**FAULTS["learning rate tiny"][0]).with_causes()
    frozen, cause = next((item, cause) for item, cause in ranked if cause and item.diagnoser == "frozen_parameter")
    assert cause.diagnoser == "learning_rate_too_low"
    assert {name.split(".")[-2] for name in frozen.finding.tensors} == {"ln_1", "ln_2", "ln_f"}
