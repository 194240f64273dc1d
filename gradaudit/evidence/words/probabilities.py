"""A loss that is given probabilities instead of logits, in words: what that costs, and what to do about it."""

import math

from gradaudit.evidence.words.module_names import layer
from gradaudit.evidence.words.wording import count, in_code, number, plural
from gradaudit.findings import Action
from gradaudit.reading.run import Run
from gradaudit.schema import ModuleFacts
from gradaudit.signals.loss.loss_input import LossInput, Squash


def sampled_range(seen: LossInput, squash: Squash) -> str:
    """Where all samples of the input lie, as after a softmax or sigmoid, and what the loss applies to them."""
    sums = " and each row sums to 1" if squash == "softmax" else ""
    return (
        f"In all {plural(seen.samples, 'sample')} from step {count(seen.first)} to {count(seen.last)} the "
        f"values lie between {number(seen.low)} and {number(seen.high)}{sums}, as after a {squash}. "
        f"{seen.facts.function} then applies {seen.applies} to them."
    )


def at_best(lowest_loss: float) -> str:
    """What the loss would be with every prediction right, as a further sentence; empty where it is not known."""
    if not math.isfinite(lowest_loss):
        return ""
    return f" Even with every prediction right the loss would be {number(lowest_loss)}."


def logits_instead(
    run: Run, function: str, applies: Squash, squash: Squash, module: ModuleFacts | None
) -> list[Action]:
    """To remove the activation, that of a `module` where it is known, or to use the loss that goes with it."""
    remove, code = f"Remove the {squash} before the loss", f"loss = {function}(logits, target)"
    if module is not None:
        called = layer(run, module.name) or module.module_class
        remove = f"Remove {called}" + ("" if "(" in called else f", the {squash} of the model")
        code = f"{in_code(module.name)} = nn.Identity()"
    expects, instead = (
        ("log_softmax", "nll_loss(log_softmax(logits, dim=1), target)")
        if applies == "softmax"
        else ("a sigmoid", "binary_cross_entropy(torch.sigmoid(logits), target)")
    )
    return [
        Action(text=f"{remove}: {function} expects logits, and applies {applies} itself", code=code),
        Action(text=f"Or keep it, and use the loss that expects {expects}", code=instead),
        Action(text=f"Apply {squash} to the outputs only where a probability is shown"),
    ]
