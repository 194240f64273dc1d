"""Whether the mode matters, against what a model of torch computes in both."""

import pytest
import torch
from torch import nn

from gradaudit.schema import ModuleFacts
from gradaudit.signals.run.modes import mode_matters
from tests.build import build_run
from tests.diagnosers.runs import falling
from tests.record.training import recorded, run_of

MODULES = [nn.ReLU(), nn.LayerNorm(8), nn.Dropout(0.5), nn.Dropout(0.0), nn.BatchNorm1d(8), nn.AlphaDropout(0.5)]


@pytest.mark.parametrize("module", MODULES, ids=repr)
def test_it_does_where_torch_computes_something_else(tmp_path, module):
    torch.manual_seed(0)
    model, inputs = nn.Sequential(nn.Linear(8, 8), module, nn.Linear(8, 2)), torch.randn(16, 8)
    with recorded(tmp_path / "run"):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            model(inputs).square().mean().backward()
            optimizer.step()
    other = not torch.allclose(model.train()(inputs), model.eval()(inputs))
    assert mode_matters(run_of(tmp_path / "run")) is other


@pytest.mark.parametrize(
    ("modules", "matters"),
    [([], None), ([{}], False), ([{"dropout": 0.0}], False), ([{}, {"dropout": 0.1}], True),
     ([{"batch_norm": True}, {}], True)],
)  # fmt: skip
def test_one_module_is_enough_and_without_any_it_is_not_known(tmp_path, modules, matters):
    facts = [ModuleFacts(id=at, name=str(at), module_class="Net", **more) for at, more in enumerate(modules)]
    assert mode_matters(build_run(tmp_path / "a", loss=falling(10), modules=facts)) is matters
