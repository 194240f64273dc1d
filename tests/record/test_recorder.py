"""The explicit API: what a notebook cell does, beside the wrapper and without it."""

import pytest
import torch
from torch.nn import functional

import gradaudit
from gradaudit.record import session
from tests.record.training import batch, classifier, record, recorded, run_of, script


def step(model, optimizer):
    x, y = batch()
    optimizer.zero_grad()
    loss = functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def test_a_model_and_its_optimizer_are_recorded_until_closed(tmp_path):
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    other = classifier()
    unrelated = torch.optim.SGD(other.parameters(), lr=0.1)
    with gradaudit.Recorder(model, optimizer, directory=tmp_path / "run", every=1, quiet=True) as recorder:
        losses = [step(model, optimizer) for _ in range(3)]
        step(other, unrelated)
        recorder.log(loss=0.5, split="val")
        recorder.log(loss=torch.tensor(1.5), split="val")
    step(model, optimizer)
    run = run_of(tmp_path / "run")
    assert run.state == "finished"
    assert run.steps["mean_loss"].tolist() == pytest.approx(losses)
    assert run.evaluations[["split", "mean_loss", "after_step"]].to_numpy().tolist() == [["validation", 1.0, 2]]
    assert [tensor.name for tensor in run.meta.tensors] == ["0.weight", "0.bias", "3.weight", "3.bias"]
    assert session.current() is None


def test_a_logged_training_loss_stands_in_for_one_that_was_not_seen(tmp_path):
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradaudit.Recorder(model, optimizer, directory=tmp_path / "run", quiet=True) as recorder:
        model(batch()[0]).square().mean().backward()
        recorder.log(loss=2.5)
        optimizer.step()
    run = run_of(tmp_path / "run")
    assert run.steps["mean_loss"].tolist() == [2.5]
    assert run.loss_facts(int(run.steps["loss"][0])).function == "logged"


def test_an_exception_inside_is_the_users_and_is_recorded(tmp_path):
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def cell():
        with gradaudit.Recorder(model, optimizer, directory=tmp_path / "run", quiet=True):
            step(model, optimizer)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cell()
    assert run_of(tmp_path / "run").state == "failed"


def test_a_folder_that_is_taken_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    model = classifier()
    with pytest.raises(FileExistsError, match="not empty"):
        gradaudit.Recorder(model, torch.optim.SGD(model.parameters(), lr=0.1), directory=tmp_path)
    assert session.current() is None


def test_two_recorders_one_after_the_other(tmp_path):
    for name in ("one", "two"):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with gradaudit.Recorder(model, optimizer, directory=tmp_path / name, quiet=True):
            step(model, optimizer)
    assert len(run_of(tmp_path / "one").steps) == len(run_of(tmp_path / "two").steps) == 1


def test_inside_a_recording_it_joins_it(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with gradaudit.Recorder(model, optimizer, directory=tmp_path / "never") as recorder:
            step(model, optimizer)
            recorder.log(loss=3.0, split="test")
        step(model, optimizer)
    run = run_of(tmp_path / "run")
    assert len(run.steps) == 2
    assert run.evaluations["split"].tolist() == ["test"]
    assert not (tmp_path / "never").exists()


def test_under_the_command(tmp_path):
    script(
        tmp_path,
        """
        import gradaudit, torch
        model = torch.nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with gradaudit.Recorder(model, optimizer) as recorder:
            model(torch.ones(1, 2)).sum().backward()
            optimizer.step()
            recorder.log(loss=0.25, split="validation")
            assert recorder.directory.name == "run" and recorder.directory.is_dir()
        """,
    )
    result = record(tmp_path, "-o", "run", "train.py")
    assert result.stderr == "gradaudit: recorded 1 step of 2 tensors; next: gradaudit analyze run\n"
    assert run_of(tmp_path / "run").evaluations["mean_loss"].tolist() == [0.25]


def test_a_cell_that_is_run_again_closes_the_recorder_before(tmp_path):
    recorders = []
    for name in ("first", "second"):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        recorders.append(gradaudit.Recorder(model, optimizer, directory=tmp_path / name, quiet=True))
        step(model, optimizer)
    recorders[0].close()
    step(model, optimizer)
    recorders[1].close()
    assert len(run_of(tmp_path / "first").steps) == 1
    assert len(run_of(tmp_path / "second").steps) == 2


def test_what_is_no_optimizer_is_refused_before_anything_is_patched(tmp_path):
    model = classifier()
    before = functional.cross_entropy
    with pytest.raises(TypeError, match="not list"):
        gradaudit.Recorder(model, [torch.optim.SGD(model.parameters(), lr=0.1)], directory=tmp_path / "run")
    assert functional.cross_entropy is before


def test_a_logged_evaluation_is_not_recorded_twice(tmp_path):
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = batch()
    with gradaudit.Recorder(model, optimizer, directory=tmp_path / "run", quiet=True) as recorder:
        step(model, optimizer)
        with torch.no_grad():
            loss = functional.cross_entropy(model(x), y)
        recorder.log(loss=loss, split="val")
    assert run_of(tmp_path / "run").evaluations["split"].tolist() == ["validation"]
