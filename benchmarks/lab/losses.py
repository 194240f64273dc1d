"""What a training printed: its losses, whether it learned by them, and how much a fault has cost."""

import math
import re
from dataclasses import dataclass
from statistics import median

_NUMBER = r"(\S+)"
_STEP = re.compile(rf"^step (\d+) train {_NUMBER} validation {_NUMBER}$", re.MULTILINE)
_CONSTANT = re.compile(rf"^constant {_NUMBER}$", re.MULTILINE)
_FINAL = re.compile(rf"^final validation {_NUMBER}$", re.MULTILINE)

# A training has learned when it ends below the best constant prediction by this share of that prediction's loss.
CLEARLY = 0.10
# It has diverged when it gave up this share of what it had gained; the rest is the noise of small validation sets.
LOST = 0.25


@dataclass(frozen=True)
class Losses:
    """Printed by one training: the best constant prediction's loss, and after which step which held-out loss."""

    constant: float
    validation: dict[int, float]
    final: float

    @property
    def reached(self) -> float:
        """The held-out loss at the end: median of the last three prints, since one evaluation is noisy."""
        last = [*self.validation.values(), self.final][-3:]
        return median(last) if all(map(math.isfinite, last)) else math.nan


def parse(printed: str) -> Losses:
    """The losses in a script's output; NaN for what it did not print."""
    constant, final = _CONSTANT.search(printed), _FINAL.search(printed)
    return Losses(
        constant=float(constant[1]) if constant else math.nan,
        validation={int(step): float(value) for step, _, value in _STEP.findall(printed)},
        final=float(final[1]) if final else math.nan,
    )


def why_not_learned(losses: Losses) -> str:
    """Why a training cannot be called healthy by its losses; empty when it learned."""
    if math.isnan(losses.reached) or math.isnan(losses.constant):
        return "it did not print a finite loss at its end"
    needed = losses.constant - CLEARLY * abs(losses.constant)
    if not losses.reached < needed:
        return f"it ends at {losses.reached:.3f}, and a constant prediction reaches {losses.constant:.3f}"
    best = min(losses.validation.values())
    if losses.reached > best + LOST * (losses.constant - best):
        return f"it ends at {losses.reached:.3f}, after it had reached {best:.3f}"
    return ""


def cost(faulty: Losses, base: Losses) -> float:
    """Share of the base's loss reduction that the fault has cost: 0 harmless, 1 nothing learned, inf diverged."""
    attainable = max(base.constant, base.validation.get(0, -math.inf)) - base.reached
    return (faulty.reached - base.reached) / attainable if math.isfinite(faulty.reached) else math.inf
