"""Updates that the rounding of half-precision weights undoes, in words, and what to do about it."""

from collections.abc import Sequence

from gradaudit.evidence.words.optimizers import usual_rate
from gradaudit.evidence.words.wording import names, percent, plural
from gradaudit.findings import Action
from gradaudit.schema import TensorFacts
from gradaudit.signals.updates.lost_updates import LostUpdates
from gradaudit.training import Training

_BITS = {"bfloat16": 8, "float16": 11}  # of a number, the leading one included


def undone_explanation(lost: LostUpdates, worst: Sequence[TensorFacts], most: float) -> str:
    """Why rounding undoes updates, and of how many elements; `most` is the share of the first of the `worst`."""
    dtype = worst[0].dtype
    bits = _BITS[dtype]
    return (
        f"A number of type {dtype} has {bits} bits, so an update below 2**-{bits + 1} to 2**-{bits} of a weight "
        f"does not change it. At the median step that holds for {percent(lost.share)} of the elements of "
        f"{plural(len(lost.tensors), 'tensor')} beyond those without a gradient, most in "
        f"{names([tensor.name for tensor in worst], 3)} ({percent(most)})."
    )


def undone_actions(dtype: str, training: Training) -> list[Action]:
    """How to keep what rounding to `dtype` takes."""
    return [
        Action(
            text="Keep the weights in float32 and autocast the forward pass",
            code=f"model.float()\nwith torch.autocast(device_type, dtype=torch.{dtype}): loss = ...",
        ),
        Action(
            text=f"Or raise the learning rate from {usual_rate(training)}, so that updates are above "
            f"2**-{_BITS[dtype]} of the weights"
        ),
    ]
