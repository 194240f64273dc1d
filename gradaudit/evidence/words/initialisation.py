"""Advice about the initial size of weights."""

from collections.abc import Sequence

from gradaudit.evidence.words.wording import in_code, names, number
from gradaudit.findings import Action
from gradaudit.schema import ModuleFacts
from gradaudit.signals.layers.initialisation import GlorotStart, gain

_LINES = 4  # of code


def glorot(module: ModuleFacts, starts: Sequence[GlorotStart | None]) -> Action:
    """Glorot's standard deviation for the weights before some activations, of which `module` is the first.

    Beside it stands what the first weight started with, where that is too large. None stands for an activation without
    a weight before it.
    """
    start = starts[0]
    if start is None:
        return Action(
            text=f"Initialise the layer before smaller: Glorot's, with a gain of {gain(module):.2f}",
            code=f"nn.init.xavier_normal_(layer.weight, gain={gain(module):.2f})",
        )
    instead = f" instead of {number(start.rms, 2)}" if start.too_large else ""
    alike = [one for one in starts if one is not None]
    others = list(dict.fromkeys(one.tensor.name for one in alike if one.tensor.name != start.tensor.name))
    likewise = f", and {names(others)} by the same rule" if others else ""
    lines = dict.fromkeys(
        f"nn.init.xavier_normal_({in_code(one.tensor.name)}, gain={one.gain:.2f})" for one in alike[:_LINES]
    )
    return Action(
        text=f"Initialise {start.tensor.name} with a standard deviation of {number(start.usual, 2)}{instead}: Glorot's "
        f"for {module.module_class.lower()}{likewise}",
        code="\n".join(lines) + ("\n..." if len(alike) > _LINES else ""),
    )
