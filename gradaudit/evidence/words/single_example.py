"""How to keep batches of one example out of a training, in words."""

from gradaudit.findings import Action


def leave_it_out(*, ends_epoch: bool, divides: bool) -> list[Action]:
    """What to change; `divides` where something is divided by a standard deviation over the batch."""
    drop = Action(
        text="Leave out the last, small batch of an epoch: set drop_last=True",
        code="DataLoader(dataset, batch_size=..., shuffle=True, drop_last=True)",
    )
    if not divides:
        return [drop, Action(text="Or choose a batch size that leaves no single example")]
    skip = Action(
        text="Normalise over a batch only where it holds more than 1 example",
        code="if len(x) > 1:\n    x = (x - x.mean()) / (x.std() + 1e-8)",
    )
    split = Action(text="Or split the data so that no batch of one example is left: with drop_last=True, say")
    return [drop, skip] if ends_epoch else [skip, split]
