"""Advice about units that no longer receive a gradient."""

import math

from gradaudit.evidence.words.optimizers import rate_in_words
from gradaudit.evidence.words.schedules import hold
from gradaudit.evidence.words.wording import count, in_code, setting
from gradaudit.findings import Action
from gradaudit.signals.activations.dead_units import DeadUnits, When
from gradaudit.signals.updates.increasing_schedule import increasing_schedule
from gradaudit.signals.updates.stable_learning_rate import rates_at, stable_learning_rate
from gradaudit.training import Training

_WARMUP = 100  # steps
_LEAKY = Action(text="Let a little gradient through where a unit is off", code="nn.LeakyReLU(0.01)")
_INPUTS = Action(text="Standardise the inputs: large ones of one sign switch whole units off")


def remedies(training: Training, dead: DeadUnits, when: When, step: int) -> list[Action]:
    """Smaller steps first for units that died during training, at a global step; else how the layer starts."""
    if when == "before":
        return [_start(dead), _INPUTS, _LEAKY]
    if when == "both":
        return [_start(dead), _slower(training, step), _LEAKY]
    rise = increasing_schedule(training)
    lower = hold(training, rise) if rise is not None and step >= rise.risen else _slower(training, step)
    return [lower, _LEAKY, _start(dead)]


def _start(dead: DeadUnits) -> Action:
    name = dead.layer.module or dead.layer.name
    return Action(
        text=f"Start layer {name} with biases of 0 and weights of standard deviation "
        f"{setting(float(f'{math.sqrt(2 / dead.inputs):.2g}'))}, for its {count(dead.inputs)} inputs",
        code=f"nn.init.kaiming_normal_({in_code(dead.layer.name)}); nn.init.zeros_({in_code(name)}.bias)",
    )


def _slower(training: Training, step: int) -> Action:
    """The learning rate that other findings name, where an update was too large by then; else a tenth of the rate.

    What was set when the units died counts: a schedule may have raised the rate long after.
    """
    stable, rates = stable_learning_rate(training), rates_at(training, step)
    lower, when = rates / 10, f" at step {count(step)}"
    if stable is not None and stable.step <= step:
        rates, lower, when = stable.rates, stable.lower, ""
    return Action(
        text=f"Lower the learning rate{when} from {rate_in_words(rates)} to {rate_in_words(lower)}"
        + (", or warm up over the first 100 steps" if step < _WARMUP else "")
        + ": one large step pushes units below zero for good"
    )
