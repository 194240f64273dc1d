"""Parameters that never change, in words: what each cause means, and what to do about it."""

from gradaudit.evidence.words.optimizers import nobody_updates, whole_model
from gradaudit.evidence.words.wording import count, in_code, names, plural, setting
from gradaudit.findings import Action
from gradaudit.signals.layers.unchanged import Reason
from gradaudit.signals.layers.unchanged_groups import Cause, UnchangedGroup
from gradaudit.signals.updates.learning_rates import by_hand
from gradaudit.training import Training

_TITLES: dict[Cause, str] = {
    "frozen": "Frozen parameters in the optimizer",
    "idle": "Parameters without a gradient",
    "rate zero": "Learning rate zero",
    "transfer learning": "Layers outside the optimizer",
    "untrained": "Layers outside the optimizer",
    "left out": "Layers outside the optimizer",
    "not called": "Unused parameters",
    "not used": "Unused parameters",
    "dropped": "Unused parameters",
    "ignored": "Module without a loss",
    "nothing reached": "No gradient for any parameter",
    "cleared": "Gradients cleared before the step",
    "unused block": "Unused experts or blocks",
    "cut off": "First layers detached from loss",
    "cut off by no_grad": "First layers under torch.no_grad()",
    "no gradient": "Parameters without a gradient",
    "all zero": "All gradients are zero",
    "never chosen": "Unused experts or blocks",
    "last output": "Reverse direction makes one step",
    "zero input": "Layer input is all zeros",
    "zero gradient": "Gradient exactly zero",
    "faint": "Negligible gradient",
    "half precision": "Updates below {dtype} precision",
    "below precision": "Updates below {dtype} precision",
    "no effect": "Updates without effect",
}
_IN_SHORT: dict[Reason, str] = {
    "frozen": "requires_grad is False",
    "not owned": "in no optimizer",
    "idle": "in no optimizer, and no gradient",
    "rate zero": "the learning rate is 0",
    "unused": "not used in the loss",
    "no gradient": "no gradient arrives",
    "zero gradient": "the gradient is exactly 0",
    "no effect": "the updates have no effect",
}
_IN_SHORT_BY_HAND: dict[Reason, str] = {
    "not owned": "not updated by the script",
    "idle": "no gradient and no update",
}
_IN_ORDER = Action(
    text="Zero the gradients before the backward pass, not between it and the step",
    code="optimizer.zero_grad(); loss.backward(); optimizer.step()",
)
_NAMELESS = "the module"  # where a tensor belongs to the model itself
# {nobody}: "No optimizer has", as `nobody_updates` words it. {module}: of the first tensor, in code. {subject}: the
# same, where a sentence begins with it.
_SENTENCES: dict[Cause, str] = {
    "frozen": "This was set by hand, which is usual for a pretrained part.",
    "idle": "{nobody} them, and no gradient reaches them: they are not used, or run under torch.no_grad() as a part "
    "that is not meant to train.",
    "rate zero": "The learning rate of their parameter group is 0 at every step.",
    "transfer learning": "{nobody} them; the layers after them are trained, as in transfer learning.",
    "untrained": "{nobody} them, and they have the initial values of torch.nn: no pretrained weights were loaded, and "
    "the rest learns on random features.",
    "left out": "{nobody} them, while their neighbours are trained.",
    "not called": "No step calls {module}: the loss cannot depend on them, and the rest trains without them.",
    "not used": "{subject} is called and trains without them.",
    "dropped": "{subject} is called, and the loss does not depend on its result.",
    "ignored": "{subject} is called with a gradient, starts with the initial values of torch.nn, and no loss depends "
    "on its result: its loss is made of detached values, or is not added to what backward() is called on.",
    "nothing reached": "The loss does not depend on the tensors in the optimizer: either the model was made again, "
    "copied or loaded since, or the loss is detached from the model.",
    "cleared": "Each backward that was looked at reaches them, and no step finds a gradient: it is cleared in between.",
    "unused block": "Blocks like them are trained, so these are unused rather than detached.",
    "cut off": "The optimizer has them, but no gradient reaches the first part of the model, which is called before "
    "every layer that is trained.",
    "cut off by no_grad": "The optimizer has them, but they are called under torch.no_grad() only, before every layer "
    "that is trained.",
    "no gradient": "The optimizer has them, and no loss depends on them: they are unused or detached. Which of the two "
    "is not known: the calls of their modules were not seen.",
    "all zero": "Every gradient of this optimizer is exactly zero when it steps.",
    "never chosen": "Their gradient is exactly zero at every recorded step: blocks like them are trained, and these "
    "were never chosen.",
    "last output": "The loss uses the output of {module} at the last position alone. There the reverse direction has "
    "seen one position, from a state of zeros: it reads the last input only, and its recurrent weights never learn.",
    "zero input": "Every input of {module} is zero: its bias has a gradient, its weights have none. The input is "
    "multiplied by 0, masked, or the output of a dead layer.",
    "zero gradient": "Their gradient is exactly zero at every recorded step: a dead layer, a mask or a factor of 0 "
    "lies between them and the loss.",
    "faint": "Their gradient is thousands of times smaller than the others', and their updates are lost in the "
    "rounding of the weights.",
    "half precision": "They have a gradient and a learning rate above 0. Their type is {dtype}: the updates are below "
    "its precision.",
    "below precision": "They have a gradient and a learning rate above 0, but the updates are so small that they are "
    "lost in the rounding of the weights, which are of type {dtype}.",
    "no effect": "They have a gradient and a learning rate above 0, but no step changes them: the updates are undone, "
    "or the optimizer skips them.",
}


def title(group: UnchangedGroup, training: Training) -> str:
    """What tensors that do not change for this cause are called."""
    if group.reason == "not owned" and by_hand(training):
        return "Parameters never updated"
    return _TITLES[group.cause].format(dtype=group.tensors[0].dtype)


def in_short(group: UnchangedGroup, training: Training) -> str:
    """The reason in a few words, behind a colon."""
    if group.cause == "faint":
        return "almost no gradient"
    if group.cause == "cleared":
        return "cleared before the step"
    if group.cause == "ignored":
        return "no loss depends on them"
    own = _IN_SHORT_BY_HAND if by_hand(training) else {}
    return own.get(group.reason) or _IN_SHORT[group.reason]


def why(group: UnchangedGroup, training: Training) -> str:
    """The cause in a sentence."""
    module = _module(group)
    return _SENTENCES[group.cause].format(
        nobody=nobody_updates(training),
        module=module,
        subject="The module" if module == _NAMELESS else module,
        dtype=group.tensors[0].dtype,
    )


def actions(group: UnchangedGroup, training: Training, faint: float) -> list[Action]:
    """What to do about it; `faint` is the share of the largest gradient below which one is negligible."""
    match group.reason:
        case "frozen" | "idle" | "not owned" | "rate zero":
            return _of_the_optimizer(group, training)
        case "unused" if group.cause == "ignored":
            return [_attach(group), _unused(group)]
        case "unused":
            return [_unused(group)]
        case "no gradient":
            cut = training.run.meta.graph.cut_checkpoint
            return [*([reentrant_checkpoint()] if cut else []), *_without_gradient(group, training)]
        case "zero gradient":
            return _zero(group)
        case _:
            return _without_effect(group, training, faint)


def _module(group: UnchangedGroup) -> str:
    return in_code(group.tensors[0].module) if group.tensors[0].module else _NAMELESS


def _names(group: UnchangedGroup) -> str:
    return names([tensor.name for tensor in group.tensors])


def _rebuild(training: Training) -> Action:
    if by_hand(training):
        return Action(text="Update the parameters of the model that is trained, after it is moved, copied or loaded")
    return Action(
        text="Make the optimizer from the model that is trained, after it is moved, copied or loaded",
        code=f"optimizer = {whole_model(training)}",
    )


def _attach(group: UnchangedGroup) -> Action:
    between = f"between {_module(group)} and the loss"
    return Action(text=f"Look for detach(), torch.no_grad(), .data or .item() {between}, and remove it")


def reentrant_checkpoint() -> Action:
    """What to do where no input of a reentrant checkpoint requires a gradient."""
    return Action(
        text="Call torch.utils.checkpoint with use_reentrant=False: none of the inputs of a reentrant one requires a "
        "gradient, so nothing inside it gets one",
        code="x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)",
    )


def _of_the_optimizer(group: UnchangedGroup, training: Training) -> list[Action]:
    """For what requires no gradient, is in no optimizer, or in a parameter group that stands still."""
    module, number = _module(group), group.tensors[0].group
    match group.cause:
        case "frozen":
            return [
                Action(text=f"Nothing, if all {count(len(group.tensors))} are pretrained and meant to stay"),
                Action(text="Else let them train", code=f"{module}.requires_grad_(True)"),
            ]
        case "idle":
            # In the optimizer they would not change either.
            return [Action(text=f"Nothing, if {_names(group)} are not meant to train"), _attach(group)]
        case "rate zero":
            return [
                Action(
                    text=f"Set a learning rate for group {number}",
                    code=f"optimizer.param_groups[{max(number, 0)}]['lr'] = 1e-3",
                ),
                Action(text="Check that the scheduler's factor is not 0 from the first step on"),
            ]
        case "transfer learning":
            return [Action(text="Nothing, if only the rest is meant to be trained"), _rebuild(training)]
    if by_hand(training):
        return [Action(text=f"Update {_names(group)} as well"), _rebuild(training)]
    code = f"optimizer.add_param_group({{'params': {module}.parameters()}})"
    return [Action(text=f"Give {_names(group)} to the optimizer", code=code), _rebuild(training)]


def _unused(group: UnchangedGroup) -> Action:
    """For what has no gradient, and does no harm to what is trained."""
    module = _module(group)
    amount = f"{plural(len(group.tensors), 'tensor')} of {plural(group.elements, 'element')}"
    match group.cause:
        case "not called":
            return Action(text=f"Remove {amount}, or call {module} in forward(), if it is meant to be used")
        case "not used":
            return Action(text=f"Remove {amount}, or look for .data and detach() where forward() uses them")
        case _:
            return Action(text=f"Use the result of {module} in the loss, or remove {amount}")


def _without_gradient(group: UnchangedGroup, training: Training) -> list[Action]:
    module, amount = _module(group), plural(len(group.tensors), "tensor")
    freeze = Action(
        text="If they are meant to stay, freeze them, which also saves memory", code=f"{module}.requires_grad_(False)"
    )
    match group.cause:
        case "cleared":
            return [_IN_ORDER, Action(text=f"Look for p.grad = None of {amount} between backward() and step()")]
        case "nothing reached":
            return [_rebuild(training), _attach(group)]
        case "unused block":
            return [Action(text=f"Remove {amount}, or check why none is ever chosen")]
        case "cut off":
            return [_attach(group), freeze]
        case "cut off by no_grad":
            return [Action(text=f"Call {module} outside of torch.no_grad()"), freeze]
        case _:
            called = f"Check that forward() calls {module} and that its result reaches the loss, for {amount}"
            return [Action(text=f"{called} without a gradient"), _attach(group)]


def _zero(group: UnchangedGroup) -> list[Action]:
    module = _module(group)
    match group.cause:
        case "all zero":
            return [
                _IN_ORDER,
                Action(text="Check that the loss is not multiplied by 0 and no mask removes every target"),
                Action(text="In float16 scale the loss: gradients below 6e-8 become zero there",
                       code="scaler = torch.amp.GradScaler()\nscaler.scale(loss).backward()"),
            ]  # fmt: skip
        case "last output":
            return [
                Action(text=f"Give the next layer the last state of both directions of {module}, not its last output",
                       code=f"output, state = {module}(x)  # LSTM: output, (state, cell)\n"
                       "features = torch.cat([state[-2], state[-1]], dim=-1)"),
                Action(text="Or leave the reverse direction out: bidirectional=False"),
            ]  # fmt: skip
        case "zero input":
            return [
                Action(text=f"Print what goes into {module}: it is zero at every recorded step",
                       code=f"{module}.register_forward_pre_hook(lambda m, args: print(args[0].abs().max()))"),
                Action(text=f"Look in front of {module} for a factor or mask of 0, and for data that was never filled"),
            ]  # fmt: skip
        case _:
            return [
                Action(text=f"Look behind {module} for units that never fire and for a factor or mask of 0"),
                Action(text="Check the initial bias of the layer after it: a large negative one kills a ReLU"),
            ]


def _without_effect(group: UnchangedGroup, training: Training, faint: float) -> list[Action]:
    match group.cause:
        case "faint":
            factor = f"a factor below {setting(faint)} or a saturated activation"
            return [Action(text=f"Look for {factor} behind {_module(group)}")]
        case "half precision":
            autocast = "with torch.autocast('cuda', dtype=torch.bfloat16): loss = ..."
            return [
                Action(text="Keep the weights in float32 and autocast the forward pass", code=autocast),
                _rebuild(training),
            ]
        case "below precision":
            return [Action(text="Raise the learning rate until the update is above 1e-7 of the weights")]
        case _:
            return [
                _rebuild(training),
                Action(text="Look for what writes to them between the steps: load_state_dict(), copy_(), .data"),
            ]
