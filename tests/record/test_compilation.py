"""Compiled models and optimizers: the same graphs and the same numbers as without us, and the numbers are recorded."""

import math
import shutil

import pytest
import torch
import torch._dynamo.testing
from torch import nn
from torch.nn import functional

from tests.record.training import batch, classifier, recorded, run_of

# Tracing an optimizer, torch calls deprecated functions of its own and looks at gradients that it warns of.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


# Where compiled code calls back into Python, older versions of torch cannot be told to leave our frames alone.
SWITCH = hasattr(torch._C._dynamo.eval_frame, "set_code_exec_strategy")


def watched_as_bare(tmp_path, train, graphs=1, breaks_more=0):
    """What `train(counter)` returns: the same with a recording as without, from no more graphs and breaks."""
    results, costs = [], []
    for watch in (False, True):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        counter = torch._dynamo.testing.CompileCounter()
        if watch:
            with recorded(tmp_path / "run"):
                result = train(counter)
        else:
            result = train(counter)
        breaks = sum(torch._dynamo.utils.counters["graph_break"].values()) + (0 if watch else breaks_more)
        results.append(result)
        costs.append((counter.frame_count, counter.op_count, breaks))
    assert results[1] == results[0]
    assert all(watched <= bare for bare, watched in zip(*costs, strict=True)), costs
    assert not graphs or costs[1][0] == graphs
    return results[0]


def steps_of(model, optimizer, loss_of, step, count=4):
    losses = []
    for _ in range(count):
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        step()
        losses.append(loss.item())
    return losses


X, Y = batch()


def plain_loss(model, x=X, y=Y):
    return functional.cross_entropy(model(x), y)


def test_a_compiled_model(tmp_path):
    def train(backend):
        model = torch.compile(classifier(), backend=backend)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return steps_of(model, optimizer, plain_loss, optimizer.step)

    known = watched_as_bare(tmp_path, train)
    run = run_of(tmp_path / "run")
    assert run.steps["mean_loss"].tolist() == pytest.approx(known)
    assert [tensor.name for tensor in run.meta.tensors] == ["0.weight", "0.bias", "3.weight", "3.bias"]
    assert [module.name for module in run.meta.modules if module.module_class == "Linear"] == ["0", "3"]


def test_a_loss_inside_the_graph(tmp_path):
    def train(backend):
        model = classifier()
        compiled = torch.compile(lambda: plain_loss(model), backend=backend, fullgraph=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return steps_of(model, optimizer, lambda _: compiled(), optimizer.step)

    known = watched_as_bare(tmp_path, train)
    assert run_of(tmp_path / "run").steps["objective"].tolist() == pytest.approx(known)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_a_compiled_optimizer(tmp_path, kind):
    def train(backend):
        model = classifier()
        optimizer = kind(model.parameters(), lr=1e-2)
        return steps_of(model, optimizer, plain_loss, torch.compile(optimizer.step, backend=backend))

    known = watched_as_bare(tmp_path, train)
    run = run_of(tmp_path / "run")
    assert run.steps["mean_loss"].tolist() == pytest.approx(known)
    assert run.training(0).recorded.tolist() == [0, 1, 2, 3]
    assert (run.training(0).matrix("update_norm") > 0).all()


def test_a_whole_step_in_one_function(tmp_path):
    def train(backend):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        @torch.compile(backend=backend)
        def step():
            optimizer.zero_grad()
            loss = plain_loss(model)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            return loss

        return [step().item() for _ in range(4)]

    known = watched_as_bare(tmp_path, train, graphs=None, breaks_more=not SWITCH)
    run = run_of(tmp_path / "run")
    # Without the switch nobody sees a backward inside a graph, and its objective is not known.
    assert run.steps["objective"].tolist() == pytest.approx(known if SWITCH else [math.nan] * 4, nan_ok=True)
    assert (run.training(0).matrix("update_norm") > 0).all()


def test_compiled_autograd(tmp_path):
    def train(backend):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with torch._dynamo.config.patch(compiled_autograd=True):
            compiled = torch.compile(lambda: plain_loss(model).backward(), backend=backend)
            losses = []
            for _ in range(4):
                optimizer.zero_grad()
                compiled()
                losses.append(next(model.parameters()).grad.norm().item())
                optimizer.step()
        return losses

    known = watched_as_bare(tmp_path, train, graphs=2, breaks_more=not SWITCH)
    run = run_of(tmp_path / "run")
    assert run.training(0).matrix("gradient_norm")[:, 0].tolist() == pytest.approx(known, rel=1e-5)
    assert run.steps["micro_steps"].tolist() == [int(SWITCH)] * 4
    assert run.steps["objective"].notna().tolist() == [SWITCH] * 4


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler (g++)")
def test_inductor(tmp_path):
    def train(_):
        torch.manual_seed(0)
        model = nn.Linear(10, 3)
        compiled = torch.compile(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return steps_of(compiled, optimizer, plain_loss, optimizer.step, count=2)

    known = watched_as_bare(tmp_path, train, graphs=None)
    run = run_of(tmp_path / "run")
    assert run.steps["mean_loss"].tolist() == pytest.approx(known)
    assert [tensor.name for tensor in run.meta.tensors] == ["weight", "bias"]


def test_a_scripted_module_that_uses_a_watched_loss(tmp_path):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(10, 3)

        def forward(self, x, y):
            return functional.cross_entropy(self.body(x), y)

    with recorded(tmp_path / "run"):
        model = torch.jit.script(Model())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        losses = steps_of(model, optimizer, lambda m: m(*batch()), optimizer.step)
    run = run_of(tmp_path / "run")
    assert run.steps["objective"].tolist() == pytest.approx(losses)
    assert [tensor.name for tensor in run.meta.tensors] == ["body.weight", "body.bias"]
