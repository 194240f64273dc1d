"""Schedules of the learning rate that decay too early or rise too far, in words, measures and advice."""

from gradaudit.evidence.words.optimizers import rate_in_words
from gradaudit.evidence.words.wording import count, number, percent, setting
from gradaudit.findings import Action, Measure
from gradaudit.signals.loss.plateaus import UNFINISHED, WORTH, EarlyDecay, hardly_begun, still_falling
from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.signals.order_statistics import Floats
from gradaudit.signals.updates.increasing_schedule import IncreasingSchedule, sound
from gradaudit.signals.updates.learning_rates import same_rate
from gradaudit.training import Training


def falling_until(gone: EarlyDecay, unfinished: float = UNFINISHED, option: str = "") -> list[Measure]:
    """What tells that the loss was still falling while the learning rate decayed."""
    what = "fall over the second half of the summed learning rate, of the first loss"
    far = Measure(
        quantity=what, value=gone.fell, comparison=">=", threshold=unfinished, unit="fraction", option=option
    )  # fmt: skip
    if far.met:
        return [far]
    gained = Measure(
        quantity="whole gain, of the first loss", value=gone.gained, comparison="<", threshold=unfinished,
        unit="fraction", option=option,
    )  # fmt: skip
    if hardly_begun(gone, unfinished):
        worth = Measure(quantity="sum of the learning rates / peak, of the steps", value=gone.worth, comparison="<",
                        threshold=WORTH, unit="fraction")  # fmt: skip
        return [worth, gained]
    return [
        Measure(quantity=what, value=gone.fell, comparison=">=", threshold=still_falling(gone), unit="fraction"),
        gained,
    ]


def fall_in_words(training: Training, gone: EarlyDecay, unfinished: float = UNFINISHED) -> str:
    """What the loss did while the learning rate decayed, and since."""
    loss = training_loss(training)
    if hardly_begun(gone, unfinished):
        steps = len(loss.values)
        return (
            f"The learning rates of all {count(steps)} steps add up to {count(max(1, gone.worth * steps))} times the "
            f"peak, and the loss has {'fallen' if gone.gained >= 0 else 'risen'} by {percent(abs(gone.gained))} of its "
            "first value."
        )
    return (
        f"From step {count(loss.steps[gone.half])} to step {count(loss.steps[gone.start])}, over the second half of "
        f"the summed learning rate, the loss fell from {number(gone.then)} to {number(gone.reached)} (medians), by "
        f"{percent(gone.fell)} of its first value. At the end it is {number(loss.last)}."
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
