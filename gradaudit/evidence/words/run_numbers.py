"""Numbers that every report shows of a run, in words: noise scale, spikes, the size of updates."""

import math

from gradaudit.evidence.words.optimizers import label_of
from gradaudit.evidence.words.wording import count, names, number, percent, setting
from gradaudit.reading.run import Run
from gradaudit.signals.gradients.noise_scale import noise_scale
from gradaudit.signals.layers.layers import weight_layers
from gradaudit.signals.loss.spike_score import DEVIATIONS, WINDOW, loss_spike_score, norm_spike_score
from gradaudit.signals.order_statistics import Mask, median, medians
from gradaudit.signals.updates.learning_rates import optimizer_class
from gradaudit.signals.updates.ratios import last_half
from gradaudit.signals.updates.update_rms import USUAL, update_rms
from gradaudit.training import Training


def noise_scales(run: Run) -> str:
    """The noise scale of each optimizer in words, with its uncertainty and source; empty where none is known."""
    told = []
    for training in run.trainings:
        found = noise_scale(training)
        if found is None:
            continue
        low, high = found.bounds
        interval = f"{number(low, 2)} to {number(high, 2)}" if math.isfinite(high) else f"at least {number(low, 2)}"
        told.append(
            f"{number(found.value, 2)} examples or tokens, as the loss counts them (95 %: {interval}), at a batch of "
            f"{count(found.batch)}: {count(found.pairs)} pairs of successive gradients have a cosine of "
            f"{number(found.cosine, 2)} ± {number(found.error, 2)}{label_of(training)}"
        )
    return f"{'; '.join(told)} (arXiv 1812.06162)" if told else ""


def spike_scores(run: Run) -> str:
    """Both scores in words, with what they count; empty where neither is known."""
    scores = ((loss_spike_score(run), "losses"), (norm_spike_score(run), "gradient norms"))
    told = [f"{percent(share)} of the {what}" for share, what in scores if share is not None]
    return (
        f"{names(told)} lie {setting(DEVIATIONS)} standard deviations or more above the mean of the "
        f"{count(WINDOW)} before (arXiv 2501.00656)"
        if told
        else ""
    )


def update_size(training: Training, rows: Mask) -> str:
    """The typical update at the chosen recorded steps, in learning rates, and what is usual; of Adam and its like only.

    Empty where it is not known, or no update was made.
    """
    layers = update_rms(training)[:, weight_layers(training)]
    typical = median(medians(layers[rows]))
    name = optimizer_class(training)
    if "adam" not in name.lower() or not typical > 0:
        return ""
    return (
        f"{number(typical, 2)} learning rates per element (root mean square, median weight layer), where "
        f"{setting(USUAL[0])} to {setting(USUAL[1])} is usual of AdamW"
    )


def update_size_at_end(training: Training) -> str:
    """`update_size` over the last half of the run."""
    return update_size(training, last_half(training))


def update_sizes(run: Run) -> str:
    """`update_size` over the last half of the run, of each optimizer, with its source."""
    found = [(update_size_at_end(training), label_of(training)) for training in run.trainings]
    said = "; ".join(f"{words}{label}" for words, label in found if words)
    return f"{said} (arXiv 2502.16982); over the last half of the run" if said else ""
