"""The training flags of all modules at one moment."""

from torch import nn

from gradaudit.record.observe.naming import walk
from gradaudit.record.observe.tensors import TensorTable
from gradaudit.schema import ModeFacts

_MOST_NAMES = 32


def flags(table: TensorTable, moment: str, after_step: int) -> ModeFacts | None:
    """The flags of every module of the recorded models; None where there is no model."""
    roots = table.living_roots()
    numbers = table.numbers_of_modules()
    if not roots:
        return None
    apart: list[str] = []
    counts = {"dropouts": [0, 0], "norms": [0, 0], "others": [0, 0]}
    for root in roots:
        of: dict[str, bool] = {}  # by path
        for path, module in walk(root):
            around = of.get(path.rpartition(".")[0], root.training)
            of[path] = on = module.training
            if on != around and len(apart) < _MOST_NAMES:
                number = numbers.get(id(module))
                apart.append(table.modules[number].name if number is not None else path)
            kind = _kind(module)
            if kind:
                counts[kind] = [counts[kind][0] + on, counts[kind][1] + 1]
    return ModeFacts(
        moment=moment, after_step=after_step, training=any(root.training for root in roots), apart=apart, **counts
    )


def _kind(module: nn.Module) -> str:
    name = type(module).__name__
    if "Dropout" in name:
        return "dropouts"
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm):
        return "norms"
    return "" if next(module.children(), None) is not None else "others"
