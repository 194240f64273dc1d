"""Whatever breaks in the recorder, the training goes on: same result, one line, and what was written loads."""

import errno
import inspect
import re
import shutil
import threading
import time
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradaudit.reading.run import load
from gradaudit.record import hook_observers, hooks, install, load_hooks, recording, schedule_hooks, session
from gradaudit.record.by_hand import hands
from gradaudit.record.measure import checksums, histograms, rows, samples
from gradaudit.record.observe import (
    activations,
    batch_norm,
    batches,
    between,
    calls,
    clips,
    evaluating,
    graph,
    model_state,
    outputs,
    parameter_set,
    schedules,
    tensors,
)
from gradaudit.record.observe.evaluation import evaluations
from gradaudit.record.observe.loss import labels, losses, undecided
from gradaudit.record.settings import Settings
from gradaudit.record.storage import disk, files, step_row, steps, waiting, writer
from tests.record.training import batch, classifier, recorded
from tests.thin import thin

# Places where a fault costs one observer: the observer that is named, and whether it needs ranks.
OBSERVED = [
    (between.StepObserver, "on_loss", "losses"),
    (losses.LossRegistry, "observe", "losses"),
    (steps, "_mean_loss", "losses"),
    (between, "behind", "losses"),
    (losses, "count_on_host", "label counts"),
    (losses.LossRegistry, "facts", "label counts"),
    (between.StepObserver, "add_roots", "objectives"),
    (graph, "terms_of", graph.GRAPH),
    (graph.Constants, "on_loss", graph.GRAPH),
    (graph.Constants, "on_root", graph.GRAPH),
    (graph.Constants, "facts", graph.GRAPH),
    (graph.Embeddings, "look", graph.GRAPH),
    (graph.Embeddings, "facts", graph.GRAPH),
    (graph.Graph, "stepped", graph.GRAPH),
    (graph.Graph, "told", graph.GRAPH),
    (graph.Graph, "facts", graph.GRAPH),
    (batches.Batches, "look", batches.BATCHES),
    (batches.Batches, "on_backward", batches.BATCHES),
    (batches.Batches, "facts", batches.BATCHES),
    (outputs.Outputs, "look", outputs.OUTPUTS),
    (outputs.Outputs, "facts", outputs.OUTPUTS),
    (model_state.ModelState, "on_step", model_state.MODEL_STATE),
    (model_state.ModelState, "on_evaluation", model_state.MODEL_STATE),
    (model_state.loads.Loads, "on_load", model_state.MODEL_STATE),
    (model_state.ModelState, "facts", model_state.MODEL_STATE),
    (model_state.ModelState, "end", model_state.MODEL_STATE),
    (schedules.Schedules, "before_step", schedules.SCHEDULES),
    (schedules.Schedules, "after_step", schedules.SCHEDULES),
    (schedules.Schedules, "facts", schedules.SCHEDULES),
    (between.StepObserver, "_decide", "evaluation losses"),
    (undecided.Undecided, "training", "evaluation losses"),
    (evaluating, "mode_here", "modes of evaluations"),
    (losses, "sides", "losses"),
    (labels, "observe_on_host", "label counts"),
    (labels, "facts_of", "label counts"),
    (steps, "_objective", "objectives"),
    (between, "look_for_stale", "stale gradients"),
    (between, "look_for_cleared", "cleared gradients"),
    (between.StepObserver, "finish_evaluation", "evaluation losses"),
    (evaluations.Evaluations, "add", "evaluation losses"),
    (evaluations, "current_part", "evaluation losses"),
    (between.StepObserver, "on_scale", "AMP scales"),
    (step_row, "_scaling", "AMP scales"),
    (batch_norm, "note", "BatchNorm batch sizes"),
    (clips.Clips, "on_clip", "gradient clipping"),
    (clips.Clips, "take", "gradient clipping"),
    (recording.Recording, "on_value_clip", "gradient clipping"),
    (recording.Recording, "on_scaler_step", "skipped steps"),
    (recording.Recording, "hooked_steps", "skipped steps"),
    (step_row, "_settings", "settings of parameter groups"),
    (between.StepObserver, "log", "logged losses"),
    (between.StepObserver, "on_loader", "batches per epoch"),
    (losses, "of_loss", "loss inputs"),
    (samples.Sample, "row", "loss inputs"),
    (checksums, "checksum", "weight checksums"),
    (histograms, "of_step", "histograms"),
    (histograms.Sampled, "rows", "histograms"),
    (activations.Activations, "attach", "activations"),
    (activations.Activations, "on_input", "activations"),
    (activations.Activations, "on_output", "activations"),
    (activations.Activations, "on_compiling", "activations"),
    (activations.Activations, "on_scripting", "activations"),
    (activations.Activations, "take", "activations"),
    (calls.Calls, "look", "calls of modules"),
    (calls.Calls, "on_call", "calls of modules"),
    (calls.Calls, "stepped", "calls of modules"),
    (calls.Calls, "end", "calls of modules"),
    (calls.Calls, "facts", "calls of modules"),
    (parameter_set, "measure", "gradient statistics"),
    (steps, "_tensor_columns", "gradient statistics"),
    (tensors, "find_roots", "names of tensors and modules"),
    (tensors.TensorTable, "facts_now", "changes of requires_grad"),
    (rows, "RowCounter", "embedding rows and outputs"),
    (rows, "OutputCounter", "embedding rows and outputs"),
    (rows.Snapshot, "row", "embedding rows and outputs"),
    (tensors.ParameterSet, "sample_before_step", "weight and update statistics"),
    (tensors.ParameterSet, "sample_after_step", "weight and update statistics"),
    (hands.Hands, "before", "trainings by hand"),
    (hands.Hands, "on_clip", "trainings by hand"),
    (hands.Hands, "on_step", "trainings by hand"),
    (hands.Hands, "settle", "trainings by hand"),
    (hands.Hands, "end", "trainings by hand"),
]
# Places where a fault ends the recording: what knows the steps, and what writes them.
CORE = [
    (between.StepObserver, "on_backward"),
    (between.StepObserver, "take"),
    (recording.Recording, "before_step"),
    (recording.Recording, "after_step"),
    (recording.Recording, "after_closure"),
    (recording.Recording, "flush"),
    (waiting.Waiting, "add"),
    (tensors.TensorTable, "parameter_set"),
    (files.Files, "__init__"),
    (files.Files, "facts"),
    (files.Files, "close"),
    (steps.WriteBatch, "__call__"),
    (writer._Segment, "append"),
    (disk, "create"),
]


def train(steps_=40):
    """A training that passes every hook: losses, clipping, AMP, a closure, a DataLoader, an embedding, evaluation."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))
    table, unused = nn.Embedding(5, 10), nn.Linear(2, 2)
    model.load_state_dict(model.state_dict())
    parameters = [*model.parameters(), *table.parameters(), *unused.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    second = torch.optim.LBFGS(nn.Linear(10, 3).parameters(), lr=0.1, max_iter=2)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    x, y = batch(16)
    seen = []
    for index, (i,) in enumerate(torch.utils.data.DataLoader(torch.arange(steps_)[:, None], 1, shuffle=True)):
        optimizer.zero_grad()
        output = model(x + table(i % 5))
        loss = functional.cross_entropy(output, y) + 0.1 * functional.mse_loss(output[:, 0], x[:, 0])
        scaler.scale(loss).backward()
        if index == 5:
            next(model.parameters()).grad[0, 0] = float("inf")
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        torch.nn.utils.clip_grad_value_(table.parameters(), 0.01)
        scaler.step(optimizer)
        scaler.update()
        with torch.no_grad():
            seen.append((loss.item(), functional.cross_entropy(model(x), y).item()))
            session.guarded(hooks.on_logged_loss, 0.5, "test", 1)  # as Recorder.log does
        if index < 2:
            second.step(lambda: model(x).sum() * 0)
    # Neither is compiled before it is called.
    torch.compile(model, backend="eager")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, which warns of its own function in one way or another
        torch.jit.script(nn.Identity())
    return seen, [parameter.detach().clone() for parameter in model.parameters()], torch.rand(1).item()


@pytest.fixture(scope="module")
def bare():
    return train()


def same(one, other):
    return one[0] == other[0] and one[2] == other[2] and all(map(torch.equal, one[1], other[1]))


def train_recorded(directory, activations=True):
    install.install(activations=activations)
    session.start(Settings(directory=str(directory), every=1, activations=activations))
    try:
        result = train()
    finally:
        session.stop("finished")
        install.uninstall()
    return result


def test_every_hook_is_called_and_in_the_tables():
    called = set()
    room = files.Path(recording.__file__).parent
    callers = (
        room / "recorder.py",
        room / "module_hooks.py",
        room / "every_step.py",
        *room.glob("patches/*.py"),
        *room.glob("frameworks/*.py"),
    )
    for file in callers:
        called |= set(re.findall(r"guard(?:ed)?\((\w*hooks\.\w+)", file.read_text()))
    known = {
        f"{module.__name__.rpartition('.')[2]}.{name}": hook
        for module in (hooks, load_hooks, schedule_hooks)
        for name, hook in vars(module).items()
        if inspect.isfunction(hook) and hook.__module__ == module.__name__
    }
    assert called == set(known)
    # Others' tests: test_compiled_losses.py, test_by_hand.py, test_cleared.py and test_undecided.py have them.
    observed = {name for _, name, _ in OBSERVED} | {"on_graph", "after", "after_backward", "on_derivative"}
    observed |= {"on_active", "on_copy_call"}  # test_model_state.py
    observed |= {"begin", "note_ids", "note_attention"}  # test_batches.py
    observed |= {"making", "made", "on_scheduler_step", "on_unscale", "on_update"}  # test_schedules.py
    core = {name for _, name in CORE} | {"without_closure"}  # test_wrappers.py has it
    for name in called:
        hook = known[name]
        behind = set(hook.__code__.co_names)  # the methods that it calls
        assert behind & (observed if hook in hook_observers.OBSERVERS else core), name


@pytest.mark.parametrize("activations", [False, True])
def test_recording_does_not_change_the_training(tmp_path, bare, capsys, activations):
    assert same(train_recorded(tmp_path / "run", activations), bare)
    assert capsys.readouterr().err.count("gradaudit: recorded") == 1


def fault(*args, **kwargs):
    raise RuntimeError("fault\nof ours")


def _named(value):
    return getattr(value, "__name__", value)


@pytest.mark.parametrize(("place", "name", "observer"), thin(5, OBSERVED), ids=_named)
def test_a_fault_costs_one_observer(tmp_path, bare, capsys, monkeypatch, place, name, observer):
    monkeypatch.setenv("WORLD_SIZE", "2")  # checksums of weights are for copies on several ranks
    monkeypatch.setattr(place, name, fault)
    made = 42 - (observer == "skipped steps")  # one of them overflows
    assert same(train_recorded(tmp_path / "run"), bare)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2, lines
    assert lines[0].startswith(f"gradaudit: {observer} are no longer recorded (")
    assert lines[1].startswith(f"gradaudit: recorded {made} steps of 11 tensors")
    run = load(tmp_path / "run")
    # What a script logs may be an evaluation loss.
    assert {one.observer for one in run.meta.disabled} - {"logged losses"} <= {observer}
    assert "RuntimeError: fault" in run.meta.disabled[0].reason
    assert any(observer in problem.message for problem in run.problems), run.problems
    assert len(run.steps) == made
    assert run.has("steps.objective") or observer == "objectives"
    assert run.has("steps.mean_loss") or observer == "losses"
    assert run.has("tensors.gradient_norm") or observer == "gradient statistics"
    assert run.has("tensors.update_norm") or observer in ("weight and update statistics", "gradient statistics")
    assert run.has("histograms") or observer in ("histograms", "gradient statistics")


@pytest.mark.parametrize(
    ("place", "observer"),
    [(graph.Graph, graph.GRAPH), (batches.Batches, batches.BATCHES), (outputs.Outputs, outputs.OUTPUTS),
     (model_state.ModelState, model_state.MODEL_STATE), (schedules.Schedules, schedules.SCHEDULES)],
    ids=_named,
)  # fmt: skip
def test_a_first_fault_while_the_run_is_closed_is_not_waited_for(tmp_path, capsys, monkeypatch, place, observer):
    """The writer's thread tells it while the training's thread holds the recording's lock and waits for its end."""
    original = place.facts

    def facts(self):
        if session.current() is None:
            fault()
        return original(self)

    monkeypatch.setattr(place, "facts", facts)
    monkeypatch.setattr(writer, "CLOSE_SECONDS", 60.0)
    started = time.monotonic()
    with recorded(tmp_path / "run"):
        model = classifier()
        x, y = batch()
        functional.cross_entropy(model(x), y).backward()
        torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert time.monotonic() - started < 50
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"gradaudit: {observer} are no longer recorded (")
    run = load(tmp_path / "run")
    assert [one.observer for one in run.meta.disabled] == [observer]
    assert run.meta.state == "finished"


@pytest.mark.parametrize(("place", "name"), thin(2, CORE), ids=_named)
def test_a_fault_of_the_core_ends_the_recording_with_one_line(tmp_path, bare, capsys, monkeypatch, place, name):
    monkeypatch.setattr(place, name, fault)
    assert same(train_recorded(tmp_path / "run"), bare)
    assert session.current() is None
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("gradaudit: ")
    assert "stopped" in lines[0] or "lost" in lines[0]


def test_a_full_disk_ends_the_recording_and_keeps_what_was_written(tmp_path, bare, capsys, monkeypatch):
    original = writer._Segment.append
    done = []

    def append(self, columns):
        done.append(1)
        if len(done) > 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(self, columns)

    monkeypatch.setattr(writer._Segment, "append", append)
    assert same(train_recorded(tmp_path / "run"), bare)
    assert "No space left on device" in capsys.readouterr().err
    assert len(load(tmp_path / "run").steps) > 0


def test_a_folder_deleted_in_mid_run(tmp_path, bare, capsys, monkeypatch):
    original = recording.Recording.after_step

    def after_step(self, optimizer):
        if self.global_step == 20:
            shutil.rmtree(tmp_path / "run", ignore_errors=True)
        original(self, optimizer)

    monkeypatch.setattr(recording.Recording, "after_step", after_step)
    assert same(train_recorded(tmp_path / "run"), bare)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_folder_that_cannot_be_made(tmp_path, bare, capsys):
    (tmp_path / "file").write_text("")
    assert same(train_recorded(tmp_path / "file" / "run"), bare)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_slow_disk_drops_statistics_and_counts_them(tmp_path, bare, monkeypatch):
    gate = threading.Event()
    original = writer._Segment.append

    def append(self, columns):
        gate.wait(10)
        original(self, columns)

    monkeypatch.setattr(writer._Segment, "append", append)
    monkeypatch.setattr(waiting, "HAND_OVER_STEPS", 1)
    original_stop = recording.Recording.close

    def close(self, *arguments, **options):
        gate.set()
        return original_stop(self, *arguments, **options)

    monkeypatch.setattr(recording.Recording, "close", close)
    assert same(train_recorded(tmp_path / "run"), bare)
    run = load(tmp_path / "run")
    assert "dropped" in run.events["kind"].tolist()
    assert len(run.steps) == 42, "losses are kept when statistics are dropped"
    assert 0 < run.steps["recorded"].sum() < 42


def test_a_slow_disk_is_never_waited_for(tmp_path, monkeypatch):
    gate = threading.Event()
    original = writer._Segment.append

    def append(self, columns):
        gate.wait(60)
        original(self, columns)

    monkeypatch.setattr(writer._Segment, "append", append)
    monkeypatch.setattr(waiting, "HAND_OVER_STEPS", 1)
    monkeypatch.setattr(waiting, "MOST_WAITING", 300)
    waited = []
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = batch()
        try:
            for _ in range(500):
                optimizer.zero_grad()
                functional.cross_entropy(model(x), y).backward()
                optimizer.step()
                started = time.perf_counter()
                session.current().flush()
                waited.append(time.perf_counter() - started)
            assert len(session.current().waiting.steps) == 300
            assert len(session.current().waiting.events) <= 256
        finally:
            gate.set()
    # The most of a step's time that recording may take, with 300 steps waiting; a busy machine may interrupt a few.
    assert sorted(waited)[-50] < 0.001
    assert load(tmp_path / "run").problems == ()
