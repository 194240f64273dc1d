"""What is seen of the masks of attention: between positions, and of padding; and that a script does not notice."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from gradaudit.record.observe.batches import attention, batches
from tests.record.test_batches import facts, fault
from tests.record.training import recorded, run_of

WORDS, LENGTH, WIDTH = 20, 12, 16


def texts(generator, padding=True):
    """[8, 12] words from 2 on, padded at the end with 0."""
    ids = torch.randint(2, WORDS, (8, LENGTH), generator=generator)
    lengths = torch.randint(5, LENGTH, (8,), generator=generator)
    return torch.where(torch.arange(LENGTH) < lengths[:, None], ids, 0) if padding else ids


class Block(nn.Module):
    """Embeds, attends as it is told, and adds: a residual stream."""

    def __init__(self, attend):
        super().__init__()
        self.embedding, self.place = nn.Embedding(WORDS, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WORDS)
        self.attend = attend

    def forward(self, ids):
        x = self.embedding(ids) + self.place(torch.arange(ids.shape[1]))[None]
        return self.head(self.norm(x + self.attend(self, x, ids)))


def fused(mask_of=lambda ids: None, causal=False):
    """scaled_dot_product_attention with a mask of the ids."""

    def attend(model, x, ids):
        q = x.unflatten(-1, (2, WIDTH // 2)).transpose(1, 2)
        out = functional.scaled_dot_product_attention(q, q, q, attn_mask=mask_of(ids), is_causal=causal)
        return out.transpose(1, 2).flatten(2)

    return attend


def module(weights=False, padding_of=lambda ids: None, mask=None):
    """nn.MultiheadAttention; with `weights` it attends by products and a softmax."""

    def attend(model, x, ids):
        return model.attention(x, x, x, key_padding_mask=padding_of(ids), need_weights=weights, attn_mask=mask)[0]

    return attend


def train(attend, classify=False, padding=True, wrap=lambda model: model):
    torch.manual_seed(0)
    model = Block(attend)
    call, optimizer = wrap(model), torch.optim.Adam(model.parameters())
    generator = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(4):
        ids = texts(generator, padding)
        given = ids if classify else ids[:, :-1]
        logits = call(given)
        if classify:
            loss = functional.cross_entropy(logits[:, 0], ids[:, 0])
        else:
            loss = functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def attended(tmp_path, attend, **options):
    (source,) = facts(tmp_path, lambda: train(attend, **options))
    return source.attended


SQUARE = torch.ones(LENGTH - 1, LENGTH - 1, dtype=torch.bool).tril()
FLOAT = torch.zeros(LENGTH - 1, LENGTH - 1).masked_fill(~SQUARE, float("-inf"))
MASKED = {
    "is_causal": fused(causal=True),
    "a float mask": fused(lambda ids: FLOAT),
    "a mask of bools": fused(lambda ids: SQUARE),
    "padding and causal": fused(lambda ids: SQUARE & (ids != 0)[:, None, None, :]),
    "a prefix": fused(lambda ids: SQUARE | (torch.arange(LENGTH - 1) < 4)),
    "the module": module(mask=~SQUARE),
    "the module, weights": module(weights=True, mask=~SQUARE),
    "the module, padding and causal": module(padding_of=lambda ids: ids == 0, mask=~SQUARE),
}
OPEN = {
    "no mask": fused(),
    "a mask of padding": fused(lambda ids: (ids != 0)[:, None, None, :]),
    "one that is stretched": fused(lambda ids: (ids != 0)[:, None, None, :].expand(-1, 1, LENGTH - 1, -1)),
    "the module": module(),
    "the module, weights": module(weights=True),
    "the module, padding": module(weights=True, padding_of=lambda ids: ids == 0),
}


@pytest.mark.parametrize("attend", MASKED.values(), ids=MASKED)
def test_a_mask_between_positions_is_seen(tmp_path, attend):
    (found,) = attended(tmp_path, attend)
    assert (found.open, found.masked, found.in_place) == (0, 4, True)
    assert found.inverted == 0


@pytest.mark.parametrize("attend", OPEN.values(), ids=OPEN)
def test_attention_without_one_is_seen(tmp_path, attend):
    (found,) = attended(tmp_path, attend)
    assert (found.open, found.masked, found.in_place) == (4, 0, True)
    assert found.inverted == 0


RIGHT = {
    "fused": fused(lambda ids: (ids != 0)[:, None, None, :]),
    "a float mask": fused(lambda ids: torch.zeros(8, 1, 1, LENGTH).masked_fill((ids == 0)[:, None, None], -1e4)),
    "the module": module(padding_of=lambda ids: ids == 0),
    "the module, weights": module(weights=True, padding_of=lambda ids: ids == 0),
}
INVERTED = {
    "fused": fused(lambda ids: (ids == 0)[:, None, None, :]),
    "a float mask": fused(lambda ids: torch.zeros(8, 1, 1, LENGTH).masked_fill((ids != 0)[:, None, None], -1e4)),
    "the module": module(padding_of=lambda ids: ids != 0),
    "the module, weights": module(weights=True, padding_of=lambda ids: ids != 0),
}


@pytest.mark.parametrize("attend", RIGHT.values(), ids=RIGHT)
def test_a_mask_of_padding_leaves_the_words(tmp_path, attend):
    (found,) = attended(tmp_path, attend, classify=True)
    assert (found.masks, found.rows, found.partly, found.inverted, found.one_id) == (4, 32, 32, 0, False)


@pytest.mark.parametrize("attend", INVERTED.values(), ids=INVERTED)
def test_an_inverted_one_leaves_the_padding(tmp_path, attend):
    (found,) = attended(tmp_path, attend, classify=True)
    assert (found.masks, found.rows, found.partly, found.inverted, found.one_id) == (4, 32, 32, 32, True)
    assert 0 < found.fewest < found.most < LENGTH


def apart(ids):
    """The mask of packed texts: words see words before them, and padding sees padding."""
    of_one = (ids == 0)[:, None, :, None] == (ids == 0)[:, None, None, :]
    return of_one & torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()


def causal_and_inverted(ids):
    return (ids == 0)[:, None, None, :] & torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()


def test_padding_that_sees_itself_is_not_inverted(tmp_path):
    (found,) = attended(tmp_path / "a", fused(apart), classify=True)
    assert (found.rows, found.partly, found.inverted) == (32, 0, 0)
    (found,) = attended(tmp_path / "b", fused(causal_and_inverted), classify=True)
    assert (found.rows, found.partly, found.inverted) == (32, 32, 32)


def test_a_mask_that_leaves_one_token_anywhere_is_not_inverted(tmp_path):
    marks = fused(lambda ids: (torch.arange(LENGTH) == 3).expand(8, 1, 1, -1))
    (found,) = attended(tmp_path, marks, classify=True)
    assert (found.partly, found.inverted) == (32, 0)


def test_texts_without_padding_have_nothing_to_hide(tmp_path):
    (found,) = attended(tmp_path / "a", RIGHT["fused"], classify=True, padding=False)
    assert (found.rows, found.partly, found.hidden) == (32, 0, 0)
    (found,) = attended(tmp_path / "b", INVERTED["a float mask"], classify=True, padding=False)
    assert (found.partly, found.inverted, found.hidden) == (0, 0, 32)


class Translator(nn.Module):
    """nn.Transformer with one embedding for both sides; `mask` is the decoder's."""

    def __init__(self, mask):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, WIDTH)
        self.transformer = nn.Transformer(WIDTH, 2, 1, 1, 32, dropout=0.0, batch_first=True)
        self.head, self.mask = nn.Linear(WIDTH, WORDS), mask

    def forward(self, source, target):
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1]) if self.mask else None
        hidden = self.transformer(self.embedding(source), self.embedding(target), tgt_mask=mask)
        return self.head(hidden)


@pytest.mark.parametrize("mask", [True, False])
def test_an_encoder_and_a_decoder_are_told_apart(tmp_path, mask):
    """Their ids are of one length, and those of the encoder are the decoder's targets, as of an autoencoder."""

    def program():
        torch.manual_seed(0)
        model = Translator(mask)
        optimizer = torch.optim.Adam(model.parameters())
        for _ in range(4):
            ids = torch.randint(2, WORDS, (8, LENGTH))
            logits = model(ids[:, :-1], ids[:, :-1])
            functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
            optimizer.step()
            optimizer.zero_grad()

    (source,) = facts(tmp_path, program)
    encoder, decoder = source.attended
    assert (encoder.embedding, encoder.open, encoder.masked, encoder.in_place) == (0, 4, 0, False)
    assert (decoder.embedding, decoder.open, decoder.masked, decoder.in_place) == (1, 0 if mask else 4, 4 * mask, True)


def test_a_bottleneck_is_no_residual_stream(tmp_path):
    """An autoencoder that predicts a text from one number of all its words: its encoder needs no mask."""

    class Autoencoder(Block):
        def forward(self, ids):
            x = self.embedding(ids)
            code = (x + self.attend(self, x, ids)).mean(1, keepdim=True)
            return self.head(code + self.place(torch.arange(ids.shape[1]))[None])

    torch.manual_seed(0)
    model = Autoencoder(fused())
    optimizer = torch.optim.Adam(model.parameters())

    def program():
        for _ in range(4):
            ids = torch.randint(2, WORDS, (8, LENGTH))
            functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()).backward()
            optimizer.step()

    (source,) = facts(tmp_path, program)
    (found,) = source.attended
    assert (found.open, found.in_place) == (4, False)


def test_what_is_compiled_is_left_alone(tmp_path):
    (source,) = facts(tmp_path, lambda: train(fused(), wrap=lambda model: torch.compile(model, backend="eager")))
    assert source.attended == []


def test_a_checkpoint_is_looked_at_once(tmp_path):
    def attend(model, x, ids):
        return checkpoint(fused(causal=True), model, x, ids, use_reentrant=False)

    (found,) = attended(tmp_path, attend)
    assert (found.open, found.masked) == (0, 4)


def test_the_script_gets_what_it_would_get(tmp_path):
    for number, attend in enumerate([*INVERTED.values(), *MASKED.values()]):
        classify = number < len(INVERTED)
        bare = train(attend, classify=classify)
        with recorded(tmp_path / str(number)):
            assert train(attend, classify=classify) == bare


def test_vmap_and_nested_tensors_are_left_alone(tmp_path):
    def program():
        model = nn.Sequential(nn.Embedding(WORDS, WIDTH))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        ids = torch.randint(2, WORDS, (8, LENGTH))
        for _ in range(3):
            x = model(ids)
            out = torch.vmap(lambda q: functional.scaled_dot_product_attention(q, q, q))(x[:, None])
            out.sum().backward()
            optimizer.step()

    assert [source.attended for source in facts(tmp_path, program)] == [[]]


@pytest.mark.parametrize(
    ("owner", "name"),
    [(batches.Batches, "note_attention"), (batches, "look_at_attention"), (attention, "_of_mask"),
     (attention.Embedded, "note"), (attention.Embedded, "in_place"), (attention.Attended, "facts")],
)  # fmt: skip
def test_a_fault_costs_the_batches_alone(tmp_path, capsys, monkeypatch, owner, name):
    bare = train(OPEN["a mask of padding"])
    monkeypatch.setattr(owner, name, fault)
    with recorded(tmp_path / "run"):
        assert train(OPEN["a mask of padding"]) == bare
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "gradaudit: batches are no longer recorded (RuntimeError: fault of ours); all else is"
    assert run_of(tmp_path / "run").meta.loaders == []
