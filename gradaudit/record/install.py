"""Puts every patch in place, and takes them out again."""

from typing import Any

from gradaudit.record import frameworks
from gradaudit.record.patches import (
    Patch,
    amp,
    attention,
    batch_norm,
    clipping,
    copying,
    cuda_graphs,
    dataloader,
    dropout,
    embedding,
    functional,
    leaving,
    loading,
    losses,
    modules,
    optimizer,
    registration,
    schedulers,
)

_PATCHED = (
    *(losses, functional, optimizer, clipping, amp, batch_norm, dropout, dataloader, cuda_graphs, leaving),
    *(copying, loading),
    schedulers,
)
_patches: list[Patch] = []
_handles: list[Any] = []


def install(*, activations: bool = False) -> None:
    """Patch torch; done right after torch is imported, so that ``from ... import cross_entropy`` finds ours."""
    if not _patches:
        _handles.extend(registration.install())
        _handles.append(schedulers.Subclasses())
        for patched in _PATCHED:
            _patches.extend(patched.install())
        for patched in (embedding, attention):
            _patches.extend(patched.install())
        if activations:
            _patches.extend(modules.install())
        frameworks.install()


def uninstall() -> None:
    """Put back what was there."""
    optimizer.disarm()
    frameworks.uninstall()
    while _patches:
        _patches.pop().undo()
    while _handles:
        _handles.pop().remove()
