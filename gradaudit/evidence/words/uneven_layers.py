"""Layers that learn faster or slower than the others, in words, and what to do about them."""

import math

from gradaudit.evidence.words.module_names import layer
from gradaudit.evidence.words.wording import count, factor, fold, in_code, names, setting
from gradaudit.findings import Action
from gradaudit.signals.layers.initialisation import InitialSizes
from gradaudit.signals.layers.uneven_layers import LayerOutliers
from gradaudit.training import Training

_BOLD = 3.0  # times the learning rate of the others, as a first try
_LONGEST_NAME = 25  # characters of a tensor's name, in a headline of at most 110


def outliers_headline(found: LayerOutliers, decades: float) -> str:
    """How far apart the layers are, and the one that stands out most."""
    times, name = factor(found.times), found.layers[0]
    verb = (
        f"changes {times} times {_speed(found)}"
        if found.quantity == "update"
        else f"has {times} times {'less' if found.is_slower else 'more'}"
    )
    return (
        f"{found.quantity.capitalize()}s differ up to {fold(decades)} times: "
        f"{name if len(name) <= _LONGEST_NAME else 'one layer'} {verb} than the median"
    )


def _speed(found: LayerOutliers) -> str:
    return "slower" if found.is_slower else "faster"


def outliers_explanation(found: LayerOutliers) -> str:
    """Which layers stand out, and what that means under this optimizer."""
    sentences = [
        f"The {found.quantity}-to-weight ratio of {found.layers[0]} is {factor(found.times)} times "
        f"{'smaller' if found.is_slower else 'larger'} than the median of {count(found.among)} layers."
    ]
    if len(found.layers) > 1:
        sentences.append(f"{count(len(found.layers))} layers stand out: {names(list(found.layers), 4)}.")
    sentences.append("This holds at steps 10 to 60 and over the last half: training does not even it out.")
    if found.quantity == "gradient":
        sentences.append(
            "The updates are nearly even, because the optimizer divides by the size of the gradient."
            if found.is_adaptive
            else "The updates do not differ as much."
        )
    return " ".join(sentences)


def outliers_actions(found: LayerOutliers, training: Training) -> list[Action]:
    """What to do about the layer that stands out most."""
    name = found.layers[0]
    actions = [] if found.initial is None else [_initialise_alike(found.initial, name, found.module)]
    actions.append(
        Action(
            text=f"Check whether a scale, a multiplier or a detach() stands in or behind "
            f"{layer(training.run, found.module) or name}: what makes it {factor(found.times)} times {_speed(found)} "
            "was not recorded"
        )
    )
    if found.is_adaptive:
        actions.append(
            Action(text="Add a normalisation or a residual path, so that the gradient reaches every layer evenly")
        )
        return actions
    actions.append(
        Action(
            text="Use an optimizer that divides by the size of the gradient",
            code="torch.optim.AdamW(model.parameters(), lr=1e-3)",
        )
    )
    return actions + _own_rate(found)


def _initialise_alike(sizes: InitialSizes, name: str, module: str) -> Action:
    """Which layers to initialise otherwise: that of `name`, or all but it."""
    own, others = factor(sizes.own), factor(sizes.others)
    if sizes.own_is_odd:
        return Action(
            text=f"Initialise {name} like its neighbours: it starts at {own} times torch.nn's default, they at "
            f"{others} times",
            code=f"{in_code(module)}.reset_parameters()" if module else "",
        )
    return Action(
        text=f"Initialise the other layers like {name}: they start at {others} times torch.nn's default, it at {own} "
        "times",
        code="layer.reset_parameters()",
    )


def _own_rate(found: LayerOutliers) -> list[Action]:
    """A learning rate for one layer, beside that of the others; none where it is not known or too far off."""
    # A layer that lags 20 times does not bear 20 times the rate: the others may be what makes it lag.
    times, usual = found.times, found.largest_rate
    better = usual * min(times, _BOLD) if found.is_slower else usual / times
    if not math.isfinite(better) or times > 100:
        return []
    caution = ", and more only if the loss bears it" if found.is_slower and times > _BOLD else ""
    return [
        Action(
            text=f"Or give {found.layers[0]} its own learning rate, {setting(float(f'{better:.1g}'))} instead of "
            f"{setting(usual)}{caution}"
        )
    ]
