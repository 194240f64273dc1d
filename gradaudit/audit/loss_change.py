"""How the losses of two runs differ, in a sentence, or why nobody can say."""

from gradaudit.audit.differences import shown_loss
from gradaudit.audit.overview import split_kind
from gradaudit.audit.result import Audit
from gradaudit.evidence.words.run_facts import loss_identity
from gradaudit.evidence.words.wording import distance, number


def loss_change(base: Audit, other: Audit) -> str:
    """How the best validation loss, or else the last training loss, differs; or why nobody can say."""
    functions = [loss_identity(audit.meta) for audit in (base, other)]
    if functions[0] != functions[1]:
        first, second = (function or "an unknown one" for function in functions)
        return f" Their loss functions differ ({first}; {second}), so their losses cannot be compared."
    splits = [audit.overview.validation for audit in (base, other)]
    best = [audit.overview.best_evaluation for audit in (base, other)]
    if splits[0] and splits[1] and best[0] and best[1]:
        if split_kind(splits[0]) == split_kind(splits[1]):
            return _change("best validation loss", best[0].y, best[1].y)
        named = " and ".join(splits)
        apart = f" Their evaluations are of different data, {named}, so these losses cannot be compared."
        return f"{apart}{_last(base, other)}"
    return _last(base, other)


def _last(base: Audit, other: Audit) -> str:
    if any(len(audit.overview.ends) > 1 for audit in (base, other)):
        return ""  # of several optimizers with losses of their own no one loss is the run's
    if shown_loss(base) != shown_loss(other):
        return " One shows its objective, the other a term of it: their training losses cannot be compared."
    bad = [audit.overview.last_non_finite for audit in (base, other)]
    if not any(bad):
        return _change("last training loss", base.overview.last_loss, other.overview.last_loss)
    last = [audit.overview.last_loss for audit in (base, other)]
    words = [one or ("" if loss is None else number(loss)) for one, loss in zip(bad, last, strict=True)]
    if "" in words:
        return ""
    return f" The last training loss is {words[1]} {'in both' if words[0] == words[1] else f'instead of {words[0]}'}."


def _change(what: str, first: float | None, second: float | None) -> str:
    if first is None or second is None:
        return ""
    change = f", {distance(first, second)}" if first > 0 else ""
    same = number(first) == number(second)
    return f" The {what} is {number(second)} {'in both' if same else f'instead of {number(first)}{change}'}."
