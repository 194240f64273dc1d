"""Modules whose output at one position may depend on later positions."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from gradaudit.reading.run import Run

# The outermost one of a stack is what a script calls, with the name of the argument that takes the mask.
_ATTENTION = {
    "Transformer": "tgt_mask",
    "TransformerDecoder": "tgt_mask",
    "TransformerDecoderLayer": "tgt_mask",
    "TransformerEncoder": "mask",
    "TransformerEncoderLayer": "src_mask",
    "MultiheadAttention": "attn_mask",
}
_REVERSE = "_reverse"  # how torch names the second direction's parameters


@dataclass(frozen=True)
class LooksAhead:
    """One module."""

    name: str
    module_class: str
    kind: Literal["recurrent", "attention", "convolution"]
    mask: str = ""  # the argument of attention that takes a mask
    width: int = 0  # of a convolution's kernel


def looks_ahead(run: Run) -> Iterator[LooksAhead]:
    """Recurrent modules with two directions, then attention, then the first convolution over a sequence."""
    backwards = {(one.module, one.module_class): one for one in run.meta.tensors if one.name.endswith(_REVERSE)}
    yield from (LooksAhead(name, module_class, "recurrent") for name, module_class in backwards)
    found: list[str] = []
    for module in run.meta.modules:
        inside = any(not outer or module.name.startswith(f"{outer}.") for outer in found)
        if module.module_class in _ATTENTION and not inside:
            found.append(module.name)
            yield LooksAhead(module.name, module.module_class, "attention", mask=_ATTENTION[module.module_class])
    for tensor in run.meta.tensors:
        if tensor.module_class == "Conv1d" and len(tensor.shape) == 3 and tensor.shape[2] > 1:
            yield LooksAhead(tensor.module, "Conv1d", "convolution", width=tensor.shape[2])
            return
