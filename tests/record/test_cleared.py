"""Gradients that a script clears before it steps: their backwards count where copies of them may have been used."""

import gc
import textwrap
import types

import pytest

from gradaudit.audit.runner import analyze
from gradaudit.record.observe import between
from tests.record.training import recorded, run_of, script
from tests.thin import thin

HEAD = """
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.manual_seed(0)
    known, micro_steps = [], []  # of each step: the objective, and the backwards that it is the sum of
    x, y = torch.randn(64, 5), torch.randint(0, 3, (64,))
    net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    def differentiate(inputs=x, labels=y, model=net, scale=1.0):
        loss = scale * F.cross_entropy(model(inputs), labels)
        loss.backward()
        return loss.item()

    def done(*losses):
        known.append(sum(losses)), micro_steps.append(len(losses))

    def by_hand(gradients):
        with torch.no_grad():
            for p, gradient in zip(net.parameters(), gradients): p -= 0.1 * gradient
"""

GONE = {
    "an adversarial example": """
    for step in range(12):
        point = x.clone().requires_grad_()
        differentiate(point)
        loss = F.cross_entropy(net((point + 0.05 * point.grad.sign()).detach()), y)
        optimizer.zero_grad(); loss.backward(); optimizer.step()
        done(loss.item())
    """,
    "one of several backwards, the model cleared by zeros": """
    for step in range(12):
        delta = torch.zeros_like(x, requires_grad=True)
        for attack in range(5):
            differentiate(x + delta)
            delta.data += 0.01 * delta.grad.sign()
            delta.grad.zero_()
        for p in net.parameters(): p.grad.zero_()
        loss = differentiate(x + delta.detach())
        optimizer.step()
        done(loss)
    """,
    "one that gives the model no gradient": """
    for step in range(12):
        point = x.clone().requires_grad_()
        F.cross_entropy(net(point), y).backward(inputs=[point])
        loss = differentiate((point + 0.05 * point.grad.sign()).detach())
        optimizer.step(); optimizer.zero_grad()
        done(loss)
    """,
    "two backwards of SAM, clipped": """
    for step in range(12):
        differentiate()
        with torch.no_grad():
            moves = [0.05 * p.grad / p.grad.norm() for p in net.parameters()]
            for p, move in zip(net.parameters(), moves): p += move
        optimizer.zero_grad()
        loss = differentiate()
        with torch.no_grad():
            for p, move in zip(net.parameters(), moves): p -= move
        nn.utils.clip_grad_norm_(net.parameters(), 0.1)
        optimizer.step(); optimizer.zero_grad()
        done(loss)
    """,
    "a batch that is passed over": """
    for step in range(12):
        if step % 3 == 0:
            differentiate(scale=1e4)
            for p in net.parameters(): p.grad.data.zero_()
        loss = differentiate()
        optimizer.step(); net.zero_grad()
        done(loss)
    """,
    "an adversarial example before micro-steps": """
    for step in range(12):
        point = x.clone().requires_grad_()
        differentiate(point)
        point = (point + 0.05 * point.grad.sign()).detach()
        optimizer.zero_grad(set_to_none=step % 2 == 0)
        losses = [differentiate(point[part::2], y[part::2], scale=0.5) for part in range(2)]
        optimizer.step()
        done(*losses)
    """,
    "adversarial examples of a model that is trained by hand": """
    del optimizer
    for step in range(12):
        delta = torch.zeros_like(x, requires_grad=True)
        for attack in range(2):
            differentiate(x + delta)
            with torch.no_grad(): delta.add_(0.01 * delta.grad.sign()); delta.grad.zero_()
        net.zero_grad()
        loss = differentiate(x + delta.detach())
        by_hand([p.grad for p in net.parameters()])
        done(loss)
    """,
}

USED = {
    "micro-steps": """
    for step in range(12):
        optimizer.zero_grad()
        losses = [differentiate(x[part::4], y[part::4], scale=0.25) for part in range(4)]
        optimizer.step()
        done(*losses)
    """,
    "copies that are averaged": """
    for step in range(12):
        copies, losses = [], []
        for part in range(4):
            optimizer.zero_grad()
            losses.append(differentiate(x[part::4], y[part::4], scale=0.25))
            copies.append([p.grad.clone() for p in net.parameters()])
        for p, parts in zip(net.parameters(), zip(*copies)): p.grad = sum(parts)
        optimizer.step()
        done(*losses)
    """,
    "copies that are averaged by hand": """
    del optimizer
    for step in range(12):
        copies, losses = [], []
        for part in range(4):
            net.zero_grad()
            losses.append(differentiate(x[part::4], y[part::4], scale=0.25))
            copies.append([p.grad for p in net.parameters()])
        by_hand([sum(parts) for parts in zip(*copies)])
        done(*losses)
    """,
    "gradients given to the script": """
    del optimizer
    parameters = list(net.parameters())
    for step in range(12):
        losses = [0.5 * F.cross_entropy(net(x[part::2]), y[part::2]) for part in range(2)]
        parts = [torch.autograd.grad(loss, parameters) for loss in losses]
        by_hand([sum(each) for each in zip(*parts)])
        done(*(loss.item() for loss in losses))
    """,
    "weights of which the optimizer has copies": """
    masters = [p.detach().clone().requires_grad_() for p in net.parameters()]
    optimizer = torch.optim.SGD(masters, lr=0.1)
    for step in range(12):
        net.zero_grad(); optimizer.zero_grad(set_to_none=step % 2 == 0)
        losses = [differentiate(x[part::4], y[part::4], scale=0.25) for part in range(4)]
        for master, p in zip(masters, net.parameters()):
            if master.grad is None: master.grad = p.grad.clone()
            else: master.grad.copy_(p.grad)
        optimizer.step()
        with torch.no_grad():
            for master, p in zip(masters, net.parameters()): p.copy_(master)
        done(*losses)
    """,
    "another network's gradients that are cleared": """
    judge = nn.Linear(5, 3)
    other = torch.optim.SGD(judge.parameters(), lr=0.1)
    for step in range(12):
        optimizer.zero_grad(); other.zero_grad()
        first = differentiate()
        other.zero_grad()
        second = differentiate(model=judge)
        optimizer.step(); other.step()
        done(first, second); done(first, second)
    """,
}


def trained(tmp_path, text, disabled=0):
    file, module = script(tmp_path, textwrap.dedent(HEAD) + textwrap.dedent(text)), types.ModuleType("script")
    gc.collect()  # other tests' optimizers
    with recorded(tmp_path / "run"):
        exec(compile(file.read_text(), str(file), "exec"), module.__dict__)
    run = run_of(tmp_path / "run")
    assert len(run.meta.disabled) == disabled
    return run, run.steps.sort_values("global_step"), module


@pytest.mark.parametrize("text", thin(2, GONE.values()), ids=GONE)
def test_a_backward_whose_gradients_are_cleared_belongs_to_no_step(tmp_path, text):
    run, steps, script = trained(tmp_path, text)
    assert steps["objective"].tolist() == pytest.approx(script.known, rel=1e-5)
    assert steps["micro_steps"].tolist() == script.micro_steps
    assert (steps["batch_size"] == 64).all()
    # Of a step by hand statistics begin with the second.
    assert set(run.samples["step"]) >= set(range(1, 12)), "the input of the loss was sampled"
    (outcome,) = analyze(run, select=["initial_loss_mismatch"]).outcomes
    assert not outcome.findings


@pytest.mark.parametrize("text", USED.values(), ids=USED)
def test_a_backward_whose_gradients_may_be_used_counts(tmp_path, text):
    _, steps, script = trained(tmp_path, text)
    assert steps["objective"].tolist() == pytest.approx(script.known, rel=1e-5)
    assert steps["micro_steps"].tolist() == script.micro_steps


@pytest.mark.parametrize("name", ["note_gradients", "counting"])
def test_a_fault_costs_what_cleared_gradients_tell(tmp_path, monkeypatch, name):
    def fault(*_):
        raise RuntimeError("fault of ours")

    monkeypatch.setattr(between, name, fault)
    run, steps, script = trained(tmp_path, GONE["an adversarial example"], disabled=1)
    assert [fact.observer for fact in run.meta.disabled] == ["cleared gradients"]
    assert len(steps) == 12
    assert steps["objective"].tolist()[1:] != pytest.approx(script.known[1:], rel=1e-5)


@pytest.mark.parametrize("order", ["clear, step", "step, clear"])
def test_gradients_that_are_cleared_before_the_step_are_why_nothing_moves(tmp_path, order):
    first, second = (f"optimizer.{'zero_grad' if one == 'clear' else 'step'}()" for one in order.split(", "))
    run, _, _ = trained(
        tmp_path,
        f"""
    for step in range(12):
        differentiate(); {first}; {second}
    """,
    )
    titles = [item.finding.title for item in analyze(run).ranked]
    assert ("Gradients cleared before the step" in titles) == (order == "clear, step")
