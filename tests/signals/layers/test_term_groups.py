"""What each term of the objective reaches, as autograd reaches it; and heads that start small."""

import msgspec
import numpy
import pytest
import torch
from torch import nn

from gradaudit.signals.layers.term_groups import small_heads, term_groups
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import falling, parameters


def of(path, terms, **changes):
    tensors = [msgspec.structs.replace(t, terms=list(n)) for t, n in zip(parameters(len(terms)), terms, strict=True)]
    return build_run(path, loss=falling(20), tensors=tensors, **changes).trainings[0]


def test_masks_are_those_of_autograd(tmp_path):
    """Two heads on one trunk: a term reaches what has a gradient of it."""
    layers = [nn.Linear(4, 4, bias=False) for _ in range(4)]
    trunk = layers[1](layers[0](torch.randn(2, 4)))
    heads = [layers[2](trunk).sum(), layers[3](trunk).sum()]
    weights = [layer.weight for layer in layers]
    reached = [
        [grad is not None for grad in torch.autograd.grad(head, weights, retain_graph=True, allow_unused=True)]
        for head in heads
    ]
    terms = [[number for number in (0, 1) if reached[number][at]] for at in range(4)]
    assert [mask.tolist() for mask in term_groups(of(tmp_path / "a", terms))] == reached


@pytest.mark.parametrize(
    ("terms", "masks"),
    [
        ([[], [], []], [[True] * 3]),
        ([[5], [], [2]], [[False, True, True], [True, True, False]]),
        ([[0, 1], [0, 1], [0, 1]], [[True] * 3]),
    ],
)
def test_what_no_term_is_known_to_reach_belongs_to_any_and_equal_masks_are_one(tmp_path, terms, masks):
    assert [mask.tolist() for mask in term_groups(of(tmp_path / "a", terms))] == masks


@pytest.mark.parametrize(("gain", "small"), [(0.01, True), (0.09, True), (0.12, False), (1.0, False)])
def test_a_head_is_small_beside_torchs_default(tmp_path, gain, small):
    torch.manual_seed(0)
    head = gain * nn.Linear(32, 32).weight.detach()
    norms = numpy.asarray([1.0, 1.0, 1.0, float(head.norm())])
    tensors = parameters(4)
    training = build_run(tmp_path / "a", loss=falling(20), tensors=tensors, stats={"weight_norm": norms}).trainings[0]
    assert small_heads(training).tolist() == [False, False, False, small]


def test_each_term_has_a_head_and_one_of_zeros_cannot_be_compared(tmp_path):
    norms = numpy.asarray([3.0, 3.0, 0.01, 0.01])
    terms = [[0, 1], [0, 1], [0], [1]]
    assert small_heads(of(tmp_path / "a", terms, stats={"weight_norm": norms})).tolist() == [False, False, True, True]
    norms[3] = 0
    assert small_heads(of(tmp_path / "b", terms, stats={"weight_norm": norms})).tolist() == [False, False, True, False]
    late = build_run(
        tmp_path / "c", loss=falling(20), tensors=linear_stack(2), recorded=[5, 6], stats={"weight_norm": 1e-3}
    )
    assert not small_heads(late.trainings[0]).any()
