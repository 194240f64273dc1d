"""Adapters for frameworks whose optimizers are not torch's, each put in place right after its framework is imported."""

import importlib.util
import sys
from collections.abc import Callable
from typing import Any

from gradaudit.record import session
from gradaudit.record.frameworks import fastai, keras
from gradaudit.record.patches import Patch

# The module that defines what is patched, and what patches it.
_ADAPTERS: dict[str, Callable[[Any], list[Patch]]] = {
    "fastai.learner": fastai.install_evaluation,
    "fastai.optimizer": fastai.install,
    "keras.src.optimizers.base_optimizer": keras.install,
    "keras.src.trainers.trainer": keras.install_losses,
}
_patches: list[Patch] = []


def install() -> None:
    """Adapt what is imported already, and watch for what will be."""
    for name in _ADAPTERS:
        if name in sys.modules:
            _adapt(name, sys.modules[name])
    sys.meta_path.insert(0, _Finder)


def uninstall() -> None:
    """Put back what was there."""
    while _patches:
        _patches.pop().undo()
    if _Finder in sys.meta_path:
        sys.meta_path.remove(_Finder)


def _adapt(name: str, module: Any) -> None:
    try:
        _patches.extend(_ADAPTERS[name](module))
    except Exception:
        # A version that is built differently: its optimizers are not seen, and the script is told so in time.
        session.event("disabled", f"{name} is built differently than expected; its optimizers are not recorded")


class _Finder:
    """Lets a framework's module be found by the others, and adapts it when it has been executed."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        if name not in _ADAPTERS:
            return None
        sys.meta_path.remove(_Finder)
        try:
            spec: Any = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, _Finder)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            del spec.loader.exec_module
            execute(module)
            _adapt(name, module)

        spec.loader.exec_module = exec_module
        return spec
