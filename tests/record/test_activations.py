"""Samples of a model's input and of its activations: against what the modules gave, and without a trace left behind."""

import contextlib
import copy
import io
import math
import pickle

import pytest
import torch
import torch._dynamo.testing
from torch import nn
from torch.nn import functional

import gradaudit
from gradaudit.record.observe import activations
from tests.record.training import record, recorded, run_of, script

ACTIVATIONS = [nn.ReLU(), nn.Sigmoid(), nn.Tanh(), nn.GELU(), nn.LeakyReLU(), nn.SiLU(), nn.ReLU6()]


@pytest.fixture(autouse=True)
def _fresh_compiler(monkeypatch):
    """Models compiled by other tests are not this test's."""
    monkeypatch.setattr(torch._dynamo.convert_frame, "FRAME_COUNTER", 0)
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def network(*kinds):
    torch.manual_seed(0)
    layers = [layer for kind in kinds for layer in (nn.Linear(10, 10), kind)]
    return nn.Sequential(*layers, nn.Linear(10, 3))


def inputs(step, size=64):
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(size, 10, generator=generator) * torch.tensor([100.0] + [1.0] * 9)
    return x, torch.randint(0, 3, (size,), generator=generator)


def train(model, steps=12, watch=None, call=None):
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    losses = []
    for step in range(steps):
        x, y = inputs(step)
        optimizer.zero_grad()
        loss = functional.cross_entropy((call or model)(x), y)
        loss.backward()
        if watch is not None:
            watch(step, x)
        optimizer.step()
        losses.append(loss.item())
    return losses, [parameter.detach().clone() for parameter in model.parameters()], torch.rand(1).item()


@pytest.mark.parametrize("kind", ACTIVATIONS, ids=lambda kind: type(kind).__name__)
def test_outputs_of_an_activation(tmp_path, kind):
    known = {}
    model = network(kind)

    def watch(step, x):
        with torch.no_grad():
            known[step] = kind(model[0](x)).double()

    with recorded(tmp_path / "run", activations=True):
        train(model, watch=watch)
    run = run_of(tmp_path / "run")
    module = next(module for module in run.meta.modules if module.module_class == type(kind).__name__)
    found = run.samples[run.samples["kind"] == "output"]
    assert found[["step", "module", "loss"]].to_numpy().tolist() == [[step, module.id, -1] for step in known]
    for (_, row), output in zip(found.iterrows(), known.values(), strict=True):
        assert (row["elements"], row["nonfinite"]) == (640, 0)
        assert row["maximum"] == pytest.approx(float(output.max()))
        assert row["zero_fraction"] == pytest.approx(float((output == 0).double().mean()))
        dead, saturated = float((output == 0).all(0).double().mean()), math.nan
        if isinstance(kind, nn.Sigmoid):
            dead, saturated = math.nan, float(((output < 0.01) | (output > 0.99)).double().mean())
        elif isinstance(kind, nn.Tanh):
            dead, saturated = math.nan, float((output.abs() > 0.99).double().mean())
        assert row["dead_fraction"] == pytest.approx(dead, nan_ok=True)
        assert row["saturated_fraction"] == pytest.approx(saturated, nan_ok=True)


def test_the_input_of_the_model(tmp_path):
    with recorded(tmp_path / "run", activations=True):
        train(network(nn.ReLU()), steps=111)
    samples = run_of(tmp_path / "run").samples
    found = samples[samples["kind"] == "input"].reset_index(drop=True)
    assert found["step"].tolist() == list(range(0, 100, 10)), "ten samples and no more"
    assert found["module"].tolist() == [0] * 10
    x, _ = inputs(0)
    spread = x.double().std(0)
    assert found["maximum"][0] == pytest.approx(float(x.max()))
    assert found["feature_std_ratio"][0] == pytest.approx(float(spread.max() / spread.min()))
    outputs = set(samples[samples["kind"] == "output"]["step"])
    assert set(range(0, 111, 10)) < outputs
    assert len(outputs) < 50, "so many that any run has some in its last tenth, and no more"


class Dead(nn.Module):
    """Unit 3 of 4 never fires; channel 1 of 2 neither."""

    def __init__(self):
        super().__init__()
        self.body, self.relu, self.image, self.rectify = nn.Linear(6, 4), nn.ReLU(), nn.Conv2d(1, 2, 2), nn.ReLU(True)
        with torch.no_grad():
            self.body.bias[:] = torch.tensor([9.0, 9.0, 9.0, -1e4])
            self.image.bias[:] = torch.tensor([1e4, -1e4])

    def forward(self, x):
        hidden = self.relu(self.body(x))
        picture = self.rectify(self.image(hidden.reshape(-1, 1, 2, 2)))
        return self.relu(hidden) + picture.sum()


def test_dead_units_are_features_or_channels(tmp_path):
    with recorded(tmp_path / "run", activations=True):
        torch.manual_seed(0)
        model = Dead()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with torch.no_grad():
            model(torch.full((9, 6), 1e9))  # an evaluation is not sampled
        for micro in range(2):
            model(torch.randn(512, 6) + 1e6 * micro).sum().backward()
        optimizer.step()
    run = run_of(tmp_path / "run")
    found = run.samples.set_index(["module", "kind"])
    number = {module.name: module.id for module in run.meta.modules}
    assert found.loc[(number["relu"], "output"), "dead_fraction"] == 0.25
    assert found.loc[(number["rectify"], "output"), "dead_fraction"] == 0.5
    assert found.loc[(number[""], "input"), "maximum"] < 10, "of the first micro-batch"
    assert len(run.samples) == 3, "each module once, although one is used twice"


def test_the_training_is_the_same_bit_for_bit(tmp_path):
    model = nn.Sequential(*network(*ACTIVATIONS), nn.Dropout(0.5))
    bare = train(copy.deepcopy(model))
    with recorded(tmp_path / "run", activations=True):
        watched = train(model)
    assert watched[0] == bare[0]
    assert watched[2] == bare[2]
    assert all(map(torch.equal, watched[1], bare[1]))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_without_the_flag_no_module_is_hooked(tmp_path):
    with recorded(tmp_path / "run"):
        model = network(nn.ReLU())
        before = torch.jit.script
        train(model, steps=1)
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
        assert "gradaudit" not in before.__module__
    assert set(run_of(tmp_path / "run").samples["kind"]) == {"loss_input"}


# Tracing an optimizer, torch calls deprecated functions of its own and looks at gradients that it warns of.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("way", ["module", "in place", "function", "decorator", "with breaks"])
def test_compiled_models_are_left_alone_and_the_record_says_so(tmp_path, way):
    results = []
    for watch in (False, True):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        counter = torch._dynamo.testing.CompileCounter()
        with recorded(tmp_path / "run", activations=True) if watch else contextlib.nullcontext():
            model = network(nn.ReLU(), nn.Tanh())
            if way == "with breaks":
                model.insert(1, Breaks())
            torch.optim.SGD(model.parameters(), lr=0.1)
            call = model
            if way == "in place":
                model.compile(backend=counter)
            elif way == "function":
                call = torch.compile(model.forward, backend=counter)
            elif way == "decorator":
                call = torch.compile(backend=counter)(model)
            else:
                call = torch.compile(model, backend=counter)
            losses, _, _ = train(model, call=call)
        breaks = sum(torch._dynamo.utils.counters["graph_break"].values())
        results.append((losses, counter.frame_count, counter.op_count, breaks))
    assert results[0] == results[1]
    run = run_of(tmp_path / "run")
    assert set(run.samples["kind"]) == {"loss_input"}
    assert run.events["kind"].tolist() == ["activations"]
    assert "torch.compile" in run.events["message"][0]


class Breaks(nn.Module):
    def forward(self, x):
        torch._dynamo.graph_break()
        return x


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("before", ["compiled", "run"])
def test_a_model_compiled_before_the_recorder_is_not_compiled_anew(tmp_path, before):
    counter = torch._dynamo.testing.CompileCounter()
    model = network(nn.ReLU())
    call = torch.compile(model.forward if before == "run" else model, backend=counter)
    if before == "run":
        call(inputs(0)[0])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradaudit.Recorder(
        model if before == "run" else call, optimizer, directory=tmp_path / "run", quiet=True, activations=True
    ):
        for step in range(3):
            x, y = inputs(step)
            functional.cross_entropy(call(x), y).backward()
            optimizer.step()
    assert counter.frame_count == 1
    run = run_of(tmp_path / "run")
    assert run.events["kind"].tolist() == ["activations"]
    assert set(run.samples["kind"]) == {"loss_input"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_compiled_optimizer_is_no_reason_not_to_look(tmp_path):
    with recorded(tmp_path / "run", activations=True):
        model = network(nn.ReLU())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        step = torch.compile(optimizer.step, backend="eager")
        for number in range(2):
            x, y = inputs(number)
            functional.cross_entropy(model(x), y).backward()
            step()
    assert "output" in set(run_of(tmp_path / "run").samples["kind"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_model_that_is_scripted_traced_copied_or_saved_whole(tmp_path):
    with recorded(tmp_path / "run", activations=True):
        model = network(nn.ReLU())
        train(model, steps=2)
        x, _ = inputs(0)
        copied = copy.deepcopy(model)
        assert torch.equal(copied(x), model(x))
        torch.save(model, tmp_path / "model.pt")
        assert b"gradaudit" not in pickle.dumps(model)
        assert torch.equal(torch.load(tmp_path / "model.pt", weights_only=False)(x), model(x))
        assert torch.equal(torch.jit.trace(model, x)(x), model(x))
        scripted = torch.jit.script(model)
        assert torch.equal(scripted(x), model(x))

        @torch.jit.script
        def double(y):
            return local_name(y) * 2

        torch.jit.save(scripted, io.BytesIO())
        assert double(torch.ones(1)) == 2
        train(model, steps=12)
    run = run_of(tmp_path / "run")
    assert run.samples[run.samples["kind"] == "output"]["step"].tolist() == [0, 1]
    assert run.events["message"].str.contains("torch.jit.script").tolist() == [True]


def local_name(y: torch.Tensor) -> torch.Tensor:
    return y


def test_what_has_no_activation_modules_says_so(tmp_path):
    with recorded(tmp_path / "run", activations=True):
        train(nn.Linear(10, 3), steps=31)
    run = run_of(tmp_path / "run")
    assert run.events["kind"].tolist() == ["activations"]
    assert run.samples[run.samples["kind"] == "input"]["step"].tolist() == [0, 10, 20, 30]


def test_layers_that_take_another_path_with_hooks_get_none(tmp_path):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(10, 2, 16, activation=nn.ReLU(), batch_first=True)
    model = nn.Sequential(nn.Linear(10, 10), nn.ReLU(), nn.TransformerEncoder(layer, 1, enable_nested_tensor=False))
    x = torch.randn(2, 5, 10)
    with torch.no_grad():
        known = model.eval()(x)
    with recorded(tmp_path / "run", activations=True):
        torch.optim.SGD(model.parameters(), lr=0.1)
        with torch.no_grad():
            assert torch.equal(model(x), known)
        assert model[1]._forward_hooks
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model[2].modules())


def test_tokens_are_no_input_that_has_a_size(tmp_path):
    with recorded(tmp_path / "run", activations=True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(5, 4), nn.ReLU(), nn.Linear(4, 5))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model(torch.arange(5)[None]).sum().backward()
        optimizer.step()
    assert run_of(tmp_path / "run").samples["kind"].tolist() == ["output"]


def test_many_modules_are_bounded(tmp_path):
    model = nn.Sequential(nn.Linear(10, 10), *[nn.ReLU() for _ in range(1500)], nn.Linear(10, 3))
    with recorded(tmp_path / "run", activations=True):
        train(model, steps=1)
    outputs = run_of(tmp_path / "run").samples.query("kind == 'output'")
    assert len(outputs) == 500 <= activations._MOST_MODULES


def test_the_recorder_hooks_the_model_that_it_is_given(tmp_path):
    model = network(nn.ReLU())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradaudit.Recorder(model, optimizer, directory=tmp_path / "run", quiet=True, activations=True):
        x, y = inputs(0)
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert run_of(tmp_path / "run").samples["kind"].tolist() == ["loss_input", "input", "output"]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_the_command(tmp_path):
    script(
        tmp_path,
        """
        import torch
        model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Sigmoid(), torch.nn.Linear(4, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            model(torch.ones(3, 4)).sum().backward()
            optimizer.step()
        """,
    )
    result = record(tmp_path, "--activations", "-o", "run", "train.py")
    assert result.returncode == 0, result.stderr
    assert run_of(tmp_path / "run").samples["kind"].tolist() == ["input", "output", "output"]
