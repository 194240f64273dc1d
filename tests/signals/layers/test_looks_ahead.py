"""Modules that may see later positions, from the names and classes of a model of torch.nn."""

from types import SimpleNamespace

from gradaudit.schema import Meta, ModuleFacts, TensorFacts
from gradaudit.signals.layers.looks_ahead import looks_ahead


def run_with(modules=(), tensors=()):
    return SimpleNamespace(meta=Meta(modules=list(modules), tensors=list(tensors)))


def module(number, name, module_class):
    return ModuleFacts(id=number, name=name, module_class=module_class)


def tensor(number, name, owner, module_class, shape):
    return TensorFacts(id=number, name=name, module=owner, module_class=module_class, shape=shape)


def test_a_model_that_only_looks_back():
    tensors = [
        tensor(0, "rnn.weight_hh_l0", "rnn", "GRU", [12, 4]),
        tensor(1, "mix.weight", "mix", "Conv1d", [4, 4, 1]),
        tensor(2, "see.weight", "see", "Conv2d", [4, 4, 3, 3]),
    ]
    assert list(looks_ahead(run_with([module(0, "rnn", "GRU")], tensors))) == []


def test_a_recurrent_module_with_two_directions_once():
    names = ("rnn.weight_ih_l0_reverse", "rnn.weight_hh_l0_reverse")
    found = list(looks_ahead(run_with(tensors=[tensor(i, n, "rnn", "LSTM", [8, 4]) for i, n in enumerate(names)])))
    assert [(one.name, one.kind) for one in found] == [("rnn", "recurrent")]


def test_the_outermost_attention_with_its_argument():
    modules = [
        module(0, "encoder", "TransformerEncoder"),
        module(1, "encoder.layers.0", "TransformerEncoderLayer"),
        module(2, "encoder.layers.0.self_attn", "MultiheadAttention"),
        module(3, "pool", "MultiheadAttention"),
    ]
    found = [(one.name, one.mask) for one in looks_ahead(run_with(modules))]
    assert found == [("encoder", "mask"), ("pool", "attn_mask")]


def test_the_first_convolution_over_a_sequence():
    tensors = [tensor(i, f"{i}.weight", f"{i}", "Conv1d", [4, 4, width]) for i, width in enumerate((1, 5, 3))]
    found = list(looks_ahead(run_with(tensors=tensors)))
    assert [(one.name, one.kind, one.width) for one in found] == [("1", "convolution", 5)]
