"""What a long or odd training makes us keep is bounded: on disk, in run.json, in memory."""

import gc
import json
import os
import subprocess
import sys
import time
import weakref
from types import SimpleNamespace

import msgspec
import numpy
import pyarrow.parquet
import pytest
import torch
from torch import nn
from torch.nn import functional

from gradaudit.reading.run import load
from gradaudit.record import session
from gradaudit.record.observe import between, tensors
from gradaudit.record.observe.loss import losses, seen
from gradaudit.record.storage import writer
from gradaudit.schema import EVALUATIONS, EVENTS, ROWS, STEPS, TENSORS, Meta
from tests.record.training import batch, classifier, recorded, run_of, script


def step(model, optimizer, **options):
    x, y = batch()
    optimizer.zero_grad()
    loss = functional.cross_entropy(model(x), y, **options)
    loss.backward()
    optimizer.step()
    return loss.item()


def test_thousands_of_kinds_of_losses_are_kept_as_a_few(tmp_path, monkeypatch):
    monkeypatch.setattr(losses, "_MOST_KINDS", 20)
    with recorded(tmp_path / "run", every=100):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        known = [step(model, optimizer, label_smoothing=number / 1000) for number in range(200)]
        x, y = batch()
        known.append(functional.cross_entropy(model(x), y, reduction="sum").item() / 8)
        functional.cross_entropy(model(x), y, reduction="sum").backward()
        optimizer.step()
    run = run_of(tmp_path / "run")
    assert len(run.meta.losses) == 21
    assert run.steps["mean_loss"].tolist() == pytest.approx(known, rel=1e-5)
    assert run.steps["loss"].nunique() == 21
    assert (run.path / "run.json").stat().st_size < 30_000


def test_models_made_anew_are_let_go(tmp_path, monkeypatch):
    monkeypatch.setattr(tensors, "MOST_TENSORS", 100)
    alive = []
    with recorded(tmp_path / "run"):
        for number in range(40):
            model = classifier()
            alive.append(weakref.ref(model[0].weight))
            step(model, torch.optim.SGD(model.parameters(), lr=0.1))
            if number % 10:
                continue
            gc.collect()
            # The writer's thread looks at one while it writes the facts.
            assert sum(reference() is not None for reference in alive) <= 2
            table = session.current().table
            assert max(len(table.parameter_sets), len(table.roots)) <= 2
    run = run_of(tmp_path / "run")
    assert len(run.meta.tensors) <= 104
    assert run.problems == ()
    assert 25 <= len(run.steps) <= 40
    if len(run.steps) < 40:
        assert run.events["kind"].tolist() == ["disabled"]


def test_an_evaluation_with_gradients_keeps_no_graph_alive(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        step(model, optimizer)
        x, y = batch()
        hidden = []
        for _ in range(10):
            activation = model[1](model[0](x))
            hidden.append(weakref.ref(activation))
            functional.cross_entropy(model[3](activation), y)
            del activation
        assert [reference() for reference in hidden] == [None] * 10
        step(model, optimizer)
    assert len(run_of(tmp_path / "run").steps) == 2


def test_gradients_that_no_optimizer_uses_are_told_once_and_not_hoarded(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(between, "UNSTEPPED", 50)
    monkeypatch.setattr(seen, "_GATHERED", 16)
    with recorded(tmp_path / "run"):
        model = classifier()
        x, y = batch()
        known = 0.0
        for _ in range(120):
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            known += loss.item()
            functional.cross_entropy(model(x), y)
        kept = session.current().between.seen
        assert max(len(kept.roots), len(kept.calls)) <= 17
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("gradaudit: 50 backward passes and no step")
        torch.optim.SGD(model.parameters(), lr=0.1).step()
    steps = run_of(tmp_path / "run").steps
    assert steps["micro_steps"].tolist() == [120]
    assert steps["objective"].tolist() == pytest.approx([known], rel=1e-6)
    assert steps["mean_loss"].tolist() == pytest.approx([known / 120], rel=1e-5)
    assert steps["targets"].tolist() == [120 * 8]


def test_a_script_that_never_stops_evaluating_keeps_a_bounded_record(tmp_path, monkeypatch):
    monkeypatch.setattr(between, "_MOST_PASSES", 10)
    with recorded(tmp_path / "run"):
        model = classifier()
        x, y = batch()
        for _ in range(30):
            with torch.no_grad():
                functional.cross_entropy(model(x), y)
            functional.cross_entropy(model(x), y).backward()
        assert len(session.current().gathered.evaluated) == 10


# 604,800 seconds in a million steps: the clock is that of the files.
WEEK, MILLION, HANDED_OVER = 604_800.0, 1_000_000, 1000


def rows_of(table, count, **columns):
    blank = {"string": "", "bool": False}
    filled = {
        column.name: [[0.5]] * count if column.dtype.startswith("list") else [blank.get(column.dtype, 1)] * count
        for column in table.columns
    }
    return {**filled, **columns}


@pytest.mark.parametrize("steps", [20_000, pytest.param(MILLION, marks=pytest.mark.long)])
def test_a_week_is_a_few_hundred_files(tmp_path, monkeypatch, steps):
    clock = SimpleNamespace(now=1.0)
    ticking = SimpleNamespace(monotonic=lambda: clock.now, thread_time=time.thread_time)
    monkeypatch.setattr(writer, "time", ticking)
    folder = tmp_path / "run" / "rank00000"
    folder.mkdir(parents=True)
    meta = msgspec.json.encode(Meta(state="finished", pid=1))
    files = writer.Writer(folder, lambda: meta, tmp_path / "run" / "run.json")
    at_once, written = steps // HANDED_OVER, 0
    while written < steps:
        clock.now += WEEK / HANDED_OVER
        numbers = numpy.arange(written, written + at_once)
        statistics = numbers[numbers % 64 == 0]
        batch_of_rows = {
            "steps": rows_of(STEPS, at_once, step=numbers, global_step=numbers),
            "tensors": rows_of(TENSORS, len(statistics) * 20, step=statistics.repeat(20),
                               tensor=numpy.tile(numpy.arange(20), len(statistics))),
            "rows": rows_of(ROWS, 1, step=[written]),
            "evaluations": rows_of(EVALUATIONS, 1, **{"pass": [written]}),
            "events": rows_of(EVENTS, 1, time=[float(written)]),
        }  # fmt: skip
        while not files.put(lambda rows=batch_of_rows: rows):
            assert files.error is None
            time.sleep(0.001)
        written += at_once
    files.close()
    assert files.error is None
    names = [file.name for file in folder.iterdir()]
    assert len(names) < 300, len(names)
    assert not [name for name in names if not name.endswith(".parquet")]
    run = load(tmp_path / "run")
    assert run.problems == ()
    assert run.steps["step"].tolist() == list(range(steps))
    statistics = sum(pyarrow.parquet.read_metadata(file).num_rows for file in folder.glob("tensors-*"))
    assert statistics == 20 * len(range(0, steps, 64))


SIZES = """
    import contextlib, json, sys
    import torch
    from benchmarks import memory
    from tests.record.training import recorded
    from torch import nn
    from torch.nn import functional

    torch.set_num_threads(1)
    directory, kind = sys.argv[1:]
    with recorded(directory) if directory else contextlib.nullcontext():
        torch.manual_seed(0)
        if kind == "rows":
            model = nn.Sequential(nn.Embedding(10_000_000, 8, sparse=True), nn.Flatten(), nn.Linear(16, 3))
            inputs = lambda: torch.randint(0, 10_000_000, (64, 2))
        else:
            model = nn.Sequential(*(nn.Linear(1000, 1000) for _ in range(10)), nn.Linear(1000, 3))
            inputs = lambda: torch.randn(64, 1000)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(12):
            optimizer.zero_grad()
            functional.cross_entropy(model(inputs()), torch.randint(0, 3, (64,))).backward()
            optimizer.step()
        # Before the end: a training that nobody waits for loads pyarrow there.
        print(json.dumps(memory.peak()))
"""


def peak(folder, directory, kind, **variables):
    """MiB of resident memory that a training of twelve steps reached."""
    file = script(folder, SIZES)
    command = [sys.executable, str(file), str(directory), kind]
    environment = {**os.environ, **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=True)
    return json.loads(done.stdout)


@pytest.mark.long
@pytest.mark.parametrize(("kind", "most", "most_held"), [("rows", 250, 250), ("ten million weights", 40 + 20, 28)])
def test_memory_over_that_of_the_training(tmp_path, kind, most, most_held):
    """The table's weights are 305 MiB; ten million weights are 40 MiB, their gradients too.

    glibc raises the size from which it maps memory to that of the gradients it has seen freed; a small array that is
    then cut out of a freed gradient makes the next backward pass take a new one, once. With a fixed size (1 MiB) only
    what the recorder holds is left.
    """
    bare = peak(tmp_path, "", kind)
    added = peak(tmp_path, tmp_path / "run", kind) - bare
    assert added < most, added
    mapped = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
    held = peak(tmp_path, tmp_path / "again", kind, **mapped) - peak(tmp_path, "", kind, **mapped)
    assert held < most_held, held
    rows = load(tmp_path / "run").rows
    assert len(rows) > 0


@pytest.mark.long
def test_twenty_thousand_tensors(tmp_path):
    with recorded(tmp_path / "run"):
        parameters = nn.ParameterList([torch.full((3,), 1.0) for _ in range(20_000)])
        optimizer = torch.optim.SGD(parameters.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            torch.cat(list(parameters)).square().sum().backward()
            optimizer.step()
    run = run_of(tmp_path / "run")
    assert run.problems == ()
    assert run.training(0).matrix("gradient_norm").shape == (2, 20_000)
    assert run.training(0).matrix("gradient_norm")[0] == pytest.approx(2 * 3**0.5)
    assert (run.path / "run.json").stat().st_size < 15_000_000
