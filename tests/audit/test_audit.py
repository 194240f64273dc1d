"""Causes before effects: which finding is the root, and what nests under it."""

import dataclasses
from graphlib import CycleError

import msgspec
import numpy
import pandas
import pytest

from gradaudit.audit.causes import causal_depth
from gradaudit.audit.privacy import without_folders
from gradaudit.audit.result import Outcome
from gradaudit.audit.runner import analyze, rank
from gradaudit.audit.verdict import verdict
from gradaudit.diagnosers import all_diagnosers
from gradaudit.findings import Clean, Confidence, Failed, Finding, Found, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import load
from gradaudit.reading.run_file import RunError
from gradaudit.reading.segments import Problem
from gradaudit.report.html.view import worst
from gradaudit.report.listing import row
from gradaudit.report.terminal import render
from gradaudit.schema import DisabledFacts, LossFacts
from tests.build import build_run, write_table
from tests.diagnosers.runs import TEN, flat, parameters
from tests.diagnosers.sick import dead_table
from tests.diagnosers.sick_gradients import clipped, sloped
from tests.diagnosers.sick_weights import decayed

CRITICAL, WARNING, NOTE = Severity
EXPLAINS = {item.name: item.explains for item in all_diagnosers()}


def finding(severity=CRITICAL, first=0, confidence=Confidence.HIGH, caused=(), follows=()):
    span = Span(first=first, last=max(199, first))
    causes = {"caused": list(caused), "follows": list(follows)}
    return Finding(
        severity=severity, confidence=confidence, title="One", headline="It", explanation="It.", span=span, **causes
    )


def changed(outcome, **values):
    """The outcome with its one finding so changed."""
    (one,) = outcome.findings
    return msgspec.structs.replace(outcome, result=Found(findings=[msgspec.structs.replace(one, **values)]))


def found(**findings):
    """Outcomes of diagnosers that found something, given as (severity, first step, confidence, led to, follows)."""
    return [
        Outcome(diagnoser=name, documentation={}, thresholds={}, result=Found(findings=[finding(*given)]))
        for name, given in findings.items()
    ]


def tree(ranked):
    return [(item.diagnoser, tree(item.consequences)) for item in ranked]


def test_what_nothing_explains_stands_alone_the_worst_first():
    ranked = rank(found(overfitting=(WARNING, 50), eval_mode_training=(NOTE,), dead_embedding=()), EXPLAINS)
    assert [item.diagnoser for item in ranked] == ["dead_embedding", "overfitting", "eval_mode_training"]


def test_a_cause_less_bad_than_its_effect_comes_first_with_the_effect_under_it():
    ranked = rank(found(no_learning=(CRITICAL, 180), constant_clipping=(WARNING, 0)), EXPLAINS)
    assert tree(ranked) == [("constant_clipping", [("no_learning", [])])]


def test_an_effect_cannot_precede_its_cause():
    late = found(divergence=(CRITICAL, 20), learning_rate_too_high=(CRITICAL, 31))
    assert [name for name, _ in tree(rank(late, EXPLAINS))] == ["learning_rate_too_high", "divergence"]
    near = found(divergence=(CRITICAL, 20), learning_rate_too_high=(CRITICAL, 30))
    assert tree(rank(near, EXPLAINS)) == [("learning_rate_too_high", [("divergence", [])])]


def test_a_note_explains_nothing_worse_than_a_note():
    ranked = rank(found(layer_imbalance=(NOTE, 10), no_learning=(CRITICAL, 180)), EXPLAINS)
    assert tree(ranked) == [("no_learning", []), ("layer_imbalance", [])]
    ranked = rank(found(layer_imbalance=(NOTE, 10), no_learning=(NOTE, 180)), EXPLAINS)
    assert tree(ranked) == [("layer_imbalance", [("no_learning", [])])]


def test_a_note_that_names_what_it_led_to_explains_what_is_worse_and_nothing_else():
    schedule = (NOTE, 100, Confidence.CERTAIN, ["loss_spike"])
    others = {"loss_spike": (WARNING, 100), "unstable_loss": (NOTE, 100), "dead_relu": (CRITICAL, 100)}
    ranked = rank(found(learning_rate_schedule=schedule, **others), EXPLAINS)
    assert tree(ranked) == [("dead_relu", []), ("learning_rate_schedule", [("loss_spike", [])]), ("unstable_loss", [])]


def test_what_a_note_led_to_cannot_begin_before_it():
    schedule = (NOTE, 100, Confidence.HIGH, ["divergence"])
    ranked = rank(found(learning_rate_schedule=schedule, divergence=(CRITICAL, 89)), EXPLAINS)
    assert tree(ranked) == [("divergence", []), ("learning_rate_schedule", [])]


def test_weights_that_decay_ate_differ_by_what_it_left_of_them():
    ranked = rank(found(layer_imbalance=(WARNING, 10), excessive_weight_decay=(CRITICAL, 0)), EXPLAINS)
    assert tree(ranked) == [("excessive_weight_decay", [("layer_imbalance", [])])]


def test_a_finding_leads_only_to_what_its_diagnoser_explains():
    schedule = (NOTE, 0, Confidence.CERTAIN, ["overfitting"])
    ranked = rank(found(learning_rate_schedule=schedule, overfitting=(WARNING, 100)), EXPLAINS)
    assert tree(ranked) == [("overfitting", []), ("learning_rate_schedule", [])]


def test_what_follows_something_stands_under_it_and_explains_nothing():
    """The usual direction is turned round, even where the effect is seen first."""
    frozen = (CRITICAL, 0, Confidence.CERTAIN, (), ["learning_rate_too_low"])
    others = {"learning_rate_too_low": (CRITICAL, 50), "no_learning": (NOTE, 180)}
    ranked = rank(found(frozen_parameter=frozen, **others), EXPLAINS)
    assert tree(ranked) == [("learning_rate_too_low", [("frozen_parameter", []), ("no_learning", [])])]


def test_what_follows_something_that_was_not_found_is_a_cause_as_ever():
    frozen = (CRITICAL, 0, Confidence.CERTAIN, (), ["constant_clipping"])
    ranked = rank(found(frozen_parameter=frozen, no_learning=(CRITICAL, 180)), EXPLAINS)
    assert tree(ranked) == [("frozen_parameter", [("no_learning", [])])]


def test_nothing_worse_follows_a_note():
    frozen = (CRITICAL, 0, Confidence.CERTAIN, (), ["learning_rate_too_low"])
    ranked = rank(found(frozen_parameter=frozen, learning_rate_too_low=(NOTE, 0)), EXPLAINS)
    assert tree(ranked) == [("frozen_parameter", [("learning_rate_too_low", [])])]


def test_two_findings_that_follow_each_other_close_no_circle():
    one, other = ((WARNING, 0, Confidence.HIGH, (), [name]) for name in ("loss_spike", "layer_imbalance"))
    ranked = rank(found(layer_imbalance=one, loss_spike=other), EXPLAINS)
    assert sorted(tree(ranked)) == [("layer_imbalance", []), ("loss_spike", [])]


def test_a_frozen_backbone_is_not_why_something_else_is_broken():
    frozen = (NOTE, 0, Confidence.CERTAIN)
    ranked = rank(found(frozen_parameter=frozen, learning_rate_too_low=(CRITICAL, 0)), EXPLAINS)
    assert tree(ranked) == [("learning_rate_too_low", []), ("frozen_parameter", [])]


def test_of_two_equal_roots_the_one_nearer_to_the_beginning_of_a_chain_comes_first():
    ranked = rank(found(overfitting=(WARNING, 0), eval_mode_training=(WARNING, 50)), {**EXPLAINS, "overfitting": ()})
    assert ranked[0].diagnoser == "eval_mode_training"


def test_of_two_equal_roots_the_exact_one_comes_first():
    both = found(vanishing_gradient=(CRITICAL, 0), stale_gradient=(CRITICAL, 1, Confidence.CERTAIN))
    assert [item.diagnoser for item in rank(both, EXPLAINS)] == ["stale_gradient", "vanishing_gradient"]


def test_a_later_attempt_of_the_same_diagnoser_gets_its_own_anchor():
    twice = [
        Outcome(diagnoser="overfitting", documentation={}, thresholds={},
                result=Found(findings=[finding(WARNING), finding(NOTE)]))
    ]  # fmt: skip
    assert [item.anchor for item in rank(twice, EXPLAINS)] == ["overfitting", "overfitting-2"]


# Measured over faulty runs, which findings occur together: each line from the root on, with the first step of each.
CHAINS = {
    "the learning rate is too high": {
        "learning_rate_too_high": 0,
        "divergence": 8,
        "no_learning": 180,
        "non_finite": 60,
    },
    "no zero_grad": {"stale_gradient": 1, "learning_rate_too_high": 4, "gradient_growth": 20, "divergence": 40},
    "exploding at the start": {"initial_loss_mismatch": 0, "learning_rate_too_high": 1, "non_finite": 5},
    "exploding along the depth": {
        "exploding_gradient": 0,
        "learning_rate_too_high": 1,
        "divergence": 3,
        "non_finite": 5,
    },
    "the sum instead of the mean": {"initial_loss_mismatch": 0, "learning_rate_too_high": 0, "divergence": 2},
    "vanishing": {"vanishing_gradient": 0, "layer_imbalance": 10, "frozen_parameter": 0, "no_learning": 180},
    "weight decay": {
        "excessive_weight_decay": 0,
        "learning_rate_too_low": 0,
        "gradient_growth": 40,
        "no_learning": 180,
    },
    "clipped under SGD": {"constant_clipping": 0, "learning_rate_too_low": 0, "dead_embedding": 0, "no_learning": 180},
    "detached": {"frozen_parameter": 0, "learning_rate_too_low": 0, "dead_embedding": 0, "no_learning": 180},
    "the learning rate is too low": {"learning_rate_too_low": 0, "no_learning": 180},
    "growth": {"gradient_growth": 40, "divergence": 90, "non_finite": 150},
    "raw inputs": {"unscaled_input": 0, "initial_loss_mismatch": 0, "learning_rate_too_high": 1, "dead_relu": 30},
    "units die of the learning rate": {
        "learning_rate_too_high": 0,
        "divergence": 5,
        "dead_relu": 30,
        "no_learning": 180,
    },
    "units are dead": {"dead_relu": 0, "no_learning": 180},
    "saturated": {"saturated_activation": 0, "layer_imbalance": 10, "no_learning": 180},
    "two softmaxes": {"activation_before_loss": 0, "learning_rate_too_low": 0, "no_learning": 180},
    "noise": {"noise_module": 0, "layer_imbalance": 10, "no_learning": 180},
}


@pytest.mark.parametrize("chain", CHAINS)
def test_the_chains_that_were_observed_have_their_cause_as_the_only_root(chain):
    steps = CHAINS[chain]
    # Handed over from the last to the first: the order of the outcomes must not matter.
    ranked = rank(found(**{name: (CRITICAL, first) for name, first in reversed(steps.items())}), EXPLAINS)
    assert [item.diagnoser for item in ranked] == [next(iter(steps))], tree(ranked)


def test_a_chain_nests_link_by_link():
    ranked = rank(found(non_finite=(CRITICAL, 60), divergence=(CRITICAL, 8), learning_rate_too_high=()), EXPLAINS)
    assert tree(ranked) == [("learning_rate_too_high", [("divergence", [("non_finite", [])])])]


def test_no_diagnoser_explains_itself_through_others():
    assert causal_depth(EXPLAINS)["no_learning"] > causal_depth(EXPLAINS)["learning_rate_too_low"] > 0
    with pytest.raises(CycleError):
        causal_depth({"a": ("b",), "b": ("a",)})


def roots(run):
    return [item.diagnoser for item in analyze(run).ranked if item.finding.severity is not NOTE]


def test_a_profile_along_the_depth_is_not_told_twice(tmp_path):
    """Its spread would be a layer_imbalance, too."""
    audit = analyze(sloped(tmp_path / "a", loss=flat(), decades=6.0))
    assert {item.diagnoser for item in audit.all_ranked()} == {"vanishing_gradient", "no_learning"}
    assert [item.diagnoser for item in audit.ranked] == ["vanishing_gradient"]


def test_a_table_that_never_moved_is_not_a_frozen_parameter_as_well(tmp_path):
    assert roots(dead_table(tmp_path / "a")) == ["dead_embedding"]


def test_clipping_from_the_first_step_on_explains_what_is_slow_from_the_first_step_on(tmp_path):
    stats = {"update_norm": 1e-5}
    run = clipped(tmp_path / "a", stats=stats)
    assert analyze(run).ranked[0].finding.span.first == 0


def test_weight_decay_is_the_root_of_a_run_that_learns_nothing(tmp_path):
    assert roots(decayed(tmp_path / "a", loss=flat())) == ["excessive_weight_decay"]


def test_growth_after_divergence_is_not_told_as_its_cause(tmp_path):
    loss = numpy.concatenate([numpy.linspace(2.3, 30, 20), flat(180, 30)])
    norm = numpy.geomspace(1, 50, 200)
    run = build_run(tmp_path / "a", loss=loss, facts=TEN, tensors=parameters(4), steps={"gradient_norm": norm})
    assert roots(run) == ["divergence"]


def test_the_steps_of_several_optimizers_make_no_longer_run(tmp_path):
    run = build_run(tmp_path / "a", loss=flat(60))
    both = pandas.concat([run.steps, run.steps.assign(optimizer=1)], ignore_index=True)
    write_table(tmp_path / "a" / "rank00000", "steps", both)
    outcome = analyze(load(tmp_path / "a"), select=["no_learning"]).outcomes[0]
    assert (outcome.status, outcome.result.text) == ("skipped", "only 60 steps were recorded, and this check needs 100")


def test_steps_whose_loss_is_never_finite_are_not_said_to_be_missing(tmp_path):
    run = build_run(tmp_path / "a", loss=numpy.full(12, numpy.nan), facts=TEN)
    outcome = analyze(run, select=["initial_loss_mismatch"]).outcomes[0]
    assert outcome.status == "skipped"
    assert outcome.result.text == (
        "training steps were recorded, but none with a finite value of objective (sum of the backward roots since the "
        "last step)"
    )
    assert outcome.result.enable.startswith("fix what non_finite reports")
    missing = analyze(run, select=["overfitting"]).outcomes[0]
    assert missing.result.text == "no validation losses were recorded"


def test_a_run_of_which_most_checks_saw_too_little_is_not_called_free_of_problems(tmp_path):
    short = analyze(build_run(tmp_path / "a", loss=numpy.full(1, 2.3), facts=TEN))
    assert verdict(short).startswith("Too little was recorded to judge: ")
    assert worst(short) == "absent", "a green tick would call it free of problems"
    assert "too little was recorded to judge" in render(short, width=80, unicode=True, verbose=False)
    assert row("a", short).finding == "too little was recorded to judge"


@pytest.fixture
def clean(tmp_path):
    return analyze(build_run(tmp_path / "a", loss=numpy.linspace(2.3, 1.0, 200), facts=TEN))


@pytest.mark.parametrize(
    ("findings", "opening"),
    [
        ({"train_mode_evaluation": (WARNING,)}, "This run is measured wrongly: one."),
        ({"train_mode_evaluation": (WARNING,), "overfitting": (NOTE,)}, "This run is measured wrongly: one."),
        ({"train_mode_evaluation": (WARNING,), "overfitting": (WARNING,)}, "This run trains worse than it needs to: "),
        ({"train_mode_evaluation": (NOTE,)}, "Nothing alarming; worth knowing: one."),
    ],
    ids=["alone", "beside a note", "beside a warning", "a note itself"],
)
def test_a_finding_about_the_measuring_does_not_say_that_training_is_bad(clean, findings, opening):
    outcomes = [
        changed(one, is_measurement_issue=True) if one.diagnoser == "train_mode_evaluation" else one
        for one in found(**findings)
    ]
    audit = msgspec.structs.replace(clean, outcomes=outcomes, ranked=rank(outcomes, EXPLAINS))
    assert verdict(audit).startswith(opening)


@pytest.mark.parametrize(
    ("title", "within"),
    [("Vanishing gradient", ": vanishing gradient. It."), ("Train-test gap", ": train-test gap. It."),
     ("NaN from step 6", ": NaN from step 6. It."),
     ("ReLU units are dead", ": ReLU units are dead. It."), ("", ": divergence. It.")],
)  # fmt: skip
def test_the_title_goes_on_within_the_verdict(clean, title, within):
    one = msgspec.structs.replace(finding(), title=title)
    outcome = Outcome(diagnoser="divergence", documentation={}, thresholds={}, result=Found(findings=[one]))
    audit = msgspec.structs.replace(clean, outcomes=[outcome], ranked=rank([outcome], EXPLAINS))
    assert verdict(audit).endswith(within)


@pytest.mark.parametrize(
    ("amounts", "ending"),
    [
        ((0, 0, 0), "No problem found in 3 checks."),
        ((1, 1, 1), "No problem found in 3 checks; 1 was skipped, 1 does not apply, 1 could not run."),
        ((2, 7, 0), "No problem found in 3 checks; 2 were skipped, 7 do not apply."),
        ((0, 0, 2), "No problem found in 3 checks; 2 could not run."),
    ],
    ids=["none", "one each", "several", "failed alone"],
)
def test_the_verdict_counts_each_kind_of_check_that_did_not_look_apart(clean, amounts, ending):
    results = [Clean(measured="fine")] * 3
    for amount, result in zip(
        amounts, (Skipped(reason="short", enable=""), NotApplicable(reason="none"), Failed(traceback="")), strict=True
    ):
        results += [result] * amount
    outcomes = [
        Outcome(diagnoser=f"d{i}", documentation={}, thresholds={}, result=one) for i, one in enumerate(results)
    ]
    assert verdict(msgspec.structs.replace(clean, outcomes=outcomes, ranked=[])) == ending


def test_the_verdict_names_the_last_symptom_and_its_cause(clean):
    chain = {"initial_loss_mismatch": (WARNING,), "learning_rate_too_high": (CRITICAL,), "non_finite": (CRITICAL, 6)}
    outcomes = [changed(one, title=f"A {one.diagnoser}") for one in found(**chain)]
    audit = msgspec.structs.replace(clean, outcomes=outcomes, ranked=rank(outcomes, EXPLAINS))
    assert verdict(audit) == "This run is broken: a non_finite; cause: a initial_loss_mismatch. It."


def test_a_jump_that_the_loss_came_back_from_is_no_root_of_what_comes_much_later(tmp_path):
    def after(start: int) -> dict[str, list[str]]:
        loss = numpy.interp(numpy.arange(2000), [0, 100, 1999], [2.3, 1.6, 1.0])
        loss[100:130] += 0.3
        loss[start:] = numpy.linspace(1.0, 30.0, 2000 - start)
        rates = [[1e-3 if step < 100 else 5e-3] for step in range(2000)]
        update = numpy.where(numpy.arange(2000) >= start, 2.0, 1e-3)[:, None]
        run = build_run(
            tmp_path / str(start), loss=loss, facts=TEN, steps={"learning_rate": rates}, stats={"update_norm": update}
        )
        return {root.diagnoser: [below.diagnoser for below in root.consequences] for root in analyze(run).ranked}

    assert after(110).get("learning_rate_schedule"), "the loss never came back"
    assert not after(1600).get("learning_rate_schedule"), "it came back, and the other fault is 1,500 steps away"


def test_a_loss_that_is_never_a_number_is_told(tmp_path):
    run = build_run(tmp_path / "a", loss=numpy.full(200, numpy.nan), facts=TEN)
    audit = analyze(run)
    assert audit.overview.first_non_finite == 0
    assert "non_finite" in roots(run)


def test_a_negative_loss_does_not_climb_to_twice_itself(tmp_path):
    """A log-likelihood of densities goes below zero."""
    run = build_run(
        tmp_path / "a", loss=numpy.linspace(-1, -50, 300), facts=LossFacts(id=0, function="gaussian_nll_loss")
    )
    assert "divergence" not in roots(run)


def test_without_host_no_reason_names_a_folder_of_this_machine(tmp_path):
    run = build_run(tmp_path / "run", loss=flat(200))
    fault = DisabledFacts(observer="losses", reason="FileNotFoundError: '/home/alice/data/x.csv'", step=3)
    run = dataclasses.replace(run, meta=msgspec.structs.replace(run.meta, disabled=[fault]),
                              problems=(Problem("/home/alice/runs/x/steps: torn", "steps"),))  # fmt: skip
    assert "alice" in msgspec.json.encode(analyze(run, show_host=True)).decode()
    shown = analyze(run)
    assert shown.meta.disabled[0].reason == "FileNotFoundError: 'x.csv'"
    assert "alice" not in msgspec.json.encode(shown).decode()


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("[Errno 2] No such file or directory: '/home/ann lee/my runs/x'", "[Errno 2] No such file or directory: 'x'"),
        ('cannot open "C:\\Users\\Ann Lee\\x": denied', 'cannot open "x": denied'),
        ("/home/ann/x is not a run, 3/4 of '1/2' are", "x is not a run, 3/4 of '1/2' are"),
    ],
)
def test_of_a_path_its_last_part_is_left(told, kept):
    assert without_folders(told) == kept


def test_a_folder_is_read(tmp_path):
    run = build_run(tmp_path / "run", loss=flat())
    assert msgspec.json.encode(analyze(tmp_path / "run")) == msgspec.json.encode(analyze(run))
    assert analyze(str(tmp_path / "run")).meta == run.meta
    with pytest.raises(RunError, match="nothing"):
        analyze(tmp_path / "nothing")
