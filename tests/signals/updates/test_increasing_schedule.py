"""A rate that rises to the end and the loss that it drives up, against schedulers of torch."""

import math
from dataclasses import replace

import numpy
import pytest
import torch

from gradaudit.schema import DataFacts, LossFacts
from gradaudit.signals.updates.increasing_schedule import (
    IncreasingSchedule,
    increasing_schedule,
    once_an_epoch,
    rises,
    sound,
)
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling

STEPS = 200
schedulers = torch.optim.lr_scheduler


def rates(make, steps=STEPS, every=1):
    """[steps] of a scheduler of torch that is advanced once in so many steps."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule, found = make(optimizer), []
    for step in range(1, steps + 1):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step % every == 0:
            schedule.step()
    return numpy.asarray(found)


SCHEDULES = {
    "exponential": (lambda o: schedulers.ExponentialLR(o, 1.02), 1, True),
    "in stairs": (lambda o: schedulers.ExponentialLR(o, 1.5), 20, True),
    "linear": (lambda o: schedulers.LinearLR(o, 0.01, 1.0, total_iters=STEPS), 1, True),
    "warmup": (lambda o: schedulers.LinearLR(o, 0.01, 1.0, total_iters=50), 1, False),
    "constant": (lambda o: schedulers.ConstantLR(o, 1.0, 0), 1, False),
    "cosine": (lambda o: schedulers.CosineAnnealingLR(o, STEPS), 1, False),
    "one cycle": (lambda o: schedulers.OneCycleLR(o, 1.0, total_steps=STEPS + 1), 1, False),
    "one stair": (lambda o: schedulers.StepLR(o, 100, 10.0), 1, False),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("unit", [1e-6, 1.0])
def test_which_schedules_rise_to_the_end(name, unit):
    make, every, told = SCHEDULES[name]
    assert rises(unit * rates(make, every=every), 3.0) is told


def test_a_rise_must_be_large():
    rate = numpy.linspace(1, 5, STEPS)
    assert rises(rate, 4.9)
    assert not rises(rate, 5.0)
    assert not rises(numpy.zeros(0), 3.0)
    assert not rises(numpy.full(STEPS, math.nan), 3.0)


@pytest.mark.parametrize(("batches", "found"), [(20, 9), (10, 9), (30, 0), (1, 0), (0, 0)])
def test_changes_between_passes_are_counted(tmp_path, batches, found):
    rate = rates(SCHEDULES["in stairs"][0], every=20)
    run = build_run(tmp_path / "a", loss=falling(), data=DataFacts(batches_per_epoch=batches))
    assert once_an_epoch(run.trainings[0], rate) == found


def test_micro_steps_are_batches(tmp_path):
    rate = rates(SCHEDULES["in stairs"][0], every=20)
    data = DataFacts(batches_per_epoch=80)
    run = build_run(tmp_path / "a", loss=falling(), data=data, steps={"micro_steps": 4})
    assert once_an_epoch(run.trainings[0], rate) == 9


def schedule(path, loss, rate=None, **changes):
    rate = numpy.geomspace(1e-3, 1.0, STEPS) if rate is None else rate
    settings = {"facts": TEN, "steps": {"learning_rate": numpy.column_stack([rate, 2 * rate]).tolist()}, **changes}
    return increasing_schedule(build_run(path, loss=loss, **settings).trainings[0])


def climbing(first=2.3, lowest=1.0, end=2.2):
    """It falls over the first half and climbs back over the second."""
    return numpy.concatenate([numpy.linspace(first, lowest, STEPS // 2), numpy.linspace(lowest, end, STEPS // 2)])


def test_what_an_increasing_schedule_has_undone(tmp_path):
    loss, rate = climbing(), numpy.geomspace(1e-3, 1.0, STEPS)
    found = schedule(tmp_path / "a", loss)
    tenths = numpy.array_split(loss, 10)
    best = int(numpy.argmin([numpy.median(tenth) for tenth in tenths]))
    assert (found.risen, found.since) == (int(numpy.argmax(rate > 3e-3)), 20 * (best + 1))
    assert found.lowest == pytest.approx(numpy.median(tenths[best]))
    assert found.rates == pytest.approx([rate[found.since], 2 * rate[found.since]])
    assert found.last == pytest.approx([1.0, 2.0])


@pytest.mark.parametrize(
    "changes",
    [{"loss": falling()}, {"loss": climbing(end=1.1)}, {"loss": climbing(), "rate": numpy.full(STEPS, 1e-3)},
     {"loss": climbing(2.3, 2.2, 2.28)}, {"loss": climbing(), "facts": LossFacts(id=0, function="logged")},
     {"loss": climbing()[:9], "rate": numpy.geomspace(1e-3, 1, 9)}, {"loss": numpy.full(STEPS, math.nan)},
     {"loss": climbing(), "rate": numpy.full(STEPS, math.nan)}],
)  # fmt: skip
def test_without_a_rise_or_harm_there_is_none(tmp_path, changes):
    assert schedule(tmp_path / "a", **changes) is None


@pytest.mark.parametrize(
    ("name", "tolerated"),
    [("learning_rate_schedule.risen", 1001), ("unstable_loss.lost", 1.0), ("unstable_loss.errors", 1e6)],
)
def test_every_limit_is_one_that_the_user_may_set(tmp_path, name, tolerated):
    """The rate rises a thousandfold, and the loss comes back by less than it had gained."""
    rates = numpy.geomspace(1e-3, 1.0, STEPS)[:, None].tolist()
    run = build_run(tmp_path / "a", loss=climbing(), facts=TEN, steps={"learning_rate": rates})
    assert increasing_schedule(run.trainings[0]) is not None
    assert increasing_schedule(replace(run, thresholds={name: tolerated}).trainings[0]) is None


def test_a_loss_that_ends_in_nan_counts_where_it_rose_before(tmp_path):
    loss = numpy.concatenate([numpy.linspace(2.3, 1.0, 100), numpy.linspace(1.0, 50.0, 80), numpy.full(20, math.nan)])
    assert schedule(tmp_path / "a", loss).lowest < 1.2
    loss[100:180] = 1.0
    assert schedule(tmp_path / "b", loss) is None


def test_a_third_of_the_rate_that_was_still_sound():
    found = IncreasingSchedule(0, 0, 1.0, numpy.asarray([0.01, 0.3]), numpy.ones(2))
    assert sound(found).tolist() == [0.0033, 0.1]
