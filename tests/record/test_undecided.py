"""Validation losses that a script computes without `torch.no_grad`: no backward follows, so they are evaluations."""

import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.nn import functional

from gradaudit.record import hooks, session
from gradaudit.record.observe import between
from gradaudit.record.observe.loss import undecided
from tests.record.training import batch, classifier, recorded, run_of

X, Y = batch(24)


@pytest.fixture
def model():
    return classifier()


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)


def loss_of(model, rows):
    return functional.cross_entropy(model(X[rows]), Y[rows])


def step(model, optimizer):
    model.train()
    optimizer.zero_grad()
    loss = loss_of(model, slice(0, 8))
    loss.backward()
    optimizer.step()
    return loss.item()


def test_a_validation_loss_with_a_gradient(tmp_path, model):
    trained, seen = [], []
    with recorded(tmp_path / "run"):
        optimizer = sgd(model)
        for _ in range(4):
            trained.append(step(model, optimizer))
            model.eval()
            loss_val = loss_of(model, slice(8, 24))
            seen.append(loss_val.item())
    run = run_of(tmp_path / "run")
    assert run.steps["mean_loss"].tolist() == pytest.approx(trained)
    assert run.steps["objective"].tolist() == pytest.approx(trained)
    assert run.evaluations["mean_loss"].tolist() == pytest.approx(seen)
    assert run.evaluations["split"].tolist() == ["validation"] * 4
    assert run.evaluations["after_step"].tolist() == [0, 1, 2, 3]
    assert run.evaluations["training"].tolist() == [0] * 4


def test_the_batches_of_two_sets_with_a_gradient_and_without(tmp_path, model):
    """More batches than there are places for losses that wait for a backward."""

    def validate():
        return (
            torch.stack([loss_of(model, slice(row, row + 1)) for _ in range(6) for row in range(8, 24)]).mean().item()
        )

    def test():
        with torch.no_grad():
            return loss_of(model, slice(0, 4)).item()

    validated, tested = [], []
    with recorded(tmp_path / "run"):
        optimizer = sgd(model)
        for _ in range(3):
            step(model, optimizer)
            model.eval()
            validated.append(validate())
            tested.append(test())
    found = run_of(tmp_path / "run").evaluations.groupby("split")
    assert found.get_group("validation")["mean_loss"].tolist() == pytest.approx(validated)
    assert found.get_group("test")["mean_loss"].tolist() == pytest.approx(tested)
    assert found.get_group("validation")["batches"].tolist() == [96] * 3


def test_a_loss_written_by_hand_is_not_taken_for_the_validation_loss(tmp_path, model):
    with recorded(tmp_path / "run"):
        optimizer = sgd(model)
        for _ in range(3):
            model.train()
            optimizer.zero_grad()
            (model(X[:8]) - 1).abs().mean().backward()
            optimizer.step()
            model.eval()
            loss_of(model, slice(8, 24))
    run = run_of(tmp_path / "run")
    assert run.steps["mean_loss"].isna().all()
    assert len(run.evaluations) == 3


@pytest.mark.parametrize("written", ["torch", "by hand"])
def test_a_training_in_evaluation_mode_has_no_evaluations(tmp_path, model, written):
    trained = []
    with recorded(tmp_path / "run"):
        optimizer = sgd(model)
        model.eval()
        for _ in range(4):
            optimizer.zero_grad()
            loss = loss_of(model, slice(0, 8))
            trained.append(loss.item())
            # Far more operations than are looked at to find the losses behind an objective.
            whole = loss if written == "torch" else sum([loss * 0.001 for _ in range(1000)])
            whole.backward()
            optimizer.step()
    run = run_of(tmp_path / "run")
    assert run.steps["mean_loss"].tolist() == pytest.approx(trained)
    assert len(run.evaluations) == 0


def test_a_training_through_autograd_grad_in_evaluation_mode(tmp_path, model):
    trained = []
    with recorded(tmp_path / "run"):
        optimizer = sgd(model)
        model.eval()
        for _ in range(4):
            loss = loss_of(model, slice(0, 8))
            parameters = list(model.parameters())
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.grad = gradient
            optimizer.step()
            trained.append(loss.item())
    run = run_of(tmp_path / "run")
    assert run.steps["mean_loss"].tolist() == pytest.approx(trained)
    assert len(run.evaluations) == 0


@pytest.mark.parametrize("asked", ["grad", "backward"])
def test_losses_of_an_attack_are_no_evaluation(tmp_path, model, asked):
    """As of adversarial robustness: the gradient of the input of a model in evaluation mode."""
    with recorded(tmp_path / "run"):
        optimizer = sgd(model)
        for _ in range(4):
            step(model, optimizer)
            model.eval()
            point = X[8:].clone().requires_grad_()
            loss = functional.cross_entropy(model(point), Y[8:])
            if asked == "grad":
                torch.autograd.grad(loss, point)
            else:
                loss.backward()
    run = run_of(tmp_path / "run")
    assert len(run.evaluations) == 0
    assert len(run.steps) == 4
    assert not any(math.isnan(value) for value in run.steps["mean_loss"])


def test_losses_of_threads_that_have_no_backward_are_the_trainings(tmp_path, model):
    """As of replicas of a model in evaluation mode; the backward is the main thread's."""
    trained = []
    with recorded(tmp_path / "run"), ThreadPoolExecutor(2) as pool:
        optimizer = sgd(model)
        model.eval()
        for _ in range(4):
            optimizer.zero_grad()
            parts = [pool.submit(loss_of, model, slice(row, row + 8)) for row in (0, 8)]
            loss = sum(part.result() for part in parts) / 2
            loss.backward()
            optimizer.step()
            trained.append(loss.item())
    run = run_of(tmp_path / "run")
    assert run.steps["mean_loss"].tolist() == pytest.approx(trained)
    assert len(run.evaluations) == 0


def test_a_metric_of_a_training_in_evaluation_mode_is_no_evaluation(tmp_path, model):
    with recorded(tmp_path / "run"):
        optimizer = sgd(model)
        model.eval()
        for _ in range(4):
            optimizer.zero_grad()
            output = model(X[:8])
            functional.l1_loss(output[:, 0], Y[:8].float())
            functional.cross_entropy(output, Y[:8]).backward()
            optimizer.step()
    assert len(run_of(tmp_path / "run").evaluations) == 0


def test_what_the_script_logs_is_not_counted_twice(tmp_path, model):
    with recorded(tmp_path / "run"):
        optimizer = sgd(model)
        for _ in range(3):
            step(model, optimizer)
            model.eval()
            session.guarded(hooks.on_logged_loss, loss_of(model, slice(8, 24)).item(), "validation", 16)
    assert run_of(tmp_path / "run").evaluations["split"].tolist() == ["validation"] * 3


def test_steps_by_hand_are_closed_before_the_evaluation(tmp_path, model):
    with recorded(tmp_path / "run"):
        for _ in range(4):
            model.train()
            loss_of(model, slice(0, 8)).backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= 0.1 * parameter.grad
                    parameter.grad = None
            model.eval()
            loss_of(model, slice(8, 24))
    run = run_of(tmp_path / "run")
    assert len(run.steps) == 4
    assert run.evaluations["after_step"].tolist() == [0, 1, 2, 3]


def test_an_evaluation_of_more_batches_than_are_kept_is_left_out(tmp_path, model, monkeypatch):
    monkeypatch.setattr(undecided, "_MOST", 8)
    with recorded(tmp_path / "run"):
        optimizer = sgd(model)
        for batches in (4, 12, 4):
            step(model, optimizer)
            model.eval()
            for row in range(batches):
                loss_of(model, slice(row, row + 1))
    assert run_of(tmp_path / "run").evaluations["batches"].tolist() == [4, 4]


def test_a_fault_costs_the_evaluations_and_no_step(tmp_path, model, monkeypatch, capsys):
    def fault(*_):
        raise RuntimeError("fault of ours")

    monkeypatch.setattr(between.StepObserver, "on_derivative", fault)
    with recorded(tmp_path / "run"):
        optimizer = sgd(model)
        for _ in range(3):
            step(model, optimizer)
            point = X.clone().requires_grad_()
            torch.autograd.grad(functional.cross_entropy(model(point), Y), point)
    run = run_of(tmp_path / "run")
    assert [one.observer for one in run.meta.disabled] == ["evaluation losses"]
    assert len(run.steps) == 3
    assert "evaluation losses are no longer recorded" in capsys.readouterr().err


def test_of_several_threads_each_has_the_mode_of_its_own_model(tmp_path):
    """One is in training mode while another evaluates, and the other way round."""

    def train(turn, seen):
        model = classifier()
        optimizer = sgd(model)
        for _ in range(5):
            step(model, optimizer)
            turn.wait()
            model.eval()
            seen.append(loss_of(model, slice(8, 24)).item())

    turn, seen = threading.Barrier(2), ([], [])
    with recorded(tmp_path / "run"), ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(train, turn, mine) for mine in seen]:
            done.result()
    run = run_of(tmp_path / "run")
    assert len(run.steps) == 10
    # Of a thread's first steps it may not be known yet that another one trains.
    told = run.evaluations["mean_loss"].tolist()
    assert len(told) == 10
    assert sorted(told) == pytest.approx(sorted([*seen[0], *seen[1]]))
    assert set(run.evaluations["training"]) == {0}


def test_a_model_that_another_thread_trains_does_not_make_an_evaluation_of_a_training(tmp_path):
    """Each trains in evaluation mode from its second step on."""

    def train(turn):
        model = classifier()
        optimizer = sgd(model)
        step(model, optimizer)
        turn.wait()
        model.eval()
        for _ in range(5):
            optimizer.zero_grad()
            loss_of(model, slice(0, 8)).backward()
            optimizer.step()

    turn = threading.Barrier(2)
    with recorded(tmp_path / "run"), ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(train, turn) for _ in range(2)]:
            done.result()
    run = run_of(tmp_path / "run")
    assert len(run.steps) == 12
    assert run.steps["mean_loss"].notna().all()
    assert len(run.evaluations) == 0


def test_a_loss_whose_backward_runs_in_another_thread_is_no_evaluation(tmp_path, model):
    with recorded(tmp_path / "run"):
        optimizer = sgd(model)
        step(model, optimizer)
        model.eval()
        for _ in range(3):
            optimizer.zero_grad()
            thread = threading.Thread(target=loss_of(model, slice(0, 8)).backward)
            thread.start()
            thread.join()
            optimizer.step()
    run = run_of(tmp_path / "run")
    assert len(run.steps) == 4
    assert len(run.evaluations) == 0
