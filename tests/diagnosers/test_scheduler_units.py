import numpy
import pytest

from gradaudit.diagnosers.learning_rate_schedule import learning_rate_schedule
from gradaudit.diagnosers.scheduler_units import Backwards, Fitting, scheduler_units
from gradaudit.findings import Severity
from gradaudit.schema import DataFacts, SchedulerFacts
from gradaudit.signals.updates.increasing_schedule import MonotonicIncrease
from gradaudit.signals.updates.scheduler_plan import Mismatch
from tests.build import build_run
from tests.diagnosers.runs import falling
from tests.diagnosers.sick_schedules import HELD, in_epochs, of_epochs, plateau, scheduled, twice, warming
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged

COSINE = 0.5e-3 * (1 + numpy.cos(numpy.pi * numpy.arange(600) / 600))


def test_schedules_that_are_run_to_their_end_are_quiet(tmp_path):
    run = scheduled(tmp_path / "a", "OneCycleLR", numbers={"total_steps": 600.0})
    assert judged(scheduler_units, run, Fitting) == Fitting(1, 600)
    assert assert_clean(scheduler_units, run) == "600 calls of 1 scheduler"
    for name, changes in {
        "cosine in epochs": {"kind": "CosineAnnealingLR", "per": "epoch", "numbers": {"T_max": 12.0}},
        "cosine in steps": {"kind": "CosineAnnealingLR", "numbers": {"T_max": 600.0}, "rate": COSINE},
        "a cosine in each epoch": {"kind": "CosineAnnealingLR", "numbers": {"T_max": 50.0}},
        "warm restarts": {"kind": "CosineAnnealingWarmRestarts", "numbers": {"T_0": 12.0, "T_mult": 1.0}},
        "cyclic": {"kind": "CyclicLR", "numbers": {"total_size": 100.0}},
        "decay by epochs": {"kind": "StepLR", "per": "epoch", "numbers": {"step_size": 4.0, "gamma": 0.1}},
        "milestones": {"kind": "MultiStepLR", "per": "epoch", "lists": {"milestones": [6.0, 9.0]}},
        "plateau": {"kind": "ReduceLROnPlateau", "per": "epoch", "numbers": {"patience": 3.0, "factor": 0.1}},
        "warmup, then constant": {"kind": "LinearLR",
                                  "numbers": {"total_iters": 50.0, "start_factor": 0.1, "end_factor": 1.0}},
        "linear of a trainer": {"numbers": {"num_training_steps": 600.0, "num_warmup_steps": 60.0}},
        "in batches, and called at each": {"repeated": 450, "after_one": 149, "accumulated": 4, "steps": 150,
                                           "calls": 600, "numbers": {"num_training_steps": 600.0}},
    }.items():  # fmt: skip
        assert_clean(scheduler_units, scheduled(tmp_path / name, **changes))


def test_a_function_that_turns_epochs_into_steps_itself_is_quiet(tmp_path):
    stairs = 1e-3 * (1 - (numpy.arange(600) // 50) / 12)
    run = scheduled(tmp_path / "a", per="epoch", rate=stairs, numbers={"total_steps": 600.0, "per_epoch": 50.0})
    assert_clean(scheduler_units, run)
    run = scheduled(tmp_path / "b", rate=COSINE, numbers={"epochs": 12.0, "per_epoch": 50.0})
    assert_clean(scheduler_units, run)


def test_a_run_that_stops_early_is_quiet(tmp_path):
    assert_clean(scheduler_units, scheduled(tmp_path / "a", "OneCycleLR", numbers={"total_steps": 6000.0}))
    long = {"per": "epoch", "numbers": {"T_max": 1000.0}}
    assert_clean(scheduler_units, scheduled(tmp_path / "b", "CosineAnnealingLR", **long))
    assert_clean(scheduler_units, in_epochs(tmp_path / "c", numbers={"warmup_steps": 60.0}, state="interrupted"))


def test_one_call_more_at_the_end_of_each_epoch_and_accelerate_are_quiet(tmp_path):
    assert_clean(scheduler_units, scheduled(tmp_path / "a", repeated=12, calls=612))
    assert_clean(scheduler_units, twice(tmp_path / "b", numbers={}, world_size=2))


def test_taking_turns_is_quiet(tmp_path):
    """The scheduler of a generator that steps at every fifth iteration, and is stepped at each."""
    assert_clean(scheduler_units, scheduled(tmp_path / "a", idle=480, idle_last=4, after_one=119, steps=120))


def test_a_scheduler_of_a_wrapped_optimizer_is_quiet(tmp_path):
    run = scheduled(tmp_path / "a", optimizer=-1, steps=600, calls=600, shares_groups=True)
    assert_clean(scheduler_units, run)


def test_parts_of_others_are_not_judged(tmp_path):
    assert_not_applicable(scheduler_units, scheduled(tmp_path / "a", nested=True, calls=0))


def test_old_runs_and_runs_without_schedulers(tmp_path):
    assert_skipped(scheduler_units, build_run(tmp_path / "a", loss=falling()))
    assert_not_applicable(scheduler_units, scheduled(tmp_path / "b", nested=True))


@pytest.mark.parametrize("kind", ["LambdaLR", "OneCycleLR"])
def test_a_schedule_in_steps_that_is_stepped_once_an_epoch(tmp_path, kind):
    run = in_epochs(tmp_path / "a", kind=kind)
    found = judged(scheduler_units, run, Mismatch)
    assert (found.kind, found.calls, found.plan, found.number, found.longest) == ("epochs", 12, 600, "total_steps", 50)
    finding = assert_finds(scheduler_units, run, Severity.WARNING)
    assert finding.headline == f"{kind} plans 600 steps and is stepped once an epoch: 12 calls"
    assert "scheduler.step()" in finding.actions[0].code
    assert not judged(learning_rate_schedule, run, MonotonicIncrease).in_epochs


def test_a_warmup_of_unknown_length_that_is_stepped_once_an_epoch(tmp_path):
    found = judged(scheduler_units, in_epochs(tmp_path / "a", numbers={}), Mismatch)
    assert (found.kind, found.calls, round(found.reached, 2)) == ("rising", 12, 0.2)
    assert_finds(scheduler_units, in_epochs(tmp_path / "b", numbers={}), Severity.WARNING)
    assert_clean(scheduler_units, in_epochs(tmp_path / "c", numbers={}, rate=warming(whole=12.0)))


def test_a_sequence_of_schedules_counts_as_long_as_all_its_parts(tmp_path):
    parts = [
        SchedulerFacts(id=1, scheduler_class="LinearLR", nested=True),
        SchedulerFacts(id=2, scheduler_class="CosineAnnealingLR", nested=True, numbers={"T_max": 540.0}),
    ]
    changes = {"parts": [1, 2], "lists": {"milestones": [60.0]}, "others": parts}
    found = judged(scheduler_units, scheduled(tmp_path / "a", "SequentialLR", "epoch", **changes), Mismatch)
    assert (found.kind, found.plan) == ("epochs", 600)
    assert_clean(scheduler_units, scheduled(tmp_path / "b", "SequentialLR", **changes))


def test_a_schedule_in_batches_that_is_stepped_once_an_optimizer_step(tmp_path):
    run = scheduled(tmp_path / "a", accumulated=4, numbers={"num_training_steps": 2400.0})
    found = judged(scheduler_units, run, Mismatch)
    assert (found.kind, found.batches, found.done) == ("accumulated", 2400, 0.25)
    assert_finds(scheduler_units, run, Severity.WARNING)


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        ("CosineAnnealingLR", {"T_max": 12.0}),
        ("StepLR", {"step_size": 5.0, "gamma": 0.1}),
        ("ExponentialLR", {"gamma": 0.85}),
    ],
)
def test_a_schedule_in_epochs_that_is_stepped_once_a_batch(tmp_path, kind, numbers):
    run = of_epochs(tmp_path / "a", kind=kind, numbers=numbers)
    found = judged(scheduler_units, run, Mismatch)
    assert (found.kind, found.calls) == ("in_epochs", 600)
    assert_finds(scheduler_units, run, Severity.WARNING)


def test_a_schedule_that_is_stepped_twice_a_step(tmp_path):
    run = twice(tmp_path / "a")
    found = judged(scheduler_units, run, Mismatch)
    assert (found.kind, found.repeated, found.plan) == ("twice", 0.5, 600)
    assert_finds(scheduler_units, run, Severity.WARNING)
    assert_finds(scheduler_units, twice(tmp_path / "b", numbers={}), Severity.NOTE)


def test_a_schedule_that_is_over_early_for_an_unknown_reason_is_a_note(tmp_path):
    run = scheduled(tmp_path / "a", "PolynomialLR", numbers={"total_iters": 200.0})
    assert judged(scheduler_units, run, Mismatch).kind == "early"
    assert_finds(scheduler_units, run, Severity.NOTE)


def linear(total, warmup, steps):
    """A linear warmup from 0, and a linear decay to 0, at each step."""
    at = numpy.arange(steps)
    return 1e-3 * numpy.minimum(at / warmup, numpy.maximum(0, (total - at) / (total - warmup)))


def test_a_training_that_goes_on_at_nothing_is_a_warning(tmp_path):
    ended = {"numbers": {"total_iters": 200.0}, "rate": linear(200, 1, 600)}
    assert_finds(scheduler_units, scheduled(tmp_path / "a", "PolynomialLR", **ended), Severity.WARNING)
    decayed = {"numbers": {"gamma": 0.96}, "rate": 1e-3 * 0.96 ** numpy.arange(600)}
    assert_finds(scheduler_units, scheduled(tmp_path / "b", "ExponentialLR", **decayed), Severity.NOTE)


def test_a_schedule_in_steps_that_is_stepped_once_a_batch_after_a_warmup_from_0(tmp_path):
    calls = {"repeated": 450, "after_one": 149, "accumulated": 4, "steps": 150, "calls": 600}
    numbers = {"total": 150.0, "warmup": 15.0}
    run = scheduled(tmp_path / "a", rate=linear(150 / 4, 15 / 4, 150), numbers=numbers, **calls)
    found = judged(scheduler_units, run, Mismatch)
    assert (found.kind, found.number, found.done) == ("twice", "total", 4)
    finding = assert_finds(scheduler_units, run, Severity.WARNING)
    assert "once an optimizer step, 150 times in all" in finding.actions[0].text
    well = scheduled(tmp_path / "b", rate=linear(150, 15, 150), numbers=numbers, after_one=149, steps=150, calls=150)
    assert_clean(scheduler_units, well)


def test_a_plateau_scheduler_that_is_stepped_once_a_batch(tmp_path):
    rate = numpy.where(numpy.arange(600) < 300, 1e-3, 1e-5)
    run = scheduled(tmp_path / "a", "ReduceLROnPlateau", rate=rate, numbers={"patience": 10.0})
    assert judged(scheduler_units, run, Mismatch).kind == "plateau"
    assert_finds(scheduler_units, run, Severity.WARNING)


def test_a_scheduler_of_an_optimizer_that_makes_no_steps(tmp_path):
    run = scheduled(tmp_path / "a", optimizer=-1, own=0, calls=12, after_one=0, idle=11, idle_last=11)
    assert judged(scheduler_units, run, Mismatch).kind == "idle"
    assert_finds(scheduler_units, run, Severity.WARNING)


def test_a_scheduler_stepped_before_the_optimizer_or_never_is_a_note(tmp_path):
    before = scheduled(tmp_path / "a", steps_before=0, first_call=0)
    assert judged(scheduler_units, before, Mismatch).kind == "before"
    assert_finds(scheduler_units, before, Severity.NOTE)
    never = scheduled(tmp_path / "b", calls=0, first_call=-1, last_call=-1)
    assert judged(scheduler_units, never, Mismatch).kind == "never"
    assert_finds(scheduler_units, never, Severity.NOTE)
    short = scheduled(tmp_path / "c", calls=0, data=DataFacts(batches_per_epoch=300))
    assert_clean(scheduler_units, short)


def test_a_rate_that_changes_without_a_call_that_was_seen_is_quiet(tmp_path):
    assert_clean(scheduler_units, scheduled(tmp_path / "a", calls=0, rate=COSINE))


LOSSES = [0.9, 1.0, 1.2, 1.3, 1.5, 1.5, 1.6, 1.6, 1.7, 1.7, 1.8, 1.8]
FALLING = [0.9, 0.8, 0.7, 0.64, 0.6, 0.55, 0.52, 0.5, 0.49, 0.47, 0.46, 0.45]


def test_plateau_schedulers_in_the_right_mode_are_quiet(tmp_path):
    assert_clean(scheduler_units, plateau(tmp_path / "a", mode="max", loaders=HELD))
    assert_clean(scheduler_units, plateau(tmp_path / "b", metrics=FALLING, evaluations=FALLING))


def test_a_loss_that_rises_is_quiet(tmp_path):
    """It overfits, and mode="min" is right: the metric is what was evaluated, or goes with it, or nothing tells."""
    assert_clean(scheduler_units, plateau(tmp_path / "a", metrics=LOSSES, evaluations=LOSSES))
    small = [loss / 4 for loss in LOSSES]
    assert_clean(scheduler_units, plateau(tmp_path / "b", metrics=small, evaluations=LOSSES))
    assert_clean(scheduler_units, plateau(tmp_path / "c", metrics=small))
    rounded = [round(0.31 + 0.0123 * step, 4) for step in range(12)]
    assert_clean(scheduler_units, plateau(tmp_path / "d", metrics=rounded, evaluations=[]))


def test_an_error_rate_that_rises_with_its_loss_is_quiet(tmp_path):
    assert_clean(scheduler_units, plateau(tmp_path / "a", evaluations=LOSSES, loaders=HELD))


def test_an_accuracy_is_not_told_while_nothing_is_learned(tmp_path):
    assert_clean(scheduler_units, plateau(tmp_path / "a", loss=numpy.linspace(1.0, 2.0, 600), loaders=HELD))


def test_a_metric_that_stagnates_is_quiet(tmp_path):
    flat = [count / 400 for count in (196, 201, 198, 203, 199, 202, 200, 204, 201, 198, 203, 200)]
    assert_clean(scheduler_units, plateau(tmp_path / "a", metrics=flat, loaders=HELD))
    assert_clean(scheduler_units, plateau(tmp_path / "b", metrics=[0.5] * 12, loaders=HELD))


def test_a_rate_that_was_not_cut_is_quiet(tmp_path):
    assert_clean(scheduler_units, plateau(tmp_path / "a", reached=1.0, loaders=HELD))


def test_metrics_that_are_not_known_are_quiet(tmp_path):
    assert_clean(scheduler_units, plateau(tmp_path / "a", metrics=[None] * 12, loaders=HELD))
    assert_clean(scheduler_units, plateau(tmp_path / "b", metrics=[0.2, 0.4, 0.5], loaders=HELD))


def test_an_accuracy_in_mode_min_is_a_warning(tmp_path):
    run = plateau(tmp_path / "a", loaders=HELD)
    course = judged(scheduler_units, run, Backwards).course
    assert (course.told, course.examples, course.first, course.last) == ("counts", 400, 0.26, 0.48)
    finding = assert_finds(scheduler_units, run, Severity.WARNING)
    assert finding.headline == (
        "ReduceLROnPlateau waits for its metric to fall: it rose from 0.26 to 0.48, and the learning rate was cut"
    )
    assert_finds(scheduler_units, plateau(tmp_path / "b", loaders=HELD, reached=0.7), Severity.NOTE)


def test_an_accuracy_in_percent_of_an_odd_number_of_examples(tmp_path):
    metrics = [100 * count / 331 for count in (90, 120, 140, 150, 160, 161, 160, 162, 161, 160, 162, 161)]
    assert judged(scheduler_units, plateau(tmp_path / "a", metrics=metrics), Backwards).course.examples == 331


def test_a_score_that_rises_as_its_loss_falls(tmp_path):
    metrics = [0.31 + 0.0123 * step**0.9 for step in range(12)]
    run = plateau(tmp_path / "a", metrics=metrics, evaluations=FALLING)
    assert judged(scheduler_units, run, Backwards).course.told == "losses"
    assert assert_finds(scheduler_units, run, Severity.WARNING).confidence.value == "high"


def test_a_loss_in_mode_max_is_a_certain_warning(tmp_path):
    run = plateau(tmp_path / "a", mode="max", metrics=FALLING, evaluations=FALLING)
    assert judged(scheduler_units, run, Backwards).course.told == "loss"
    assert assert_finds(scheduler_units, run, Severity.WARNING).confidence.value == "certain"
    squared = [loss**2 for loss in FALLING]
    run = plateau(tmp_path / "b", mode="max", metrics=squared, evaluations=FALLING)
    assert judged(scheduler_units, run, Backwards).course.told == "losses"
