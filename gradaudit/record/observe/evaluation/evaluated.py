"""Which model a loss without a backward is of: an average of the trained one, say, has a mode of its own."""

from collections.abc import Iterator, Sequence
from types import FrameType
from typing import cast

from torch import nn
from torch.nn.parameter import is_lazy

from gradaudit.record.observe.evaluation.identity import attributes_of
from gradaudit.record.observe.evaluation.splits import script_frames
from gradaudit.record.observe.frame_locals import variables_of
from gradaudit.record.observe.naming import own_parameters, unwrap, walk
from gradaudit.record.observe.walking import in_training

MODES = "modes of evaluations"  # the observer
_TRAINING, _UNKNOWN = 1, -1


def mode_here(roots: Sequence[nn.Module], known: dict[object, int]) -> int:
    """The mode of what the script evaluates here, where a trained model is in training mode.

    The innermost function that names a model tells. Where it names a copy of a trained one in evaluation mode, an
    average of its weights perhaps, it may be that which is evaluated. What was found of a function is `known` then.
    """
    place = next((frame.f_code for frame in script_frames()), None)
    if place not in known:
        known[place] = _look(roots)
    return known[place]


def _look(roots: Sequence[nn.Module]) -> int:
    trained = {id(parameter) for root in roots for parameter in _parameters(root)}
    shapes = [_shapes(root) for root in roots]
    for frame in script_frames():
        models = [(module, _parameters(module)) for module in _named(frame)]
        others = [module for module, held in models if held and trained.isdisjoint(map(id, held))]
        copies = [module for module in others if _shapes(module) in shapes]
        if copies and not any(_is_training(module) for module in copies):
            return _UNKNOWN
        named = [module for module, held in models if not trained.isdisjoint(map(id, held))]
        if copies or named:
            return _TRAINING if copies else _common_mode(named)
    return _TRAINING


def _common_mode(models: Sequence[nn.Module]) -> int:
    """The mode of these models, parts of others of them left out; unknown where some train and others do not."""
    inside = {id(part) for module in models for _, part in walk(module) if part is not module}
    modes = {in_training(unwrap(module)) for module in models if id(module) not in inside}
    return int(modes.pop()) if len(modes) == 1 else _UNKNOWN


def _parameters(module: nn.Module) -> list[nn.Parameter]:
    # What a script's class makes of `parameters()` is not asked.
    return own_parameters([part for _, part in walk(module)])


def _shapes(module: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(parameter.shape) for parameter in _parameters(module) if not is_lazy(parameter)]


def _is_training(module: nn.Module) -> bool:
    return bool(attributes_of(module).get("training", True))


def _named(frame: FrameType) -> Iterator[nn.Module]:
    """The modules that the code of a frame names, as variables or as attributes of what it names."""
    code, held = frame.f_code, variables_of(frame)
    names = {*code.co_names, *code.co_varnames, *code.co_freevars, *code.co_cellvars}
    seen: set[int] = set()
    for name in names:
        value = held[name] if name in held else frame.f_globals.get(name)
        attributes = attributes_of(value) if name in held else {}
        for found in (value, *(attributes.get(attribute) for attribute in code.co_names)):
            if issubclass(type(found), nn.Module) and id(found) not in seen:
                seen.add(id(found))
                yield cast(nn.Module, found)
