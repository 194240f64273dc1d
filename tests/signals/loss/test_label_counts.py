"""How often each class is a target, against torch.bincount."""

import math

import pytest
import torch

from gradaudit.schema import LossFacts
from gradaudit.signals.loss.label_counts import label_counts


def test_classes_are_counted():
    counts = torch.bincount(torch.tensor([0, 2, 2, 5]), minlength=7)
    assert label_counts(LossFacts(id=0, function="cross_entropy", label_counts=counts.tolist())) == counts.tolist()


@pytest.mark.parametrize("mean", [0.001, 0.3, 0.5])
def test_binary_targets_are_shares(mean):
    targets = (torch.arange(1000) < 1000 * mean).long()
    expected = (torch.bincount(targets) / 1000).tolist()
    found = label_counts(LossFacts(id=0, function="binary_cross_entropy_with_logits", target_mean=mean))
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("function", "mean"),
    [("mse_loss", 0.3), ("binary_cross_entropy", None), ("binary_cross_entropy", 0.0), ("binary_cross_entropy", 1.0),
     ("binary_cross_entropy", 1.5), ("binary_cross_entropy", math.nan), ("cross_entropy", 0.3)],
)  # fmt: skip
def test_what_was_not_counted_is_empty(function, mean):
    assert label_counts(LossFacts(id=0, function=function, target_mean=mean)) == []
