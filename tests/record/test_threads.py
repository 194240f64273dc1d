"""Several threads that train: nothing crashes, each thread's losses belong to its own steps, results stay the same.

The autograd engine replaces a tensor's `.grad` without the interpreter's lock; a recorder that reads the gradients of
another thread's model crashed the training 5 times in 5. Each scenario runs in a process of its own,
under faulthandler.
"""

import json
import re
import textwrap

import pytest

from gradaudit.reading.run import load
from tests.record.training import python, record, script

# What all scenarios share. `say` keeps what the script computed; a recording must not change it.
HEAD = """
    import asyncio, json, threading, time
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(1)
    torch.manual_seed(0)
    X = torch.randn(64, 32)
    Y = (X[:, 0] > 0).long()

    def net(width=64):
        return torch.nn.Sequential(torch.nn.Linear(32, width), torch.nn.ReLU(), torch.nn.Linear(width, 3))

    def train(model, optimizer, steps, losses=None, x=X, y=Y):
        for _ in range(steps):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            if losses is not None:
                losses.append(loss.item())

    def together(*threads):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def say(*values):
        print(json.dumps(values), flush=True)
"""

SCENARIOS = {
    # Two models, each with an optimizer, in two threads.
    "two": """
        models = [net() for _ in range(2)]
        optimizers = [torch.optim.SGD(model.parameters(), lr=0.1 * (1 + i)) for i, model in enumerate(models)]
        seen = [[], []]
        together(*(threading.Thread(target=train, args=(models[i], optimizers[i], 150, seen[i])) for i in range(2)))
        say(*seen)
    """,
    # An ensemble of eight; all their models and threads are made at once.
    "ensemble": """
        seen = [[] for _ in range(8)]

        def member(index):
            torch.manual_seed(index)  # each builds its own: modules appear while others are being looked at
            model = net(8 + index)
            train(model, torch.optim.Adam(model.parameters(), lr=0.01), 40, seen[index])

        together(*(threading.Thread(target=member, args=(index,)) for index in range(8)))
        say(*(len(one) for one in seen))
    """,
    # Workers with copies of their own put their gradients into a shared model, whose optimizer they all step.
    "hogwild": """
        shared = net()
        optimizer = torch.optim.SGD(shared.parameters(), lr=0.01)
        turn = threading.Lock()
        seen = []

        def worker():
            local = net()
            for _ in range(40):
                local.load_state_dict(shared.state_dict())
                local.zero_grad()
                loss = F.cross_entropy(local(X), Y)
                loss.backward()
                with turn:
                    for mine, theirs in zip(local.parameters(), shared.parameters()):
                        theirs.grad = mine.grad.clone()
                    optimizer.step()
                    seen.append(loss.item())

        together(*(threading.Thread(target=worker) for _ in range(4)))
        say(len(seen))
        print(json.dumps(seen), file=open("seen.json", "w"))
    """,
    # One model, and threads that race for its weights and its gradients, as the script's author accepted.
    "race": """
        model = net()

        def worker():
            optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
            for _ in range(40):
                loss = F.cross_entropy(model(X), Y)
                for p, g in zip(model.parameters(), torch.autograd.grad(loss, list(model.parameters()))):
                    p.data -= 0.001 * g
                F.cross_entropy(model(X).detach() * model[2].bias, Y).backward()
                optimizer.step()

        together(*(threading.Thread(target=worker) for _ in range(3)))
        say("done")
    """,
    # The main thread trains, and another one evaluates the same model again and again.
    "evaluating": """
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        over = threading.Event()
        passes = []

        def evaluate():
            while not over.is_set():
                with torch.no_grad():
                    for part in range(4):
                        F.cross_entropy(model(X[part * 16 : part * 16 + 16]), Y[part * 16 : part * 16 + 16])
                passes.append(1)
                time.sleep(0.02)

        thread = threading.Thread(target=evaluate)
        thread.start()
        seen = []
        train(model, optimizer, 200, seen)
        over.set()
        thread.join()
        say(seen)
    """,
    # An actor plays with the learner's weights and hands over batches; it has losses of its own without a backward.
    "actor": """
        import queue
        batches = queue.Queue(4)
        model, target = net(), net()
        target.load_state_dict(model.state_dict())
        target.requires_grad_(False)

        def actor():
            for index in range(80):
                with torch.no_grad():
                    target(X)
                batches.put((X + 0.01 * index, Y))

        thread = threading.Thread(target=actor, daemon=True)
        thread.start()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        seen = []
        for index in range(80):
            x, y = batches.get()
            train(model, optimizer, 1, seen, x, y)
            if index % 10 == 0:
                target.load_state_dict(model.state_dict())
        thread.join()
        say(seen)
    """,
    # Coroutines interleave between loss, backward and step.
    "asyncio": """
        async def member(index, losses):
            torch.manual_seed(index)
            model = net(8 + index)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            for _ in range(40):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(X), Y)
                await asyncio.sleep(0)
                loss.backward()
                await asyncio.sleep(0)
                optimizer.step()
                losses.append(loss.item())

        seen = [[], [], []]

        async def main():
            await asyncio.gather(*(member(index, seen[index]) for index in range(3)))

        asyncio.run(main())
        say(*seen)
    """,
    # Every step in another thread of a pool, one after the other; every backward in a thread of its own.
    "pool": """
        from concurrent.futures import ThreadPoolExecutor
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        seen = []
        with ThreadPoolExecutor(3) as pool:
            for _ in range(60):
                pool.submit(train, model, optimizer, 1, seen).result()
        for _ in range(20):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(X), Y)
            thread = threading.Thread(target=loss.backward)
            thread.start()
            thread.join()
            optimizer.step()
            seen.append(loss.item())
        say(seen)
    """,
}


def recorded(folder, name):
    """(what the script said bare, what it said recorded, the run)."""
    script(folder, textwrap.dedent(HEAD) + textwrap.dedent(SCENARIOS[name]))
    bare = python(folder, "train.py")
    assert bare.returncode == 0, bare.stderr
    done = record(folder, "--every", "1", "-o", "run", "train.py", PYTHONFAULTHANDLER="1")
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.fullmatch(r"gradaudit: recorded [^\n]+\n", done.stderr), done.stderr
    run = load(folder / "run")
    assert not run.meta.disabled
    return json.loads(bare.stdout), json.loads(done.stdout), run


def objectives(run):
    """The objectives of each optimizer, in order."""
    return [one.steps["objective"].tolist() for one in run.trainings]


QUICK = ("two", "evaluating")


def some(name):
    """20 times in the long tests, and a few of them once in the quick ones."""
    once = [] if name in QUICK else [pytest.mark.long]
    often = [pytest.mark.long, pytest.mark.timeout(1800)]
    return [pytest.param(name, 1, id=name, marks=once), pytest.param(name, 20, id=f"{name}-20", marks=often)]


@pytest.mark.parametrize(("name", "times"), [case for name in SCENARIOS for case in some(name)])
def test_threads_that_train_are_recorded_and_left_as_they_are(tmp_path, name, times):
    for number in range(times):
        said, again, run = recorded(tmp_path / str(number), name)
        assert again == said
        CHECKS[name](said, run)


def each_has_its_own(said, run):
    assert sorted(objectives(run)) == sorted(said)
    assert (run.steps["mean_loss"] == run.steps["objective"]).all()
    assert (run.steps["micro_steps"] == 1).all()
    # What a thread writes that waits in a backward from before the other one trained is not known: steps are skipped.
    assert run.steps["recorded"].iloc[-200:].all(), "no two threads train the same tensors"


def of_an_ensemble(said, run):
    assert sorted(len(one) for one in objectives(run)) == said
    assert len(run.meta.tensors) == 32
    assert (run.steps["micro_steps"] == 1).all()


def of_an_evaluation(said, run):
    assert objectives(run) == said
    passes = run.evaluations
    assert len(passes) >= 2, "a thread that evaluates beside the training makes passes of its own"
    assert (passes["batches"] >= 1).all()
    assert passes["after_step"].is_monotonic_increasing


def of_workers(said, run):
    seen = json.loads((run.path.parent / "seen.json").read_text())
    assert said == [160] == [len(run.steps)]
    assert run.steps["objective"].tolist() == seen, "a step goes with the loss of the thread that makes it"


def of_a_race(said, run):
    assert said == ["done"]
    assert len(run.steps) == 120


def of_one_training(said, run):
    assert objectives(run) == said


CHECKS = {
    "two": each_has_its_own,
    "ensemble": of_an_ensemble,
    "hogwild": of_workers,
    "race": of_a_race,
    "evaluating": of_an_evaluation,
    "actor": of_one_training,
    "asyncio": each_has_its_own,
    "pool": of_one_training,
}
