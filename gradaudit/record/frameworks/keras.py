"""Keras on torch: its optimizers, its layers and variable paths, its losses."""

import contextlib
import functools
import sys
from collections.abc import Iterator
from typing import Any

import torch

from gradaudit.record import hooks, session
from gradaudit.record.frameworks.optimizer import watch_steps
from gradaudit.record.internals import private
from gradaudit.record.observe import naming
from gradaudit.record.observe.evaluation.splits import told
from gradaudit.record.observers import FRAMEWORK_LOSSES
from gradaudit.record.patches import Patch, leave_out_of, replace


def install(module: Any) -> list[Patch]:
    """Wrap BaseOptimizer.apply of the module keras.src.optimizers.base_optimizer."""
    if _layers not in naming.views:
        naming.views.append(_layers)
    return [
        watch_steps(
            module.BaseOptimizer, "apply", groups=_groups, class_of=lambda optimizer: type(optimizer).__name__,
            due=_due, gradients=_gradients,
        )
    ]  # fmt: skip


def install_losses(module: Any) -> list[Patch]:
    """Wrap Trainer._compute_loss of the module keras.src.trainers.trainer: it knows what is evaluated.

    Some losses of Keras call torch.nn.functional, which is seen as ever; of the others only the value is known.
    """
    original = private(module.Trainer, "_compute_loss")
    if original is None:
        return []

    @functools.wraps(original)
    def _compute_loss(self: Any, *args: Any, **kwargs: Any) -> Any:
        recording = session.current()
        if recording is None or torch.compiler.is_compiling():
            return original(self, *args, **kwargs)
        before = recording.gathered.book.observed
        evaluates = not kwargs.get("training", True)
        split = session.unlocked_call(FRAMEWORK_LOSSES, _split) if evaluates else None
        with told(split) if split is not None else contextlib.nullcontext():
            try:
                loss = original(self, *args, **kwargs)
            except BaseException as error:
                leave_out_of(error)
                raise
        if before == recording.gathered.book.observed:
            session.guarded_call(FRAMEWORK_LOSSES, _log, loss, split, kwargs.get("y"))
        return loss

    return [replace(module.Trainer, "_compute_loss", _compute_loss)]


def _log(loss: Any, split: str | None, targets: Any) -> None:
    # Keras builds a model by calling it on tensors without values.
    if isinstance(loss, torch.Tensor) and not loss.is_meta:
        count = len(targets) if isinstance(targets, torch.Tensor) and targets.ndim else 1
        session.guarded(hooks.on_logged_loss, loss, split, count)


def _groups(optimizer: Any) -> list[dict[str, Any]]:
    rate = optimizer.learning_rate
    momentum = getattr(optimizer, "momentum", None)
    return [
        {
            "params": [variable.value for variable in _variables(optimizer)],
            "lr": getattr(rate, "value", rate),
            "momentum": getattr(optimizer, "beta_1", 0.0) if momentum is None else momentum,
            "weight_decay": getattr(optimizer, "weight_decay", None) or 0.0,
        }
    ]


def _variables(optimizer: Any) -> list[Any]:
    return [item for item in _trainable(optimizer) if isinstance(item.value, torch.Tensor)]


def _trainable(thing: Any) -> list[Any]:
    known = private(thing, "_trainable_variables")
    return list(thing.trainable_variables if known is None else known)


def _due(optimizer: Any, steps: int) -> bool:
    return steps % (getattr(optimizer, "gradient_accumulation_steps", None) or 1) == 0


def _gradients(optimizer: Any, grads: Any, trainable_variables: Any = None) -> dict[int, Any]:
    """The gradients that the step takes, by the identity of the variable's tensor."""
    if trainable_variables is not None and not isinstance(trainable_variables, list | tuple):
        return {}  # it may be read once only
    if not optimizer.built and trainable_variables is not None:
        # As apply does at its first call: before it the optimizer does not know its variables.
        optimizer.build(list(trainable_variables))
    variables = list(trainable_variables) if trainable_variables is not None else _trainable(optimizer)
    found = {id(item.value): gradient for item, gradient in zip(variables, grads, strict=True)}
    every = getattr(optimizer, "gradient_accumulation_steps", None)
    accumulated, index_of = private(optimizer, "_accumulated_gradients"), private(optimizer, "_get_variable_index")
    if every and accumulated is not None and index_of is not None:
        for item in variables:
            gathered, now = accumulated[index_of(item)], found[id(item.value)]
            if gathered is not None and now is not None:
                found[id(item.value)] = (gathered.value.detach() + now) / every
    return found


def _layers(root: Any) -> Iterator[naming.Held] | None:
    """The layers of a Keras model with their own trainable variables, in the order of the model; None of another."""
    flatten = private(root, "_flatten_layers")
    if flatten is None:
        return None
    return (naming.Held(getattr(layer, "path", None) or layer.name, layer, _own(layer)) for layer in flatten())


def _own(layer: Any) -> dict[str, torch.Tensor]:
    return {item.path: item.value for item in _trainable(layer) if isinstance(item.value, torch.Tensor)}


def _split() -> str:
    """Keras evaluates on validation data inside fit; what is evaluated elsewhere is the script's business."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "fit" and str(frame.f_globals.get("__name__")).startswith("keras."):
            return "validation"
        frame = frame.f_back
    return "evaluation"
