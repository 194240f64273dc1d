"""Finds the modules that own an optimizer's parameters, and so their qualified names, without being given a model."""

import gc
import itertools
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from gradaudit.record.internals import private
from gradaudit.record.measure.sharding import class_name, flattened_shapes, part_of
from gradaudit.record.observe.batch_norm import values_of
from gradaudit.record.observe.frame_locals import namespaces, variable_names
from gradaudit.schema import ModuleFacts, TensorFacts

# Wrappers add a level to every name. They are recognised by type: a user's own attribute called
# `module` stays part of the name.
_WRAPPERS = {
    "DistributedDataParallel": "module",
    "DataParallel": "module",
    "OptimizedModule": "_orig_mod",
    "FullyShardedDataParallel": "_fsdp_wrapped_module",
    "CheckpointWrapper": "_checkpoint_wrapped_module",
    "AveragedModel": "module",
}
_ROWS_ARE_OUTPUTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCH_NORMS = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm", "BatchNormalization")


class Held(NamedTuple):
    """A module under its path, and its own parameters under their qualified names."""

    path: str
    module: Any
    parameters: Mapping[str, torch.Tensor]


# How frameworks look at their models: each gives the modules of a root that is its own, and None for another.
views: list[Callable[[nn.Module], Iterator[Held] | None]] = []

_registry: dict[int, "weakref.ref[nn.Module]"] = {}


def remember(module: nn.Module) -> None:
    """Keep a module that is being built in mind while it exists."""
    if id(module) not in _registry:
        key = id(module)
        _registry[key] = weakref.ref(module, lambda _: _registry.pop(key, None))


def find_roots(parameters: Sequence[torch.Tensor]) -> list[nn.Module]:
    """The fewest outermost modules that together hold `parameters`, most of them first."""
    wanted = {id(parameter) for parameter in parameters}
    known = [module for reference in list(_registry.values()) if (module := reference()) is not None]
    if wanted - _held_by(known):
        # They were made before anybody looked.
        known = living()
    children = {id(child) for module in known for child in children_of(module).values() if child is not None}
    outermost = [module for module in known if id(module) not in children]
    held = {id(module): {id(p) for p in module.parameters()} & wanted for module in outermost}
    roots: list[nn.Module] = []
    while wanted and outermost:
        best = max(outermost, key=lambda module: len(held[id(module)] & wanted))
        if not held[id(best)] & wanted:
            break
        roots.append(best)
        wanted -= held[id(best)]
    return roots


def _held_by(modules: list[nn.Module]) -> set[int]:
    return {id(parameter) for module in modules for parameter in own(module).values() if parameter is not None}


def unwrap(module: nn.Module) -> nn.Module:
    """The module inside every known wrapper."""
    while (attribute := _WRAPPERS.get(type(module).__name__)) and private(module, attribute) is not None:
        module = private(module, attribute)
    return module


def children_of(module: nn.Module) -> Mapping[str, nn.Module | None]:
    """A module's children by name."""
    known = private(module, "_modules")
    return dict(module.named_children()) if known is None else known


def own(module: nn.Module) -> Mapping[str, torch.Tensor | None]:
    """A module's own parameters by name; None for those that it could have."""
    known = private(module, "_parameters")
    return dict(module.named_parameters(recurse=False)) if known is None else known


def label_of(thing: Any) -> str:
    """The script's variable that holds a module or an optimizer, else its class in lower case."""
    if hasattr(thing, "stands_for"):
        thing = thing.stands_for() or thing  # a framework's optimizer, known by its own name
    same = {id(thing), id(unwrap(thing))} if isinstance(thing, nn.Module) else {id(thing)}
    for names in namespaces():
        for name, value in list(names.items()):
            if id(value) in same and name not in ("self", "optimizer", "module", "model", "thing"):
                return str(name)
    return (class_name(unwrap(thing)) if isinstance(thing, nn.Module) else type(thing).__name__).lower()


def labels_of(things: Sequence[Any]) -> list[str]:
    """A label for each, no two the same."""
    labels: list[str] = []
    for thing in things:
        labels.append(unlike(label_of(thing), labels))
    return labels


def unlike(label: str, others: Sequence[str]) -> str:
    """The label, with a number behind it where others have it."""
    unique, number = label, 2
    while unique in others:
        unique, number = f"{label}_{number}", number + 1
    return unique


def registered() -> list[nn.Module]:
    """The modules that were built and still exist."""
    return [module for reference in list(_registry.values()) if (module := reference()) is not None]


def living() -> list[nn.Module]:
    """All modules that exist, those included that were copied or unpickled."""
    kinds, waiting = {nn.Module}, [nn.Module]
    while waiting:
        fresh = [kind for kind in type.__subclasses__(waiting.pop()) if kind not in kinds]
        kinds.update(fresh)
        waiting += fresh
    # Without a line of Python for each of some hundred thousand objects.
    everything = gc.get_objects()
    return list(itertools.compress(everything, map(kinds.__contains__, map(type, everything))))


def own_parameters(modules: Sequence[nn.Module]) -> list[nn.Parameter]:
    """The parameters that these modules hold themselves."""
    return [p for module in modules for p in private(module, "_parameters", {}).values() if p is not None]


def matching(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor] | None:
    """The parameters of a module that `tensors` are copies of, for a functional call; None where there is none."""
    shapes = [(tensor.shape, tensor.dtype) for tensor in tensors]
    modules = registered()
    children = {
        id(child) for module in modules for child in private(module, "_modules", {}).values() if child is not None
    }
    for module in modules:
        if id(module) not in children:
            held = list(module.parameters())
            if [(parameter.shape, parameter.dtype) for parameter in held] == shapes:
                return held  # type: ignore[return-value]
    return None


def walk(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Every module under `module` with its qualified name, wrappers left out, each path once."""
    yield prefix.rstrip("."), module
    wrapped = _WRAPPERS.get(type(module).__name__)
    for name, child in children_of(module).items():
        if child is None:
            continue
        if name == wrapped and child is private(module, name):
            yield from walk(child, prefix)
        else:
            yield from walk(child, f"{prefix}{name}.")


def describe(
    roots: Sequence[nn.Module], parameters: Sequence[torch.Tensor], names: Mapping[int, str] | None = None
) -> tuple[list[tuple[torch.Tensor, TensorFacts]], list[ModuleFacts]]:
    """The tensors of `roots` in registration order, then the `parameters` that no root holds; and the modules.

    Names follow ``model.named_parameters()``; with several roots each is prefixed with its label. What no root holds
    is called as in `names`, by identity, or as the script's variable, else by its number.
    """
    found: dict[int, tuple[torch.Tensor, TensorFacts]] = {}
    modules: list[ModuleFacts] = []
    labels = labels_of(roots) if len(roots) > 1 else [""]
    flattened = flattened_shapes(module for root in roots for module in root.modules())
    for root, label in zip(roots, labels, strict=False):
        for path, module, held in _modules(root, f"{label}." if label else ""):
            modules.append(_module_facts(len(modules), path, module, held))
            for qualified, parameter in held.items():
                if id(parameter) in found:
                    _add_alias(found, parameter, qualified, module)
                else:
                    facts = _tensor_facts(len(found), qualified, parameter, path, module, flattened)
                    found[id(parameter)] = (parameter, facts)
    called = {**variable_names([p for p in parameters if id(p) not in found]), **(names or {})}
    for index, lone in enumerate(parameters):
        if id(lone) not in found:
            facts = TensorFacts(
                id=len(found), name=called.get(id(lone), f"parameter_{index}"), role=_role(None, "", lone.ndim),
                shape=list(lone.shape), share=lone.numel(), dtype=str(lone.dtype).removeprefix("torch."),
                depth=len(found), requires_grad=lone.requires_grad,
            )  # fmt: skip
            found[id(lone)] = (lone, facts)
    return list(found.values()), modules


def _modules(root: nn.Module, prefix: str) -> Iterator[Held]:
    """The modules of `root`, as its framework sees them or as torch does."""
    for view in views:
        seen = view(root)
        if seen is not None:
            yield from seen
            return
    for path, module in walk(root, prefix):
        held = {f"{path}.{name}" if path else name: p for name, p in own(module).items() if p is not None}
        yield Held(path, module, held)


def _add_alias(found: dict[int, Any], parameter: torch.Tensor, qualified: str, module: nn.Module) -> None:
    import msgspec

    kept, facts = found[id(parameter)]
    if qualified in (facts.name, *facts.aliases):
        return
    role = "embedding" if isinstance(module, nn.Embedding | nn.EmbeddingBag) else facts.role
    found[id(parameter)] = (kept, msgspec.structs.replace(facts, aliases=[*facts.aliases, qualified], role=role))


def _tensor_facts(
    index: int,
    qualified: str,
    parameter: torch.Tensor,
    path: str,
    module: nn.Module,
    flattened: dict[int, list[int]],
) -> TensorFacts:
    name = qualified.replace("/", ".").rpartition(".")[2]
    part = part_of(parameter, flattened)
    return TensorFacts(
        id=index,
        name=qualified,
        role=_role(module, name, len(part.shape)),
        module=path,
        module_class=class_name(unwrap(module)),
        shape=part.shape,
        dtype=str(parameter.dtype).removeprefix("torch."),
        depth=index,
        requires_grad=parameter.requires_grad,
        placements=part.placements,
        output_axis=0 if isinstance(module, _ROWS_ARE_OUTPUTS) and name == "weight" else -1,
        share=part.share,
    )


def _role(module: nn.Module | None, name: str, dimensions: int) -> str:
    if module is not None:
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) or name == "embeddings":
            return "embedding"
        if "Norm" in type(module).__name__:
            return "norm"
    if "bias" in name:
        return "bias"
    if dimensions >= 2:
        return "weight"
    return "other"


def _module_facts(index: int, path: str, module: nn.Module, held: Mapping[str, torch.Tensor]) -> ModuleFacts:
    # Read from where torch and Keras keep them: asked for an attribute that it lacks, a module runs the script's code.
    kept = vars(module)
    # Keras calls the probability `rate`.
    dropout = kept.get("p", kept.get("rate")) if "Dropout" in type(module).__name__ else None
    if dropout is None and isinstance(kept.get("dropout"), float):
        dropout = kept["dropout"]  # LSTM and MultiheadAttention
    return ModuleFacts(
        id=index,
        name=path,
        module_class=class_name(module),
        parameters=sum(parameter.numel() for parameter in held.values()),
        dropout=float(dropout) if isinstance(dropout, float | int) else None,
        batch_norm=class_name(module) in _BATCH_NORMS,
        batch_norm_values=values_of(module) if class_name(module) in _BATCH_NORMS else 0,
    )
