"""What no step hands over is fetched by the writer's thread: in its order, never while it is paused."""

import math
import time

import torch
from torch.nn import functional

from gradaudit.record import hooks, session
from tests.plain_segments import rows_in
from tests.record.training import batch, classifier, recorded, run_of

TOOK = 20.0  # seconds that a busy machine may take for what is there after one or two


def live(directory, name):
    """The rows of an open segment, as they lie on the disk."""
    return rows_in(directory / "rank00000" / f"{name}-000000.rows")


def until(condition):
    end = time.monotonic() + TOOK
    while not (found := condition()):
        assert time.monotonic() < end, "nothing was fetched"
        time.sleep(0.02)
    return found


def train(steps):
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = batch()
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()


def step(model):
    x, y = batch()
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    functional.cross_entropy(model(x), y).backward()
    optimizer.step()


def evaluate(batches, size=4):
    for _ in range(batches):
        functional.cross_entropy(torch.zeros(size, 3), torch.zeros(size, dtype=torch.long))


def test_a_pass_that_rests_is_written_and_written_again_when_it_goes_on(tmp_path):
    sizes = ((2, 2), (3, 5), (1, 6))
    with recorded(tmp_path / "run") as run:
        train(3)
        for more, so_far in sizes:  # from one line of the script: one split
            evaluate(more)
            until(lambda so_far=so_far: (rows := live(run, "evaluations")) and rows[-1]["batches"] == so_far)
        assert len(live(run, "steps")) == 3
        train(1)  # ends the pass, of which nothing is new
        evaluate(1)
        until(lambda: live(run, "evaluations")[-1]["pass"] == 1)
        rows = live(run, "evaluations")
    # On a busy machine a pass may rest in the middle of what is added here.
    first = [row["batches"] for row in rows[:-1]]
    assert sorted(set(first)) == first
    assert {2, 5, 6} <= set(first)
    assert len({row["split"] for row in rows[:-1]}) == 1
    assert [row["targets"] for row in rows] == [4 * row["batches"] for row in rows]
    assert [row["pass"] for row in rows] == [0] * len(first) + [1]
    assert {row["after_step"] for row in rows[:-1]} == {2}
    assert {round(row["mean_loss"], 6) for row in rows} == {round(math.log(3), 6)}


def test_a_split_that_the_script_names_itself_takes_back_what_was_written(tmp_path):
    with recorded(tmp_path / "run") as run:
        train(2)
        evaluate(2)
        until(lambda: live(run, "evaluations"))
        session.guarded(hooks.on_logged_loss, 0.5, "validation", 8)
        rows = until(lambda: len(live(run, "evaluations")) == 3 and live(run, "evaluations"))
    found = {(each["pass"], each["split"]): (each["batches"], each["mean_loss"]) for each in rows}
    (named,) = [key for key in found if key[1] == "validation"]
    assert found.pop(named) == (1, 0.5)
    ((_, (batches, mean)),) = found.items()
    assert batches == 0
    assert math.isnan(mean)


def resting(model, rows=8):
    """A loss in evaluation mode, with a gradient."""
    model.eval()
    return functional.cross_entropy(model(batch(rows)[0]), batch(rows)[1])


def test_an_evaluation_with_gradients_is_written_before_it_is_known_to_be_one(tmp_path):
    """It may be the last thing that the process does."""
    model = classifier()
    with recorded(tmp_path / "run") as run:
        step(model)
        losses = []
        while len(losses) < 2:
            losses.append(resting(model).item())
            rows = until(lambda: len(found := live(run, "evaluations")) == len(losses) and found)
            assert (rows[-1]["batches"], rows[-1]["after_step"], rows[-1]["training"]) == (len(losses), 0, 0)
            assert round(rows[-1]["mean_loss"], 5) == round(losses[0], 5)
        step(model)
        resting(model)
    found = run_of(tmp_path / "run").evaluations
    assert found["batches"].tolist() == [2, 1]
    assert found["after_step"].tolist() == [0, 1]


def test_what_was_written_is_taken_back_where_a_backward_follows(tmp_path):
    model = classifier()
    with recorded(tmp_path / "run") as run:
        step(model)
        loss = resting(model)
        until(lambda: live(run, "evaluations"))
        loss.backward()
    found = run_of(tmp_path / "run").evaluations
    assert found.empty or (found["batches"] == 0).all()


def test_nothing_is_fetched_while_a_graph_is_captured(tmp_path):
    with recorded(tmp_path / "run") as run:
        train(3)
        until(lambda: len(live(run, "steps")) == 3)
        session.pause()
        try:
            session.event("named", "waits")
            looked = session.current().waiting
            given, looked._given = looked._given, 0.0
            time.sleep(1.3)
            assert (live(run, "events"), looked._given) == ([], 0.0)
        finally:
            looked._given = given
            session.resume()
        (row,) = until(lambda: live(run, "events"))
        assert row["message"] == "waits"


def test_what_was_handed_over_before_comes_first(tmp_path, monkeypatch):
    with recorded(tmp_path / "run"):
        train(2)
        recording = session.current()
        waiting = recording.waiting
        until(lambda: not waiting.steps)
        recording.event("named", "second")
        with waiting.lock, monkeypatch.context() as patch:
            waiting._given = 0.0
            patch.setattr(recording.files.writer, "idle", lambda: False)
            assert recording.overdue() is None
        until(lambda: not waiting.events)


def test_a_fault_in_fetching_is_one_line(tmp_path, monkeypatch, capsys):
    def fault(self, writer):
        raise RuntimeError("fault of ours")

    with recorded(tmp_path / "run"):
        train(2)
        writer = session.current().files.writer
        monkeypatch.setattr(type(session.current().waiting), "overdue", fault)
        until(lambda: writer.error)
    assert len(capsys.readouterr().err.splitlines()) == 1
