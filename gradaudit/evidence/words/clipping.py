"""What to try against gradients that are too large for a step."""

import math

from gradaudit.evidence.words.wording import literal
from gradaudit.findings import Action


def clip_norm(text: str, most: float = math.nan) -> Action:
    """The advice to clip the gradient norm at `most`; at 1.0 where no better number is known."""
    threshold = literal(most) if most > 0 else "1.0"
    return Action(text=text, code=f"torch.nn.utils.clip_grad_norm_(model.parameters(), {threshold})")
