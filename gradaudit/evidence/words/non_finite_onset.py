"""The first NaN or infinity of a training in words: what it is, where it came from, and what it took along."""

from collections.abc import Iterator

from gradaudit.evidence.words.broken_forward import already_broken, loss_input
from gradaudit.evidence.words.wording import count, plural
from gradaudit.findings import Action
from gradaudit.signals.gradients.finiteness import NonFiniteOnset

_LONGEST_NAME = 40  # characters of a tensor's name in a headline


def subject(onset: NonFiniteOnset) -> str:
    """What is not finite, as a headline begins; a name that is too long for it is in the explanation."""
    name = onset.tensors[0] if onset.tensors else "a tensor"
    if onset.where == "loss":
        return "The loss"
    if onset.where == "gradient":
        return f"The gradient of {name}" if len(name) <= _LONGEST_NAME else "A gradient"
    return f"The weight {name}" if len(name) <= _LONGEST_NAME else "A weight"


def where_it_broke(onset: NonFiniteOnset, *, loss_seen: bool) -> Iterator[str]:
    """In which pass, as sentences; some may be empty. `loss_seen`: a loss of the run was finite."""
    at = f"At step {count(onset.step)}"
    if onset.before_step:
        yield already_broken(onset)[0]
    elif onset.where == "gradient" and not loss_seen:
        yield f"{at} the gradient is not finite. No loss was seen, so it may have been first."
    elif onset.where == "gradient" and onset.loss_finite:
        yield f"{at} the loss is still finite and the gradient is not, so it comes from the backward pass."
    elif onset.where == "loss":
        yield f"{at} the loss itself is no longer finite."
        yield loss_input(onset)
    else:
        yield f"{at} a weight is no longer finite."


def affected(onset: NonFiniteOnset) -> str:
    """How many tensors are not finite, the first and the last of them, in a sentence; empty where none is known."""
    if not onset.tensors or onset.tensors_step is None:
        return ""
    at = "there" if onset.tensors_step == onset.step else f"at step {count(onset.tensors_step)}"
    rest = f", the last {onset.tensors[-1]}" if len(onset.tensors) > 1 else ""
    part = f"{count(len(onset.tensors))} of {plural(len(onset.training.tensors), 'tensor')}"
    return f"{part} are affected {at}: in depth order the first is {onset.tensors[0]}{rest}."


def find_in_backward(onset: NonFiniteOnset) -> list[Action]:
    """How to find the operation whose gradient is not finite under a finite loss."""
    inner = f" in or behind {onset.tensors[-1]}" if onset.tensors else ""
    return [
        Action(
            text=f"Run again up to step {count(onset.step)} with anomaly detection: it names the line",
            code="torch.autograd.set_detect_anomaly(True)",
        ),
        Action(
            text=f"Look{inner} for sqrt, norm or pow at 0 and for torch.where over a NaN branch: finite forward, "
            "infinite slope",
            code="x.square().sum(-1).add(1e-12).sqrt()",
        ),
    ]
