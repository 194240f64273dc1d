"""Seam: one hook before the forward of every module, for as long as calls are watched for."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from gradaudit.record import hooks, session
from gradaudit.record.patches import hide_from_compiler


def watch(wanted: Callable[[nn.Module], bool]) -> Any:
    """Tell the recording of each call of a module that is `wanted`; returns the handle that ends it."""

    def on_call(module: nn.Module, args: Any) -> None:
        if not torch.compiler.is_compiling() and wanted(module):
            session.guarded(hooks.on_module_call, module)

    hide_from_compiler(on_call, callees=True)
    return nn.modules.module.register_module_forward_pre_hook(on_call)
