"""What to do where updates are too small."""

from gradaudit.evidence.words.optimizers import line_with_rates, rate_in_words
from gradaudit.evidence.words.wording import factor, percent
from gradaudit.findings import Action
from gradaudit.signals.updates.raised_rate import LowClipping, RaisedRate
from gradaudit.training import Training


def raise_rate(training: Training, found: RaisedRate) -> list[Action]:
    """To raise the learning rate, and what holds the updates down, if something else does."""
    match found.why:
        case "rate zero":
            return [
                Action(text="Set a learning rate: it is 0 at every step", code="optimizer.param_groups[0]['lr'] = 1e-3")
            ]
        case "rate unknown":
            return [Action(text="Raise the learning rate tenfold until the loss falls")]
        case "other parameters":
            return [
                Action(
                    text="Check that the optimizer was made from the parameters of the model that is trained",
                    code="optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)  # after model.to(device)",
                )
            ]
        case "rate too low":
            return [
                *([_raise_threshold(found.clipping)] if found.clipping is not None else []),
                Action(
                    text=f"Raise the learning rate from {rate_in_words(found.rates)} to {rate_in_words(found.raised)}, "
                    "then up or down by factors of 3",
                    code=line_with_rates(training, found.raised),
                ),
                Action(text="Or train longer, if the small steps are meant"),
            ]


def _raise_threshold(clipping: LowClipping) -> Action:
    less = f"divides the learning rate by {factor(clipping.times)}"
    if clipping.below_eps:
        less = "takes every gradient below the optimizer's eps"
    return Action(
        text=f"Raise the clip threshold: it is {factor(clipping.times)} times below the gradient norm and cuts "
        f"{percent(clipping.clipped)} of the steps, which {less}"
    )
