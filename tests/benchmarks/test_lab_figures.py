"""How the laboratory reads what was printed, cuts runs short, and counts."""

import math
from dataclasses import replace

import numpy
import pytest

from benchmarks.lab.analyze import WHOLE
from benchmarks.lab.configuration import Fault
from benchmarks.lab.cut import cut
from benchmarks.lab.experiments import Experiment, chosen, experiments
from benchmarks.lab.figures import (
    Trial,
    costs,
    false_alarm,
    found,
    root_first,
    share,
    steps_until_found,
    told_apart,
    wilson,
)
from benchmarks.lab.losses import Losses, cost, parse, why_not_learned
from benchmarks.lab.results import replaced
from gradaudit.diagnosers.rank_divergence import rank_divergence
from tests.build import build_run
from tests.diagnosers.sick_replicas import replicas, sums
from tests.diagnosers.verbs import assert_clean, assert_finds

PRINTED = """constant 2.3026
step 0 train 2.2677 validation 2.2971
step 20 train 1.5 validation 1.25
final validation 1.0000
"""


def losses(*validation, constant=2.0, final=None):
    steps = {20 * index: value for index, value in enumerate(validation)}
    return Losses(constant, steps, validation[-1] if final is None else final)


def test_the_printed_losses_are_read():
    found = parse(PRINTED)
    assert found == Losses(2.3026, {0: 2.2971, 20: 1.25}, 1.0)
    assert found.reached == 1.25


def test_a_script_that_ends_early_has_no_final_loss():
    assert math.isnan(parse(PRINTED.partition("final")[0]).final)
    assert "at its end" in why_not_learned(parse("Traceback"))


@pytest.mark.parametrize(
    ("printed", "why"),
    [
        (losses(2.1, 1.0, 0.5, 0.5), ""),
        (losses(0.9, -1.9, -2.2, -2.2, constant=-1.0), ""),  # a Poisson loss is negative
        (losses(2.1, 2.0, 1.9, 1.9), "a constant prediction reaches 2.000"),
        (losses(2.1, math.nan, math.nan, math.nan), "finite loss at its end"),
        (losses(2.1, 0.5, 1.4, 1.5), "it had reached 0.500"),
    ],
)
def test_whether_it_learned_is_told_by_its_losses(printed, why):
    assert (why in why_not_learned(printed)) if why else (why_not_learned(printed) == "")


def test_the_cost_of_a_fault_is_a_share_of_what_was_attainable():
    base = losses(2.0, 0.5, 0.5, 0.5)
    assert cost(losses(2.0, 0.5, 0.5, 0.5), base) == 0
    assert cost(losses(2.0, 1.25, 1.25, 1.25), base) == pytest.approx(0.5)
    assert cost(losses(2.0, math.nan, math.nan, math.nan), base) == math.inf


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    return build_run(
        path,
        loss=numpy.linspace(2, 1, 60),
        recorded=numpy.arange(0, 60, 2),
        evaluations=[(step, "validation", 1.0) for step in range(0, 60, 10)],
        samples=[{"step": step, "module": -1, "loss": 0, "kind": "loss_input"} for step in (0, 25, 50)],
    )


def test_a_cut_run_holds_the_first_steps_of_every_table(run):
    short = cut(run, 25)
    assert short.steps["step"].tolist() == list(range(25))
    assert short.trainings[0].recorded.tolist() == list(range(0, 25, 2))
    assert short.trainings[0].matrix("gradient_norm").shape == (13, 8)
    assert short.evaluations["after_step"].tolist() == [0, 10, 20]
    assert short.samples["step"].tolist() == [0]
    assert short.has("evaluations.mean_loss")
    assert not short.has("rows")


def test_a_cut_run_knows_no_later_step_of_any_rank(tmp_path):
    run = replicas(tmp_path / "run", [{"weight_checksum": sums(128)}])
    assert run.replicas["global_step"].tolist() == [*range(200)] * 2
    assert cut(run, 100).replicas["global_step"].tolist() == [*range(100)] * 2
    assert_finds(rank_divergence, cut(run, 150))
    assert_clean(rank_divergence, cut(run, 100))


def test_a_run_that_is_short_enough_is_not_cut(run):
    assert cut(run, 60) is run


def trial(name="a", seed=0, fault=None, ranked=(), **findings):
    """A run whose diagnosers found, at the cut named, what `findings` says: name -> severity, or (cut, severity)."""
    outcomes = {cut: {"findings": {}, "ranked": [[name, "", []] for name in ranked]} for cut in ("20", "50", WHOLE)}
    for diagnoser, said in findings.items():
        where, severity = said if isinstance(said, tuple) else (WHOLE, said)
        for at in ("20", "50", WHOLE)[("20", "50", WHOLE).index(where) :]:
            outcomes[at]["findings"][diagnoser] = [{"severity": severity}]
    return Trial(Experiment(name, "script", "development", "", fault), seed, 80, outcomes, losses(2.0, 1.0, 1.0, 1.0))


def fault(kind="divergence", accepted=("divergence",), root=("learning_rate_too_high",)):
    return Fault("a-faulty-1", "a", (), kind, 1, accepted, root)


def test_a_note_on_a_healthy_run_is_no_false_alarm():
    assert not false_alarm(trial(overfitting="note"))
    assert false_alarm(trial(overfitting="warning"))
    assert not false_alarm(trial(overfitting=(WHOLE, "warning")), cut="50")


def test_a_fault_is_found_by_an_accepted_name_only():
    assert found(trial(fault=fault(), divergence="note"))
    assert not found(trial(fault=fault(), divergence="note"), ("critical", "warning"))
    assert not found(trial(fault=fault(), no_learning="critical"))


def test_notes_on_schedules_and_labels_never_count():
    faulty = fault("learning_rate_schedule", ("learning_rate_schedule", "learning_rate_too_low"))
    assert not found(trial(fault=faulty, learning_rate_schedule="note"))
    assert found(trial(fault=faulty, learning_rate_schedule="note", learning_rate_too_low="note"))


def test_a_diagnoser_that_says_it_of_the_healthy_run_too_tells_nothing_apart():
    faulty = trial("a-faulty", fault=fault(accepted=("divergence", "no_learning")), divergence="warning")
    assert told_apart(faulty, trial("a", no_learning="note"))
    assert not told_apart(faulty, trial("a", divergence="note"))
    assert told_apart(faulty, None)


def test_the_root_is_what_the_report_opens_with():
    assert root_first(trial(fault=fault(), ranked=("learning_rate_too_high", "divergence")))
    assert not root_first(trial(fault=fault(), ranked=("divergence", "learning_rate_too_high")))
    assert not root_first(trial(fault=fault()))


def test_steps_until_found_is_the_shortest_cut_that_finds_it():
    assert steps_until_found(trial(fault=fault(), divergence=("50", "warning"))) == 50
    assert steps_until_found(trial(fault=fault(), divergence="warning")) == 80
    assert steps_until_found(trial(fault=fault())) is None


def test_seeds_of_one_configuration_and_doses_of_one_fault_are_one_observation():
    thrice = [trial("a", seed, overfitting="warning") for seed in range(3)]
    once = share([*thrice, trial("b")], false_alarm)
    assert (once.hits, once.runs) == (3, 4)
    assert (once.low, once.high) == wilson(0.5, 2)
    doses = [
        trial(f"a-faulty-{dose}", fault=replace(fault(), dose=dose), divergence="note") for dose in ("0.1", "1e-3")
    ]
    assert (share(doses, found).low, share(doses, found).high) == wilson(1, 1)
    assert str(share([], false_alarm)) == "none"


def test_wilsons_interval_is_that_of_the_textbook():
    low, high = wilson(0.0, 50)
    assert low == 0
    assert high == pytest.approx(0.0714, abs=1e-3)  # Brown, Cai, DasGupta (2001): z^2 / (n + z^2)
    assert wilson(1.0, 50)[1] == 1


def test_costs_are_measured_against_the_healthy_base():
    assert costs([trial("a-faulty", fault=fault())], [trial("a")]) == [0]


def test_all_trainings_have_names_of_their_own():
    assert len({item.name for item in experiments()}) == len(experiments())


def test_a_block_of_figures_is_replaced_by_one_of_the_same_heading_only():
    kept = "# Results\n\n### monday\n\nold\n\n### sunday\n\nolder\n"
    assert replaced(kept, "### monday\n\nnew\n") == "# Results\n\n### monday\n\nnew\n\n### sunday\n\nolder\n"
    assert replaced(kept, "### tuesday\n\nnew\n") == kept + "\n### tuesday\n\nnew\n"


def test_experiments_are_chosen_by_half_kind_and_name():
    assert {item.half for item in chosen("held-out")} == {"held-out"}
    assert all(item.fault is None for item in chosen(kind="healthy"))
    assert [item.name for item in chosen(names=("gan",))] == ["gan"]
    with pytest.raises(KeyError, match="nothing_such"):
        chosen(names=("nothing_such",))
