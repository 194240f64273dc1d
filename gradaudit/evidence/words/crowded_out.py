"""A loss that other terms outweigh, in words, and what to do about it."""

from gradaudit.evidence.words.wording import percent
from gradaudit.findings import Action
from gradaudit.signals.loss.crowded_out import Rest
from gradaudit.signals.loss.training_loss import TrainingLoss

_TOLD = 1e-3  # smaller shares are no number to remember


def crowding_in_words(loss: TrainingLoss, rest: Rest) -> str:
    """What became of the other terms, in sentences."""
    function = loss.facts.function if loss.facts else "the loss"
    last = percent(rest.last) if rest.last >= _TOLD else f"less than {percent(_TOLD)}"
    return (
        f" The objective has other terms: {percent(rest.first)} of it at first, {last} at the end. "
        f"Training has minimised them instead of {function}. In a variational autoencoder that is posterior collapse: "
        "the latent code is the same for every input, and the decoder predicts the mean."
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
