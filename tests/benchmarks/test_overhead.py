"""The benchmark of the recorder's cost runs, says what was kept, and names the tools that are missing."""

import sys

import pytest
import torch

from benchmarks import columns, growth, overhead
from benchmarks.trainings import Training, perceptron


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A short measurement without any tool of others."""
    missing = ("tensorboard", "torch.utils.tensorboard", "wandb", "torchmortem", "gradsnitch", "torch_audit")
    with pytest.MonkeyPatch.context() as patch:
        for name in (*missing, "neural_observatory"):
            patch.setitem(sys.modules, name, None)
        patch.setattr(overhead, "ROUNDS", 2)
        training = perceptron(64, 16, steps=3, default=40)
        return training, *overhead.measure(training, tmp_path_factory.mktemp("overhead"))


def test_every_column_is_measured_or_says_why_not(measured):
    training, found, notes = measured
    ours = {kind.name for kind in overhead.KINDS[:6]}
    assert {name for name, taken in found.items() if taken} == ours
    assert {len(found[name]) for name in ours} == {2}
    assert {note.partition(":")[0] for name, note in notes.items() if name not in ours} == {"not installed"}
    assert all(taken.spent > 0 for name in ours if name.startswith("gradaudit") for taken in found[name])
    text = overhead.table(training, found, notes)
    assert len(text.splitlines()) == 6 + len(overhead.KINDS)


def test_what_was_kept_is_read_back(measured):
    _, _, notes = measured
    tensors = 6
    assert notes["gradaudit, every step"].startswith(f"15 of 15 columns of {tensors} tensors at 4 of 4 steps")
    kept = notes["gradaudit, default"]
    assert kept.endswith("310 steps, and 310 rows of losses")
    recorded = int(kept.partition(" tensors at ")[2].split()[0])
    assert 100 + 0.01 * 210 <= recorded <= 310


def test_nothing_stays_patched(measured):
    from gradaudit.record import cadence, session

    assert session.current() is None
    assert session.guarded.__module__ == "gradaudit.record.session"
    assert (cadence.FULL, cadence._LOOK) == (100, 64)


def test_growth_is_that_of_real_steps(monkeypatch):
    times = growth.seconds(tensors=10, parameters=10_000, steps=3)
    assert len(times) == 3
    assert min(times) > 0


def test_statistics_by_hand_are_taken_of_every_tensor(tmp_path):
    training = perceptron(64, 16, steps=3, default=40)
    assert isinstance(training, Training)
    with columns.by_hand(training, tmp_path, more=True) as column:
        overhead.step(training, column)
    assert all(torch.isfinite(parameter).all() for parameter in training.model.parameters())
