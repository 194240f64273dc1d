"""A close look: every operation of the steps that were asked for, and not a bit changed."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack
from torch.utils.flop_counter import FlopCounterMode

from gradaudit.record import install, internals, session
from gradaudit.record.observe import operations
from gradaudit.record.settings import Settings
from tests.record.training import record, run_of, script


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.encoder(x).mean(1))


def train(steps=8, breaks=None, within=None):
    """Losses, evaluation losses, weights and the next random number of a training with dropout and a fast path."""
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for step in range(steps):
        x, y = torch.randn(8, 5, 16), torch.randint(0, 3, (8,))
        if within is not None:
            within(step)
        logits = model(x)
        if step == breaks:
            logits = (logits - logits.max()).log()
        loss = functional.cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            losses += [loss.item(), functional.cross_entropy(model(x), y).item()]
        model.train()
    return losses, [p.detach().clone() for p in model.parameters()], torch.rand(1).item()


def looked_at(folder, stretch=(3, 5), call=train, **options):
    settings = Settings(directory=str(folder / "run"), quiet=True, closely=stretch)
    install.install(activations=settings.samples_activations)
    session.start(settings)
    try:
        result = call(**options)
        assert session.current() is not None, "the recording gave up"
    finally:
        session.stop("finished")
        install.uninstall()
    assert not [mode for mode in _get_current_dispatch_mode_stack() if isinstance(mode, operations.Trace)]
    return result, run_of(folder / "run")


def same(one, other):
    equal = all(torch.equal(a, b) for a, b in zip(one[1], other[1], strict=True))
    return one[0] == other[0] and equal and one[2] == other[2]


def test_not_a_bit_changes(tmp_path):
    bare = train()
    found, run = looked_at(tmp_path)
    assert same(bare, found)
    assert sorted(run.operations["step"].unique()) == [3, 4, 5]


def test_the_first_step_is_looked_at_from_its_forward_on(tmp_path):
    _, run = looked_at(tmp_path, (0, 0))
    names = run.operations["name"].tolist()
    assert sorted(run.operations["step"].unique()) == [0]
    assert any("linear" in name or "addmm" in name for name in names)


def test_each_operation_has_its_line_module_and_numbers(tmp_path):
    _, run = looked_at(tmp_path, breaks=4)
    mine = run.operations[run.operations["step"] == 4]
    logs = mine[mine["name"].str.startswith("aten.log.")]
    assert len(logs) == 1
    row = logs.iloc[0]
    assert row["phase"] == "forward"
    assert row["place"].startswith("test_close_look.py:")
    assert row["place"].endswith(" in train")
    assert (row["nan"], row["inf"]) == (23, 1)  # of 24 logits less than the largest, and of that one
    assert (list(row["shape"]), row["dtype"]) == ([8, 3], "float32")
    before = mine[mine["operation"] < row["operation"]]
    assert before["nan"].sum() == 0
    names = {module.id: module.name for module in run.meta.modules}
    inside = {names.get(number) for number in mine["module"]}
    assert {"head", "encoder.layers.0"} <= inside
    # A backward operation bears the number of its forward.
    assert row["node"] in set(mine[mine["phase"] == "backward"]["node"])


def test_everything_else_of_the_stretch_is_recorded(tmp_path):
    _, run = looked_at(tmp_path, (120, 122), steps=130)
    recorded = run.steps[run.steps["recorded"]]["step"]
    assert {120, 121, 122} <= set(recorded)
    assert {120, 121, 122} <= set(run.histograms["step"])


def test_the_update_is_left_out(tmp_path):
    _, run = looked_at(tmp_path)
    assert not run.operations["name"].str.contains("addcdiv").any()


class Counting(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        return func(*args, **(kwargs or {}))


class Functions(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", [Counting, Functions])
@pytest.mark.parametrize("first", [0, 2, 3])
def test_a_mode_of_the_script_sees_what_it_saw_before(tmp_path, kind, first):
    """It is opened before the stretch, and closed inside it or after it."""
    counts = []

    def call():
        mode = kind()

        def within(step):
            if step == first:
                mode.__enter__()
            if step == 4:
                mode.__exit__(None, None, None)

        result = train(within=within)
        counts.append(mode.calls)
        return result

    bare = call()
    found, run = looked_at(tmp_path, call=call)
    assert counts[0] == counts[1] > 0
    assert same(bare, found)
    assert sorted(run.operations["step"].unique()) == [3, 4, 5]
    assert not _get_current_dispatch_mode_stack()


def test_a_counter_of_flops_and_a_device_as_context(tmp_path):
    def call():
        with torch.device("cpu"), FlopCounterMode(display=False) as counter:
            result = train()
        flops.append(counter.get_total_flops())
        return result

    flops = []
    bare = call()
    found, _ = looked_at(tmp_path, call=call)
    assert flops[0] == flops[1] > 0
    assert same(bare, found)


def test_compiled_code_is_left_alone(tmp_path):
    file = script(
        tmp_path,
        """
        import torch
        from torch import nn
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1))
        compiled = torch.compile(model, backend="eager")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for step in range(6):
            optimizer.zero_grad()
            nn.functional.mse_loss(compiled(torch.ones(8, 4)), torch.ones(8, 1)).backward()
            optimizer.step()
        print(torch._dynamo.utils.counters["graph_break"], torch._dynamo.utils.counters["stats"]["unique_graphs"])
        """,
    )
    done = record(tmp_path, "-o", "run", "--closely", "2:4", str(file))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Counter() 1\n"
    run = run_of(tmp_path / "run")
    assert not len(run.operations)
    assert len(run.events[run.events["kind"] == "operations"]) == 1


def test_a_closure_is_looked_into(tmp_path):
    def call():
        torch.manual_seed(0)
        model = nn.Linear(4, 1)
        optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2)
        x = torch.randn(8, 4)

        def closure():
            optimizer.zero_grad()
            loss = functional.mse_loss(model(x), torch.ones(8, 1))
            loss.backward()
            return loss

        for _ in range(6):
            optimizer.step(closure)

    _, run = looked_at(tmp_path, call=call)
    assert run.operations["name"].str.contains("mse_loss").any()


def test_a_fault_ends_the_look_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(operations, "_numbers", lambda output: 1 / 0)
    bare = train()
    found, run = looked_at(tmp_path)
    assert same(bare, found)
    assert len(run.steps) == 8
    assert [fault.observer for fault in run.meta.disabled] == ["operations"]


@pytest.mark.parametrize(
    "missing", ["_pop_mode", "_push_mode", "_get_dispatch_stack_at", "_get_sequence_nr", "_current_autograd_node"]
)
def test_a_torch_without_its_internals(tmp_path, monkeypatch, missing):
    monkeypatch.setattr(internals, "hidden", {missing})
    bare = train()
    found, run = looked_at(tmp_path)
    assert same(bare, found)
    assert len(run.steps) == 8


def test_what_is_kept_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(operations, "MOST", 50)
    _, run = looked_at(tmp_path)
    assert 50 <= len(run.operations) <= 60
    assert run.events["message"].str.contains("more operations than are kept").any()


def test_without_host_no_file_is_named(tmp_path):
    file = script(
        tmp_path,
        """
        import torch
        model = torch.nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for step in range(4):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(model(torch.ones(8, 4)), torch.ones(8, 1)).backward()
            optimizer.step()
        """,
    )
    done = record(tmp_path, "-o", "run", "--no-host", "--closely", "1:2", str(file))
    assert done.returncode == 0, done.stderr
    places = set(run_of(tmp_path / "run").operations["place"])
    assert places
    assert all(place.startswith("line ") for place in places), places


@pytest.mark.parametrize("stretch", ["5", "5:", ":5", "9:3", "a:b", "-1:3"])
def test_a_stretch_that_is_none(tmp_path, stretch):
    done = record(tmp_path, f"--closely={stretch}", "train.py")
    assert done.returncode == 2
    assert "is not a first and a last step, such as 90:110" in done.stderr
