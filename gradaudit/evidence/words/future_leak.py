"""How to keep a model from looking ahead, in words."""

from collections.abc import Sequence

from gradaudit.evidence.words.wording import in_code, plural
from gradaudit.findings import Action
from gradaudit.signals.layers.looks_ahead import LooksAhead

_ATTENTION = Action(
    text="Mask the attention, so that no position sees a later one",
    code="F.scaled_dot_product_attention(q, k, v, is_causal=True)",
)
_CHECK = Action(
    text="Then change the last token of an input: no output before it may change",
    code="y = x.clone(); y[:, -1] = (y[:, -1] + 1) % classes\n"
    "assert torch.allclose(model(x)[:, :-1], model(y)[:, :-1])",
)


def hide_the_future(modules: Sequence[LooksAhead]) -> list[Action]:
    """What to change, by what the model is made of: the first is that which certainly looks ahead."""
    actions = [_of(one) for one in modules]
    # Attention that a script writes itself is no module.
    if all(one.kind == "convolution" for one in modules):
        actions.append(_ATTENTION)
    return [*actions, _CHECK]


def _of(one: LooksAhead) -> Action:
    if one.kind == "recurrent":
        return Action(
            text=f"Set bidirectional=False in {one.name or one.module_class}: its second direction reads the sequence "
            "from the end",
            code=f"nn.{one.module_class}(..., bidirectional=False)",
        )
    if one.kind == "attention":
        # Decoders have a target beside the source; its mask has a name of its own.
        of_target = one.mask.startswith("tgt")
        given = "source, x" if one.module_class == "Transformer" else "x, memory" if of_target else "x"
        return Action(
            text=f"Give {one.name or one.module_class} a causal mask, so that no position sees a later one",
            code="mask = nn.Transformer.generate_square_subsequent_mask(x.size(1))\n"
            f"{in_code(one.name)}({given}, {one.mask}=mask, {'tgt_' if of_target else ''}is_causal=True)",
        )
    return Action(
        text=f"Pad the input of {one.name or one.module_class} on the left only: its kernel of {one.width} reads "
        f"ahead by {plural(one.width // 2, 'position')}",
        code=f"x = F.pad(x, ({one.width - 1}, 0))  # and padding=0 in the convolution",
    )
