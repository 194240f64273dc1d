"""What takes the place of a function of torch, or hooks into it, calls ours through the session alone.

There a fault costs one observer. Anywhere else it would be an exception that the script gets from torch.
"""

import ast
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradaudit.record import install, patches, session
from gradaudit.record.imports import Finder
from gradaudit.record.observe import calls, naming, optimizers
from gradaudit.record.patches import losses as loss_seam
from gradaudit.record.patches import optimizer as optimizer_seam
from gradaudit.record.settings import Settings
from tests.record.training import batch, classifier, recorded, run_of

ROOM = Path(patches.__file__).parent.parent
FILES = [
    *sorted((ROOM / "patches").glob("*.py")),
    *sorted((ROOM / "frameworks").glob("*.py")),
    ROOM / "module_hooks.py",
]
# Functions that torch, Python or a framework calls without the name of what they stand for.
CALLED = {"_before", "_after", "_registered", "__call__", "on_call", "call", "graph", "noted", "wrapper"}
# What a wrapper calls outside of the session: the script's own functions and arguments ...
THEIRS = {"original", "closure", "compiled", "func", "plain", "inner", "kwargs.get", "kwargs.values"}
# ... the session, which keeps every fault ...
SESSION = {"guard", "self.guard", "session", "every_step"}
# ... and what is one look at an object or at a state of torch, or was tried by `test_a_fault...` below.
LOOKS = {
    "BaseException", "callable", "float", "getattr", "int", "isinstance", "len", "list", "type",
    "torch.compiler.is_compiling", "torch.is_grad_enabled", "torch.utils.data.get_worker_info", "tracing",
    "transformed", "inside", "inside_backward", "functional.inside", "known", "awaited", "wanted", "leave_out_of",
    "_not_ours",    "_called_by_torch", "_Running", "watched.end", "told", "contextlib.nullcontext",
}  # fmt: skip


def wrappers(tree):
    """The functions in a file that are called by the script's calls."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            wraps = any("functools.wraps" in ast.unparse(one) for one in node.decorator_list)
            if wraps or node.name in CALLED:
                yield node


def calls_of(function):
    """What a function calls by itself: not in functions inside it, nor what it defines."""
    waiting = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node.lineno
        waiting += ast.iter_child_nodes(node)


def test_wrappers_call_ours_through_the_session_alone():
    seen, outside = 0, []
    for file in FILES:
        for function in wrappers(ast.parse(file.read_text())):
            seen += 1
            for name, line in calls_of(function):
                if name.partition(".")[0] not in SESSION and name not in SESSION | THEIRS | LOOKS:
                    outside.append(f"{file.relative_to(ROOM)}:{line} {function.name} calls {name}")
    assert seen > 30
    assert not "\n".join(outside), (
        "through session.guarded, guarded_call or unlocked_call, so that a fault reaches no script"
    )


def fault(*_, **__):
    raise RuntimeError("fault of ours")


def train():
    """Four steps of one optimizer with a closure and of another one without; a part is never called."""
    model = classifier()
    both = nn.ModuleDict({"used": model, "unused": nn.Linear(2, 2)})
    x, y = batch()
    first = torch.optim.LBFGS(both.parameters(), lr=0.1, max_iter=2)
    second = torch.optim.SGD(model.parameters(), lr=0.01)

    def closure():
        first.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    losses = []
    for _ in range(4):
        losses.append(first.step(closure).item())
        second.step()
        (one,) = torch.autograd.grad(functional.cross_entropy(model(x), y), [next(model.parameters())])
        losses.append(one.sum().item())
    return losses


def train_by_hand():
    """Eight steps by torch.func.grad."""
    x, y = batch()
    weights = {name: value.detach() for name, value in classifier().named_parameters()}

    def loss_of(weights):
        hidden = functional.linear(x, weights["0.weight"], weights["0.bias"]).relu()
        return functional.cross_entropy(functional.linear(hidden, weights["3.weight"], weights["3.bias"]), y)

    for _ in range(8):
        gradients = torch.func.grad(loss_of)(weights)
        weights = {name: value - 0.1 * gradients[name] for name, value in weights.items()}
    return [value.sum().item() for value in weights.values()]


PLACES = [
    (train, optimizer_seam, "_watched", "closures of optimizers"),
    (train, optimizers, "add", "trainings by hand"),
    (train, naming, "remember", "names of tensors and modules"),
    (train, loss_seam, "arguments_of", "losses"),
    (train, loss_seam.functional, "_derived", "evaluation losses"),
    (train, loss_seam.functional, "_open", "trainings by hand"),
    (train, calls.Calls, "wanted", "calls of modules"),
    (train_by_hand, loss_seam.functional, "_watched_leaves", "trainings by hand"),
    (train_by_hand, loss_seam.functional, "_names", "trainings by hand"),
    (train_by_hand, loss_seam.functional, "_tell", "trainings by hand"),
    (train_by_hand, loss_seam.functional, "_note", "trainings by hand"),
    (train_by_hand, loss_seam.functional, "note_loss", "losses"),
]


@pytest.mark.parametrize(
    ("program", "place", "name", "observer"), PLACES, ids=lambda value: getattr(value, "__name__", value)
)
def test_a_fault_in_a_wrapper_costs_one_observer(tmp_path, capsys, monkeypatch, program, place, name, observer):
    bare = program()
    monkeypatch.setattr(calls, "compiled_already", lambda root: False)  # by another test of this process
    monkeypatch.setattr(place, name, (lambda original: fault) if name == "arguments_of" else fault)
    with recorded(tmp_path / "run"):
        assert program() == bare
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"gradaudit: {observer} are no longer recorded (RuntimeError: fault of ours); all else is"
    if program is train or observer == "losses":
        run = run_of(tmp_path / "run")
        assert [one.observer for one in run.meta.disabled] == [observer]
        assert len(run.steps) == 8


def test_hooks_that_cannot_be_registered_leave_the_steps_to_be_found_by_hand(tmp_path, capsys, monkeypatch):
    bare = train()
    monkeypatch.setattr(optimizer_seam, "_arm", fault)
    with recorded(tmp_path / "run"):
        assert train() == bare
    assert "gradaudit: optimizers are no longer recorded" in capsys.readouterr().err


def test_steps_whose_closure_cannot_be_watched_are_counted_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(optimizer_seam, "_watched", fault)
    with recorded(tmp_path / "run"):
        train()
    steps = run_of(tmp_path / "run").trainings[0].steps
    assert len(steps) == 4
    assert not steps["recorded"].any()
    assert steps["objective"].isna().all()


@pytest.mark.parametrize("place", ["unseen", "last_line", "forget_places"])
def test_a_fault_of_the_session_itself_is_one_line(tmp_path, capsys, monkeypatch, place):
    bare = train()
    monkeypatch.setattr(session, place, fault)
    install.install()
    session.start(Settings(directory=str(tmp_path / "run"), every=1))
    try:
        assert train() == bare
    finally:
        session.stop("finished")
        install.uninstall()
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_fault_in_a_pause_lets_the_capture_go_on(monkeypatch):
    monkeypatch.setattr(session.idle, "pause", fault)
    monkeypatch.setattr(session.idle, "resume", fault)
    session.pause()
    session.resume()


def test_a_fault_while_modules_are_looked_for_lets_every_import_go_on(monkeypatch):
    finder = Finder({"a_module_that_nobody_has": fault})
    monkeypatch.setattr(type(finder), "look", fault)
    assert finder.find_spec("json.tool") is None
    assert finder.watched == {}


def test_a_fault_at_the_end_of_the_process_shows_no_traceback(monkeypatch):
    monkeypatch.setattr(session, "stop", fault)
    session._at_exit()
