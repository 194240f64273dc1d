"""Which tensors a backward reaches, and whether the script has changed them since."""

import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from gradaudit.record.internals import private, version_of
from gradaudit.record.observe.naming import own_parameters

_FIRST = 3  # backwards whose leaves are looked for; later those whose number is a power of two
MOST_NODES = 50_000  # of a graph that are looked at
# What the nodes of linear, convolutional and other layers keep of their weights.
_SAVED = ("_saved_mat2", "_saved_weight", "_saved_other", "_saved_self")
_ELEMENTS = 16  # of each tensor, compared where a version counter tells nothing


def looks_at(backward: int) -> bool:
    """Whether the leaves of a backward with this number are looked for in any case."""
    return backward <= _FIRST or backward & (backward - 1) == 0


def leaves_of(roots: Iterable[Any]) -> list[torch.Tensor]:
    """The tensors that gradients of `roots` are accumulated in, those of the first layers first."""
    lone = [root for root in roots if isinstance(root, torch.Tensor) and root.grad_fn is None and root.requires_grad]
    found = [node.variable for node in _nodes(roots) if type(node).__name__ == "AccumulateGrad"]
    return found[::-1] + lone


def goes_through(modules: Sequence[nn.Module], roots: Sequence[Any]) -> bool:
    """Whether the parameters of a module are in the graph of `roots`, with a gradient or frozen; without one, maybe."""
    own = own_parameters(modules)
    if not roots:
        return bool(own)
    held, addresses = (
        {id(parameter) for parameter in own},
        {parameter.data_ptr() for parameter in own if _plain(parameter)},
    )
    for node in _nodes(roots):
        if type(node).__name__ == "AccumulateGrad":
            if id(node.variable) in held:
                return True
            continue
        for name in _SAVED:
            saved = private(node, name)
            if isinstance(saved, torch.Tensor) and _plain(saved) and saved.data_ptr() in addresses:
                return True
    return False


def _nodes(roots: Iterable[Any]) -> Iterator[Any]:
    queue: deque[Any] = deque()
    for root in roots:
        if isinstance(root, torch.Tensor) and root.grad_fn is not None:
            queue.append(root.grad_fn)
    seen, looked = set(queue), 0
    while queue and looked < MOST_NODES:
        node = queue.popleft()
        looked += 1
        yield node
        for parent, _ in node.next_functions:
            if parent is not None and parent not in seen:
                seen.add(parent)
                queue.append(parent)


def _plain(tensor: torch.Tensor) -> bool:
    return tensor.layout == torch.strided and not tensor.is_meta and tensor.numel() > 0


class Mark:
    """How one tensor was: changed since by an operation, through `.data`, or replaced by another."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.reference = weakref.ref(tensor)
        self.version = version_of(tensor)
        self.sample = sample_of(tensor)
        self.elsewhere = _few_of(tensor) if self.sample is None and tensor.device.type != "cpu" else None

    def changed(self) -> bool | None:
        """Whether it has changed; None when it no longer exists."""
        tensor = self.reference()
        if tensor is None:
            return None
        if version_of(tensor) != self.version:
            return True
        # Writing to `.data` leaves the counter as it is.
        return self.sample is not None and not _same(sample_of(tensor), self.sample)

    def differs(self) -> bool:
        """Whether the few elements on a device are others by now; waits for it."""
        tensor = self.reference()
        return tensor is not None and self.elsewhere is not None and not _same(_few_of(tensor), self.elsewhere)

    def near(self, tensor: torch.Tensor) -> bool:
        """Whether the values are nearly those of another tensor."""
        sample = sample_of(tensor)
        if self.sample is None or sample is None:
            return False
        with torch.no_grad():
            return bool((sample - self.sample).norm() <= 0.5 * self.sample.norm())


def sample_of(tensor: torch.Tensor) -> torch.Tensor | None:
    """A few elements, evenly spaced; None on a device, where to compare them would wait for it."""
    return _few_of(tensor) if tensor.is_cpu else None


def _few_of(tensor: torch.Tensor) -> torch.Tensor | None:
    if tensor.layout != torch.strided or not tensor.numel() or tensor.is_meta:
        return None
    with torch.no_grad():
        flat = tensor.detach().reshape(-1)
        return flat[:: max(1, flat.numel() // _ELEMENTS)].clone()


def _same(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    if one is None or other is None or one.shape != other.shape:
        return one is other
    # NaN is as it was when it is still NaN.
    return bool(torch.equal(one, other)) or bool(((one == other) | ((one != one) & (other != other))).all())
