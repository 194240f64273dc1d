"""A scheduler that cannot be made."""

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from tests.record.training import recorded, run_of


def test_a_scheduler_that_fails_to_be_made_costs_nothing(tmp_path):
    model = nn.Linear(4, 4)
    with recorded(tmp_path / "run"):
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        with pytest.raises(TypeError):
            lr_scheduler.ReduceLROnPlateau(optimizer, no_such_option=True)
        scheduler = lr_scheduler.StepLR(optimizer, 2)
        for _ in range(4):
            model(torch.randn(8, 4)).square().mean().backward()
            optimizer.step()
            scheduler.step()
    run = run_of(tmp_path / "run")
    assert run.meta.disabled == []
    assert [one.calls for one in run.meta.schedules.schedulers] == [4]
