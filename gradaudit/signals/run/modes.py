"""Whether the model computes something else in training mode than in evaluation mode."""

from gradaudit.reading.run import Run


def mode_matters(run: Run) -> bool | None:
    """Whether the model has dropout or batch normalisation; None when its modules are not known."""
    modules = run.meta.modules
    return any(module.dropout or module.batch_norm for module in modules) if modules else None
