"""Whether gradients were clipped by the norm of the whole gradient, where the ranks hold shards of one model."""

import msgspec
import numpy

from gradaudit.reading.run import Run
from gradaudit.reading.shards import MergedShards
from gradaudit.signals.gradients.clipping import BY_NORM, after_clipping
from gradaudit.signals.order_statistics import Mask, median
from gradaudit.training import signal

LEAST = 3  # steps whose norm and statistics are both known


class ShardNorm(msgspec.Struct, frozen=True, eq=False):
    """The norm that clipping returned, against that of the shards of all ranks together."""

    ranks: int
    first: int  # global step that was compared
    last: int  # the last one
    compared: int  # how many
    returned: float  # by the clipping, median; no larger than the threshold counts, since the rest was clipped away
    whole: float  # norm of all shards after clipping, median
    factor: float  # median of the second over the first; 1 where the norm was that of the whole gradient


@signal
def shard_norm(run: Run) -> ShardNorm | None:
    """None where the ranks hold no shards, or no norm of the clipping is known.

    Clipping leaves a gradient with the norm that it returned, or with the threshold where that is smaller. Where each
    rank clips by the norm of its own shard, the shards together are left with more.
    """
    merged = next((part for part in run.parts["tensors"] if isinstance(part, MergedShards)), None)
    if merged is None or len(merged.shards) < 2:
        return None
    for training in run.trainings:
        frame = training.steps
        before, threshold = (frame[name].to_numpy(dtype=float) for name in ("gradient_norm", "clip_threshold"))
        left = numpy.fmin(before, threshold)
        after = after_clipping(training, frame["step"].to_numpy(), "norm")
        known: Mask = (frame["clip_kind"].to_numpy() == BY_NORM) & ~frame["skipped"].to_numpy(dtype=bool)
        known &= numpy.isfinite(before) & numpy.isfinite(after) & (left > 0)
        if known.sum() >= LEAST:
            steps = frame["global_step"].to_numpy()[known]
            return ShardNorm(
                ranks=len(merged.shards),
                first=int(steps[0]),
                last=int(steps[-1]),
                compared=int(known.sum()),
                returned=median(left[known]),
                whole=median(after[known]),
                factor=median(after[known] / left[known]),
            )
    return None
