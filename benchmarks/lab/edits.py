"""Edits that many faults share: the scripts are alike in their last lines, so one old text fits them all."""

from benchmarks.lab.configuration import Edits, Fault

Edit = tuple[str, str]

_EVALUATE = "@torch.no_grad()\ndef evaluate"
_STEP = "    optimizer.step()\n"
_BATCH = "    x, y = train_x[rows], train_y[rows]\n"


def rate(factor: str) -> Edit:
    """The learning rate multiplied by `factor`."""
    return "lr=LEARNING_RATE", f"lr={factor} * LEARNING_RATE"


def before_training(line: str) -> Edit:
    """`line` after model and optimizer were made."""
    return _EVALUATE, f"{line}\n\n\n{_EVALUATE}"


def after_step(line: str) -> Edit:
    """`line` after every step of the optimizer, in scripts that loop over steps."""
    return _STEP, f"{_STEP}    {line}\n"


def on_batch(line: str) -> Edit:
    """`line` between drawing the batch `x, y` and the forward pass."""
    return _BATCH, f"{_BATCH}    {line}\n"


def times(weight: str, factor: float) -> Edits:
    """The initial value of `weight` multiplied by `factor`."""
    return (before_training(f"{weight}.data.mul_({factor:g})"),)


def series(
    mechanism: str,
    base: str,
    doses: dict[float | str, Edits],
    accepted: tuple[str, ...],
    root: tuple[str, ...] = (),
    harm: str = "loss",
) -> tuple[Fault, ...]:
    """One fault in one healthy training at every dose.

    The first accepted name is the kind of the fault, and without `root` the only accepted root.
    """
    return tuple(
        Fault(f"{base}-{mechanism}-{dose}", base, edits, accepted[0], dose, accepted, root or accepted[:1], harm)
        for dose, edits in doses.items()
    )
