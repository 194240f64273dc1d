"""A training inside a function, whose model is gone when the run ends, is known as well as one at a script's top."""

import gc

import msgspec
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from gradaudit.diagnosers.detached_loss import detached_loss
from tests.diagnosers.verbs import assert_clean
from tests.record.training import recorded, run_of


def train(held):
    """Two optimizers, a scheduler, a loader, a copy and an evaluation; `held` keeps all of it alive."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.1))
    head, critic, target = nn.Linear(8, 3), nn.Linear(8, 1), nn.Linear(8, 3)
    target.load_state_dict(head.state_dict())
    first = torch.optim.SGD([*encoder.parameters(), *head.parameters()], 0.01)
    second = torch.optim.SGD(critic.parameters(), 0.01)
    scheduler = torch.optim.lr_scheduler.StepLR(first, 2)
    data = TensorDataset(torch.randn(24, 4), torch.randint(3, (24,)))
    loader = DataLoader(data, batch_size=8, shuffle=True)
    for _ in range(2):
        for inputs, labels in loader:
            hidden = encoder(inputs)
            with torch.no_grad():
                target(hidden)
            first.zero_grad()
            second.zero_grad()
            loss = functional.cross_entropy(head(hidden), labels) + critic(hidden.detach()).square().mean()
            loss.backward()
            first.step()
            second.step()
        scheduler.step()
        encoder.eval()
        with torch.no_grad():
            functional.cross_entropy(head(encoder(data.tensors[0])), data.tensors[1])
        encoder.train()
    held += [encoder, head, critic, target, first, second, scheduler, loader]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same training, with its model gone at the end and with it still there."""
    made = []
    for name in ("inside", "flat"):
        held = []
        with recorded(tmp_path_factory.mktemp("runs") / name) as folder:
            train(held)
            if name == "inside":
                held.clear()
                gc.collect()
        made.append(run_of(folder))
    return made


@pytest.mark.parametrize("part", ["graph", "model_state", "schedules", "loaders", "outputs", "tensors", "modules"])
def test_what_is_known_does_not_hang_on_the_model_at_the_end(runs, part):
    inside, flat = (msgspec.to_builtins(getattr(run.meta, part)) for run in runs)
    inside, flat = (dict(facts) if isinstance(facts, dict) else dict(enumerate(facts)) for facts in (inside, flat))
    # How much memory the process has differs. The last look at weights and buffers is one before the end.
    for facts in (*inside.get("norms", ()), *flat.get("norms", ())):
        facts.pop("last")
    for facts in (*inside.get("copies", ()), *flat.get("copies", ())):
        assert len(facts.pop("distances")) >= 3
        facts.pop("looks"), facts.pop("last"), facts.pop("equal")
    assert {key: inside[key] for key in inside if inside[key] != flat[key] and key != "memory"} == {}


def test_the_terms_name_what_they_reach(runs):
    meta = runs[0].meta
    numbers = {tensor.name: tensor.id for tensor in meta.tensors}
    assert sorted((len(term.tensors), term.unknown) for term in meta.graph.terms) == [(2, 0), (6, 0)]
    (short,) = (term for term in meta.graph.terms if len(term.tensors) == 2)
    assert set(short.tensors) == {numbers[name] for name in numbers if "critic" in name}


def test_an_optimizer_made_after_another_one_steps_what_both_hold(tmp_path):
    """A model that is trained in two phases, by two kinds of optimizers."""
    model = nn.Linear(4, 2)
    with recorded(tmp_path / "run"):
        for kind in (torch.optim.SGD, torch.optim.Adam):
            optimizer = kind(model.parameters(), 0.01)
            for _ in range(8):
                optimizer.zero_grad()
                model(torch.randn(8, 4)).square().mean().backward()
                optimizer.step()
    run = run_of(tmp_path / "run")
    (term,) = run.meta.graph.terms
    assert (term.optimizers, term.alone, term.apart, term.beside) == ([0, 1], 0, 0, 0)
    assert_clean(detached_loss, run)
