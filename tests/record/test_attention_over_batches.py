"""Attention that takes the examples of a batch for the positions of a sequence."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradaudit.diagnosers.scrambled_axes import scrambled_axes
from gradaudit.findings import Severity
from tests.diagnosers.verbs import assert_clean, assert_finds
from tests.record.training import recorded, run_of


def trained(path, *, batch_first, before=lambda x: x, after=lambda x: x, batches=(8, 8, 6), length=5):
    """A sequence classifier with one layer of attention."""
    torch.manual_seed(0)
    with recorded(path):
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=batch_first)
        head = nn.Linear(8, 3)
        optimizer = torch.optim.SGD([*layer.parameters(), *head.parameters()], 0.01)
        for size in batches:
            optimizer.zero_grad()
            hidden = after(layer(before(torch.randn(size, length, 8))))
            functional.cross_entropy(head(hidden.mean(1)), torch.randint(3, (size,))).backward()
            optimizer.step()
    return run_of(path)


def turned(x):
    return x.transpose(0, 1)


@pytest.mark.parametrize(
    "more",
    [
        {"batch_first": True},
        {"batch_first": False, "before": turned, "after": turned},
        {"batch_first": True, "length": 8},  # as long as a batch
        {"batch_first": True, "before": lambda x: x.reshape(1, -1, 8), "after": lambda x: x.reshape(-1, 5, 8)},
        {"batch_first": False, "batches": (8, 8, 8)},  # of one size it is not known
    ],
)
def test_attention_within_examples_is_quiet(tmp_path, more):
    assert_clean(scrambled_axes, trained(tmp_path / "a", **more))


def test_without_batch_first_examples_see_each_other(tmp_path):
    run = trained(tmp_path / "a", batch_first=False)
    assert {(one.sizes[0], one.sizes[2], one.batch) for one in run.meta.graph.attentions} == {(5, 8, 8), (5, 6, 6)}
    finding = assert_finds(scrambled_axes, run, Severity.CRITICAL)
    assert "batch_first=True" in finding.actions[0].text
