"""Adapters for frameworks whose optimizers are not torch's, each put in place right after its framework is imported."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from gradaudit.record import session
from gradaudit.record.frameworks import compiler, fastai, keras, transformers
from gradaudit.record.imports import Finder
from gradaudit.record.patches import Patch

# The module that defines what is patched, and what patches it.
_ADAPTERS: dict[str, Callable[[Any], list[Patch]]] = {
    "fastai.learner": fastai.install_evaluation,
    "fastai.optimizer": fastai.install,
    "keras.src.optimizers.base_optimizer": keras.install,
    "keras.src.trainers.trainer": keras.install_losses,
    "torch._dynamo.output_graph": compiler.install,
    "transformers.trainer": transformers.install,
}
_patches: list[Patch] = []
_finder = Finder({})


def install() -> None:
    """Adapt what is imported already, and watch for what will be."""
    _finder.watched = {name: partial(_adapt, name) for name in _ADAPTERS}
    _finder.done.clear()
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    _finder.look()


def uninstall() -> None:
    """Put back what was there; the finder stays and finds nothing."""
    _finder.watched = {}
    while _patches:
        _patches.pop().undo()


def _adapt(name: str, module: Any) -> None:
    try:
        _patches.extend(_ADAPTERS[name](module))
    except Exception:
        # A version that is built differently: its optimizers are not seen, and the script is told so in time.
        session.event("disabled", f"{name} is built differently than expected; its optimizers are not recorded")
