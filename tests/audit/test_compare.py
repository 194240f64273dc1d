"""Two audits side by side: the same run is the same, and what changed is said once, in the right words."""

from typing import Any

import msgspec
import pytest

from gradaudit.audit.compare import Comparison, compare
from gradaudit.audit.differences import GROUPS
from gradaudit.audit.result import Audit, Outcome
from gradaudit.audit.runner import analyze
from gradaudit.findings import Clean, Failed, Found, NotApplicable, Severity, Skipped
from gradaudit.reading.run import load
from gradaudit.schema import PrivateFacts, UserError
from tests.samples import FOLDER


@pytest.fixture(scope="module")
def audits() -> dict[str, Audit]:
    """Of a few diagnosers, so that another one does not change what is compared here."""
    names = ("learning_rate_too_high", "overfitting", "healthy_classifier", "initial_loss_mismatch")
    select = [name for name in names if not name.startswith("healthy")]
    return {name: analyze(load(FOLDER / name / "run"), select=select) for name in names}


def test_the_package_itself_compares():
    import gradaudit

    assert gradaudit.compare is compare
    assert set(gradaudit.__all__) == {"Recorder", "__version__", *gradaudit._HOME.keys()}


def statuses(comparison: Comparison, pair: int = 0) -> dict[str, str]:
    return {one.diagnoser: one.status for one in comparison.pairs[pair].findings}


RESULTS = {
    "skipped": Skipped(reason="the run has no evaluations", enable=""),
    "not_applicable": NotApplicable(reason="the run has no evaluations"),
    "failed": Failed(traceback="KeyError"),
}


def without(audit: Audit, name: str, status: str = "clean") -> Audit:
    """The audit in which this diagnoser found nothing."""
    result = RESULTS.get(status, Clean(measured="fine"))
    calm = Outcome(diagnoser=name, documentation={}, thresholds={}, result=result)
    outcomes = [calm if outcome.diagnoser == name else outcome for outcome in audit.outcomes]
    return msgspec.structs.replace(audit, outcomes=outcomes)


def test_a_run_and_itself_differ_in_nothing(audits: dict[str, Audit]) -> None:
    comparison = compare([audits["overfitting"]] * 2)
    assert comparison.changes == []
    assert statuses(comparison) == {"overfitting": "still"}
    assert comparison.pairs[0].verdict == (
        "Still there in B: overfitting since step 77. The best validation loss is 0.822 in both."
    )
    assert {shift.gradient_decades for shift in comparison.pairs[0].shifts} == {0.0}
    assert not comparison.reaches(Severity.NOTE)


def test_each_run_has_its_spike_scores(audits: dict[str, Audit]) -> None:
    spiky = analyze(load(FOLDER / "loss_spike" / "run"), select=["loss_spike"])
    ones = compare([spiky, audits["healthy_classifier"]]).runs
    # Three gradient norms of the 272 that have 128 before them.
    assert [one.norm_spike_score for one in ones] == [pytest.approx(3 / 272, rel=1e-3), 0.0]
    assert [one.loss_spike_score for one in ones] == [0.0, 0.0]


def test_neither_has_a_finding(audits: dict[str, Audit]) -> None:
    assert compare([audits["healthy_classifier"]] * 2).pairs[0].verdict.startswith("Neither A nor B has a finding.")


def test_a_cure_with_a_new_illness_is_one_sentence(audits: dict[str, Audit]) -> None:
    ill, other = audits["learning_rate_too_high"], audits["overfitting"]
    same = msgspec.structs.replace(other.meta, losses=ill.meta.losses)
    comparison = compare([ill, msgspec.structs.replace(other, meta=same)])
    assert comparison.pairs[0].verdict.startswith(
        "Fixed in B: learning rate too high. New in B: overfitting since step 77. "
    )
    assert statuses(comparison) == {"overfitting": "new", "learning_rate_too_high": "fixed"}
    titles = {one.diagnoser: one.title for one in comparison.pairs[0].findings}
    assert titles == {"overfitting": "Overfitting since step 77", "learning_rate_too_high": "Learning rate too high"}


def test_what_is_fixed_and_what_is_still_there_stand_apart(audits: dict[str, Audit]) -> None:
    both = analyze(load(FOLDER / "initial_loss_mismatch" / "run"), select=["overfitting", "initial_loss_mismatch"])
    verdict = compare([both, without(both, "initial_loss_mismatch")]).pairs[0].verdict
    assert verdict.startswith(
        "Fixed in B: output layer initialised too large. Still there: overfitting since step 39. The best validation"
    )


def test_another_model_on_another_loss_mends_nothing(audits: dict[str, Audit]) -> None:
    comparison = compare([audits["learning_rate_too_high"], audits["overfitting"]])
    assert comparison.pairs[0].verdict == (
        "New in B: overfitting since step 77. Found in A and not in B: learning rate too high. "
        "Their loss functions differ (cross_entropy, 13 classes; cross_entropy, 3 classes), "
        "so their losses cannot be compared."
    )
    assert comparison.pairs[0].details == [
        "In A: At step 0 the update of the median weight layer is 9.75 times the size of its weights.",
        "In B: The validation loss rises from 0.822 at step 77 to 1.72 while the training loss falls.",
    ]
    assert statuses(comparison) == {"overfitting": "new", "learning_rate_too_high": "gone"}
    changes = {change.setting: change.values for change in comparison.changes}
    assert "weight decay" not in changes
    assert changes["optimizer: lr"] == ["0.7", "0.003"]
    assert changes["shape of embedding.weight"] == ["13 x 16", "33 x 24"]
    assert changes["shape of gru.bias_hh_l0"] == ["192", ""]
    assert "torch" not in changes


def test_every_run_is_compared_with_the_first(audits: dict[str, Audit]) -> None:
    comparison = compare([audits["overfitting"], audits["initial_loss_mismatch"], audits["healthy_classifier"]])
    assert [run.label for run in comparison.runs] == ["A", "B", "C"]
    assert statuses(comparison, 0) == {"initial_loss_mismatch": "new", "overfitting": "still"}
    assert all(len(change.values) == 3 for change in comparison.changes)


@pytest.mark.parametrize("status", ["skipped", "not_applicable", "failed"])
def test_what_was_not_looked_at_is_not_called_fixed(audits: dict[str, Audit], status: str) -> None:
    blind = without(audits["overfitting"], "overfitting", status)
    comparison = compare([audits["overfitting"], blind])
    assert statuses(comparison) == {"overfitting": "unchecked_after"}
    assert comparison.pairs[0].verdict.startswith("Found in A, not checked in B: overfitting since step 77.")
    assert comparison.pairs[0].details == []
    remarks = {
        "skipped": "B could not be checked for this: the run has no evaluations",
        "not_applicable": "The check does not apply to B: the run has no evaluations",
        "failed": "B was not checked for this: the check stopped with an error of its own",
    }
    assert comparison.pairs[0].findings[0].remark == remarks[status]
    unselected = msgspec.structs.replace(audits["overfitting"], outcomes=[])
    (followed,) = compare([audits["overfitting"], unselected]).pairs[0].findings
    assert (followed.status, followed.remark) == (
        "unchecked_after",
        "B was not checked for this: the check was not selected",
    )


@pytest.mark.parametrize("status", ["skipped", "not_applicable", "failed"])
def test_what_the_base_could_not_be_checked_for_is_not_called_new(audits: dict[str, Audit], status: str) -> None:
    blind = without(audits["overfitting"], "overfitting", status)
    comparison = compare([blind, audits["overfitting"]])
    assert statuses(comparison) == {"overfitting": "unchecked_before"}
    assert comparison.pairs[0].verdict.startswith("Found in B, not checked in A: overfitting since step 77.")
    assert "New" not in comparison.pairs[0].verdict
    unselected = msgspec.structs.replace(audits["overfitting"], outcomes=[])
    assert statuses(compare([unselected, audits["overfitting"]])) == {"overfitting": "unchecked_before"}


def test_a_finding_that_the_base_was_not_checked_for_counts_for_a_gate(audits: dict[str, Audit]) -> None:
    blind = without(audits["overfitting"], "overfitting", "skipped")
    comparison = compare([blind, audits["overfitting"]])
    assert comparison.reaches(Severity.WARNING)
    assert not comparison.reaches(Severity.CRITICAL)
    assert [(label, one.diagnoser) for label, one in comparison.reaching(Severity.NOTE)] == [("B", "overfitting")]


@pytest.mark.parametrize(("severity", "reached"), [("critical", False), ("warning", True), ("note", True)])
def test_new_findings_reach_their_severity(audits: dict[str, Audit], severity: str, reached: bool) -> None:
    sick = audits["overfitting"]
    assert compare([without(sick, "overfitting"), sick]).reaches(Severity(severity)) is reached
    assert not compare([sick, without(sick, "overfitting")]).reaches(Severity(severity))


def test_a_finding_that_became_more_severe_counts_as_new(audits: dict[str, Audit]) -> None:
    sick = audits["overfitting"]
    mild = msgspec.structs.replace(
        sick,
        outcomes=[
            msgspec.structs.replace(
                outcome,
                result=Found(findings=[msgspec.structs.replace(f, severity=Severity.NOTE) for f in outcome.findings]),
            )
            if outcome.findings
            else outcome
            for outcome in sick.outcomes
        ],
    )
    assert statuses(compare([mild, sick])) == {"overfitting": "worse"}
    assert compare([mild, sick]).reaches(Severity.WARNING)
    assert statuses(compare([sick, mild])) == {"overfitting": "still"}
    assert not compare([sick, mild]).reaches(Severity.NOTE)


def test_layers_change_by_decades_largest_first(audits: dict[str, Audit]) -> None:
    base = audits["overfitting"]
    table = [
        msgspec.structs.replace(row, gradient_rms=(row.gradient_rms or 0) * (100 if i == 3 else 1), update_ratio=None)
        for i, row in enumerate(base.overview.table)
    ]
    other = msgspec.structs.replace(base, overview=msgspec.structs.replace(base.overview, table=table[1:]))
    (pair,) = compare([base, other]).pairs
    assert pair.shifts[0].tensor == table[3].name
    assert pair.shifts[0].gradient_decades == 2.0
    assert {shift.ratio_decades for shift in pair.shifts} == {None}
    assert pair.unmatched == 1


def test_the_command_is_compared_only_where_the_audits_hold_it(audits: dict[str, Audit]) -> None:
    def started_with(*command: str) -> Audit:
        private = PrivateFacts(command=list(command))
        base = audits["overfitting"]
        return msgspec.structs.replace(base, meta=msgspec.structs.replace(base.meta, private=private))

    changes = compare([started_with("train.py", "--lr", "1"), started_with("train.py", "--lr", "2")]).changes
    assert [(change.setting, change.values) for change in changes] == [
        ("command", ["train.py --lr 1", "train.py --lr 2"])
    ]


def with_overview(audit: Audit, **fields: Any) -> Audit:
    return msgspec.structs.replace(audit, overview=msgspec.structs.replace(audit.overview, **fields))


def test_losses_of_different_splits_are_not_compared(audits: dict[str, Audit]) -> None:
    base = audits["overfitting"]
    verdict = compare([base, with_overview(base, validation="test")]).pairs[0].verdict
    assert (
        "Their evaluations are of different data, validation and test, so these losses cannot be compared." in verdict
    )
    assert "best validation loss" not in verdict
    assert "best validation loss is" in compare([base, with_overview(base, validation="val")]).pairs[0].verdict
    assert "best validation loss" not in compare([base, with_overview(base, validation="")]).pairs[0].verdict


def test_a_loss_that_ends_in_nan_is_compared_as_such(audits: dict[str, Audit]) -> None:
    base = with_overview(audits["overfitting"], best_evaluation=None)
    broken = with_overview(base, last_non_finite="NaN", last_loss=None)
    assert "The last training loss is NaN instead of 0.00472." in compare([base, broken]).pairs[0].verdict


def test_an_objective_is_not_compared_with_a_term_of_another(audits: dict[str, Audit]) -> None:
    base = with_overview(audits["overfitting"], best_evaluation=None)
    objective = with_overview(base, loss_name="objective")
    compared = compare([base, objective])
    assert "their training losses cannot be compared" in compared.pairs[0].verdict
    assert "last training loss is" not in compared.pairs[0].verdict
    assert compared.runs[0].loss_function != compared.runs[1].loss_function
    assert "cannot be compared" not in compare([objective, objective]).pairs[0].verdict


def test_settings_stand_in_groups_and_what_tells_most_comes_first(audits: dict[str, Audit]) -> None:
    changes = compare([audits["learning_rate_too_high"], audits["overfitting"]]).changes
    groups = list(dict.fromkeys(change.group for change in changes))
    assert groups == [group for group in GROUPS if group in groups], "each group once, in this order"
    telling = [change.setting for change in changes if change.telling]
    details = [change.setting for change in changes if not change.telling]
    assert {"learning rate over the run", "loss", "parameters", "tensors"} <= set(telling)
    assert not [setting for setting in telling if setting.startswith("shape of ")]
    assert {"optimizer: lr", "shape of embedding.weight"} <= set(details)
    assert "dropout of gru" in details, "0, and the other model has no such module"
    assert len(telling) <= 12
    tensors = next(change.values for change in changes if change.setting == "tensors")
    assert tensors[0] == "7 tensors: embedding.weight 13 x 16, gru.weight_ih_l0 192 x 16 and 5 more"


def test_the_weight_decay_compared_is_that_of_the_groups(audits: dict[str, Audit]) -> None:
    """The default of the optimizer is 0 in both."""
    grouped = analyze(load(FOLDER / "gradient_growth" / "run"), select=["overfitting"])
    changes = {change.setting: change for change in compare([grouped, audits["overfitting"]]).changes}
    assert changes["weight decay"].values == ["0 / 0.8", "0"]
    assert changes["weight decay"].telling


def test_the_cadence_of_a_default_recording_is_the_budgets(audits: dict[str, Audit]) -> None:
    """run.json says 0 where no --every was given."""
    one = audits["overfitting"]
    budget = msgspec.structs.replace(one, meta=msgspec.structs.replace(one.meta, every=0))
    changes = {change.setting: change.values for change in compare([one, budget]).changes}
    assert changes["statistics"] == ["every step", "as the budget allows"]


@pytest.mark.parametrize("number", [0, 1, 27])
def test_too_few_or_too_many_runs_are_refused(audits: dict[str, Audit], number: int) -> None:
    with pytest.raises(UserError, match="2 to 26 runs"):
        compare([audits["overfitting"]] * number)
