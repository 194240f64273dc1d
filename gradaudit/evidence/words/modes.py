"""Which modules of the model act differently in training mode and in evaluation mode."""

from gradaudit.evidence.words.wording import names, plural
from gradaudit.reading.run import Run


def mode_dependent(run: Run) -> str:
    """The dropout and batch normalisation of the model in words; empty when it has none that does anything."""
    dropouts = [module for module in run.meta.modules if module.dropout]
    norms = [module for module in run.meta.modules if module.batch_norm]
    parts = []
    if dropouts:
        rates = sorted({f"{module.dropout:g}" for module in dropouts})
        parts.append(f"{plural(len(dropouts), 'module')} with dropout ({names(rates)})")
    if norms:
        parts.append(plural(len(norms), "batch normalisation"))
    return " and ".join(parts)
