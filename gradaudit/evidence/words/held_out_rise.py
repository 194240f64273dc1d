"""A validation loss that rises: how it was judged, and what early stopping would have saved, in words."""

import math

from gradaudit.evidence.words.wording import count, number, percent
from gradaudit.findings import Action, Measure, ratio
from gradaudit.signals.evaluation.generalisation import EarlyStop, Rise, RiseLimits
from gradaudit.signals.evaluation.validation_losses import ValidationLosses


def when_evaluated(step: int, last: int | None = None) -> str:
    """When an evaluation was made, by the training step before it."""
    of = "" if last is None else f" of {count(last)}"
    return f"at step {count(step)}{of}" if step >= 0 else "before the first step"


def rise_actions(losses: ValidationLosses, stop: EarlyStop, constant: float) -> list[Action]:
    """What to do about a rise; `constant` is the loss of a constant prediction where no evaluation is better."""
    first = [
        Action(
            text=f"Find out first why nothing carries over: even the best {losses.split} loss is no lower than "
            f"{number(constant)}, that of a constant prediction. No checkpoint of this run is worth keeping"
        )
    ]
    return [
        *(_stop_early(losses, stop) if math.isnan(constant) else first),
        Action(text="Train on more data, or augment what there is"),
        Action(
            text="Regularise: raise weight decay or dropout, or use a smaller model",
            code="torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.1)",
        ),
    ]


def _stop_early(losses: ValidationLosses, stop: EarlyStop) -> list[Action]:
    """How to keep the best checkpoint, and how to end the run soon after it."""
    kept = f"step {count(losses.best_step)}" if losses.best_step >= 0 else "the start"
    keep = Action(
        text=f"Keep the checkpoint of {kept}: the best {losses.split} loss was there",
        code="if val_loss < best:\n    best = val_loss\n    torch.save(model.state_dict(), 'best.pt')",
    )
    if not stop.saved > 0:
        return [keep]
    end = Action(
        text=f"Stop early: a patience of {stop.patience} evaluations would have ended the run at step "
        f"{count(stop.step)}, kept {kept} with {number(losses.best)} instead of the last "
        f"{number(float(losses.values[-1]))}, and saved {percent(stop.saved)} of the run"
    )
    return [keep, end]


def rise_measures(rise: Rise, best: float, limits: RiseLimits) -> list[Measure]:
    """What a rise above the `best` loss was judged by: of few evaluations nothing tells how they scatter."""
    dropped = "fall of the training loss since"
    large = [
        ratio(("rise", rise.risen), ("best loss", abs(best)), ">", limits.share, unit="fraction",
              option="share"),
        ratio(("rise", rise.risen), ("usual jump between evaluations", rise.jump), ">", limits.scatter,
              option="scatter", any_of="noise"),
        Measure(quantity=dropped, value=rise.dropped, comparison=">", threshold=limits.fell_far, unit="fraction",
                option="fell_far", any_of="noise"),
    ]  # fmt: skip
    lowest = Measure(quantity="lowest rise after the best / best loss", value=rise.steady, comparison=">",
                     threshold=limits.few, unit="fraction", option="few")  # fmt: skip
    return [
        ratio(("rise since the best", rise.risen), ("gain until then", rise.gained), ">", limits.rise, unit="fraction",
              option="rise"),
        *([lowest] if rise.of_few else large),
        Measure(quantity=dropped, value=rise.dropped, comparison=">", threshold=limits.fell, unit="fraction",
                option="fell"),
        Measure(quantity="evaluations after the best", value=rise.later, comparison=">=",
                threshold=2 if rise.of_few else limits.later, unit="count", option="" if rise.of_few else "later"),
    ]  # fmt: skip
