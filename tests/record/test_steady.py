"""Steady steps have the rows that the hooks would have made, and whatever is unlike the last step ends them."""

import contextlib
import threading

import pytest
import torch
from torch import nn

from gradaudit.record import recording as recordings
from gradaudit.record.observers import STEADY_STEPS
from gradaudit.record.steady import Steady
from tests.record.training import recorded, run_of

STEPS, EVERY = 330, 50
LEAST = {"loader": 100, "accumulated": -1, "evaluated": 100, "frozen mode": 80}  # steady steps of these
SAME = [
    "optimizer", "step", "global_step", "objective", "mean_loss", "loss", "batch_size", "clip_threshold", "clip_kind",
    "amp_scale", "skipped", "micro_steps", "training", "targets", "ignored_targets", "weight_checksum", "gradient_norm",
]  # fmt: skip
LISTS = ["learning_rate", "weight_decay", "momentum"]


class Counting(Steady):
    """Counts the steps that were steady."""

    steps = 0

    def stepped(self, optimizer):
        done = super().stepped(optimizer)
        Counting.steps += done
        return done


def train(kind, steps=STEPS):
    """A small training of one kind, under the recorder."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 3))
    input, target = torch.randn(12, 6), torch.randint(0, 3, (12,))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps) if kind == "schedule" else None
    loss_of = {
        "module": nn.CrossEntropyLoss(),
        "regression": lambda x, y: nn.functional.mse_loss(x[:, 0], y.float()),
    }.get(kind, nn.functional.cross_entropy)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(input.repeat(20, 1), target.repeat(20)), batch_size=5
    )
    batches = (batch for _ in range(steps) for batch in (loader if kind == "loader" else [(input, target)]))
    for step, (x, y) in zip(range(steps), batches, strict=False):
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        if kind == "scaled":
            loss = loss * 0.5
        loss.backward()
        if kind == "accumulated" and step % 2:
            nn.functional.cross_entropy(model(x), y).backward()
        if kind == "clipped":
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        if schedule is not None:
            schedule.step()
        if kind == "evaluated" and step % 40 == 39:
            model.eval()
            with torch.no_grad():
                nn.functional.cross_entropy(model(input), target)
            model.train()
        if kind == "frozen mode" and step == 200:
            model.eval()
    return [parameter.detach().clone() for parameter in model.parameters()]


KINDS = [
    "plain", "module", "regression", "schedule", "loader", "scaled", "accumulated", "clipped", "evaluated",
    "frozen mode",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_steady_step_has_the_row_that_the_hooks_would_have_made(tmp_path, monkeypatch, kind):
    with monkeypatch.context() as without:
        without.setattr(recordings, "begin", lambda *_: None)
        with recorded(tmp_path / "hooks", every=EVERY):
            left = train(kind)
    monkeypatch.setattr(recordings, "Steady", Counting)
    Counting.steps = 0
    with recorded(tmp_path / "steady", every=EVERY):
        right = train(kind)
    slow, quick = run_of(tmp_path / "hooks"), run_of(tmp_path / "steady")
    assert Counting.steps > LEAST.get(kind, STEPS // 2)
    for name in LISTS:
        assert [list(each) for each in slow.steps[name]] == [list(each) for each in quick.steps[name]], name
    for name in SAME:
        assert slow.steps[name].tolist() == pytest.approx(quick.steps[name].tolist(), nan_ok=True), name
    assert slow.evaluations["mean_loss"].tolist() == pytest.approx(quick.evaluations["mean_loss"].tolist())
    assert all(torch.equal(one, other) for one, other in zip(left, right, strict=True))
    assert quick.steps["time"].is_monotonic_increasing
    assert (quick.steps["seconds"].iloc[1:] > 0).all()


@pytest.mark.parametrize("place", ["loss", "backward", "step", "stepped"])
def test_a_fault_in_a_steady_step_ends_them_and_nothing_else(tmp_path, monkeypatch, place):
    monkeypatch.setattr(recordings, "Steady", Counting)
    sound, calls = getattr(Counting, place), []

    def broken(self, *arguments):
        calls.append(place)
        if len(calls) == 5:
            raise RuntimeError("planted")
        return sound(self, *arguments)

    monkeypatch.setattr(Counting, place, broken)
    with recorded(tmp_path / "run", every=EVERY):
        train("plain", 120)
    run = run_of(tmp_path / "run")
    assert [fault.observer for fault in run.meta.disabled] == [STEADY_STEPS]
    assert run.steps["step"].tolist() == list(range(120))
    assert run.steps["objective"].notna().all()
    assert (run.steps["batch_size"] == 12).all()


@pytest.mark.parametrize("place", ["leave", "begin"])
def test_a_fault_in_what_follows_ends_them(tmp_path, monkeypatch, place):
    def broken(*_):
        raise RuntimeError("planted")

    monkeypatch.setattr(recordings, place, broken)
    with recorded(tmp_path / "run", every=EVERY):
        train("plain", 120)
    run = run_of(tmp_path / "run")
    assert [fault.observer for fault in run.meta.disabled] == [STEADY_STEPS]
    assert len(run.steps) >= 80, "what was under way is lost, and nothing after it"


def test_a_step_that_raises_is_no_step_and_the_next_one_is(tmp_path, monkeypatch):
    monkeypatch.setattr(recordings, "Steady", Counting)
    Counting.steps = 0
    model, x, y = nn.Linear(3, 2), torch.randn(4, 3), torch.tensor([0, 1, 0, 1])

    at = []

    def fail(*_):
        at.append(None)
        if len(at) == 151:
            raise ValueError("the script's own")

    with recorded(tmp_path / "run", every=EVERY):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        optimizer.register_step_pre_hook(fail)
        for _ in range(200):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            with contextlib.suppress(ValueError):
                optimizer.step()
    run = run_of(tmp_path / "run")
    assert Counting.steps > 20
    assert (run.steps["micro_steps"] == 1).all()
    assert len(run.steps) == 199


def test_two_threads_that_train_are_never_steady_together(tmp_path, monkeypatch):
    monkeypatch.setattr(recordings, "Steady", Counting)
    Counting.steps = 0

    def work():
        model, x, y = nn.Linear(3, 2), torch.randn(4, 3), torch.tensor([0, 1, 0, 1])
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(200):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    with recorded(tmp_path / "run", every=EVERY):
        work()
        alone = Counting.steps
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    run = run_of(tmp_path / "run")
    assert alone > 20
    assert len(run.steps) == 600
    assert run.steps.groupby("optimizer")["step"].apply(lambda steps: sorted(steps) == list(range(200))).all()
