"""What a DataLoader says about itself: how many batches an epoch has, and how large they are."""

from typing import Any

from torch.utils.data import IterableDataset

from gradaudit.record.internals import private
from gradaudit.record.observers import from_a_signal

_MISSING = object()


def batches_of(loader: Any) -> tuple[int, int]:
    """The batches of an epoch and the samples of a batch; 0 where it does not say.

    An epoch is a pass over the data: of a sampler that goes on for longer, as one with replacement for the whole
    training, no more than that.
    """
    known = private(loader, "_IterableDataset_len_called", _MISSING)
    try:
        batches = len(loader)
    except Exception as error:  # an iterable dataset has no length, and others' lengths are their own code
        if from_a_signal(error):
            raise
        batches = 0
    if known is not _MISSING:
        # Asked for its length, a loader warns of data sets that lie about theirs.
        setattr(loader, "_IterableDataset_len_called", known)  # noqa: B010
    size = getattr(loader, "batch_size", None) or 0
    data = getattr(loader, "dataset", None)
    if batches and size and not isinstance(data, IterableDataset):
        batches = min(batches, -(-_length(data) // size)) or batches
    return batches, size


def _length(data: Any) -> int:
    try:
        return len(data)
    except Exception as error:
        if from_a_signal(error):
            raise
        return 0
