"""Parameters that never change, in words: how bad each reason is, what it means, and what to do about it."""

from typing import NamedTuple

from gradaudit.evidence.words.optimizers import nobody_updates, whole_model
from gradaudit.evidence.words.wording import count, in_code, names, plural, setting
from gradaudit.findings import Action, Severity
from gradaudit.reading.run import Run
from gradaudit.schema import TensorFacts
from gradaudit.signals.layers.calls import use_of
from gradaudit.signals.layers.unchanged import Reason, all_owned, fed_with_zeros, one_of_many
from gradaudit.signals.layers.untrained import MOST, initial_share
from gradaudit.signals.loss.progress import learned_nothing
from gradaudit.signals.updates.learning_rates import by_hand
from gradaudit.signals.updates.lost_updates import HALF
from gradaudit.signals.updates.step_size import below_precision
from gradaudit.training import Training


class Judged(NamedTuple):
    """What it is called, how bad it is, the reason in a sentence, and what to do."""

    title: str
    severity: Severity
    sentence: str
    actions: list[Action]
    follows: list[str] = []  # diagnosers that say where it comes from


def in_short(reason: Reason, *, is_faint: bool, hand: bool) -> str:
    """The reason in a few words, behind a colon."""
    if is_faint:
        return "almost no gradient"
    return {
        "copy": "a copy of trained parameters",
        "fixed": "requires_grad is False",
        "frozen": "requires_grad is False",
        "not owned": "not updated by the script" if hand else "in no optimizer",
        "idle": "no gradient and no update" if hand else "in no optimizer, and no gradient",
        "rate zero": "the learning rate is 0",
        "unused": "not used in the loss",
        "no gradient": "no gradient arrives",
        "zero gradient": "the gradient is exactly 0",
        "no effect": "the updates have no effect",
    }[reason]


def judged(
    training: Training, reason: Reason, mine: list[TensorFacts], backbone: float, faint: float, is_faint: bool
) -> Judged:
    """What is said of tensors that do not change for the same reason."""
    match reason:
        case "frozen" | "fixed" | "copy":
            found = _frozen(mine)
        case "not owned" | "idle":
            found = _outside(training, reason, mine, backbone)
        case "rate zero":
            found = Judged(
                "Learning rate zero", Severity.CRITICAL,
                "The learning rate of their parameter group is 0 at every step.", [
                    Action(text=f"Set a learning rate for group {mine[0].group}",
                           code=f"optimizer.param_groups[{max(mine[0].group, 0)}]['lr'] = 1e-3"),
                    Action(text="Check that the scheduler's factor is not 0 from the first step on"),
                ],
            )  # fmt: skip
        case "unused":
            found = _unused(training.run, mine)
        case "no gradient":
            found = _without_gradient(training, mine)
        case "zero gradient":
            found = _zero(training, mine)
        case "no effect":
            found = _faint(mine, faint) if is_faint else _no_effect(training, mine)
    # What is missing where nothing is learned is why.
    broken = found.severity is Severity.WARNING and learned_nothing(training)
    return found._replace(severity=Severity.CRITICAL) if broken else found


def _module(mine: list[TensorFacts]) -> str:
    return in_code(mine[0].module) if mine[0].module else "the module"


def _rebuild(training: Training) -> Action:
    if by_hand(training):
        return Action(text="Update the parameters of the model that is trained, after it is moved, copied or loaded")
    return Action(
        text="Make the optimizer from the model that is trained, after it is moved, copied or loaded",
        code=f"optimizer = {whole_model(training)}",
    )


def _attach(mine: list[TensorFacts]) -> Action:
    return Action(
        text=f"Look for detach(), torch.no_grad(), .data or .item() between {_module(mine)} and the loss, and remove it"
    )


def _frozen(mine: list[TensorFacts]) -> Judged:
    return Judged(
        "Frozen parameters in the optimizer",
        Severity.NOTE,
        "This was set by hand, which is usual for a pretrained part.",
        [
            Action(text=f"Nothing, if all {count(len(mine))} are pretrained and meant to stay"),
            Action(text="Else let them train", code=f"{_module(mine)}.requires_grad_(True)"),
        ],
    )


def _outside(training: Training, reason: Reason, mine: list[TensorFacts], backbone: float) -> Judged:
    nobody, hand = nobody_updates(training), by_hand(training)
    if reason == "idle":
        # In the optimizer they would not change either.
        return Judged(
            "Parameters without a gradient",
            Severity.NOTE,
            f"{nobody} them, and no gradient reaches them: they are not used, or run under torch.no_grad() as a part "
            "that is not meant to train.",
            [
                Action(text=f"Nothing, if {names([tensor.name for tensor in mine])} are not meant to train"),
                _attach(mine),
            ],
        )
    outside = sum(t.elements for t in mine) / max(1, sum(t.elements for t in training.run.meta.tensors))
    fresh = initial_share(training, {tensor.id for tensor in mine}) > MOST
    transfer = (_in_front(training.run, mine) or outside > backbone) and not fresh
    if transfer:
        give = Action(text="Nothing, if only the rest is meant to be trained")
    elif hand:
        give = Action(text=f"Update {names([t.name for t in mine])} as well")
    else:
        give = Action(
            text=f"Give {names([t.name for t in mine])} to the optimizer",
            code=f"optimizer.add_param_group({{'params': {_module(mine)}.parameters()}})",
        )
    return Judged(
        "Parameters never updated" if hand else "Layers outside the optimizer",
        Severity.NOTE if transfer else Severity.WARNING,
        f"{nobody} them; the layers after them are trained, as in transfer learning."
        if transfer
        else f"{nobody} them, and they have the initial values of torch.nn: no pretrained weights were loaded, and "
        "the rest learns on random features."
        if fresh
        else f"{nobody} them, while their neighbours are trained.",
        [give, _rebuild(training)],
    )


def _unused(run: Run, mine: list[TensorFacts]) -> Judged:
    """Without a gradient, and no harm to what is trained."""
    use, module = use_of(run, mine[0]), _module(mine)
    amount = f"{plural(len(mine), 'tensor')} of {plural(sum(t.elements for t in mine), 'element')}"
    match use:
        case "not called":
            sentence = f"No step calls {module}: the loss cannot depend on them, and the rest trains without them."
            action = Action(text=f"Remove {amount}, or call {module} in forward(), if it is meant to be used")
        case "not used":
            sentence = f"{module.capitalize() if module == 'the module' else module} is called and trains without them."
            action = Action(text=f"Remove {amount}, or look for .data and detach() where forward() uses them")
        case _:
            sentence = f"{module} is called, and the loss does not depend on its result."
            action = Action(text=f"Use the result of {module} in the loss, or remove {amount}")
    return Judged("Unused parameters", Severity.NOTE, sentence, [action])


def _without_gradient(training: Training, mine: list[TensorFacts]) -> Judged:
    module, attach = _module(mine), _attach(mine)
    if all_owned(training, mine):
        sentence = (
            "The loss does not depend on the tensors in the optimizer: either the model was made again, copied or "
            "loaded since, or the loss is detached from the model."
        )
        return Judged("No gradient for any parameter", Severity.CRITICAL, sentence, [_rebuild(training), attach])
    if one_of_many(training, mine):
        said = "Blocks like them are trained, so these are unused rather than detached."
        return Judged("Unused experts or blocks", Severity.NOTE, said, [
            Action(text=f"Remove {plural(len(mine), 'tensor')}, or check why none is ever chosen"),
        ])  # fmt: skip
    freeze = Action(
        text="If they are meant to stay, freeze them, which also saves memory", code=f"{module}.requires_grad_(False)"
    )
    use = use_of(training.run, mine[0])
    if use == "cut off":
        return Judged(
            "First layers detached from loss",
            Severity.CRITICAL,
            "The optimizer has them, but no gradient reaches the first part of the model, which is called before every "
            "layer that is trained.",
            [attach, freeze],
        )
    if use == "cut off by no_grad":
        return Judged(
            "First layers under torch.no_grad()",
            Severity.WARNING,
            "The optimizer has them, but they are called under torch.no_grad() only, before every layer that is "
            "trained.",
            [Action(text=f"Call {module} outside of torch.no_grad()"), freeze],
        )
    return Judged("Parameters without a gradient", Severity.WARNING,
                  "The optimizer has them, and no loss depends on them: they are unused or detached. Which of the two "
                  "is not known: the calls of their modules were not seen.", [
        Action(text=f"Check that forward() calls {module} and that its result reaches the loss, for "
               f"{plural(len(mine), 'tensor')} without a gradient"),
        attach,
    ])  # fmt: skip


def _zero(training: Training, mine: list[TensorFacts]) -> Judged:
    module = _module(mine)
    if all_owned(training, mine):
        return Judged("All gradients are zero", Severity.CRITICAL,
                      "Every gradient of this optimizer is exactly zero when it steps.", [
            Action(text="Zero the gradients before the backward pass, not between it and the step",
                   code="optimizer.zero_grad(); loss.backward(); optimizer.step()"),
            Action(text="Check that the loss is not multiplied by 0 and no mask removes every target"),
            Action(text="In float16 scale the loss: gradients below 6e-8 become zero there",
                   code="scaler = torch.amp.GradScaler()\nscaler.scale(loss).backward()"),
        ])  # fmt: skip
    own = {tensor.id for tensor in mine}
    if fed_with_zeros(training)[[tensor.id in own for tensor in training.tensors]].all():
        return Judged(
            "Layer input is all zeros",
            Severity.WARNING,
            f"Every input of {module} is zero: its bias has a gradient, its weights have none. The input is multiplied "
            "by 0, masked, or the output of a dead layer.",
            [
                Action(text=f"Print what goes into {module}: it is zero at every recorded step",
                       code=f"{module}.register_forward_pre_hook(lambda m, args: print(args[0].abs().max()))"),
                Action(text=f"Look in front of {module} for a factor or mask of 0, and for data that was never filled"),
            ],
        )  # fmt: skip
    unused = one_of_many(training, mine)
    return Judged(
        "Unused experts or blocks" if unused else "Gradient exactly zero",
        Severity.NOTE if unused else Severity.WARNING,
        "Their gradient is exactly zero at every recorded step: " + (
            "blocks like them are trained, and these were never chosen." if unused
            else "a dead layer, a mask or a factor of 0 lies between them and the loss."
        ),
        [
            Action(text=f"Look behind {module} for units that never fire and for a factor or mask of 0"),
            Action(text="Check the initial bias of the layer after it: a large negative one kills a ReLU"),
        ],
    )  # fmt: skip


def _faint(mine: list[TensorFacts], faint: float) -> Judged:
    return Judged(
        "Negligible gradient",
        Severity.NOTE,
        "Their gradient is thousands of times smaller than the others', and their updates are lost in the rounding of "
        "the weights.",
        [Action(text=f"Look for a factor below {setting(faint)} or a saturated activation behind {_module(mine)}")],
    )


def _no_effect(training: Training, mine: list[TensorFacts]) -> Judged:
    rebuild, dtype = _rebuild(training), mine[0].dtype
    if dtype in HALF:
        return Judged(
            f"Updates below {dtype} precision",
            Severity.CRITICAL,
            f"They have a gradient and a learning rate above 0. Their type is {dtype}: the updates are below its "
            "precision.",
            [
                Action(text="Keep the weights in float32 and autocast the forward pass",
                       code="with torch.autocast('cuda', dtype=torch.bfloat16): loss = ..."),
                rebuild,
            ],
        )  # fmt: skip
    place = {tensor.id: index for index, tensor in enumerate(training.tensors)}
    if below_precision(training)[[place[tensor.id] for tensor in mine]].all():
        return Judged(
            f"Updates below {dtype} precision",
            Severity.CRITICAL,
            f"They have a gradient and a learning rate above 0, but the updates are so small that they are lost in the "
            f"rounding of the weights, which are of type {dtype}.",
            [Action(text="Raise the learning rate until the update is above 1e-7 of the weights")],
            ["learning_rate_too_low", "constant_clipping", "vanishing_gradient"],
        )
    return Judged(
        "Updates without effect",
        Severity.CRITICAL,
        "They have a gradient and a learning rate above 0, but no step changes them: the updates are undone, or the "
        "optimizer skips them.",
        [
            rebuild,
            Action(text="Look for what writes to them between the steps: load_state_dict(), copy_(), .data"),
        ],
    )


def _in_front(run: Run, mine: list[TensorFacts]) -> bool:
    """Whether all other owned weights of the run come later in the order of registration."""
    own = {tensor.id for tensor in mine}
    later = [t.depth for t in run.meta.tensors if t.optimizer >= 0 and t.id not in own and t.requires_grad]
    return bool(later) and max(tensor.depth for tensor in mine) < min(later)
