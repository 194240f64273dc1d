"""What a DataLoader says about itself: how many batches an epoch has, and how large they are."""

from typing import Any

from gradaudit.record.internals import private
from gradaudit.record.observers import from_a_signal

_MISSING = object()


def batches_of(loader: Any) -> tuple[int, int]:
    """The batches of an epoch and the samples of a batch; 0 where it does not say."""
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
    return batches, getattr(loader, "batch_size", None) or 0
