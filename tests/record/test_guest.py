"""What the recorder must not do to the script: keep its variables, trip over its data, or pass for its calls."""

import copy
import gc
import inspect
import os
import pickle
import sys
import traceback
import warnings
import weakref

import pytest
import torch
from torch.nn import functional

from tests.record.training import batch, classifier, recorded, run_of


def steps(model, optimizer, count=3):
    """Yield once a step, with the loss that is to be made the gradient."""
    x, y = batch()
    for _ in range(count):
        optimizer.zero_grad()
        yield functional.cross_entropy(model(x), y)


def evaluate(model):
    with torch.no_grad():
        x, y = batch()
        return functional.cross_entropy(model(x), y).item()


def test_variables_of_the_script_end_when_it_ends_them(tmp_path):
    """Reading the script's variables, to name a split, must not keep its logits until the function returns."""
    model = classifier()

    def train():
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        alive = []
        x, y = batch()
        for _ in range(3):
            logits = model(x)
            loss = functional.cross_entropy(logits, y)
            evaluate(model)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watched = weakref.ref(logits)
            del logits, loss
            gc.collect()
            alive.append(watched() is not None)
        return alive

    with recorded(tmp_path / "a"):
        assert train() == [False] * 3


def test_a_dictionary_of_variables_that_the_script_keeps_is_left_alone(tmp_path):
    model = classifier()

    def train(rate=0.1):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        mine = locals()
        for loss in steps(model, optimizer):
            evaluate(model)
            loss.backward()
            optimizer.step()
        return mine

    with recorded(tmp_path / "a"):
        assert train()["rate"] == 0.1


@pytest.mark.parametrize("sentinel", [-100, 7, 2**31 - 1, 2**63 - 1])
def test_a_sentinel_outside_the_classes_is_counted_and_no_more(tmp_path, sentinel):
    """As the length of the counts it would take all memory, or worse."""
    model = classifier()
    x, y = batch()
    y[:2] = sentinel
    with recorded(tmp_path / "a"):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y, ignore_index=sentinel).backward()
            optimizer.step()
    run = run_of(tmp_path / "a")
    assert run.steps["ignored_targets"].tolist() == [2, 2]
    assert run.steps["targets"].tolist() == [6, 6]
    assert sum(run.meta.losses[0].label_counts) == 12


def test_of_two_clippings_the_first_norm_and_the_tighter_threshold_hold(tmp_path):
    model = classifier()
    norms = []
    with recorded(tmp_path / "a"):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for loss in steps(model, optimizer, 6):
            loss.backward()
            norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), float("inf"))))
            torch.nn.utils.clip_grad_norm_(filter(lambda p: p.requires_grad, model.parameters()), 0.01)
            optimizer.step()
    run = run_of(tmp_path / "a")
    assert run.steps["gradient_norm"].tolist() == pytest.approx(norms)
    assert run.steps["clip_threshold"].tolist() == [0.01] * 6


def test_a_threshold_read_from_a_file_as_text_is_a_number(tmp_path):
    model = classifier()
    with recorded(tmp_path / "a"):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for loss in steps(model, optimizer):
            loss.backward()
            torch.nn.utils.clip_grad_value_(model.parameters(), "1e-3")
            optimizer.step()
    assert run_of(tmp_path / "a").steps["clip_threshold"].tolist() == [1e-3] * 3


class Endless(torch.utils.data.IterableDataset):
    """Says that it has fewer examples than it gives."""

    def __iter__(self):
        yield from range(20)

    def __len__(self):
        return 4


def test_a_loader_does_not_warn_because_we_asked_for_its_length(tmp_path):
    model = classifier()
    with recorded(tmp_path / "a"), warnings.catch_warnings():
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        warnings.simplefilter("error")
        seen = len(list(torch.utils.data.DataLoader(Endless())))
        for loss in steps(model, optimizer):
            loss.backward()
            optimizer.step()
    assert seen == 20


def test_a_gradient_that_is_a_view_into_a_flat_buffer_is_counted(tmp_path):
    model = torch.nn.Linear(4, 64)
    flat = torch.zeros(1 + 4 * 64)
    with recorded(tmp_path / "a"):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            flat[1:5] = 1.0
            model.weight.grad = flat[1:].view(64, 4)
            optimizer.step()
    assert run_of(tmp_path / "a").rows["ever_hit"].iloc[0] == 1


class Failing(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        raise ZeroDivisionError


class Broken(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        raise ZeroDivisionError


def a_wrong_target():
    functional.cross_entropy(torch.zeros(2, 3), torch.tensor([0, 1, 2]))


def a_backward_that_fails():
    Failing.apply(torch.ones(1, requires_grad=True)).sum().backward()


def a_norm_of_what_is_no_tensor():
    torch.nn.utils.clip_grad_norm_([3], 1.0)


def an_optimizer_of_what_is_no_tensor():
    torch.optim.SGD([3], lr=0.1)


def a_batch_of_one():
    torch.nn.BatchNorm1d(2)(torch.zeros(1, 2))


def a_scaler_of_a_number():
    torch.amp.GradScaler("cpu").scale(3)


def a_broken_data_set():
    list(torch.utils.data.DataLoader(Broken()))


def a_closure_that_fails():
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1).step(lambda: 1 / 0)


def too_few_arguments():
    functional.mse_loss(torch.zeros(1))


FAULTS = (
    a_wrong_target, a_backward_that_fails, a_norm_of_what_is_no_tensor, an_optimizer_of_what_is_no_tensor,
    a_batch_of_one, a_scaler_of_a_number, a_broken_data_set, a_closure_that_fails,
    too_few_arguments,
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_tracebacks_of_the_script_show_none_of_our_frames(tmp_path, fault):
    def frames():
        with pytest.raises(Exception) as caught:
            fault()
        return type(caught.value), [
            (f.filename, f.name, f.lineno) for f in traceback.extract_tb(caught.value.__traceback__)
        ][1:]

    bare = frames()
    with recorded(tmp_path / "a"):
        assert frames() == bare


def test_warnings_are_about_the_scripts_line(tmp_path):
    """Once for each line, as the filters count them."""

    def warn():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            functional.mse_loss(torch.zeros(2, 1), torch.zeros(2))
            torch.nn.utils.clip_grad_norm_(iter([]), 1.0)
            torch.nn.utils.clip_grad_norm_((tensor for tensor in []), 1.0)
            parameter = torch.nn.Parameter(torch.zeros(2))
            torch.optim.SGD([{"params": [parameter, parameter]}], lr=0.1)
        return [(str(warning.message)[:40], warning.filename, warning.lineno) for warning in caught]

    bare = warn()
    assert len(bare) >= 2
    with recorded(tmp_path / "a"):
        assert warn() == bare


def test_patched_functions_pass_for_torchs_own(tmp_path):
    places = [
        (functional, "cross_entropy"), (functional, "batch_norm"), (torch.autograd, "backward"),
        (torch.nn.utils, "clip_grad_norm_"), (torch.amp.GradScaler, "step"), (os, "_exit"),
    ]  # fmt: skip
    bare = {name: getattr(owner, name) for owner, name in places}
    with recorded(tmp_path / "a"):
        for owner, name in places:
            ours, own = getattr(owner, name), bare[name]
            assert inspect.unwrap(ours) is inspect.unwrap(own), name
            assert inspect.signature(ours) == inspect.signature(own), name
            assert (ours.__name__, ours.__qualname__, ours.__doc__) == (own.__name__, own.__qualname__, own.__doc__)
            assert copy.deepcopy(ours) is ours
            assert pickle.loads(pickle.dumps(ours)) is ours
            assert b"gradaudit" not in pickle.dumps(ours)
            if name != "_exit":
                assert inspect.getsource(ours) == inspect.getsource(own)
    assert {name: getattr(owner, name) for owner, name in places} == bare
    assert not [name for name in sys.modules if "importlib._bootstrap" in name and "gradaudit" in name]
