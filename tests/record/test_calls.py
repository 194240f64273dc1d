"""Which modules a training calls, where parameters have no gradient: seen for a few steps, and no trace is left."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradaudit.audit.runner import analyze
from gradaudit.diagnosers.dead_embedding import dead_embedding
from gradaudit.diagnosers.frozen_parameter import frozen_parameter
from gradaudit.findings import Severity
from gradaudit.record.observe import calls
from tests.diagnosers.verbs import assert_clean, assert_finds
from tests.record.training import batch, recorded, run_of

GLOBAL = nn.modules.module._global_forward_pre_hooks


@pytest.fixture(autouse=True)
def _fresh_compiler(monkeypatch):
    """Models compiled by other tests are not this test's."""
    monkeypatch.setattr(torch._dynamo.convert_frame, "FRAME_COUNTER", 0)


class Net(nn.Module):
    """Four parts in another order than they are used: head, then body, a part that is never called, and the stem."""

    def __init__(self, way="unused"):
        super().__init__()
        self.way = way
        self.unused, self.head, self.body, self.stem = (nn.Linear(10, n) for n in (10, 3, 10, 10))
        self.pooler = nn.Linear(10, 10)
        self.scale = nn.Parameter(torch.ones(10))

    def forward(self, x):
        if self.way == "no_grad":
            with torch.no_grad():
                x = torch.relu(self.stem(x))
        else:
            x = torch.relu(self.stem(x))
        x = torch.relu(self.body(x.detach() if self.way == "detached" else x))
        self.pooler(x)
        return self.head(x)


def train(model, steps=30, look=None, parameters=None):
    torch.manual_seed(1)
    x, y = batch(16)
    optimizer = torch.optim.Adam(model.parameters() if parameters is None else parameters, lr=0.01)
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if look is not None:
            look(step)
    return losses


def facts_of(run):
    return {module.name: (module.watched, module.first_call, module.without_gradient) for module in run.meta.modules}


def test_calls_are_seen_in_order_of_use(tmp_path):
    hooks = []
    torch.manual_seed(0)
    model = Net()
    bare = train(copy.deepcopy(model))
    with recorded(tmp_path / "run"):
        assert train(model, look=lambda step: hooks.append(len(GLOBAL))) == bare
    assert hooks == [1] * calls.STEPS + [0] * (30 - calls.STEPS)
    assert facts_of(run_of(tmp_path / "run")) == {
        "": (20, 0, False),
        "unused": (20, -1, False),
        "head": (20, 4, False),
        "body": (20, 2, False),
        "stem": (20, 1, False),
        "pooler": (20, 3, False),
    }


def test_what_is_not_used_is_a_note_each_kind_for_itself(tmp_path):
    with recorded(tmp_path / "run"):
        torch.manual_seed(0)
        train(Net())
    run = run_of(tmp_path / "run")
    assert_finds(frozen_parameter, run, Severity.NOTE, count=3)
    findings = next(outcome for outcome in analyze(run).outcomes if outcome.diagnoser == "frozen_parameter").findings
    told = {finding.tensors[0]: finding.explanation.partition("elements. ")[2] for finding in findings}
    assert told == {
        "scale": "The module is called and trains without them.",
        "unused.weight": "No step calls model.unused: the loss cannot depend on them, and the rest trains without "
        "them.",
        "pooler.weight": "model.pooler is called, and the loss does not depend on its result.",
    }


@pytest.mark.parametrize(("way", "severity"), [("detached", Severity.CRITICAL), ("no_grad", Severity.WARNING)])
def test_what_is_called_first_and_cut_off(tmp_path, way, severity):
    with recorded(tmp_path / "run"):
        torch.manual_seed(0)
        model = Net(way)
        train(model, parameters=[*model.stem.parameters(), *model.body.parameters(), *model.head.parameters()])
    finding = assert_finds(frozen_parameter, run_of(tmp_path / "run"), severity, count=2)
    assert finding.tensors == ["stem.weight", "stem.bias"]


def test_a_model_whose_gradients_are_all_there_gets_no_hook(tmp_path):
    hooks = []
    with recorded(tmp_path / "run"):
        train(nn.Linear(10, 3), look=lambda step: hooks.append(len(GLOBAL)))
    assert set(hooks) == {0}
    assert facts_of(run_of(tmp_path / "run")) == {"": (0, -1, False)}


def test_a_run_that_is_shorter_than_the_look_keeps_what_was_seen(tmp_path):
    with recorded(tmp_path / "run"):
        train(Net(), steps=6)
    assert facts_of(run_of(tmp_path / "run"))["unused"] == (5, -1, False)
    assert not GLOBAL


class Attention(nn.Module):
    """Attention whose result is detached: its output projection is used without being called."""

    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(10, 8), nn.Embedding(5, 8)
        self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        x = self.tokens(x)
        return self.head(self.attention(x, x, x)[0].detach().mean(1))


def test_parts_that_are_used_without_a_call_go_with_what_holds_them(tmp_path):
    with recorded(tmp_path / "run"):
        torch.manual_seed(0)
        model, x, y = Attention(), torch.randint(10, (16, 5)), torch.randint(3, (16,))
        optimizer = torch.optim.Adam(model.parameters())
        for _ in range(30):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    run = run_of(tmp_path / "run")
    finding = assert_finds(frozen_parameter, run, Severity.CRITICAL)
    assert sorted(name.partition(".")[2] for name in finding.tensors) == [
        "in_proj_bias", "in_proj_weight", "out_proj.bias", "out_proj.weight",
    ]  # fmt: skip
    tables = next(outcome for outcome in analyze(run).outcomes if outcome.diagnoser == "dead_embedding").findings
    assert [(table.tensors[0], table.severity) for table in tables] == [
        ("tokens.weight", Severity.CRITICAL),
        ("positions.weight", Severity.NOTE),
    ]
    assert_finds(dead_embedding, run, count=2)


def test_an_evaluation_is_no_call_of_the_training(tmp_path):
    with recorded(tmp_path / "run"):
        model = Net()
        x, _ = batch(4)

        def evaluate(step):
            model.eval()
            with torch.no_grad():
                model.unused(x)
            model.train()

        train(model, look=evaluate)
    assert facts_of(run_of(tmp_path / "run"))["unused"] == (20, -1, False)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("way", ["compiled", "scripted", "parallel"])
def test_models_whose_calls_cannot_be_seen_are_left_alone(tmp_path, way):
    hooks = []
    with recorded(tmp_path / "run"):
        model = nn.Sequential(nn.Linear(10, 3))
        model.spare = None
        held = nn.ModuleDict({"model": model, "spare": nn.Linear(2, 2)})
        call = {
            "compiled": lambda: torch.compile(model, backend="eager"),
            "scripted": lambda: torch.jit.script(model),
            "parallel": lambda: nn.DataParallel(model),
        }[way]()
        held["model"] = call
        optimizer = torch.optim.SGD(held.parameters(), lr=0.1)
        x, y = batch(16)
        for _ in range(3):
            optimizer.zero_grad()
            functional.cross_entropy(call(x), y).backward()
            optimizer.step()
            hooks.append(len(GLOBAL))
    assert set(hooks) == {0}
    torch._dynamo.reset()


def test_a_model_can_be_copied_and_saved_whole_meanwhile(tmp_path):
    with recorded(tmp_path / "run"):
        model = Net()
        train(model, steps=3)
        assert len(GLOBAL) == 1
        assert b"gradaudit" not in pickle.dumps(model)
        assert torch.equal(copy.deepcopy(model)(batch(2)[0]), model(batch(2)[0]))
    assert not GLOBAL


class Agent(nn.Module):
    """A net and its target network; the optimizer gets the first, or both."""

    def __init__(self):
        super().__init__()
        self.q_net = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 3))
        self.q_net_target = copy.deepcopy(self.q_net)

    def forward(self, x):
        return self.q_net(x)


@pytest.mark.parametrize("given", ["q_net", "both", "frozen"])
@pytest.mark.parametrize("every", [10, 1000])
def test_a_target_network_is_never_advised_about(tmp_path, given, every):
    with recorded(tmp_path / "run"):
        torch.manual_seed(0)
        agent = Agent()
        if given == "frozen":
            agent.q_net_target.requires_grad_(False)
        parameters = agent.parameters() if given == "both" else agent.q_net.parameters()
        optimizer = torch.optim.Adam(parameters, lr=1e-3)
        generator = torch.Generator().manual_seed(2)
        for step in range(40):
            x = torch.randn(16, 10, generator=generator)
            with torch.no_grad():
                y = x[:, :3].sum(1) + 0.9 * agent.q_net_target(x).max(1).values
            optimizer.zero_grad()
            functional.mse_loss(agent(x)[:, 0], y).backward()
            optimizer.step()
            if step % every == every - 1:
                agent.q_net_target.load_state_dict(agent.q_net.state_dict())
    assert_clean(frozen_parameter, run_of(tmp_path / "run"))
