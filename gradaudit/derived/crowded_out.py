"""A loss that learns nothing beside other terms that were minimised well: a posterior that collapsed, say."""

import re
from dataclasses import dataclass

from gradaudit.derived.objective import factor
from gradaudit.derived.order_statistics import median
from gradaudit.derived.training_loss import TrainingLoss
from gradaudit.derived.wording import percent
from gradaudit.findings import Action
from gradaudit.reading.run import Run

_STARTED = 0.05  # of the objective: less was never much of it
_LEFT = 0.1  # of what the rest was at first: it is nearly gone
_FIRST = 3  # steps
_TOLD = 1e-3  # smaller shares are no number to remember
# What the layers of a variational autoencoder are called that give the mean and the spread of its code.
_LATENT = re.compile(r"(^|[._])(fc_)?(mu|mean|z_mean|log_?var|log_?std|log_?sigma|sigma)($|[._\d])", re.IGNORECASE)


@dataclass(frozen=True)
class Rest:
    """The part of the objective that is not the loss, at first and at the end, as shares of the objective."""

    first: float
    last: float
    latent: bool  # the model has layers named as those of a variational autoencoder


def crowding(run: Run, loss: TrainingLoss) -> Rest | None:
    """The other terms where they have gone to nearly nothing; None where there are none, or they have not.

    The loss counts by the least weight that it had, so that the rest is never negative.
    """
    times = factor(run.steps_of(loss.optimizer), loss.values)
    if times is None or times.values.min() <= 0:
        return None
    least = float(times.values.min())
    first = 1 - least / float(times.values[:_FIRST].max())
    last = 1 - least / median(times.values[-max(5, len(times.values) // 10) :])
    if first < _STARTED or last > _LEFT * first:
        return None
    latent = any(_LATENT.search(module.name) for module in run.meta.modules)
    return Rest(first, last, latent)


def crowding_in_words(loss: TrainingLoss, rest: Rest) -> str:
    """What became of the other terms, in sentences."""
    function = loss.facts.function if loss.facts else "the loss"
    last = percent(rest.last) if rest.last >= _TOLD else f"less than {percent(_TOLD)}"
    return (
        f" What is minimised has other terms: {percent(rest.first)} of it at first, {last} at the end. "
        f"They were worth more than {function} was, and training has got rid of them instead. In a variational "
        "autoencoder that is posterior collapse: the code says the same of every input, and the decoder gives the mean."
    )


def weigh_terms(loss: TrainingLoss) -> list[Action]:
    """What to do about the weight of the terms."""
    function = loss.facts.function if loss.facts else "mse_loss"
    return [
        Action(
            text="Weigh the terms alike: sum the reconstruction over the outputs of an example, as the other term is "
            "summed over its dimensions, and average both over the batch",
            code=f'reconstruction = F.{function}(output, x, reduction="sum") / len(x)',
        ),
        Action(
            text="Or start the weight of the other term at 0 and let it rise over the first third of the run",
            code="loss = reconstruction + min(1.0, step / warm_up_steps) * kl",
        ),
    ]
