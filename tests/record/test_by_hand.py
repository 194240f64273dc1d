"""Trainings without a step of torch.optim: the numbers recorded are those that the script itself knows."""

import errno
import gc
import math
import textwrap
import types

import numpy
import pytest

from gradaudit.audit.runner import analyze
from gradaudit.reading.run import load
from gradaudit.record.by_hand import hands, opened, watch
from gradaudit.record.observe import between, naming
from gradaudit.record.storage import files, writer
from gradaudit.schema import BY_HAND
from tests.record.training import python, record, recorded, script

HEAD = """
    import torch
    from torch import nn
    from torch.func import functional_call, grad, grad_and_value
    from torch.nn import functional as F

    torch.manual_seed(0)
    known, weights = [], []
    x = torch.randn(64, 5)
    y = torch.randint(0, 3, (64,))
    net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    target = x.sum(1, keepdim=True)
"""


def execute(folder, text):
    """Run a script in this process; its file is where the names of evaluations are found."""
    file, module = script(folder, textwrap.dedent(HEAD) + textwrap.dedent(text)), types.ModuleType("script")
    exec(compile(file.read_text(), str(file), "exec"), module.__dict__)
    return module


def trained(tmp_path, text, every=1):
    """Run the script without and with recording, to the same numbers; the run and what the script knows."""
    plain = execute(tmp_path, text)
    gc.collect()
    with recorded(tmp_path / "run", every=every):
        watched = execute(tmp_path, text)
        assert watched.known == plain.known, "recording changed the losses"
        final = [list(one.weights or one.net.parameters()) for one in (plain, watched)]
        assert all((a == b).all() for a, b in zip(*final, strict=True)), "recording changed the weights"
    return load(tmp_path / "run"), watched


@pytest.mark.parametrize("when", ["at first", "later"])
def test_a_full_disk_ends_the_recording_and_is_no_fault_of_this_observer(tmp_path, capsys, monkeypatch, when):
    original, written = writer._Segment.append, []

    def append(self, columns):
        written.append(1)
        if len(written) > 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(self, columns)

    def claim(directory, rank):
        raise OSError(errno.ENOSPC, "No space left on device")

    if when == "later":
        monkeypatch.setattr(writer._Segment, "append", append)
    else:
        monkeypatch.setattr(files, "_claim", claim)
    text = """
        for step in range(400):
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            with torch.no_grad():
                for p in net.parameters():
                    p -= 0.1 * p.grad
                    p.grad = None
            known.append(float(loss.detach()))
    """
    plain = execute(tmp_path, text)
    with pytest.raises(AssertionError, match="the recording gave up"), recorded(tmp_path / "run"):
        assert execute(tmp_path, text).known == plain.known
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    assert "recording stopped" in said
    assert "OSError: [Errno 28] No space left on device" in said
    assert "trainings by hand" not in said
    if when == "later":
        assert len(load(tmp_path / "run").steps) > 0


def rates(run, optimizer=0):
    return [float(value) for row in run.training(optimizer).steps["learning_rate"] for value in row]


def stepped(run, optimizer=0):
    steps = run.training(optimizer).steps
    assert steps["step"].tolist() == list(range(len(steps)))
    return steps


UPDATES = {
    "through data": "for p in net.parameters(): p.data.add_(p.grad, alpha=-0.05)",
    "without gradients": "with torch.no_grad():\n            for p in net.parameters(): p -= 0.05 * p.grad",
    "data assigned": "for p in net.parameters(): p.data = p.data - 0.05 * p.grad",
    "foreach": "with torch.no_grad():\n"
    "            torch._foreach_add_(list(net.parameters()), [p.grad for p in net.parameters()], alpha=-0.05)",
    "modules made anew": "for layer in (net[0], net[2]):\n"
    "            layer.weight = nn.Parameter(layer.weight - 0.05 * layer.weight.grad)\n"
    "            layer.bias = nn.Parameter(layer.bias - 0.05 * layer.bias.grad)",
}


@pytest.mark.parametrize("update", UPDATES.values(), ids=UPDATES)
def test_parameters_changed_after_a_backward(tmp_path, update):
    text = f"""
    for step in range(20):
        net.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        {update}
        known.append(loss.item())
    """
    run, watched = trained(tmp_path, text)
    steps = stepped(run)
    assert steps["mean_loss"].tolist() == pytest.approx(watched.known, rel=1e-6)
    assert steps["objective"].tolist() == pytest.approx(watched.known, rel=1e-6)
    assert rates(run) == pytest.approx([0.05] * 20, rel=1e-5)
    assert [tensor.name for tensor in run.meta.tensors] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert {tensor.optimizer for tensor in run.meta.tensors} == {0}, "a tensor is in no optimizer"
    assert [facts.optimizer_class for facts in run.meta.optimizers] == [BY_HAND]
    # What was made anew after the last backward was seen by none.
    assert steps["recorded"].tolist()[:-1] == [True] * 19
    assert steps["stale"].tolist()[1:] == [0] * 19
    assert steps["training"].tolist() == [1] * 20
    updates, gradients = run.training(0).matrix("update_norm"), run.training(0).matrix("gradient_norm")
    assert updates[:-1] == pytest.approx(0.05 * gradients[:-1], rel=1e-3)


def test_a_language_model_by_hand(tmp_path):
    """A rate that is divided when the validation loss does not fall, and gradients that are clipped."""
    text = """
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.rnn, self.decoder = nn.Embedding(20, 8), nn.LSTM(8, 8), nn.Linear(8, 20)

        def forward(self, tokens, hidden):
            output, hidden = self.rnn(self.encoder(tokens), hidden)
            return self.decoder(output).view(-1, 20), hidden

    net, criterion, rate, tokens = Model(), nn.CrossEntropyLoss(), 20.0, torch.randint(0, 20, (41, 4))
    for epoch in range(3):
        net.train()
        hidden = (torch.zeros(1, 4, 8), torch.zeros(1, 4, 8))
        for at in range(0, 40, 5):
            net.zero_grad()
            hidden = tuple(part.detach() for part in hidden)
            output, hidden = net(tokens[at : at + 5], hidden)
            loss = criterion(output, tokens[at + 1 : at + 6].view(-1))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 0.25)
            for p in net.parameters():
                p.data.add_(p.grad, alpha=-rate)
            known.append(loss.item())
        net.eval()
        with torch.no_grad():
            validation_loss = criterion(net(tokens[:5], (torch.zeros(1, 4, 8),) * 2)[0], tokens[1:6].view(-1))
        weights.append(validation_loss)
        rate /= 4.0
    """
    run, watched = trained(tmp_path, text)
    steps = stepped(run)
    assert steps["mean_loss"].tolist() == pytest.approx(watched.known, rel=1e-6)
    assert rates(run) == pytest.approx([20.0] * 8 + [5.0] * 8 + [1.25] * 8, rel=1e-5)
    assert steps["clip_threshold"].tolist() == pytest.approx([0.25] * 24)
    clipped = numpy.sqrt((run.training(0).matrix("gradient_norm") ** 2).sum(axis=1))
    assert clipped.max() <= 0.2501, "gradients before clipping are given as those that the step used"
    assert run.evaluations["after_step"].tolist() == [7, 15, 23]
    assert run.evaluations["split"].tolist() == ["validation"] * 3
    assert run.evaluations["mean_loss"].tolist() == pytest.approx([loss.item() for loss in watched.weights], rel=1e-6)
    assert run.evaluations["training"].tolist() == [0] * 3


def test_tensors_without_a_module(tmp_path):
    text = """
    del net
    w, b = torch.zeros(5, requires_grad=True), torch.zeros(1, requires_grad=True)

    def sgd(params, lr, batch_size):
        with torch.no_grad():
            for param in params:
                param -= lr * param.grad / batch_size
                param.grad.zero_()

    for at in range(0, 60, 10):
        loss = ((x[at : at + 10] @ w + b - target[at : at + 10, 0]) ** 2 / 2).sum()
        loss.backward()
        sgd([w, b], 0.3, 10)
        known.append(loss.item())
    weights = [w, b]
    """
    run, watched = trained(tmp_path, text)
    assert stepped(run)["objective"].tolist() == pytest.approx(watched.known, rel=1e-6)
    assert rates(run) == pytest.approx([0.03] * 6, rel=1e-5)
    assert sorted(tensor.name for tensor in run.meta.tensors) == ["b", "w"]


def test_a_list_of_tensors(tmp_path):
    text = """
    del net
    params = [torch.randn(5, 3).requires_grad_(), torch.zeros(3, requires_grad=True)]
    for step in range(12):
        loss = F.cross_entropy(x @ params[0] + params[1], y)
        for p in params: p.grad = None
        loss.backward()
        for p in params: p.data += -(0.1 if step < 6 else 0.01) * p.grad
        known.append(loss.item())
    weights = params
    """
    run, watched = trained(tmp_path, text)
    assert stepped(run)["mean_loss"].tolist() == pytest.approx(watched.known, rel=1e-6)
    assert rates(run) == pytest.approx([0.1] * 6 + [0.01] * 6, rel=1e-5)
    assert sorted(tensor.name for tensor in run.meta.tensors) == ["params[0]", "params[1]"]


FUNCTIONAL = {
    "autograd": """
    params = dict(net.named_parameters())
    for step in range(20):
        loss = F.mse_loss(functional_call(net, params, x)[:, :1], target)
        gradients = torch.autograd.grad(loss, params.values())
        params = {key: (p - 0.05 * g).detach().requires_grad_() for (key, p), g in zip(params.items(), gradients)}
        known.append(loss.item())
    weights = list(params.values())
    """,
    "grad_and_value": """
    params = {key: value.detach().clone() for key, value in net.named_parameters()}
    def loss_of(params, x, target):
        return F.mse_loss(functional_call(net, params, x)[:, :1], target)
    for step in range(20):
        gradients, loss = grad_and_value(loss_of)(params, x, target)
        params = {key: p - 0.05 * gradients[key] for key, p in params.items()}
        known.append(loss.item())
    weights = list(params.values())
    """,
    "grad": """
    params = {key: value.detach().clone() for key, value in net.named_parameters()}
    def loss_of(params, x, target):
        return F.mse_loss(functional_call(net, params, x)[:, :1], target)
    for step in range(20):
        known.append(loss_of(params, x, target).item())
        gradients = grad(loss_of)(params, x, target)
        for key in params:
            params[key] -= 0.05 * gradients[key]
    weights = list(params.values())
    """,
    "target first": """
    params = {key: value.detach().clone() for key, value in net.named_parameters()}
    def loss_of(params, x, target):
        return F.mse_loss(target, functional_call(net, params, x)[:, :1])
    for step in range(20):
        known.append(loss_of(params, x, target).item())
        gradients = grad(loss_of)(params, x, target)
        for key in params:
            params[key] -= 0.05 * gradients[key]
    weights = list(params.values())
    """,
}


@pytest.mark.parametrize("text", FUNCTIONAL.values(), ids=FUNCTIONAL)
def test_functional_training(tmp_path, text):
    run, watched = trained(tmp_path, text)
    steps = stepped(run)
    assert steps["mean_loss"].tolist() == pytest.approx(watched.known, rel=1e-5)
    assert steps["objective"].tolist() == pytest.approx(watched.known, rel=1e-5)
    assert rates(run) == pytest.approx([0.05] * 20, rel=1e-5)
    if run.meta.losses[0].function == "mse_loss":
        assert run.meta.losses[0].target_mean == pytest.approx(float(watched.target.mean()), rel=1e-5)
    # A parameter is a new tensor at each step, and one tensor of the record.
    assert [tensor.name for tensor in run.meta.tensors] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert all(tensor.optimizer == 0 and tensor.requires_grad for tensor in run.meta.tensors)
    assert (run.training(0).matrix("update_norm")[:-1, 1] > 0).all()


def test_a_dictionary_given_to_a_function(tmp_path):
    text = """
    del net
    params = {"w": torch.randn(5, 1), "b": torch.zeros(1)}
    def loss_of(params):
        return ((x @ params["w"] + params["b"] - target) ** 2).mean()
    for step in range(10):
        gradients, loss = grad_and_value(loss_of)(params)
        params = {key: p - 0.02 * gradients[key] for key, p in params.items()}
        known.append(loss.item())
    weights = list(params.values())
    """
    run, watched = trained(tmp_path, text)
    assert stepped(run)["objective"].tolist() == pytest.approx(watched.known, rel=1e-6)
    assert sorted(tensor.name for tensor in run.meta.tensors) == ["b", "w"]
    assert rates(run) == pytest.approx([0.02] * 10, rel=1e-5)


def test_replaced_leaves(tmp_path):
    text = """
    del net
    w, b = torch.zeros(5, requires_grad=True), torch.zeros(1, requires_grad=True)
    for step in range(20):
        loss = F.mse_loss(x @ w + b, target[:, 0])
        loss.backward()
        w, b = ((t - 0.1 * t.grad).detach().requires_grad_() for t in (w, b))
        known.append(loss.item())
    weights = [w, b]
    """
    run, watched = trained(tmp_path, text)
    assert stepped(run)["mean_loss"].tolist() == pytest.approx(watched.known, rel=1e-6)
    assert len(run.meta.tensors) == 2
    assert rates(run) == pytest.approx([0.1] * 20, rel=1e-5)


OPTIMIZERS = {
    "a list": """
    class Momentum:
        def __init__(self, parameters, lr, momentum):
            self.parameters, self.lr, self.momentum = list(parameters), lr, momentum
            self.buffers = [torch.zeros_like(p) for p in self.parameters]

        @torch.no_grad()
        def step(self):
            for p, buffer in zip(self.parameters, self.buffers):
                p -= self.lr * buffer.mul_(self.momentum).add_(p.grad)
    optimizer = Momentum(net.parameters(), 0.02, 0.9)
    """,
    "groups": """
    class Optimizer:
        def __init__(self, parameters, **defaults):
            self.defaults, self.buffers = defaults, {}
            self.param_groups = [{"params": list(parameters), **defaults}]

    class Momentum(Optimizer):
        def step(self):
            for group in self.param_groups:
                for p in group["params"]:
                    buffer = self.buffers.setdefault(p, torch.zeros_like(p))
                    p.data.add_(buffer.mul_(group["momentum"]).add_(p.grad), alpha=-group["lr"])
    class Trainer:
        optimizer = None
    trainer = Trainer()
    trainer.optimizer = optimizer = Momentum(net.parameters(), lr=0.02, momentum=0.9)
    del optimizer
    optimizer = trainer.optimizer
    """,
}


@pytest.mark.parametrize("made", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_an_optimizer_that_is_not_of_torch(tmp_path, made):
    text = f"""
    {made}
    for step in range(20):
        net.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        known.append(loss.item())
    """
    run, watched = trained(tmp_path, text.replace("\n    \n", "\n"))
    steps = stepped(run)
    assert steps["mean_loss"].tolist() == pytest.approx(watched.known, rel=1e-6)
    (facts,) = run.meta.optimizers
    assert facts.optimizer_class == "Momentum"
    assert (facts.defaults["lr"], facts.defaults["momentum"]) == (0.02, 0.9)
    assert rates(run) == pytest.approx([0.02] * 20, rel=1e-6)
    assert [float(row[0]) for row in steps["momentum"]] == pytest.approx([0.9] * 20)


def test_a_rate_that_nobody_can_know(tmp_path):
    text = """
    buffers = [torch.zeros_like(p) for p in net.parameters()]
    for step in range(20):
        net.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        with torch.no_grad():
            for p, buffer in zip(net.parameters(), buffers):
                p -= 0.02 * buffer.mul_(0.9).add_(p.grad)
        known.append(loss.item())
    """
    run, _ = trained(tmp_path, text)
    # The first step of momentum is one without.
    assert rates(run)[0] == pytest.approx(0.02, rel=1e-5)
    assert all(math.isnan(rate) for rate in rates(run)[1:])


def test_weight_decay_and_clipping_by_hand(tmp_path):
    text = """
    for step in range(20):
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        norm = torch.sqrt(sum((p.grad**2).sum() for p in net.parameters()))
        if norm > 0.15:
            for p in net.parameters(): p.grad[:] *= 0.15 / norm
        with torch.no_grad():
            for p in net.parameters():
                p -= 0.3 * (p.grad + 0.01 * p)
                p.grad = None
        known.append(loss.item())
    """
    run, _ = trained(tmp_path, text)
    # The rate is that of the gradients as the script left them, whatever it did to them after the backward.
    assert rates(run) == pytest.approx([0.3] * 20, rel=1e-4)
    assert [float(row[0]) for row in run.steps["weight_decay"]] == pytest.approx([0.01] * 20, rel=1e-2)


@pytest.mark.parametrize("to_none", [True, False])
def test_accumulation(tmp_path, to_none):
    text = f"""
    for step in range(10):
        net.zero_grad(set_to_none={to_none})
        total = 0
        for part in range(4):
            loss = F.cross_entropy(net(x[part::4]), y[part::4]) / 4
            loss.backward()
            total += loss.item()
        with torch.no_grad():
            for p in net.parameters(): p -= 0.1 * p.grad
        known.append(total)
    """
    run, watched = trained(tmp_path, text)
    steps = stepped(run)
    assert steps["micro_steps"].tolist() == [4] * 10
    assert steps["objective"].tolist() == pytest.approx(watched.known, rel=1e-6)
    assert steps["mean_loss"].tolist() == pytest.approx(watched.known, rel=1e-6)
    assert rates(run) == pytest.approx([0.1] * 10, rel=1e-5)
    assert steps["stale"].tolist()[1:] == [0] * 9


def test_a_rate_between_the_steps_that_are_measured(tmp_path):
    text = """
    for step in range(30):
        net.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        with torch.no_grad():
            for p in net.parameters(): p -= 0.1 * 0.9**step * p.grad
        known.append(loss.item())
    """
    run, _ = trained(tmp_path, text, every=10)
    assert run.steps["recorded"].tolist() == [step % 10 == 0 for step in range(30)]
    assert rates(run) == pytest.approx([0.1 * 0.9**step for step in range(30)], rel=1e-3)


def test_two_networks_by_hand(tmp_path):
    """The backward of the first goes through the second, which it does not change."""
    text = """
    judge = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    ones, zeros = torch.ones(64, 1), torch.zeros(64, 1)
    def update(module, rate):
        for p in module.parameters(): p.data -= rate * p.grad
    for step in range(20):
        net.zero_grad(); judge.zero_grad()
        loss = F.binary_cross_entropy_with_logits(judge(net(x)), ones)
        loss.backward()
        update(net, 0.01)
        known.append(loss.item())
        judge.zero_grad()
        loss = F.binary_cross_entropy_with_logits(judge(x[:, :3]), ones)
        loss = loss + F.binary_cross_entropy_with_logits(judge(net(x).detach()), zeros)
        loss.backward()
        update(judge, 0.02)
        known.append(loss.item())
    """
    run, watched = trained(tmp_path, text)
    assert run.steps.sort_values("global_step")["objective"].tolist() == pytest.approx(watched.known, rel=1e-6)
    assert (rates(run, 0), rates(run, 1)) == (
        pytest.approx([0.01] * 20, rel=1e-5),
        pytest.approx([0.02] * 20, rel=1e-5),
    )
    owners = {tensor.name: tensor.optimizer for tensor in run.meta.tensors}
    assert {owner for name, owner in owners.items() if name.startswith("net.")} == {0}
    assert {owner for name, owner in owners.items() if name.startswith("judge.")} == {1}


def test_one_network_by_hand_beside_one_of_torch(tmp_path):
    text = """
    judge = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    optimizer = torch.optim.Adam(judge.parameters(), lr=1e-3)
    ones, zeros = torch.ones(64, 1), torch.zeros(64, 1)
    for step in range(20):
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(judge(net(x).detach()), zeros).backward()
        optimizer.step()
        net.zero_grad()
        loss = F.binary_cross_entropy_with_logits(judge(net(x)), ones)
        loss.backward()
        with torch.no_grad():
            for p in net.parameters(): p -= 0.01 * p.grad
        known.append(loss.item())
    """
    run, watched = trained(tmp_path, text)
    assert [facts.optimizer_class for facts in run.meta.optimizers] == ["Adam", BY_HAND]
    assert len(stepped(run, 0)) == 20
    assert stepped(run, 1)["objective"].tolist() == pytest.approx(watched.known, rel=1e-6)
    assert rates(run, 1) == pytest.approx([0.01] * 20, rel=1e-5)


def test_models_one_after_the_other(tmp_path):
    text = """
    def train(seed):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
        for step in range(7):
            net.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            with torch.no_grad():
                for p in net.parameters(): p -= 0.1 * p.grad
            known.append(loss.item())
    for seed in range(3): train(seed)
    """
    run, watched = trained(tmp_path, text)
    assert run.steps.sort_values("global_step")["mean_loss"].tolist() == pytest.approx(watched.known, rel=1e-6)
    assert run.steps.groupby("optimizer").size().tolist() == [7, 7, 7]


def test_a_part_that_the_script_leaves_alone_is_told_of(tmp_path):
    text = """
    for step in range(40):
        net.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        with torch.no_grad():
            for p in list(net.parameters())[:2]: p -= 0.1 * p.grad
        known.append(loss.item())
    """
    run, _ = trained(tmp_path, text)
    assert [facts.optimizer_class for facts in run.meta.optimizers] == [BY_HAND]
    assert {tensor.name: tensor.optimizer for tensor in run.meta.tensors} == {
        "0.weight": 0, "0.bias": 0, "2.weight": -1, "2.bias": -1,
    }  # fmt: skip
    (outcome,) = analyze(run, select=["frozen_parameter"]).outcomes
    (finding,) = outcome.findings
    assert finding.tensors == ["2.weight", "2.bias"]
    assert "optimizer" not in finding.headline + finding.explanation + "".join(a.text + a.code for a in finding.actions)


def test_a_loss_that_is_raised_on_purpose(tmp_path):
    text = """
    for step in range(10):
        net.zero_grad()
        loss = -F.cross_entropy(net(x), y)
        loss.backward()
        for p in net.parameters(): p.data.add_(p.grad, alpha=0.05)
        known.append(loss.item())
    """
    run, _ = trained(tmp_path, text)
    assert rates(run) == pytest.approx([0.05] * 10, rel=1e-5)


def test_two_threads_that_train_by_hand(tmp_path):
    text = """
    import threading
    nets = [net, nn.Linear(5, 3)]
    losses = [[], []]
    def train(number):
        for step in range(25):
            nets[number].zero_grad()
            loss = F.cross_entropy(nets[number](x), y)
            loss.backward()
            with torch.no_grad():
                for p in nets[number].parameters(): p -= 0.1 * p.grad
            losses[number].append(loss.item())
    threads = [threading.Thread(target=train, args=(number,)) for number in range(2)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    weights = [p for one in nets for p in one.parameters()]
    """
    run, watched = trained(tmp_path, text)
    found = [run.training(number).steps["objective"].tolist() for number in range(2)]
    assert sorted(found) == [pytest.approx(each, rel=1e-6) for each in sorted(watched.losses)]


def test_steps_are_told_apart_while_other_threads_may_write_their_gradients(tmp_path, monkeypatch):
    """Nobody looks at gradients then; which parameters a backward reached is known from its graph."""
    monkeypatch.setattr(between.StepObserver, "undisturbed", lambda self, identities: False)
    text = """
    for step in range(25):
        net.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        known.append(loss.item())
        with torch.no_grad():
            for p in net.parameters(): p -= 0.1 * p.grad
    """
    run, watched = trained(tmp_path, text)
    assert run.training(0).steps["objective"].tolist() == pytest.approx(watched.known, rel=1e-6)


@pytest.mark.parametrize("name", ["before", "after", "on_clip", "settle", "end"])
def test_a_fault_costs_the_steps_made_by_hand_and_nothing_else(tmp_path, capsys, monkeypatch, name):
    def fault(*_):
        raise RuntimeError("fault of ours")

    monkeypatch.setattr(hands.Hands, name, fault)
    text = """
    optimizer, lone = torch.optim.SGD(net.parameters(), lr=0.1), nn.Linear(5, 3)
    for step in range(8):
        for one in (net, lone):
            one.zero_grad()
            loss = F.cross_entropy(one(x), y)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(one.parameters(), 1.0)
            known.append(loss.item())
            if one is net: optimizer.step()
        with torch.no_grad():
            for p in lone.parameters(): p -= 0.1 * p.grad
            F.cross_entropy(net(x), y)
    """
    run, _ = trained(tmp_path, text)
    assert "gradaudit: trainings by hand are no longer recorded" in capsys.readouterr().err
    assert len(stepped(run)) == 8
    assert len(run.evaluations) == 8


def test_an_update_inside_the_backward(tmp_path):
    text = """
    def update(p):
        p.data.add_(p.grad, alpha=-0.1)
        p.grad = None
    for p in net.parameters(): p.register_post_accumulate_grad_hook(update)
    for step in range(10):
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        known.append(loss.item())
    """
    run, watched = trained(tmp_path, text)
    assert stepped(run)["mean_loss"].tolist() == pytest.approx(watched.known, rel=1e-6)
    assert not run.steps["recorded"].any()


WITH_TORCH = {
    "adversarial examples": """
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for step in range(12):
        delta = torch.zeros_like(x, requires_grad=True)
        for attack in range(3):
            loss = F.cross_entropy(net(x + delta), y)
            if step % 2:
                loss.backward()
                delta.data = delta.data + 0.1 * delta.grad.sign()
                delta.grad.zero_()
            else:
                delta.data.add_(0.1 * torch.autograd.grad(loss, delta)[0].sign())
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x + delta.detach()), y)
        loss.backward()
        optimizer.step()
        known.append(loss.item())
    """,
    "a moving average": """
    import copy
    average, optimizer = copy.deepcopy(net), torch.optim.SGD(net.parameters(), lr=0.1)
    for step in range(12):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for mean, p in zip(average.parameters(), net.parameters()): mean.mul_(0.9).add_(p, alpha=0.1)
        known.append(loss.item())
    """,
    "a gradient penalty": """
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for step in range(12):
        point = torch.randn(8, 5).requires_grad_()
        (slope,) = torch.autograd.grad(net(point).sum(), point, create_graph=True)
        loss = F.cross_entropy(net(x), y) + ((slope.norm(dim=1) - 1) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        known.append(loss.item())
    """,
    "an inner loop": """
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for step in range(12):
        params = dict(net.named_parameters())
        for inner in range(2):
            loss = F.cross_entropy(functional_call(net, params, x[:32]), y[:32])
            gradients = torch.autograd.grad(loss, list(params.values()), create_graph=step % 2 == 0)
            params = {key: p - 0.01 * g for (key, p), g in zip(params.items(), gradients)}
        loss = F.cross_entropy(functional_call(net, params, x[32:]), y[32:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        known.append(loss.item())
    """,
    "accumulation": """
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for step in range(12):
        optimizer.zero_grad()
        for part in range(8):
            loss = F.cross_entropy(net(x[part::8]), y[part::8])
            loss.backward()
        optimizer.step()
        known.append(loss.item())
    """,
    "a closure": """
    optimizer = torch.optim.LBFGS(net.parameters(), lr=0.1, max_iter=4)
    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        return loss
    for step in range(12):
        known.append(optimizer.step(closure).item())
    """,
    "gradients given": """
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for step in range(12):
        loss = F.cross_entropy(net(x), y)
        for p, g in zip(net.parameters(), torch.autograd.grad(loss, list(net.parameters()))): p.grad = g
        optimizer.step()
        known.append(loss.item())
    """,
}


@pytest.mark.parametrize("text", WITH_TORCH.values(), ids=WITH_TORCH)
def test_nothing_is_by_hand_beside_an_optimizer_of_torch(tmp_path, text):
    run, _ = trained(tmp_path, text)
    assert len(run.meta.optimizers) == 1
    assert len(stepped(run)) == 12
    assert {tensor.optimizer for tensor in run.meta.tensors if tensor.optimizer >= 0} == {0}


def test_torchs_optimizers_cost_no_look(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("a training with an optimizer of torch was looked at")

    monkeypatch.setattr(naming, "_registry", {})  # other tests' models
    monkeypatch.setattr(watch, "leaves_of", refuse)
    monkeypatch.setattr(opened.Opened, "look", refuse)
    run, _ = trained(tmp_path, WITH_TORCH["accumulation"].replace("range(8)", "range(2)"))
    assert len(run.steps) == 12


INPUTS = {
    "adversarial examples of a model": """
    for step in range(120):
        point = torch.randn(8, 5, requires_grad=True)
        net.zero_grad()
        F.cross_entropy(net(point), y[:8]).backward()
        point.data.add_(0.1 * point.grad.sign())
    """,
    "of a frozen model": """
    net.requires_grad_(False)
    for step in range(12):
        point = torch.randn(8, 5, requires_grad=True)
        for attack in range(10):
            F.cross_entropy(net(point), y[:8]).backward()
            point.data.add_(0.1 * point.grad.sign())
            point.grad = None
    """,
    "forces": """
    net.requires_grad_(False)
    place, speed = torch.randn(8, 5), torch.randn(8, 5)
    for step in range(40):
        place = place.detach().requires_grad_()
        speed = speed - 0.01 * torch.autograd.grad(net(place).sum(), place)[0]
        place = place + 0.01 * speed
    """,
}


@pytest.mark.parametrize("text", INPUTS.values(), ids=INPUTS)
def test_an_input_is_no_parameter(tmp_path, text):
    with recorded(tmp_path / "run"):
        execute(tmp_path, text)
    assert not (tmp_path / "run").exists(), "a run was recorded, and nothing was trained"


def test_an_image_that_is_trained(tmp_path):
    text = """
    net.requires_grad_(False)
    image = torch.randn(1, 5, requires_grad=True)
    for step in range(150):
        loss = -net(image)[0, 1]
        loss.backward()
        image.data.sub_(0.01 * image.grad)
        image.grad.zero_()
        known.append(loss.item())
    weights = [image]
    """
    run, watched = trained(tmp_path, text)
    assert [tensor.name for tensor in run.meta.tensors] == ["image"]
    assert run.steps["objective"].tolist() == pytest.approx(watched.known[100:], rel=1e-6)


def test_a_leaf_that_changes_at_each_micro_step_is_no_part_of_the_model(tmp_path):
    """As a latent of an auto-decoder, or learned noise, beside a model whose gradients are accumulated."""
    text = """
    noise = torch.zeros(5, requires_grad=True)
    weights = list(net.parameters())
    for step in range(8):
        for p in weights: p.grad = None
        total = 0.0
        for part in range(16):
            loss = F.cross_entropy(net(x[part::16] + noise), y[part::16]) / 16
            loss.backward()
            noise.data.sub_(0.1 * noise.grad)
            noise.grad = None
            total += loss.item()
        with torch.no_grad():
            for p in weights: p -= 0.1 * p.grad
        known.append(total)
    """
    run, watched = trained(tmp_path, text)
    assert run.steps["objective"].tolist() == pytest.approx(watched.known, rel=1e-6)
    assert {tensor.optimizer for tensor in run.meta.tensors} == {0}


def test_a_leaf_that_is_trained_through_a_model_whose_parameters_rest(tmp_path):
    """Meta gradients: each loss goes through one step of the model, which is taken back."""
    text = """
    class Rule:
        def __init__(self, held, lr):
            self.param_groups = [{"params": held, "lr": lr}]

        def step(self):
            for p in self.param_groups[0]["params"]:
                p.data.sub_(self.param_groups[0]["lr"] * p.grad)

    gamma = torch.zeros(1, requires_grad=True)
    meta = Rule([gamma], 0.5)
    for step in range(120):
        held = dict(net.named_parameters())
        inner = (F.cross_entropy(functional_call(net, held, x), y, reduction="none") * torch.sigmoid(gamma)).mean()
        gradients = torch.autograd.grad(inner, list(held.values()), create_graph=True)
        moved = {key: p - 0.5 * g for (key, p), g in zip(held.items(), gradients)}
        loss = F.cross_entropy(functional_call(net, moved, x), y)
        gamma.grad = None
        loss.backward()
        meta.step()
        known.append(loss.item())
    weights = [gamma]
    """
    run, watched = trained(tmp_path, text)
    assert [optimizer.optimizer_class for optimizer in run.meta.optimizers] == ["Rule"]
    steps = stepped(run)
    # At first it may be an input that an attack changes, and is none of what the parameters will step by.
    assert steps["objective"].tolist() == pytest.approx(watched.known[100:], rel=1e-6)
    assert rates(run) == pytest.approx([0.5] * len(steps))
    assert "gamma" in [tensor.name for tensor in run.meta.tensors]


def test_a_perturbation_that_changes_with_the_model_is_no_part_of_it(tmp_path):
    """As in free adversarial training: one backward gives both their gradients."""
    text = """
    noise = torch.zeros(5, requires_grad=True)
    for step in range(130):
        for p in net.parameters(): p.grad = None
        noise.grad = None
        loss = F.cross_entropy(net(x + noise), y)
        loss.backward()
        noise.data.add_(0.01 * noise.grad.sign()).clamp_(-0.1, 0.1)
        for p in net.parameters(): p.data.sub_(0.1 * p.grad)
        known.append(loss.item())
    """
    run, watched = trained(tmp_path, text)
    assert run.steps["objective"].tolist() == pytest.approx(watched.known, rel=1e-6)
    assert len(run.meta.tensors) == 4


def test_a_leaf_that_changes_in_a_long_accumulation_before_the_first_step(tmp_path):
    text = """
    noise = torch.zeros(5, requires_grad=True)
    for step in range(4):
        for p in net.parameters(): p.grad = None
        total = 0.0
        for part in range(90):
            loss = F.cross_entropy(net(x + noise), y) / 90
            loss.backward()
            noise.data.sub_(0.1 * noise.grad)
            noise.grad = None
            total += loss.item()
        for p in net.parameters(): p.data.sub_(0.1 * p.grad)
        known.append(total)
    """
    run, watched = trained(tmp_path, text)
    assert run.steps["objective"].tolist() == pytest.approx(watched.known, rel=1e-5)


def test_the_last_step_of_a_script(tmp_path):
    """The model of a function is gone when Python ends."""
    text = (
        HEAD
        + """
    import json
    def main():
        net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
        for step in range(9):
            net.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            for p in net.parameters(): p.data.add_(p.grad, alpha=-0.1)
            known.append(loss.item())
    main()
    print(json.dumps(known))
    """
    )
    script(tmp_path, text)
    watched = record(tmp_path, "--every", "1", "-o", "run", "train.py")
    assert watched.stdout == python(tmp_path, "train.py").stdout
    assert "recorded 9 steps of 4 tensors" in watched.stderr
    assert len(load(tmp_path / "run").steps) == 9


@pytest.mark.parametrize("clear", ["p.grad = None", "p.grad = torch.zeros_like(p)"])
def test_parts_of_a_model_that_are_trained_in_turn(tmp_path, clear):
    """One optimizer by hand and a step for each backward; what another part has left is no gradient of it."""
    text = f"""
    net, heads = nn.Linear(5, 8), [nn.Linear(8, 3), nn.Linear(8, 3), nn.Linear(8, 3)]
    weights = [p for one in (net, *heads) for p in one.parameters()]
    for step in range(200):
        head = heads[step % 3]
        trained = [*net.parameters(), *head.parameters()]
        for p in trained: {clear}
        loss = F.cross_entropy(head(net(x).tanh()), y)
        loss.backward()
        with torch.no_grad():
            for p in trained: p -= 0.1 * p.grad
        known.append(loss.item())
    """
    run, watched = trained(tmp_path, text)
    assert [facts.optimizer_class for facts in run.meta.optimizers] == [BY_HAND]
    steps = stepped(run)
    assert steps["objective"].tolist() == pytest.approx(watched.known, rel=1e-6)
    assert {tensor.optimizer for tensor in run.meta.tensors} == {0}
    # In the first step of a part there are no weights before it to solve the update with.
    assert rates(run)[3:] == pytest.approx([0.1] * 197, rel=1e-5)
    assert steps["stale"].tolist()[3:] == [0] * 197
    reached = ~numpy.isnan(run.training(0).matrix("gradient_norm")[3:])
    assert (reached.sum(axis=1) == 4).all(), "a part has the gradient of a step before"
    assert not [finding for outcome in analyze(run).outcomes for finding in outcome.findings]


@pytest.mark.parametrize("threads", [1, 3])
def test_a_thread_for_each_backward(tmp_path, threads):
    """The update is made in the main thread; micro-steps may each be in a thread of their own."""
    text = f"""
    import threading
    def differentiate(part):
        loss = F.cross_entropy(net(x[part::{threads}]), y[part::{threads}]) / {threads}
        loss.backward()
        losses.append(loss.item())
    for step in range(30):
        net.zero_grad()
        losses = []
        for part in range({threads}):
            thread = threading.Thread(target=differentiate, args=(part,))
            thread.start()
            thread.join()
        with torch.no_grad():
            for p in net.parameters(): p -= 0.1 * p.grad
            known.append(sum(losses))
    """
    run, watched = trained(tmp_path, text)
    steps = stepped(run)
    assert steps["objective"].tolist() == pytest.approx(watched.known, rel=1e-6)
    assert steps["global_step"].tolist() == list(range(30))
    assert steps["micro_steps"].tolist() == [threads] * 30
    assert rates(run) == pytest.approx([0.1] * 30, rel=1e-5)
