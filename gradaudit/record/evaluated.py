"""Which model a loss without a backward is of: an average of the trained one, say, has a mode of its own."""

from collections.abc import Iterator, Sequence
from types import FrameType
from typing import cast

from torch import nn

from gradaudit.record.identity import attributes_of
from gradaudit.record.splits import script_frames
from gradaudit.record.variables import variables_of

_UNKNOWN, _EVALUATION, _TRAINING = -1, 0, 1


def mode_here(roots: Sequence[nn.Module]) -> int:
    """The mode of what the script evaluates here, where a trained model is in training mode.

    The innermost function that names a model tells. Where all that it names are copies of a trained one, in evaluation
    mode, an average of its weights is evaluated; where it names both it could be either.
    """
    trained = {id(parameter) for root in roots for parameter in root.parameters()}
    shapes = [[parameter.shape for parameter in root.parameters()] for root in roots]
    for frame in script_frames():
        models = [(module, list(module.parameters())) for module in _named(frame)]
        own = any(id(parameter) in trained for _, parameters in models for parameter in parameters)
        copies = [
            module
            for module, parameters in models
            if parameters
            and not any(id(parameter) in trained for parameter in parameters)
            and [parameter.shape for parameter in parameters] in shapes
        ]
        if copies and not any(module.training for module in copies):
            return _UNKNOWN if own else _EVALUATION
        if own or copies:
            return _TRAINING
    return _TRAINING


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
