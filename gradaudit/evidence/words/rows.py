"""Rows of an embedding table without a gradient, in words, and what to do about them."""

import math

from gradaudit.evidence.words.wording import count, in_code, percent, plural, setting
from gradaudit.findings import Action
from gradaudit.signals.embeddings.embedding_rows import RowHistory
from gradaudit.signals.updates.weight_growth import weight_decays
from gradaudit.training import Training


def _for_example(rows: list[int]) -> str:
    """The first of some rows, behind a comma; nothing without any."""
    shown = ", ".join(str(row) for row in rows[:6])
    return f", for example {'row' if len(rows) == 1 else 'rows'} {shown}" if rows else ""


def changed_alone(training: Training, history: RowHistory) -> str:
    """How far the rows without a gradient have moved, and what moves them."""
    moved = history.movement[0] if history.movement else math.nan
    distance = f"{percent(moved)} of their norm (median)" if math.isfinite(moved) else "a little"
    decay = float(weight_decays(training).max(initial=0.0))
    if decay > 0:
        return f"{distance}: a weight decay of {setting(decay)} changes rows without a gradient, too"
    return (
        f"{distance}: not the optimizer, which has no weight decay, but something in the script (max_norm renormalises "
        "rows)"
    )


def unused_explanation(history: RowHistory, training: Training) -> str:
    """How many rows never had a gradient, and what became of them."""
    still = bool(history.movement) and history.movement[0] > 0
    return (
        f"{count(history.never_hit)} of {plural(history.tracked, 'row')} were not hit once"
        f"{_for_example(history.never_hit_rows)}. "
        + (f"Still they changed by {changed_alone(training, history)}." if still else "They keep their initial values.")
    )


def dead_explanation(history: RowHistory) -> str:
    """What rows are that no longer have a gradient."""
    return (
        "Each had a gradient at five steps or more and then none for 20 times its usual interval"
        f"{_for_example(history.stopped_rows)}."
    )


def attach_actions(table: str) -> list[Action]:
    """What to do about a table whose rows never have a gradient and still change."""
    return [
        Action(text="Look up without torch.no_grad() and detach(), and with tokens other than the padding_idx"),
        Action(
            text="Leave tables out of the weight decay",
            code=f"{{'params': [{in_code(table)}], 'weight_decay': 0.0}}",
        ),
    ]


def unused_actions(history: RowHistory) -> list[Action]:
    """What to do about rows that never had a gradient."""
    return [
        Action(text="Check that the vocabulary was built from this data"),
        Action(
            text=f"A table of {count(max(history.ever_hit, 1))} rows, plus one for unknown tokens, would hold all that "
            "occurs"
        ),
    ]


def dead_actions(history: RowHistory) -> list[Action]:
    """What to do about rows that no longer have a gradient."""
    return [
        Action(
            text=f"Check that the data is shuffled: else rows such as these {count(history.stopped)} come in bursts"
        ),
        Action(text="Look for a layer above that died for these inputs"),
    ]
