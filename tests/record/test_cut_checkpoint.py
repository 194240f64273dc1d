"""A reentrant checkpoint whose inputs require no gradient is told by what torch warned of."""

import sys

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from gradaudit.diagnosers.detached_loss import detached_loss
from gradaudit.diagnosers.frozen_parameter import frozen_parameter
from gradaudit.findings import Severity
from tests.diagnosers.verbs import assert_clean, assert_finds
from tests.record.training import recorded, run_of


@pytest.fixture(autouse=True)
def forgotten():
    """What torch warned of before."""
    vars(sys.modules["torch.utils.checkpoint"]).pop("__warningregistry__", None)


def trained(path, reentrant, requires_grad):
    """Adapters inside a checkpointed block between frozen embeddings and a head that is in no optimizer."""
    torch.manual_seed(0)
    with recorded(path):
        model = nn.ModuleDict({"block": nn.Linear(4, 4), "head": nn.Linear(4, 1)})
        optimizer = torch.optim.SGD(model["block"].parameters(), 0.01)
        for _ in range(8):
            x = torch.randn(8, 4, requires_grad=requires_grad)
            hidden = checkpoint(model["block"], x, use_reentrant=reentrant)
            optimizer.zero_grad()
            model["head"](hidden).square().mean().backward()
            optimizer.step()
    return run_of(path)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("reentrant", "requires_grad"), [(False, False), (True, True), (False, True)])
def test_checkpoints_that_pass_gradients_on_are_quiet(tmp_path, reentrant, requires_grad):
    run = trained(tmp_path / "a", reentrant, requires_grad)
    assert not run.meta.graph.cut_checkpoint
    assert_clean(detached_loss, run)


@pytest.mark.filterwarnings("default")
def test_one_that_cuts_is_named_in_the_first_action(tmp_path):
    run = trained(tmp_path / "a", True, False)
    assert run.meta.graph.cut_checkpoint
    assert "use_reentrant=False" in assert_finds(detached_loss, run, Severity.CRITICAL).actions[0].text
    first = assert_finds(frozen_parameter, run, Severity.CRITICAL, count=2)
    assert "use_reentrant=False" in first.actions[0].text
