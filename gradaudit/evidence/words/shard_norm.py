"""Clipping by the norm of one rank's shard, in words."""

from gradaudit.evidence.words.wording import count, factor, number, plural
from gradaudit.findings import Action
from gradaudit.signals.ranks.shard_norm import ShardNorm


def left_headline(found: ShardNorm) -> str:
    """What clipping leaves, and what it should."""
    return f"Clipping leaves a gradient norm of {number(found.whole)} where {number(found.returned)} was meant"


def left_explanation(found: ShardNorm) -> str:
    """How the norm that clipping returned is known to be that of one shard."""
    return (
        f"By the norm that clip_grad_norm_ returned, {number(found.returned)} should be left; the shards of "
        f"{count(found.ranks)} ranks together have {factor(found.factor)} times that, in the median of "
        f"{plural(found.compared, 'step')}. So that norm is one rank's, each rank clips by its own, and what the "
        "script logs as the gradient norm is too small."
    )


def clip_the_whole() -> list[Action]:
    """How all ranks clip by one norm."""
    return [
        Action(
            text="Clip with the method of FullyShardedDataParallel, which adds the shards of all ranks",
            code="model.clip_grad_norm_(max_norm)",
        ),
        Action(text="Or, of plain tensors, sum the squared norms over the ranks before the root is taken"),
    ]
