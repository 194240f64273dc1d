"""What to do about weights that shrink."""

import math

from gradaudit.evidence.words.optimizers import optimizer_line
from gradaudit.evidence.words.wording import count, setting
from gradaudit.findings import Action
from gradaudit.signals.updates.learning_rates import optimizer_class
from gradaudit.signals.updates.strongest_decay import StrongestDecay
from gradaudit.signals.updates.weight_growth import weight_decays
from gradaudit.training import Training


def less_penalty() -> list[Action]:
    """What to try where no weight decay explains that the weights shrink."""
    return [
        Action(text="Divide the penalty on the weights in the loss by 100, or remove it"),
        Action(
            text="Or initialise the weights with a standard deviation of 1 / sqrt(inputs)",
            code="layer.reset_parameters()",
        ),
    ]


def less_decay(decay: StrongestDecay, training: Training) -> list[Action]:
    """How to lower a weight decay that shrinks the weights."""
    rate = decay.peak_rates[0]
    known = {"lr": setting(rate)} if math.isfinite(rate) and rate > 0 else {}
    name, group, text = optimizer_class(training), decay.group, setting(decay.suggested)
    of_group = f" of group {group}" if len(weight_decays(training)) > 1 else ""
    actions = [
        Action(
            text=f"Lower the weight decay{of_group} from {setting(decay.value)} to {text}"
            # In the gradient of Adam the decay is divided by the gradient's size: no product tells what it takes.
            + (f": over the {count(len(training.steps))} steps of this run it then takes about a tenth of a weight, or "
               "less" if name in ("SGD", "AdamW") else ""),
            code=f"optimizer.param_groups[{group}]['weight_decay'] = {text}"
            if of_group
            else optimizer_line(training, **known, weight_decay=text),
        )
    ]  # fmt: skip
    if name == "Adam":
        actions.append(
            Action(
                text="With Adam take the decay out of the gradient: AdamW's default is 0.01",
                code="torch.optim.AdamW(model.parameters(), weight_decay=0.01)",
            )
        )
    actions.append(
        Action(
            text="Decay matrices only, and set 0 for biases, normalisation and embeddings",
            code='[{"params": matrices}, {"params": others, "weight_decay": 0.0}]',
        )
    )
    return actions
