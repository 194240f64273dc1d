"""On a real GPU (`make gpu`): nobody waits, the numbers are the CPU's, and the training is the one without us."""

import contextlib
import json

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional

from gradaudit.record import install, session
from gradaudit.record.measure.device import DeviceStatistics
from gradaudit.record.measure.on_device import measure_on_device
from gradaudit.record.measure.ring import BUFFERS
from gradaudit.record.measure.sampler import ParameterSampler
from gradaudit.record.measure.stats import COLUMNS, measure
from gradaudit.record.patches.optimizer import arm
from gradaudit.record.settings import Settings
from tests.record.gradients import exact, gradients, mixed, poisoned
from tests.record.training import recorded, run_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; run `make gpu` where there is one"),
]
GPU = torch.device("cuda", 0)
SINGLE = {**gradients(), **poisoned()}


def rows(statistics, *steps):
    """[steps, tensors, columns] as the writer reads them."""
    slots = [statistics.measure(step) for step in steps]
    assert not statistics.fault, statistics.fault
    assert all(slot.depart() for slot in slots)
    for arrival in {slot.arrival for slot in slots}:
        arrival.wait()
    return numpy.stack([slot.read()[:, : len(COLUMNS)] for slot in slots])


def kernels(gradient):
    return rows(DeviceStatistics([gradient], ParameterSampler([gradient]), 1), [gradient])[0, 0]


def operations(gradient):
    return measure_on_device([gradient], GPU)[0].cpu().numpy()


@pytest.mark.parametrize("path", [kernels, operations])
@pytest.mark.parametrize("name", SINGLE)
def test_moments_are_those_of_float64(name, path):
    row = dict(zip(COLUMNS, path(SINGLE[name].to(GPU)), strict=True))
    true = exact(SINGLE[name])
    size = max(true["gradient_std"], abs(true["gradient_mean"]))
    assert row["gradient_norm"] == pytest.approx(true["gradient_norm"], rel=2e-6)
    assert row["gradient_std"] == pytest.approx(true["gradient_std"], rel=1e-5, abs=1e-12 * size)
    assert row["gradient_mean"] == pytest.approx(true["gradient_mean"], abs=1e-6 * size)
    assert row["gradient_max_abs"] == pytest.approx(true["gradient_max_abs"], rel=1e-7)
    assert row["gradient_zero_fraction"] == pytest.approx(true["gradient_zero_fraction"], rel=1e-12)
    assert (row["gradient_nan"], row["gradient_inf"]) == (true["gradient_nan"], true["gradient_inf"])


def test_a_list_of_everything_is_measured_as_on_the_cpu():
    several = [None if gradient is None else gradient.to(GPU) for gradient in mixed()]
    parameters = [torch.zeros(6, device=GPU) if gradient is None else gradient for gradient in several]
    first, again = rows(DeviceStatistics(parameters, ParameterSampler(parameters), 4), several, several)
    assert first == pytest.approx(measure(mixed()), rel=1e-6, abs=1e-7, nan_ok=True)
    assert numpy.array_equal(first, again, equal_nan=True)


def test_a_full_ring_drops_and_goes_on():
    gradient = torch.ones(10, device=GPU)
    statistics = DeviceStatistics([gradient], ParameterSampler([gradient]), 2)
    slots = [statistics.measure([gradient * step]) for step in range(2 * BUFFERS + 3)]
    assert [slot.depart() for slot in slots] == [True] * (2 * BUFFERS) + [False] * 3
    for arrival in {slot.arrival for slot in slots} - {None}:
        arrival.wait()
    norms = [slot.read()[0, COLUMNS.index("gradient_norm")] for slot in slots if slot.arrival]
    assert norms == pytest.approx([step * 10**0.5 for step in range(2 * BUFFERS)])


class Net(nn.Module):
    """Every kind of layer that the recorder treats in its own way."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(100, 48)
        self.body = nn.Sequential(nn.Linear(48, 300), nn.GELU(), nn.Linear(300, 48), nn.LayerNorm(48))
        self.convolution = nn.Conv1d(48, 16, 3)
        self.norm = nn.BatchNorm1d(16)
        self.head = nn.Linear(16, 10)

    def forward(self, tokens):
        hidden = self.norm(self.convolution(self.body(self.table(tokens)).transpose(1, 2)))
        return self.head(functional.dropout(hidden, 0.1).mean(dim=2))


def train(device, steps=20, make=torch.optim.AdamW, scaler=None, forbid=False, **options):
    """(losses, weights) of a small seeded training; with `forbid` any synchronisation raises."""
    torch.manual_seed(0)
    model = Net().to(device)
    optimizer = make(model.parameters(), lr=1e-3, **options)
    tokens, targets = torch.randint(0, 90, (16, 24)).to(device), torch.randint(0, 10, (16,)).to(device)
    losses = []
    with forbidden() if forbid else contextlib.nullcontext():
        for _ in range(steps):
            optimizer.zero_grad()
            with torch.autocast("cuda", torch.float16, enabled=scaler is not None):
                loss = functional.cross_entropy(model(tokens), targets)
            if scaler is None:
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
            else:
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
            losses.append(loss.detach())
    return torch.stack(losses).cpu(), [parameter.detach().cpu() for parameter in model.parameters()]


@contextlib.contextmanager
def forbidden():
    """Every synchronisation that torch knows of raises, in whichever thread it happens."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("options", [{}, {"fused": True}, {"foreach": False}], ids=["foreach", "fused", "single"])
def test_no_step_waits_for_the_device(tmp_path, options):
    train(GPU, 3)  # what torch itself waits for once, it waits for here
    with recorded(tmp_path / "run"):
        train(GPU, 1, **options)
        train(GPU, 80, forbid=True, **options)
    run = run_of(tmp_path / "run")
    assert run.state == "finished"
    assert run.steps["recorded"].all()
    assert run.events.empty, run.events
    assert numpy.isfinite(run.matrix("gradient_norm")[-1]).all()


def test_a_wait_of_ours_would_be_seen(tmp_path, monkeypatch):
    train(GPU, 3)
    monkeypatch.setattr(DeviceStatistics, "take_fault", lambda self: str(self._partials.sum().item()))
    install.install()
    session.start(Settings(directory=str(tmp_path / "run"), every=1, quiet=True))
    try:
        train(GPU, 3, forbid=True)
        assert session.current() is None, "the planted wait was not noticed"
    finally:
        session.stop("finished")
        install.uninstall()


def test_a_trace_has_no_synchronisation_of_ours(tmp_path):
    def synchronisations():
        with torch.profiler.profile(activities=list(torch.profiler.supported_activities())) as profile:
            train(GPU, 10)
        file = tmp_path / "trace.json"
        profile.export_chrome_trace(str(file))
        names = [event.get("name", "") for event in json.loads(file.read_text())["traceEvents"]]
        return sum(name in ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaMemcpy") for name in names)

    synchronisations()
    bare = synchronisations()
    with recorded(tmp_path / "run"):
        synchronisations()  # the kernels are compiled and the first rows handed over
        ours = synchronisations()
    assert ours == bare


def test_the_training_is_the_same_bit_for_bit(tmp_path):
    bare = train(GPU)
    with recorded(tmp_path / "run"):
        ours = train(GPU)
    assert torch.equal(bare[0], ours[0])
    assert all(map(torch.equal, bare[1], ours[1]))


def test_the_numbers_are_those_of_the_cpu(tmp_path):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    with recorded(tmp_path / "gpu"):
        train(GPU, 3)
    with recorded(tmp_path / "cpu"):
        train("cpu", 3)
    here, there = run_of(tmp_path / "gpu"), run_of(tmp_path / "cpu")
    assert [tensor.name for tensor in here.meta.tensors] == [tensor.name for tensor in there.meta.tensors]
    for name in ("weight_norm", "update_norm", "weight_max_abs"):
        assert here.matrix(name)[0] == pytest.approx(there.matrix(name)[0], rel=2e-2, abs=1e-7), name
    assert here.steps["targets"].tolist() == there.steps["targets"].tolist()


@pytest.mark.parametrize("fused", [False, True])
def test_mixed_precision(tmp_path, fused):
    with recorded(tmp_path / "run"):
        train(GPU, 12, scaler=torch.amp.GradScaler("cuda", init_scale=2.0**24), fused=fused)
    steps = run_of(tmp_path / "run").steps
    assert steps["skipped"].iloc[0], "a scale of 2**24 overflows float16"
    assert not steps["skipped"].iloc[-1]
    norms = steps["gradient_norm"][~steps["skipped"]]
    assert len(norms)
    # Unscaled: the scale itself is thousands.
    assert (norms < 100).all()


def test_what_a_graph_captures_is_left_alone(tmp_path):
    model = nn.Linear(8, 4, device=GPU)
    optimizer = torch.optim.AdamW(model.parameters(), capturable=True)
    x, y = torch.randn(16, 8, device=GPU), torch.zeros(16, dtype=torch.long, device=GPU)

    def step():
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    with recorded(tmp_path / "run"):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        for _ in range(5):
            graph.replay()
        step()
    run = run_of(tmp_path / "run")
    assert len(run.steps) == 4
    assert run.events["kind"].tolist() == ["captured"]


def test_memory_is_below_two_percent_of_the_parameters(tmp_path):
    """At the shapes of GPT-2; a model of a million parameters has no such room."""
    from benchmarks.gpu import gpt

    model, _ = gpt(GPU, tokens=64)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    torch.cuda.synchronize()
    bare = torch.cuda.memory_allocated()
    with recorded(tmp_path / "run"):
        arm()
        for _ in range(12):
            optimizer.step()
        torch.cuda.synchronize()
        used = torch.cuda.memory_allocated() - bare
    parameters = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    assert used < 0.02 * parameters
