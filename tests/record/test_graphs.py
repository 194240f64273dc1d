"""While a CUDA graph is captured the recorder keeps still; the names of a torch without CUDA are enough to see it."""

import contextlib

import pytest
import torch
from torch.nn import functional

from gradaudit.record import idle, session
from tests.record.training import batch, classifier, recorded, run_of


def step(model, optimizer):
    x, y = batch()
    optimizer.zero_grad()
    functional.cross_entropy(model(x), y).backward()
    optimizer.step()


@pytest.fixture
def capture(monkeypatch):
    """A context in which torch says that the current stream is capturing, entered as torch.cuda.graph would."""
    graph = torch.cuda.CUDAGraph
    monkeypatch.setattr(graph, "capture_begin", lambda fail=False: 1 / 0 if fail else None)
    monkeypatch.setattr(graph, "capture_end", lambda: None)

    @contextlib.contextmanager
    def capturing():
        graph.capture_begin()
        with monkeypatch.context() as patch:
            patch.setattr(torch.cuda, "is_initialized", lambda: True)
            patch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
            yield
        graph.capture_end()

    return capturing


def test_what_is_captured_is_not_recorded(tmp_path, capture):
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        step(model, optimizer)
        with capture():
            assert session.current().files.writer.busy.locked(), "the writer's thread must not call the driver"
            step(model, optimizer)
            step(model, optimizer)
        assert idle._paused is None
        step(model, optimizer)
    run = run_of(tmp_path / "run")
    assert len(run.steps) == 2
    assert run.events["kind"].tolist() == ["captured"]


def test_a_capture_that_fails_lets_the_writer_go_on(tmp_path, capture):
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        step(model, optimizer)
        with pytest.raises(ZeroDivisionError):
            torch.cuda.CUDAGraph.capture_begin(fail=True)
        assert idle._paused is None
    assert len(run_of(tmp_path / "run").steps) == 1
