"""Hook: torch's hooks for parameters and modules that are registered, which show modules as they are built."""

from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as modules

from gradaudit.record import session
from gradaudit.record.observe import naming
from gradaudit.record.observers import NAMES


def install() -> list[Any]:
    """Start remembering modules; returns the handles that stop it."""
    return [
        modules.register_module_parameter_registration_hook(_registered),
        modules.register_module_module_registration_hook(_registered),
    ]


def _registered(module: nn.Module, *_: Any) -> None:
    # The compiler cannot take a module that is half built; one built inside a graph is found when it is needed.
    if not torch.compiler.is_compiling():
        session.unlocked_call(NAMES, naming.remember, module)
