"""Inputs and labels that may not belong together: what to look at."""

from gradaudit.findings import Action

LOOK_AT_PAIRS = Action(text="Look at ten pairs of input and label as the model gets them: do they belong together?")


def check_pairs(*, reaches_output: bool) -> list[Action]:
    """To look at the pairs, at what sorts them apart, and at the input unless it is known to reach the output."""
    overfit = Action(
        text="Train on 16 examples until the loss is near 0; if that fails, the input does not reach the output"
    )
    return [
        LOOK_AT_PAIRS,
        Action(
            text="Shuffle inputs and labels with one permutation, and sort neither alone",
            code="order = torch.randperm(len(x)); x, y = x[order], y[order]",
        ),
        Action(
            text="Check the shapes that go into the loss: (N, 1) against (N) broadcasts to (N, N)",
            code="assert output.shape == target.shape",
        ),
        *([] if reaches_output else [overfit]),
    ]
