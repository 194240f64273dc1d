"""The hooks of a recording: what patches and frameworks call, always through `session.guarded`.

Each hands on to the part of the recording that is concerned. A fault behind one that is marked with an observer ends
that observer. The others are the core: backward passes and steps, without which nothing could be recorded.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from gradaudit.record.by_hand.hands import BY_HAND
from gradaudit.record.hook_observers import Bind, observer
from gradaudit.record.observe import batch_norm
from gradaudit.record.observe.batches import BATCHES
from gradaudit.record.observe.between import StepObserver
from gradaudit.record.observe.calls import CALLS
from gradaudit.record.observe.cleared import CLEARED
from gradaudit.record.observe.loss.compiled import GraphLoss, readings
from gradaudit.record.observe.model_state import MODEL_STATE
from gradaudit.record.observe.optimizers import OptimizerLike
from gradaudit.record.observe.schedules import SCHEDULES
from gradaudit.record.observers import (
    ACTIVATIONS,
    AMP_SCALES,
    BATCH_NORM_SIZES,
    BATCHES_PER_EPOCH,
    COMPILED_LOSSES,
    EVALUATION_LOSSES,
    GRADIENT_CLIPPING,
    LOGGED_LOSSES,
    LOSSES,
    SKIPPED_STEPS,
)
from gradaudit.record.recording import Recording


def before_step(recording: Recording, optimizer: OptimizerLike, closure: Any) -> bool:
    """The optimizer is about to step; whether its closure has to be watched."""
    watched = recording.before_step(optimizer, closure)
    schedules, alone = recording.gathered.schedules, len(recording.gathered.training) < 2
    recording.observers.call(SCHEDULES, schedules.before_step, optimizer, recording.table, alone)
    return watched


def without_closure(recording: Recording) -> None:
    """The closure of the step that is about to be made could not be watched."""
    recording.without_closure()


def after_closure(recording: Recording, optimizer: OptimizerLike) -> None:
    """The closure of an optimizer's step returned."""
    recording.after_closure(optimizer)


def after_step(recording: Recording, optimizer: OptimizerLike) -> None:
    """The optimizer has stepped."""
    recording.after_step(optimizer)
    recording.observers.call(SCHEDULES, recording.gathered.schedules.after_step, optimizer)


def on_backward(recording: Recording, roots: Sequence[Any], gradients: Any, accumulates: bool = False) -> StepObserver:
    """A backward is about to run; returns what the caller tells that it is over.

    One that `accumulates` is torch.autograd.backward: nobody has asked yet whether it reaches what is changed by hand.
    """
    between = recording.between
    if accumulates:
        between.by_hand = bool(recording.observers.call(BY_HAND, recording.by_hand.before, roots))
    memory = recording.gathered.schedules.memory
    if memory.wants:
        recording.observers.call(SCHEDULES, memory.on_backward, roots)
    return between.on_backward(roots, gradients, accumulates)


@observer(CLEARED)
def after_backward(recording: Recording) -> None:
    """A backward has run whose gradients are looked at."""
    recording.between.after_backward()


@observer(LOSSES)
def on_loss(
    recording: Recording, name: str, result: torch.Tensor, bind: Bind, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """The loss function `name`, called with `args` and `kwargs`, returned `result`; `bind` names its arguments."""
    recording.between.on_call(name, result, bind, args, kwargs)


@observer(COMPILED_LOSSES)
def on_graph(recording: Recording, found: Sequence[GraphLoss], inputs: Sequence[Any], outputs: Any) -> None:
    """A compiled graph with these losses has run."""
    for reading in readings(found, inputs, outputs):
        recording.between.on_loss(reading.name, reading.result, reading.call, reading)


@observer(EVALUATION_LOSSES)
def on_derivative(recording: Recording, roots: Sequence[Any], given: Sequence[Any]) -> None:
    """The script asks for gradients of `roots`; `given` are the tensors, where these have no graph of their own."""
    recording.between.on_derivative(roots, given)


@observer(LOGGED_LOSSES)
def on_logged_loss(recording: Recording, loss: Any, split: str | None, count: int) -> None:
    """The script, or its framework, tells a loss; of the coming training step where there is no split."""
    recording.between.log(loss, split, count)


@observer(AMP_SCALES)
def on_scale(recording: Recording, scaler: Any) -> None:
    """A GradScaler scaled a loss."""
    recording.between.on_scale(scaler)


@observer(SKIPPED_STEPS)
def hooked_steps(recording: Recording) -> int:
    """How many steps of this thread the hooks have seen."""
    return recording.hooked_steps()


@observer(SKIPPED_STEPS)
def on_scaler_step(recording: Recording, scaler: Any, optimizer: OptimizerLike, hooked_before: int) -> None:
    """GradScaler.step returned."""
    if scaler.is_enabled():
        if recording.hooked_steps() == hooked_before:
            # A step that the scaler skipped counts for whoever counts calls.
            before = recording.gathered.schedules.before_step
            recording.observers.call(SCHEDULES, before, optimizer, recording.table, False)
        recording.on_scaler_step(optimizer, hooked_before)


@observer(GRADIENT_CLIPPING)
def before_value_clip(recording: Recording, parameters: Sequence[torch.Tensor], threshold: Any) -> None:
    """clip_grad_value_ is about to run."""
    recording.on_value_clip(parameters, threshold)


@observer(GRADIENT_CLIPPING)
def after_norm_clip(
    recording: Recording, kind: int, parameters: Sequence[torch.Tensor], threshold: Any, norm: Any, norm_type: Any
) -> None:
    """clip_grad_norm_ returned `norm`."""
    recording.between.clips.on_clip(kind, parameters, threshold, norm, norm_type)


@observer(BATCH_NORM_SIZES)
def on_batch_norm(recording: Recording, key: torch.Tensor, input: torch.Tensor | None) -> None:
    """A BatchNorm module that `key` belongs to is training on `input`, or evaluating."""
    batch_norm.note(key, input)


@observer(BATCHES)
def on_iterator(recording: Recording, loader: Any, iterator: Any) -> None:
    """A DataLoader is gone over with `iterator`."""
    recording.gathered.batches.begin(loader, iterator)


@observer(BATCHES)
def on_batch(recording: Recording, iterator: Any, batch: Any) -> None:
    """An iterator of a DataLoader yielded a batch that is looked at."""
    recording.gathered.batches.look(iterator, batch)


@observer(BATCHES)
def on_embedding(recording: Recording, ids: Any, result: Any) -> None:
    """An embedding was called, at a step that is looked at."""
    recording.gathered.batches.note_ids(ids, result)


@observer(BATCHES)
def on_attention(recording: Recording, read: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """An attention is about to be called, at a step that is looked at; `read` tells what it may look at."""
    recording.gathered.batches.note_attention(read(args, kwargs))


@observer(MODEL_STATE)
def on_active(recording: Recording, name: str, probability: Any, said: bool) -> None:
    """A function that acts in training only is about to act without a gradient; was it `said` a training flag?"""
    recording.gathered.model_state.on_active(recording.table, name, probability, said)


@observer(MODEL_STATE)
def on_copy_call(recording: Recording, module: nn.Module, arguments: Iterable[Any]) -> None:
    """A module is about to be called, while the calls of copies are watched for."""
    recording.gathered.model_state.on_copy_call(module, arguments)


@observer(BATCHES_PER_EPOCH)
def on_loader(recording: Recording, loader: Any) -> None:
    """A DataLoader is about to be iterated in this process."""
    recording.between.on_loader(loader)


@observer(ACTIVATIONS)
def attach_activations(recording: Recording, parameters: Sequence[torch.Tensor]) -> None:
    """Hook the models that hold `parameters`, where activations are sampled."""
    recording.activations.attach(parameters)


@observer(ACTIVATIONS)
def on_param_group(recording: Recording, optimizer: OptimizerLike) -> None:
    """An optimizer was given a parameter group."""
    recording.activations.attach(optimizer.param_groups[-1]["params"])


@observer(ACTIVATIONS)
def on_module_input(recording: Recording, module: nn.Module, arguments: Iterable[Any]) -> None:
    """A hooked model was called."""
    recording.activations.on_input(module, arguments)


@observer(ACTIVATIONS)
def on_module_output(recording: Recording, module: nn.Module, output: Any) -> None:
    """An activation module returned `output`."""
    recording.activations.on_output(module, output)


@observer(ACTIVATIONS)
def on_compiling(recording: Recording, target: Any) -> None:
    """Something is about to be compiled; None is what a decorator will get."""
    # An optimizer's step calls no module.
    if target is not None and not isinstance(getattr(target, "__self__", None), torch.optim.Optimizer):
        for part in (recording.close_look, recording.activations):
            part.on_compiling()


@observer(ACTIVATIONS)
def on_scripting(recording: Recording, target: Any) -> None:
    """Something is about to be scripted."""
    if isinstance(target, nn.Module):
        recording.activations.on_scripting()


@observer(CALLS)
def on_module_call(recording: Recording, module: nn.Module) -> None:
    """A module is about to be called, while calls are watched for."""
    recording.calls.on_call(module)


@observer(BY_HAND)
def before_backward_by_hand(recording: Recording, roots: Sequence[Any], given: Any = None, names: Any = None) -> bool:
    """A backward is about to run; whether it reaches parameters that are changed by hand."""
    return recording.by_hand.before(roots, given, names)


@observer(BY_HAND)
def after_backward_by_hand(
    recording: Recording, given: Sequence[torch.Tensor] | None = None, gradients: Sequence[Any] | None = None
) -> None:
    """The backward has run, and `before_backward_by_hand` said yes."""
    recording.by_hand.after(given, gradients)


@observer(BY_HAND)
def on_clip_by_hand(recording: Recording, parameters: Sequence[torch.Tensor]) -> None:
    """Gradients were clipped."""
    recording.by_hand.on_clip(parameters)
