"""Facts that tell wrong wiring: missing, zero and broken gradients, owners, modes, stale gradients, labels, epochs."""

import contextlib
import itertools
import math

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, TensorDataset

from tests.record.training import batch, classifier, recorded, run_of
from tests.thin import thin

X, Y = batch()


def backward(model, factor=1.0):
    (functional.cross_entropy(model(X), Y) * factor).backward()


def test_a_missing_a_zero_and_a_broken_gradient_are_three_things(tmp_path):
    with recorded(tmp_path / "run"):
        model = nn.ModuleList([nn.Linear(10, 3, bias=False) for _ in range(4)])
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        used, zero, broken, _ = model
        (functional.cross_entropy(used(X), Y) + zero(X).sum() * 0 + (broken(X) * math.nan).sum()).backward()
        optimizer.step()
    run = run_of(tmp_path / "run")
    facts = {
        name: run.training(0).matrix(name)[0].tolist()
        for name in ("has_grad", "gradient_norm", "gradient_zero_fraction", "gradient_nan")
    }
    assert facts["has_grad"] == [1, 1, 1, 0]
    assert facts["gradient_norm"][0] > 0
    assert facts["gradient_norm"][1] == 0
    assert numpy.isnan(facts["gradient_norm"][2:]).all()
    assert facts["gradient_zero_fraction"][:3] == [0, 1, 0]
    assert facts["gradient_nan"] == [0, 0, 30, 0]
    assert math.isnan(facts["gradient_zero_fraction"][3])
    assert run.steps["objective"].isna().all()


def test_who_owns_each_tensor(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        first = torch.optim.SGD([{"params": [model[0].weight]}, {"params": [model[0].bias], "lr": 0.5}], lr=0.1)
        second = torch.optim.Adam([model[3].weight])
        backward(model)
        first.step()
        second.step()
    run = run_of(tmp_path / "run")
    owners = {tensor.name: (tensor.optimizer, tensor.group) for tensor in run.meta.tensors}
    assert owners == {"0.weight": (0, 0), "0.bias": (0, 1), "3.weight": (1, 0), "3.bias": (-1, -1)}
    assert [optimizer.optimizer_class for optimizer in run.meta.optimizers] == ["SGD", "Adam"]
    assert [tensor.name for tensor in run.training(0).tensors] == ["0.weight", "0.bias", "3.bias"]


def test_optimizers_that_no_variable_names_have_labels_of_their_own(tmp_path):
    class Layer(nn.Linear):
        def __init__(self):
            super().__init__(10, 10)
            self.opt = torch.optim.Adam(self.parameters(), lr=0.01)

    with recorded(tmp_path / "run"):
        layers = [Layer() for _ in range(3)]
        for layer in layers:
            layer(X).square().mean().backward()
            layer.opt.step()
    assert [optimizer.label for optimizer in run_of(tmp_path / "run").meta.optimizers] == ["adam", "adam_2", "adam_3"]


def test_optimizers_of_models_that_take_each_others_addresses_are_not_one(tmp_path):
    """As of folds: the parameters of a model that is gone leave their addresses to those of the next."""

    def train():
        model = nn.Linear(10, 3, bias=False)
        parameters = list(model.parameters())
        optimizer = torch.optim.SGD(parameters, lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            backward(model)
            optimizer.step()
        again = torch.optim.SGD(parameters, lr=0.01)  # built anew for the same ones: one optimizer
        again.step()
        return id(model.weight)

    with recorded(tmp_path / "run"):
        addresses = [train() for _ in range(20)]
    assert len(set(addresses)) < 20, "no address was taken again: the test shows nothing"
    run = run_of(tmp_path / "run")
    assert run.steps.groupby("optimizer").size().tolist() == [3] * 20


def test_the_mode_of_each_training_step(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for mode in (True, False, True):
            model.train(mode)
            backward(model)
            optimizer.step()
        model[2].eval()  # a frozen part is not the model
        backward(model)
        optimizer.step()
    assert run_of(tmp_path / "run").steps["training"].tolist() == [1, 0, 1, 1]


def test_accumulated_gradients_are_not_stale(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(4):
            for _ in range(3):
                backward(model, 1 / 3)
            optimizer.step()
            if step != 1:
                model.zero_grad()
    assert run_of(tmp_path / "run").steps["stale"].tolist() == [-1, 0, 1, 0]


@pytest.mark.parametrize(("zeroed", "stale"), [(True, [-1, 0, 0]), (False, [-1, 1, 1])])
def test_gradients_of_a_backbone_that_no_optimizer_has_are_nobodys_to_zero(tmp_path, zeroed, stale):
    with recorded(tmp_path / "run"):
        torch.manual_seed(0)
        backbone, head = nn.Linear(4, 4), nn.Linear(4, 1)
        model = nn.Sequential(backbone, head)
        optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
        for _ in range(3):
            if zeroed:
                optimizer.zero_grad()
            model(torch.ones(2, 4)).mean().backward()
            optimizer.step()
    run = run_of(tmp_path / "run")
    assert len(run.meta.tensors) == 4
    assert run.steps["stale"].tolist() == stale


def test_a_backbone_added_to_the_optimizer_later_is_its_own_from_then_on(tmp_path):
    with recorded(tmp_path / "run"):
        torch.manual_seed(0)
        backbone, head = nn.Linear(4, 4), nn.Linear(4, 1)
        model = nn.Sequential(backbone, head)
        optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
        norms = []
        for step in range(6):
            if step == 3:
                optimizer.add_param_group({"params": list(backbone.parameters())})
            head.zero_grad()
            if step < 4:
                backbone.zero_grad()
            model(torch.ones(2, 4)).mean().backward()
            mine = [parameter.grad for group in optimizer.param_groups for parameter in group["params"]]
            norms.append(torch.stack([grad.norm() for grad in mine]).norm().item())
            optimizer.step()
    run = run_of(tmp_path / "run")
    assert run.steps["gradient_norm"].tolist() == pytest.approx(norms, rel=1e-5)
    # Of the head alone all gradients are cleared; of the whole model only those of the head from step 4 on.
    assert run.steps["stale"].tolist() == [-1, 0, 0, 0, 1, 1]


def test_a_critic_polluted_by_its_generators_backward_is_not_stale(tmp_path):
    with recorded(tmp_path / "run"):
        torch.manual_seed(0)
        generator, critic = nn.Linear(4, 4), nn.Linear(4, 1)
        of_generator = torch.optim.SGD(generator.parameters(), lr=0.1)
        of_critic = torch.optim.SGD(critic.parameters(), lr=0.1)
        for _ in range(3):
            of_critic.zero_grad()
            critic(generator(torch.ones(2, 4)).detach()).mean().backward()
            of_critic.step()
            of_generator.zero_grad()
            critic(generator(torch.ones(2, 4))).mean().backward()
            of_generator.step()
    run = run_of(tmp_path / "run")
    assert run.training(0).steps["stale"].tolist() == run.training(1).steps["stale"].tolist() == [-1, 0, 0]


@pytest.mark.parametrize("ignored", [None, 2])
def test_the_prior_of_the_labels(tmp_path, ignored):
    labels = torch.tensor([0, 0, 0, 1, 2, 2, 0, 1])
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            with torch.no_grad():
                functional.cross_entropy(model(X), 0 * labels)  # of an evaluation, and not counted
            functional.cross_entropy(model(X), labels, ignore_index=-100 if ignored is None else ignored).backward()
            optimizer.step()
    run = run_of(tmp_path / "run")
    facts = next(facts for facts in run.meta.losses if facts.id == run.steps["loss"][0])
    counts = numpy.array([12, 6, 6 if ignored is None else 0])
    assert facts.label_counts == counts.tolist()
    share = counts[counts > 0] / counts.sum()
    assert facts.label_entropy == pytest.approx(-(share * numpy.log(share)).sum())


def test_a_row_of_an_embedding_that_is_no_longer_looked_up(tmp_path):
    with recorded(tmp_path / "run"):
        torch.manual_seed(0)
        table = nn.Embedding(6, 4)
        optimizer = torch.optim.SGD(table.parameters(), lr=0.1)
        for step in range(61):
            optimizer.zero_grad()
            table(torch.tensor([0, 1] if step < 10 else [0])).sum().backward()
            optimizer.step()
    rows = run_of(tmp_path / "run").rows.set_index("step").loc[range(0, 61, 10)]
    assert rows["ever_hit"].tolist() == [2] * 7
    assert rows["stopped"].tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert rows["silent"].tolist() == [0, 0, 0, 4, 5, 5, 5]
    assert rows.loc[60, "stopped_rows"].tolist() == [1]
    assert rows.loc[60, "never_hit_rows"].tolist() == [2, 3, 4, 5]


class Endless(IterableDataset):
    def __iter__(self):
        return iter(TensorDataset(X, Y))


class Unsized(Dataset):
    def __getitem__(self, index):
        return X[index % 8], Y[index % 8]


ENDLESS = RandomSampler(TensorDataset(X, Y), replacement=True, num_samples=10**10)
TWICE = RandomSampler(TensorDataset(X, Y), replacement=True, num_samples=16)


class Few:
    """As a script that ends an epoch early: the sampler of ten thousand million draws would never end."""

    def __init__(self, loader):
        self.loader = loader

    def __iter__(self):
        return itertools.islice(self.loader, 3)


def epochs(model, loader, evaluation):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(2):
        for x, y in loader:
            if not epoch:
                with torch.no_grad():
                    sum(functional.cross_entropy(model(a), b) for a, b in evaluation)
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()


@pytest.mark.parametrize(
    ("loader", "batches"),
    thin(
        2,
        [
            (DataLoader(TensorDataset(X, Y), 2), 4),
            (DataLoader(Endless(), 2), 0),
            ([(X, Y)], 0),
            (Few(DataLoader(TensorDataset(X, Y), 2, sampler=ENDLESS)), 4),
            (DataLoader(TensorDataset(X, Y), 2, sampler=TWICE), 4),
            (DataLoader(TensorDataset(X, Y), 2, sampler=range(4)), 2),
            (DataLoader(Unsized(), 2, sampler=range(6)), 3),
        ],
    ),
)
def test_an_epoch_is_that_of_the_training_data(tmp_path, loader, batches):
    with recorded(tmp_path / "run"):
        model = classifier()
        held_out = DataLoader(TensorDataset(X, Y), 1)
        with torch.no_grad():
            for x, y in held_out:  # a sanity check before anything
                functional.cross_entropy(model(x), y)
        epochs(model, loader, held_out)
    data = run_of(tmp_path / "run").meta.data
    assert (data.batches_per_epoch, data.batch_size) == (batches, 0 if isinstance(loader, list) else 2)


@pytest.mark.parametrize("names", [(), ("first", "second")])
def test_evaluations_of_one_loader_and_of_two(tmp_path, names):
    def measure(model, data):
        with torch.no_grad():
            return sum(functional.cross_entropy(model(x), y) for x, y in data)

    loaders = [DataLoader(TensorDataset(X[:count], Y[:count]), 2) for count in (8, 4)[: max(1, len(names))]]
    with recorded(tmp_path / "run"):
        model = classifier()
        for _ in range(3):
            backward(model)
            torch.optim.SGD(model.parameters(), lr=0.1).step()
            for loader in loaders:
                measure(model, loader)
    evaluations = run_of(tmp_path / "run").evaluations
    assert evaluations["split"].nunique() == len(loaders)
    assert evaluations["batches"].tolist() == [4, 2][: len(loaders)] * 3
    assert evaluations["after_step"].unique().tolist() == [0, 1, 2]
    assert evaluations["training"].tolist() == [1] * 3 * len(loaders), "evaluated in training mode"


class Particular(nn.Module):
    """A model that answers for every attribute itself, as those with a configuration do; some answers warn."""

    def __init__(self):
        super().__init__()
        self.asked = []
        self.head = nn.Linear(10, 3)
        self.dropout_layer = nn.Dropout(0.25)

    def __getattr__(self, name):
        if name not in ("asked", "head", "dropout_layer"):
            self.__dict__.setdefault("asked", []).append(name)
        return super().__getattr__(name)

    def forward(self, x):
        return self.head(self.dropout_layer(x))


def test_a_model_is_asked_for_no_attribute_of_its_own(tmp_path):
    asked = []
    for directory in (None, tmp_path / "run"):
        torch.manual_seed(0)
        model = Particular()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = batch()
        with contextlib.nullcontext() if directory is None else recorded(directory):
            for _ in range(3):
                functional.cross_entropy(model(x), y).backward()
                optimizer.step()
        asked.append([name for name in model.asked if not name.startswith("__")])
    assert asked[1] == asked[0]
    assert [module.dropout for module in run_of(tmp_path / "run").meta.modules] == [None, None, 0.25]
