"""Advice where an update was too large: a lower learning rate, a warmup, and which of them comes first."""

from gradaudit.evidence.words.optimizers import optimizer_line, rate_in_words
from gradaudit.evidence.words.wording import count, setting
from gradaudit.findings import Action
from gradaudit.signals.updates.learning_rates import same_rate
from gradaudit.signals.updates.stable_learning_rate import StableLearningRate
from gradaudit.training import Training

_STARTING = 100  # steps, the length of the warmup that is advised: later a warmup comes too late
_RECKLESS = 10.0  # times: a rate that was so much too high is no goal of a warmup


def slower(training: Training, stable: StableLearningRate, *, only_early: bool) -> list[Action]:
    """A learning rate that makes the first update that is too large a tenth of the weights; and a warmup.

    The fitting one comes first: the warmup where `only_early` updates are too large. A rate ten times too high or more
    is not worth a warmup, and one that still rises has one.
    """
    reduce = _lower(training, stable)
    if stable.warming_up:
        return [reduce]
    rate, lower = rate_in_words(stable.rates), rate_in_words(stable.lower)
    warm = Action(
        text=f"Warm up over the first 100 steps, from {lower} to {rate}: only the first updates are too large"
        if only_early
        else f"Or keep it and warm up over the first 100 steps, from {lower}",
        code="torch.optim.lr_scheduler.LinearLR(optimizer, start_factor="
        f"{setting(float(f'{1 / stable.times:.0e}'))}, total_iters=100)",
    )
    if only_early:
        return [warm, reduce]
    return [reduce, warm] if stable.times < _RECKLESS and stable.step < _STARTING else [reduce]


def _lower(training: Training, stable: StableLearningRate) -> Action:
    rate, lower = rate_in_words(stable.rates), rate_in_words(stable.lower)
    return Action(
        text=f"Lower the learning rate from {rate_in_words(stable.peak)} to {lower}: the first update that was too "
        f"large, at step {count(stable.step)} and {rate}, is then near a tenth of the weights"
        if stable.warming_up
        else f"Lower the learning rate from {rate} to {lower}: the first update that was too large is then near a "
        "tenth of the weights",
        code=optimizer_line(training, lr=lower) if same_rate(stable.rates) else "",
    )
