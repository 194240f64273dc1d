"""The mode of what is evaluated while the trained model is in training mode: an average of it has a mode of its own."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from tests.record.training import batch, classifier, recorded, run_of

UNKNOWN, TRAINING = -1, 1


@pytest.fixture
def student():
    return classifier()


def step(model):
    x, y = batch()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    functional.cross_entropy(model(x), y).backward()
    optimizer.step()


def modes(directory):
    return run_of(directory).evaluations["training"].tolist()


@torch.no_grad()
def validate(model):
    x, y = batch(16)
    return functional.cross_entropy(model(x), y).item()


def test_a_teacher_in_evaluation_mode_beside_a_student_that_trains(tmp_path, student):
    teacher = copy.deepcopy(student).eval()
    with recorded(tmp_path / "run"):
        for _ in range(2):
            step(student)
            validate(teacher)
    assert modes(tmp_path / "run") == [UNKNOWN, UNKNOWN]


def test_the_student_itself_in_training_mode(tmp_path, student):
    teacher = copy.deepcopy(student).eval()
    with recorded(tmp_path / "run"):
        step(student)
        validate(student)
    assert modes(tmp_path / "run") == [TRAINING]
    assert not teacher.training


def test_an_average_that_an_object_holds(tmp_path, student):
    class Trainer:
        def __init__(self):
            self.average = AveragedModel(student).eval()

        def validate(self):
            x, y = batch(16)
            with torch.no_grad():
                return functional.cross_entropy(self.average(x), y).item()

    trainer = Trainer()
    with recorded(tmp_path / "run"):
        step(student)
        trainer.validate()
    assert modes(tmp_path / "run") == [UNKNOWN]


def test_a_function_that_names_both_may_evaluate_either(tmp_path, student):
    teacher = copy.deepcopy(student).eval()

    @torch.no_grad()
    def compare():
        x, _ = batch(16)
        return functional.cross_entropy(teacher(x), student(x).argmax(1)).item()

    with recorded(tmp_path / "run"):
        step(student)
        compare()
    assert modes(tmp_path / "run") == [UNKNOWN]


@pytest.mark.parametrize("odd", ["lazy", "own parameters"])
def test_models_of_any_kind_beside_it(tmp_path, student, odd):
    asked = []

    class Own(nn.Linear):
        def parameters(self, recurse=True):
            asked.append(recurse)
            return super().parameters(recurse)

    other = nn.LazyLinear(3) if odd == "lazy" else Own(2, 2)

    @torch.no_grad()
    def evaluate():
        x, y = batch(16)
        return functional.cross_entropy(student(x), y).item() if other.training else 0.0

    with recorded(tmp_path / "run"):
        step(student)
        asked.clear()
        evaluate()
        assert not asked
    assert modes(tmp_path / "run") == [TRAINING]
    assert not run_of(tmp_path / "run").meta.disabled


def test_an_average_in_training_mode_is_no_excuse(tmp_path, student):
    teacher = copy.deepcopy(student).train()
    with recorded(tmp_path / "run"):
        step(student)
        validate(teacher)
    assert modes(tmp_path / "run") == [TRAINING]


@pytest.mark.parametrize("beside", [False, True])
def test_one_of_two_trained_models_is_evaluated_in_evaluation_mode(tmp_path, student, beside):
    """A generator, say, while its critic trains; a function that names both may evaluate either."""
    critic = nn.Linear(3, 1)

    @torch.no_grad()
    def compare(one, other):
        x, y = batch(16)
        return functional.cross_entropy(one(x), y).item() + other(one(x)).sum().item()

    with recorded(tmp_path / "run"):
        optimizer = torch.optim.SGD([*student.parameters(), *critic.parameters()], lr=0.1)
        critic(student(batch()[0])).sum().backward()
        optimizer.step()
        student.eval()
        if beside:
            compare(student, critic)
        else:
            validate(student)
    assert modes(tmp_path / "run") == [UNKNOWN if beside else 0]


def test_a_thread_that_evaluates_while_another_one_trains(tmp_path):
    models = [classifier(), classifier()]

    def train(model, trains):
        step(model)
        turn.wait()
        if not trains:
            model.eval()
            validate(model)
        turn.wait()
        step(model)

    turn = threading.Barrier(2)
    with recorded(tmp_path / "run"), ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(train, model, bool(index)) for index, model in enumerate(models)]:
            done.result()
    run = run_of(tmp_path / "run")
    assert run.evaluations["training"].tolist() == [0]
    assert sorted(run.steps["training"]) == [0, 1, 1, 1]


def test_another_model_in_evaluation_mode_is_no_copy(tmp_path, student):
    class Evaluator:
        def __init__(self):
            self.features = nn.Linear(10, 10).eval()
            self.trained = student

        def validate(self):
            x, y = batch(16)
            with torch.no_grad():
                return functional.cross_entropy(self.trained(self.features(x)), y).item()

    evaluator = Evaluator()
    with recorded(tmp_path / "run"):
        step(student)
        evaluator.validate()
    assert modes(tmp_path / "run") == [TRAINING]


def test_no_attribute_is_computed_to_find_a_model(tmp_path, student):
    asked = []

    class Lazy:
        def __getattr__(self, name):
            asked.append(name)
            raise AttributeError(name)

        @property
        def model(self):
            asked.append("model")
            return student

    held = Lazy()
    step(student)
    with recorded(tmp_path / "run"):
        step(student)
        x, y = batch(16)
        with torch.no_grad():
            functional.cross_entropy(student(x), y)
        before = list(asked)
        _ = held.model
    assert before == []
    assert modes(tmp_path / "run") == [TRAINING]
