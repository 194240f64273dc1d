"""How many calls a learning rate scheduler's own numbers plan for, and in which unit the script counts them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy

from gradaudit.schema import SchedulerFacts
from gradaudit.signals.order_statistics import Floats
from gradaudit.training import Training, signal

_FADED = 1e-3  # of the peak: a decay that has come so far is over
_NOTHING, _MOST = 1e-4, 0.5  # of the peak, over this share of the steps
_LEAST = 3  # a number of a function below this stands for anything
_TOTALS = {
    "OneCycleLR": "total_steps",
    "CosineAnnealingLR": "T_max",
    "PolynomialLR": "total_iters",
}


@dataclass(frozen=True)
class Plan:
    """What one number of a scheduler says: after so many calls the schedule is over."""

    calls: float
    name: str  # of the number
    stated: bool  # it has no other meaning; a number that a function uses may be anything


@dataclass(frozen=True)
class Amounts:
    """In which unit a training counts, over the whole run."""

    steps: int  # of the scheduler's optimizer
    batches: int  # backward passes: more than steps where gradients are accumulated
    epochs: float  # passes over the data; NaN where no DataLoader told
    batches_per_epoch: int  # 0 unknown


@dataclass(frozen=True)
class Mismatch:
    """A scheduler whose calls do not fit its plan."""

    kind: str  # epochs | rising | accumulated | in_epochs | twice | early | unknown | plateau | idle | before | never
    scheduler: str  # its class
    optimizer: int  # the training that shows it
    severe: bool
    calls: int
    plan: float  # calls; NaN where there is none
    number: str  # the name of the number that says so
    done: float  # calls / plan
    steps: int  # of its optimizer
    batches: int
    epochs: float  # NaN unknown
    repeated: float  # share of the calls with no step since the call before
    longest: int  # steps between two calls
    reached: float  # last learning rate / that of the optimizer as it was made
    first_step: int
    last_step: int


def plans(facts: SchedulerFacts, every: Sequence[SchedulerFacts]) -> Iterator[Plan]:
    """The numbers of a scheduler that may say when it is over."""
    name, numbers = facts.scheduler_class, facts.numbers
    total = _total(facts)
    if total is not None:
        yield total
    elif name == "SequentialLR" and facts.parts and facts.lists.get("milestones"):
        last = next((one for one in every if one.id == facts.parts[-1]), None)
        rest = _total(last) if last is not None else None
        if rest is not None:
            yield Plan(facts.lists["milestones"][-1] + rest.calls, rest.name, stated=True)
    elif name == "LambdaLR":
        given = numbers.get("num_training_steps")
        if given:
            yield Plan(given, "num_training_steps", stated=True)
            return
        for key, value in numbers.items():
            if key != "last_epoch" and value and value >= _LEAST and float(value).is_integer():
                yield Plan(value, key, stated=False)


def _total(facts: SchedulerFacts) -> Plan | None:
    name, numbers = facts.scheduler_class, facts.numbers
    key = _TOTALS.get(name)
    if name == "LinearLR" and (numbers.get("end_factor") or 0) < (numbers.get("start_factor") or 0):
        key = "total_iters"
    value = numbers.get(key) if key else None
    if key and value:
        return Plan(value, key, stated=True)
    gamma = numbers.get("gamma")
    if name in ("StepLR", "ExponentialLR") and gamma and 0 < gamma < 1:
        size = numbers.get("step_size") or 1.0
        return Plan(size * math.ceil(math.log(_FADED) / math.log(gamma)), "gamma", stated=True)
    return None


@signal
def amounts(training: Training) -> Amounts:
    """The steps, batches and epochs of a training."""
    micro = training.steps["micro_steps"].to_numpy(dtype=numpy.int64)
    each = training.run.meta.data.batches_per_epoch
    batches = int(micro.sum())
    return Amounts(len(micro), batches, batches / each if each > 0 else math.nan, each)


@signal
def peak_course(training: Training) -> Floats:
    """[steps]: the largest learning rate over the groups, over its largest of the run; NaN where it is not known."""
    rates = training.learning_rates
    known = numpy.where(numpy.isfinite(rates), rates, -numpy.inf).max(axis=1, initial=-numpy.inf)
    known = numpy.where(numpy.isfinite(known), known, numpy.nan)
    top = float(numpy.nanmax(known)) if numpy.isfinite(known).any() else 0.0
    return known / top if top > 0 else numpy.full(len(known), numpy.nan)


def learning_rate_gone(training: Training) -> bool:
    """Whether the learning rate is next to nothing of its peak over most of the steps: training is over by then."""
    course = peak_course(training)
    return len(course) > 0 and float((course <= _NOTHING).mean()) >= _MOST
