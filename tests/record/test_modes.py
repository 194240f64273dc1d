"""A script's function and dispatch modes, and its tensor subclasses, see its own operations and none of ours."""

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from gradaudit.record.modes import unseen
from tests.record.training import batch, classifier, recorded, run_of


class Functions(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.called = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.called.append(getattr(function, "__name__", str(function)))
        return function(*args, **(kwargs or {}))


class Dispatched(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.called = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.called.append(str(function))
        return function(*args, **(kwargs or {}))


class Logged(torch.Tensor):
    """A subclass that writes down what is done with it."""

    called = []

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        cls.called.append(getattr(function, "__name__", str(function)))
        return super().__torch_function__(function, types, args, kwargs or {})


def train(x, y, steps=12):
    model = classifier(dropout=0.3)
    table = nn.Embedding(5, 10)
    optimizer = torch.optim.SGD([*model.parameters(), *table.parameters()], lr=0.1, momentum=0.9)
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x + table(torch.tensor([step % 5]))), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        nn.utils.clip_grad_value_(table.parameters(), 0.01)
        optimizer.step()
        with torch.no_grad():
            losses.append(functional.cross_entropy(model(x), y).item())
    return losses


def watched(mode):
    with mode:
        return train(*batch()), mode


def test_modes_see_the_script_alone(tmp_path):
    train(*batch(), steps=2)  # what happens once in a process
    for number, make in enumerate((Functions, Dispatched)):
        losses, bare = watched(make())
        with recorded(tmp_path / str(number)):
            again, mode = watched(make())
        assert again == losses
        assert mode.called == bare.called
        run = run_of(tmp_path / str(number))
        assert run.steps["recorded"].tolist() == [True] * 12
        assert run.has("tensors.update_norm")
        assert len(run.evaluations) == 12


def test_nested_modes_are_back_in_their_order(tmp_path):
    counts = []
    for directory in (None, tmp_path / "run"):
        outer, inner, flops = Dispatched(), Dispatched(), FlopCounterMode(display=False)
        with outer, inner, flops, Functions():
            if directory is None:
                train(*batch())
            else:
                with recorded(directory):
                    train(*batch())
        counts.append((len(outer.called), len(inner.called), flops.get_total_flops()))
    assert counts[0] == counts[1]


def test_a_tensor_subclass_sees_the_script_alone(tmp_path):
    called = []
    for directory in (None, tmp_path / "run"):
        Logged.called = []
        x, y = batch()
        if directory is None:
            losses = train(x.as_subclass(Logged), y)
        else:
            with recorded(directory):
                assert train(x.as_subclass(Logged), y) == losses
        called.append(Logged.called)
    assert called[0] == called[1]


def test_modes_are_back_after_a_fault():
    mode = Dispatched()
    with mode:
        try:
            with unseen():
                torch.ones(2) + 1
                raise ValueError
        except ValueError:
            pass
        before = len(mode.called)
        torch.ones(2) + 1
    assert before == 0
    assert len(mode.called) == 2
