"""Clipping between two steps of a thread: by norm, with the norm before it, or by value."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from gradaudit.record.measure.sharding import local
from gradaudit.record.observe.optimizers import OptimizerLike

_MOST = 16  # calls kept without a step


@dataclass(eq=False)
class Clip:
    """One call of a clipping function: `kind` 1 by norm, with the norm before; 2 by value."""

    kind: int
    threshold: float
    norm: torch.Tensor | None
    parameters: set[int]
    clipped: torch.Tensor | None = None  # by value: the share of elements changed


class Clipping(NamedTuple):
    """The one call of a step that clips by the norm, and does so in each step."""

    clip: Clip
    tensors: int
    threshold: float
    whole: bool  # they are those of the optimizer


class Clips:
    """The calls of clipping functions since the last step."""

    def __init__(self) -> None:
        self.calls: list[Clip] = []

    def again(self, one: Clipping, norm: Any) -> None:
        """The call of the last step was made once more, with this norm."""
        self.calls.append(replace(one.clip, norm=torch.as_tensor(norm)))

    def on_clip(
        self, kind: int, parameters: Sequence[torch.Tensor], threshold: Any, total: Any, norm_type: Any = 2.0
    ) -> None:
        """Gradients were clipped: kind 1 by norm (`total` before), 2 by value."""
        # Another norm than the second is not what the record calls the gradient norm.
        total = total if float(norm_type) == 2.0 else None
        # The sum over the ranks of a partial norm would take all of them to find out.
        partial = any(placement.is_partial() for placement in getattr(total, "placements", ()))
        norm = local(total.detach()).clone() if isinstance(total, torch.Tensor) and not partial else None
        limit = float(threshold) if not isinstance(threshold, torch.Tensor) else math.nan
        self.calls.append(Clip(kind, limit, norm, {id(parameter) for parameter in parameters}))
        del self.calls[:-_MOST]

    def on_value_clip(self, parameters: Sequence[torch.Tensor], threshold: Any, measured: bool, sharded: bool) -> None:
        """Gradients are about to be clipped by value; `measured` where statistics are recorded at the coming step."""
        # Read from a configuration file, 1e-3 is a text, which torch takes.
        threshold = threshold if isinstance(threshold, torch.Tensor) else float(threshold)
        self.on_clip(2, parameters, threshold, None)
        gradients = [
            local(p.grad.detach()) for p in parameters if p.grad is not None and p.grad.layout == torch.strided
        ]
        if measured and gradients:
            device = gradients[0].device
            changed = [(gradient.abs() > threshold).sum().to(device, non_blocking=True) for gradient in gradients]
            self.calls[-1].clipped = torch.stack(changed).sum() / max(1, sum(item.numel() for item in gradients))
            if not sharded:
                norms = [torch.linalg.vector_norm(gradient, dtype=torch.float64).to(device) for gradient in gradients]
                self.calls[-1].norm = torch.linalg.vector_norm(torch.stack(norms))

    def take(self, optimizer: OptimizerLike) -> tuple[Clip, bool] | None:
        """The clipping of this optimizer's gradients since its last step, and whether its norm is that of all of them.

        Of several, as where one only reads the norm, the tightest threshold and the first norm hold.
        """
        if not self.calls:
            return None
        # What a training by hand held may be gone when it ends.
        held = getattr(optimizer, "held", None) or {id(p) for group in optimizer.param_groups for p in group["params"]}
        mine = [clip for clip in self.calls if clip.parameters & held]
        if not mine:
            return None
        self.calls = [clip for clip in self.calls if not clip.parameters & held]
        # A part of the optimizer's tensors has a norm of its own, not the optimizer's.
        whole = next((clip for clip in mine if len(clip.parameters & held) >= 0.9 * len(held)), None)
        tightest = min(mine, key=lambda clip: clip.threshold if math.isfinite(clip.threshold) else math.inf)
        return replace(tightest, norm=(whole or tightest).norm), whole is not None
