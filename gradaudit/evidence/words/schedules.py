"""Schedules of the learning rate that decay too early, rise too far or jump, in words, measures and advice."""

import math

from gradaudit.evidence.words.optimizers import rate_in_words
from gradaudit.evidence.words.wording import count, factor, number, percent, plural, setting
from gradaudit.findings import Action, Measure
from gradaudit.signals.loss.plateaus import WORTH, EarlyDecay, flat_share, hardly_begun, still_falling, unfinished_share
from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.signals.order_statistics import Floats
from gradaudit.signals.updates.increasing_schedule import IncreasingSchedule, MonotonicIncrease, sound
from gradaudit.signals.updates.learning_rates import same_rate
from gradaudit.signals.updates.rate_course import DecayedRate, GainAround
from gradaudit.signals.updates.rate_jumps import HarmfulJump
from gradaudit.training import Training

_SHOWN = 1e-3  # of the peak: a smaller share reads better as 1/100,000


def down_to(decay: DecayedRate, step: str) -> str:
    """What a rate has done since its peak by a step, after "the learning rate"; below a millionth is as good as 0."""
    share = decay.share_of_peak
    if not decay.rate:
        return f"is 0 from {step} on"
    if share <= 1e-6:
        return f"falls to {setting(decay.rate)} by {step}"
    return f"falls to {percent(share) if share >= _SHOWN else f'1/{count(1 / share)}'} of its peak by {step}"


def gain_in_words(gain: GainAround) -> str:
    """What the loss gained before a learning rate had decayed, and after."""
    return (
        f"From step {count(gain.half)} to step {count(gain.step)} the loss fell by {percent(gain.before)} of its first "
        f"value. From there to the end it has {'fallen' if gain.after > 0 else 'risen'} by {percent(abs(gain.after))}."
    )


def gain_measures(gain: GainAround, least: float) -> list[Measure]:
    """How the loss fell before the learning rate had decayed, and how little since."""
    fall = f"fall from step {count(gain.half)} to step {count(gain.step)}, of the first loss"
    return [
        Measure(quantity=fall, value=gain.before, comparison=">", threshold=least, unit="fraction", option="gain"),
        Measure(quantity="fall from there to the end, of the first loss", value=gain.after, comparison="<",
                threshold=least, unit="fraction", option="gain"),
    ]  # fmt: skip


def stopped_measures(loss: TrainingLoss, at: int, stopped: EarlyDecay) -> list[Measure]:
    """The same of a loss that was still falling when the learning rate had decayed, at index `at`."""
    middle, run = count(loss.steps[(at + len(loss.values)) // 2]), loss.training.run
    return [
        *falling_until(stopped, unfinished_share(run)),
        Measure(quantity=f"fall since, before step {middle} to after it, of the first loss", value=stopped.after,
                comparison="<", threshold=flat_share(run), unit="fraction"),
    ]  # fmt: skip


def smaller_jump(jump: HarmfulJump, most: float) -> list[Action]:
    """What to do about a learning rate that jumps: less far and less fast, or, where it does so once, not at all."""
    if jump.back is None or not jump.for_once:
        restart = f"Restart at {setting(jump.old * most)} or less, {factor(most)}-fold at most"
        return [Action(text=restart), Action(text="Let the rate rise over 50 steps after a restart, as in a warmup")]
    step, rate = jump.back
    return [
        Action(
            text=f"Find what sets the learning rate to {setting(jump.new)} at step {count(jump.step)}: at step "
            f"{count(step)} it is {setting(rate)} again, so it is no restart"
        ),
        Action(
            text="Print the learning rate around that step",
            code="print(step, [group['lr'] for group in optimizer.param_groups])",
        ),
    ]


def falling_until(decay: EarlyDecay, unfinished: float, option: str = "") -> list[Measure]:
    """What tells that the loss was still falling while the learning rate decayed."""
    what = "fall over the second half of the summed learning rate, of the first loss"
    far = Measure(
        quantity=what, value=decay.fell, comparison=">=", threshold=unfinished, unit="fraction", option=option
    )  # fmt: skip
    if far.met:
        return [far]
    gained = Measure(
        quantity="whole gain, of the first loss", value=decay.gained, comparison="<", threshold=unfinished,
        unit="fraction", option=option,
    )  # fmt: skip
    if hardly_begun(decay, unfinished):
        worth = Measure(quantity="sum of the learning rates / peak, of the steps", value=decay.worth, comparison="<",
                        threshold=WORTH, unit="fraction")  # fmt: skip
        return [worth, gained]
    return [
        Measure(quantity=what, value=decay.fell, comparison=">=", threshold=still_falling(decay), unit="fraction"),
        gained,
    ]


def fall_in_words(training: Training, decay: EarlyDecay) -> str:
    """What the loss did while the learning rate decayed, and since."""
    loss = training_loss(training)
    if hardly_begun(decay, unfinished_share(training.run)):
        steps = len(loss.values)
        return (
            f"The learning rates of all {count(steps)} steps add up to {count(max(1, decay.worth * steps))} times the "
            f"peak, and the loss has {'fallen' if decay.gained >= 0 else 'risen'} by {percent(abs(decay.gained))} of "
            "its first value."
        )
    return (
        f"From step {count(loss.steps[decay.half])} to step {count(loss.steps[decay.start])}, over the second half of "
        f"the summed learning rate, the loss fell from {number(decay.then)} to {number(decay.reached)} (medians), by "
        f"{percent(decay.fell)} of its first value. At the end it is {number(loss.last)}."
    )


def hold(training: Training, rise: IncreasingSchedule) -> Action:
    """The one advice of all findings about a rate that rises too far."""
    most, steps = sound(rise), len(training.steps)
    top = setting(float(most[0])) if same_rate(most) else f"[{', '.join(setting(float(rate)) for rate in most)}]"
    return Action(
        text=f"Keep the learning rate at or below {rate_in_words(most)}, a third of what it is at step "
        f"{count(rise.since)}, up to which the loss fell: the schedule raises it to {rate_in_words(rise.last)}",
        code=f"torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr={top}, total_steps={steps}, cycle_momentum=False)",
    )


def keep_below(training: Training, rise: IncreasingSchedule | None, lower: Floats, step: int) -> Action:
    """To keep the learning rates at or below `lower` [groups], a third of those at a step; of a rise see `hold`."""
    if rise is not None:
        return hold(training, rise)
    return Action(
        text=f"Keep the learning rate at or below {rate_in_words(lower)}, a third of what it is at step {count(step)}, "
        "or let it decay from there"
    )


def rise_in_words(found: MonotonicIncrease) -> str:
    """What a rate that rises to the end does to the loss, or what tells why it rises."""
    loss, harm = found.loss, found.harm
    if harm:
        ends = number(loss.last) if math.isfinite(loss.last) else "NaN or infinity"
        return (
            f"Up to step {count(harm.since)}, at a rate of {rate_in_words(harm.rates)}, the loss falls from "
            f"{number(loss.first)} to {number(harm.lowest)} (median of a tenth of the run). It ends at {ends} "
            "(mean of the last 10 %)."
        )
    if found.in_epochs:
        return (
            f"It changes {plural(found.changes, 'time')}, only between epochs, and ends at "
            f"{percent(found.last / found.made_with)} of {setting(found.made_with)}, the learning rate that the "
            "optimizer was made with. So scheduler.step() is called once an epoch, and the warmup is counted in steps."
        )
    return "Either the warmup is longer than the run, or the schedule grows where it is meant to decay."


def end_of_rise(training: Training, found: MonotonicIncrease) -> list[Action]:
    """What to do about a rate that rises to the end."""
    warmup = f"Warm up over 5 % of the run, {count(max(1, found.steps / 20))} steps, and let it decay after"
    cap = hold(training, found.harm) if found.harm else Action(text=warmup)
    # A step that was to be a division: then a warmup of another length fixes nothing.
    turned = Action(text="If it was meant to decay, invert the schedule: the factor of a decay is below 1")
    if not found.in_epochs:
        return [cap, turned, Action(text="If its numbers are meant as batches, call scheduler.step() once a batch")]
    code = "optimizer.step()\nscheduler.step()"
    return [Action(text="Call scheduler.step() once a batch, after optimizer.step()", code=code), cap, turned]
