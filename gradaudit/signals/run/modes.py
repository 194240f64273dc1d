"""Whether the model computes something else in training mode than in evaluation mode."""

from gradaudit.reading.run import Run
from gradaudit.schema import ModuleFacts
from gradaudit.training import Training


def mode_matters(run: Run) -> bool | None:
    """Whether the model has dropout or batch normalisation; None when its modules are not known."""
    modules = run.meta.modules
    return any(module.dropout or module.batch_norm for module in modules) if modules else None


def only_frozen_depend(training: Training) -> bool:
    """Whether all dropout and batch normalisation of the model belongs to parts that this training leaves as they are.

    A part is the module itself where it has parameters, else the one around it.
    """
    dependent = [module for module in training.run.meta.modules if module.dropout or module.batch_norm]
    return bool(dependent) and all(_is_frozen(training, module) for module in dependent)


def _is_frozen(training: Training, module: ModuleFacts) -> bool:
    mine = [one for one in training.run.meta.tensors if one.module == module.name]
    around = module.name if mine else module.name.rpartition(".")[0]
    if not around:
        return False
    part = [one for one in training.run.meta.tensors if f"{one.name}.".startswith(f"{around}.")]
    return bool(part) and not any(one.requires_grad and one.optimizer == training.id for one in part)
