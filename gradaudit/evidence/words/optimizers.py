"""How a sentence and a line of code name an optimizer and its learning rate."""

import math
from collections.abc import Iterable
from typing import Any

import numpy

from gradaudit.evidence.words.wording import names, setting
from gradaudit.signals.order_statistics import Floats
from gradaudit.signals.updates.learning_rates import by_hand, optimizer_class, peak_rates, same_rate
from gradaudit.training import Training

# The classes of torch.optim: one that is not among them was imported from elsewhere.
_OF_TORCH = frozenset(
    ("Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD", "LBFGS", "Muon", "NAdam", "RAdam",
     "RMSprop", "Rprop", "SGD", "SparseAdam")
)  # fmt: skip


def usual_rate(training: Training) -> str:
    """The greatest learning rate of the run, for code to copy; 1e-3 where none above 0 is known."""
    rates = peak_rates(training)
    known = rates[numpy.isfinite(rates) & (rates > 0)]
    return setting(float(known.max())) if len(known) else "1e-3"


def rate_in_words(rates: Iterable[float]) -> str:
    """The learning rates of all groups: 0.05, or when they differ 1e-5 and 1e-3, or 1e-5 to 1e-3 by group.

    Two are not given as a range, which would read as a schedule.
    """
    texts = [setting(float(rate)) for rate in sorted({float(rate) for rate in rates if math.isfinite(rate)})]
    different = list(dict.fromkeys(texts))
    if len(different) > 3:
        return f"{different[0]} to {different[-1]} by group"
    return names(different) if different else "unknown"


def optimizer_line(training: Training, **changes: str) -> str:
    """The line that makes this optimizer with `changes`, as text, and what else it was made with that is not usual."""
    facts = training.optimizer
    if by_hand(training):
        return f"lr = {changes['lr']}" if set(changes) == {"lr"} else ""
    name = facts.optimizer_class if facts else "optimizer"
    kept = dict(facts.defaults) if facts else {}
    usual: dict[str, Any] = {"momentum": 0.0, "dampening": 0.0, "nesterov": False, "betas": [0.9, 0.999]}
    usual["weight_decay"] = 0.01 if name == "AdamW" else 0.0
    texts = {}
    for key, common in usual.items():
        value = kept.get(key)
        if value is not None and value != common:
            texts[key] = (
                f"({', '.join(map(setting, value))})"
                if isinstance(value, list)
                else (str(value) if isinstance(value, bool) else setting(value))
            )
    arguments = ", ".join(f"{key}={text}" for key, text in {**texts, **changes}.items() if key != "lr")
    rate = f"lr={changes['lr']}" if "lr" in changes else ""
    place = "torch.optim." if name in _OF_TORCH else ""
    return f"{place}{name}({', '.join(filter(None, ['model.parameters()', rate, arguments]))})"


def line_with_rates(training: Training, rates: Floats) -> str:
    """The line that makes this optimizer with these learning rates [groups]; nothing where its groups differ."""
    return optimizer_line(training, lr=rate_in_words(rates)) if same_rate(rates) else ""


def nobody_updates(training: Training) -> str:
    """How a sentence about tensors begins that this optimizer does not hold."""
    return "The script does not update" if by_hand(training) else "No optimizer has"


def whole_model(training: Training) -> str:
    """The expression that makes this optimizer of all parameters; nothing where the script updates them itself."""
    if by_hand(training):
        return ""
    return f"torch.optim.{optimizer_class(training)}(model.parameters(), lr={usual_rate(training)})"


def label_of(training: Training) -> str:
    """How a sentence names this optimizer: nothing when it is the only one."""
    if len(training.run.trainings) < 2:
        return ""
    facts = training.optimizer
    return (
        f" (optimizer {facts.label or training.id}, {facts.optimizer_class})"
        if facts
        else f" (optimizer {training.id})"
    )
