"""Clipping against unscaling, of gradients of a loss that a GradScaler scaled."""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from gradaudit.schema import ScalingFacts

_MOST = 8  # scalers
_MOST_CLIPS = 64  # without an unscaling


@dataclass(eq=False)
class _Scaler:
    """What is known of one scaler."""

    known: bool
    steps: int = 0
    updates: int = 0
    unscaled: int = 0
    clipped_before: int = 0
    clipped_after: int = 0
    first_step: int = -1
    late_unscale: int = 0
    clips: list[int] = field(default_factory=list)  # identities of the first tensors clipped while scaled
    free: list["weakref.ref[Any]"] = field(default_factory=list)  # optimizers unscaled in this iteration
    stepping: bool = False  # inside its own step


class Scaling:
    """The scalers of the script. Used under the recording's lock."""

    def __init__(self) -> None:
        self._known: weakref.WeakKeyDictionary[Any, _Scaler] = weakref.WeakKeyDictionary()
        self._all: list[_Scaler] = []
        self._active: weakref.ref[Any] | None = None  # the one that scaled a loss last

    @property
    def active(self) -> bool:
        """Whether a scaled loss has had no update yet."""
        return self._active is not None

    def on_scale(self, scaler: Any) -> None:
        """A scaler scaled a loss."""
        if scaler.is_enabled():
            self._active = weakref.ref(scaler)
            self._entry(scaler)

    def on_clip(self, parameters: Sequence[torch.Tensor]) -> None:
        """Gradients of `parameters` are being clipped."""
        scaler = self._active() if self._active is not None else None
        entry = self._known.get(scaler) if scaler is not None else None
        first = next((one for one in parameters if isinstance(one, torch.Tensor)), None)
        if entry is None or first is None:
            return
        if any(_holds(optimizer, first) for reference in entry.free if (optimizer := reference()) is not None):
            entry.clipped_after += 1
        elif len(entry.clips) < _MOST_CLIPS:
            entry.clips.append(id(first))

    def on_unscale(self, scaler: Any, optimizer: Any, step: int) -> None:
        """`unscale_` is called, by the script or in the scaler's own step, before the global step `step`."""
        entry = self._entry(scaler)
        if entry is None or not scaler.is_enabled():
            return
        entry.unscaled += not entry.stepping
        if entry.clips:
            held = {id(one) for group in optimizer.param_groups for one in group["params"]}
            if not held.isdisjoint(entry.clips):
                entry.clipped_before += 1
                entry.late_unscale += not entry.stepping
                entry.first_step = step if entry.first_step < 0 else entry.first_step
                entry.clips = [one for one in entry.clips if one not in held]
        entry.free.append(weakref.ref(optimizer))

    def before_step(self, scaler: Any) -> None:
        """The scaler's step begins: what is not unscaled yet is unscaled there."""
        entry = self._entry(scaler) if scaler.is_enabled() else None
        if entry is not None:
            entry.stepping = True

    def after_step(self, scaler: Any, optimizer: Any) -> None:
        """The scaler's step is over."""
        entry = self._entry(scaler) if scaler.is_enabled() else None
        if entry is not None:
            entry.stepping, entry.steps = False, entry.steps + 1
            entry.free = [one for one in entry.free if one() is not optimizer]

    def on_update(self, scaler: Any) -> None:
        """The scaler's update begins."""
        entry = self._entry(scaler) if scaler.is_enabled() else None
        if entry is not None:
            entry.updates += 1
            entry.clips, entry.free = [], []
            self._active = None

    def _entry(self, scaler: Any) -> _Scaler | None:
        entry = self._known.get(scaler)
        if entry is None and len(self._all) < _MOST:
            base = torch.amp.GradScaler
            # What FSDP and other subclasses put in place of these is not seen.
            known = all(getattr(type(scaler), name, None) is getattr(base, name) for name in ("unscale_", "step"))
            entry = self._known[scaler] = _Scaler(known)
            self._all.append(entry)
        return entry

    def facts(self) -> list[ScalingFacts]:
        """What goes into run.json."""
        return [
            ScalingFacts(
                known=entry.known,
                steps=entry.steps,
                updates=entry.updates,
                unscaled=entry.unscaled,
                clipped_before=entry.clipped_before,
                clipped_after=entry.clipped_after,
                first_step=entry.first_step,
                late_unscale=entry.late_unscale,
            )
            for entry in list(self._all)
        ]


def _holds(optimizer: Any, tensor: torch.Tensor) -> bool:
    return any(one is tensor for group in optimizer.param_groups for one in group["params"])
