"""Patch: DataLoader, which tells how many batches an epoch has, and its iterators, which yield them."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import DataLoader, dataloader

from gradaudit.record import hooks, session
from gradaudit.record.internals import private
from gradaudit.record.observe.batches import BATCHES
from gradaudit.record.patches import Patch, leave_out_of, replace


def install() -> list[Patch]:
    """Wrap DataLoader.__iter__, and __next__ of all iterators that it makes."""
    iterators = private(dataloader, "_BaseDataLoaderIter")
    patches = [replace(DataLoader, "__iter__", _watched(DataLoader.__iter__, iterators))]
    if iterators is not None:
        patches.append(replace(iterators, "__next__", _watched_next(iterators.__next__)))
    return patches


def _watched(original: Callable[..., Any], iterators: Any) -> Callable[..., Any]:
    @functools.wraps(original)
    def __iter__(self: Any) -> Any:
        watched = session.current() is not None and torch.utils.data.get_worker_info() is None
        if watched:
            session.guarded(hooks.on_loader, self)
        try:
            iterator = original(self)
        except BaseException as error:
            leave_out_of(error)
            raise
        if watched and iterators is not None and isinstance(iterator, iterators):
            session.guarded(hooks.on_iterator, self, iterator)
        return iterator

    return __iter__


def _watched_next(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def __next__(self: Any) -> Any:
        try:
            batch = original(self)
        except BaseException as error:
            session.unlocked_call(BATCHES, _over, self)
            leave_out_of(error)
            raise
        if session.unlocked_call(BATCHES, _due, self):
            session.guarded(hooks.on_batch, self, batch)
        return batch

    return __next__


def _due(iterator: Any) -> bool:
    recording = session.current()
    return recording is not None and recording.gathered.batches.due(iterator)


def _over(iterator: Any) -> None:
    recording = session.current()
    if recording is not None:
        recording.gathered.batches.over(iterator)
