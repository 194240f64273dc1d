"""Threads, signals and forks at the worst moment: nothing hangs, and what is the script's reaches the script."""

import asyncio
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.nn import functional

from gradaudit.reading.run import load
from gradaudit.record import idle, session
from gradaudit.record.observe import between
from gradaudit.record.patches.optimizer import arm
from gradaudit.record.storage import writer
from tests.record.training import batch, classifier, recorded, run_of


def step(model, optimizer):
    x, y = batch()
    optimizer.zero_grad()
    loss = functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


@pytest.fixture
def trained():
    model = classifier()
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


class Inside:
    """A thread that does not leave the recording."""

    def __enter__(self):
        self.out, entered = threading.Event(), threading.Event()

        def stay():
            with session.current().lock:
                entered.set()
                self.out.wait(60)

        self.thread = threading.Thread(target=stay)
        self.thread.start()
        entered.wait()

    def __exit__(self, *_):
        self.out.set()
        self.thread.join()


def begin(directory):
    from gradaudit.record.install import install
    from gradaudit.record.settings import Settings

    install()
    session.start(Settings(directory=str(directory), every=1))
    arm()


@pytest.fixture
def uninstalled():
    from gradaudit.record.install import uninstall

    yield
    session.stop("finished")
    uninstall()


def test_a_thread_that_never_leaves_ends_the_recording_and_not_the_training(
    tmp_path, trained, monkeypatch, capsys, uninstalled
):
    monkeypatch.setattr(session, "PATIENCE", 0.2)
    begin(tmp_path / "run")
    for _ in range(3):
        step(*trained)
    session.current().flush()
    with Inside():
        started = time.monotonic()
        for _ in range(3):
            step(*trained)
        assert time.monotonic() - started < 10
        assert session.current() is None
    (line,) = capsys.readouterr().err.splitlines()
    assert "recording stopped in" in line
    assert len(load(tmp_path / "run").steps) == 3


def test_a_thread_that_never_leaves_does_not_keep_the_process_from_ending(
    tmp_path, trained, monkeypatch, capsys, uninstalled
):
    monkeypatch.setattr(session, "LAST_PATIENCE", 0.2)
    begin(tmp_path / "run")
    for _ in range(3):
        step(*trained)
    session.current().flush()
    with Inside():
        started = time.monotonic()
        session.leave(7)
        assert time.monotonic() - started < 10
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert len(load(tmp_path / "run").steps) == 3


class LimitReached(Exception):
    pass


@pytest.mark.parametrize(
    ("place", "name"),
    [(between.StepObserver, "on_loss"), (between.StepObserver, "add_roots"), (session.Recording, "before_step")],
)
def test_what_a_signal_handler_raises_reaches_the_script(tmp_path, trained, monkeypatch, place, name):
    def limit(number, frame):
        raise LimitReached

    before = signal.signal(signal.SIGUSR1, limit)
    original = getattr(place, name)

    def interrupted(self, *arguments):
        if session.current().global_step == 2:
            os.kill(os.getpid(), signal.SIGUSR1)
        return original(self, *arguments)

    try:
        with recorded(tmp_path / "run"):
            arm()
            monkeypatch.setattr(place, name, interrupted)
            step(*trained)
            step(*trained)
            with pytest.raises(LimitReached):
                step(*trained)
            monkeypatch.setattr(place, name, original)
            step(*trained)
    finally:
        signal.signal(signal.SIGUSR1, before)
    run = run_of(tmp_path / "run")
    assert not run.meta.disabled
    assert len(run.steps) == 3


def test_two_forks_at_once_leave_the_writer_free(tmp_path, trained, monkeypatch):
    with recorded(tmp_path / "run"):
        arm()
        step(*trained)
        busy = session.current().files.writer.busy
        session._before_fork()
        thread = threading.Thread(target=lambda: (session._before_fork(), idle.after_fork()))
        monkeypatch.setattr(idle, "_slow_until", time.monotonic() + 60)
        thread.start()
        thread.join()
        idle.after_fork()
        assert busy.acquire(timeout=5)
        busy.release()


def test_on_a_slow_disk_not_every_fork_waits(tmp_path, trained):
    with recorded(tmp_path / "run"):
        arm()
        step(*trained)
        with session.current().files.writer.busy:
            started = time.monotonic()
            for _ in range(10):
                session._before_fork()
                idle.after_fork()
            assert time.monotonic() - started < 5


def test_the_losses_of_a_living_task_are_its_own(tmp_path):
    def optimizer_of(model):
        return torch.optim.SGD(model.parameters(), lr=0.1)

    async def trains(seen):
        model = classifier()
        optimizer = optimizer_of(model)
        x, y = batch()
        for _ in range(10):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            await asyncio.sleep(0)
            optimizer.step()
            seen.append(loss.item())

    async def steps_alone():
        model = classifier()
        optimizer = optimizer_of(model)
        for _ in range(20):
            optimizer.step()
            await asyncio.sleep(0)

    async def main(seen):
        await asyncio.gather(trains(seen), steps_alone())

    seen = []
    # In a thread of its own: the browser's tests leave an event loop running in this one.
    with recorded(tmp_path / "run"), ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, main(seen)).result()
    run = run_of(tmp_path / "run")
    found = [one.steps["objective"].dropna().tolist() for one in run.trainings]
    assert sorted(found) == sorted([seen, []])


def test_a_step_that_is_measured_keeps_its_measurement(tmp_path, trained):
    """Another thread steps the same tensors meanwhile: its statistics are left out, and nobody's are mixed."""
    model, optimizer = trained
    other = torch.optim.SGD(model.parameters(), lr=0.1)
    with recorded(tmp_path / "run"):
        arm()
        step(model, optimizer)

        class Slow(torch.optim.SGD):
            def step(self, closure=None):
                thread = threading.Thread(target=other.step)
                thread.start()
                thread.join()
                return super().step(closure)

        Slow.__name__ = "SGD"  # the same class and tensors are one optimizer to the record
        slow = Slow(model.parameters(), lr=0.1)
        for _ in range(5):
            step(model, slow)
    run = run_of(tmp_path / "run")
    ratios = run.training(0).matrix("update_norm") / run.training(0).matrix("weight_norm")
    assert ratios[ratios == ratios].max() < 0.5
    assert run.steps["recorded"].sum() < len(run.steps)
    assert "threads" in set(run.events["kind"])


def test_the_constants_that_these_tests_shorten_exist():
    assert session.PATIENCE >= 10
    assert 1 <= session.LAST_PATIENCE <= writer.CLOSE_SECONDS
