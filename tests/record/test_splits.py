"""Which data an evaluation loss belongs to, told from the script's own source."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from tests.record.training import batch, classifier, recorded, run_of


@pytest.fixture
def model():
    return classifier()


def loss_of(model, x, y):
    with torch.no_grad():
        return functional.cross_entropy(model(x), y).item()


def step(model):
    x, y = batch()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    functional.cross_entropy(model(x), y).backward()
    optimizer.step()


def splits(directory):
    return run_of(directory).evaluations["split"].tolist()


def test_two_calls_are_told_apart_by_their_own_words(tmp_path, model):
    x, y = batch()
    val_x, val_y, train_x, train_y = x, y, x + 1, y
    with recorded(tmp_path / "run"):
        step(model)
        losses = loss_of(model, train_x, train_y), loss_of(model, val_x, val_y)
    assert splits(tmp_path / "run") == ["train", "validation"]
    run = run_of(tmp_path / "run")
    assert run.evaluations["mean_loss"].tolist() == pytest.approx(losses)


def test_nanogpts_estimate_loss(tmp_path, model):
    x, y = batch()

    @torch.no_grad()
    def estimate_loss():
        out = {}
        model.eval()
        for split in ["train", "val"]:
            losses = torch.zeros(3)
            for k in range(3):
                losses[k] = functional.cross_entropy(model(x + (split == "val")), y).item()
            out[split] = losses.mean()
        model.train()
        return out

    with recorded(tmp_path / "run"):
        for _ in range(2):
            step(model)
            expected = estimate_loss()
    run = run_of(tmp_path / "run")
    assert run.evaluations["split"].tolist() == ["train", "validation"] * 2
    assert run.evaluations["batches"].tolist() == [3] * 4
    last = run.evaluations.tail(2)["mean_loss"].tolist()
    assert last == pytest.approx([float(expected["train"]), float(expected["val"])])


def test_a_function_called_validate_says_it(tmp_path, model):
    def validate(data):
        return loss_of(model, *data)

    with recorded(tmp_path / "run"):
        step(model)
        validate(batch())
    assert splits(tmp_path / "run") == ["validation"]


def test_a_place_that_says_nothing_gets_a_label_of_its_own(tmp_path, model):
    def measure(data):
        return loss_of(model, *data)

    with recorded(tmp_path / "run"):
        step(model)
        measure(batch())
        measure(batch())
    labels = splits(tmp_path / "run")
    assert len(labels) == 2
    assert all(label.startswith("evaluation") for label in labels)


def test_model_eval_and_train_are_modes_not_data(tmp_path, model):
    with recorded(tmp_path / "run"):
        step(model)
        model.eval()
        loss_of(model, *batch())
        model.train()
    assert splits(tmp_path / "run")[0].startswith("evaluation")


def test_the_mode_of_the_model_is_recorded(tmp_path, model):
    with recorded(tmp_path / "run"):
        step(model)
        test_loss = loss_of(model, *batch())
        step(model)
        model.eval()
        test_loss = loss_of(model, *batch())  # noqa: F841
    assert run_of(tmp_path / "run").evaluations["training"].tolist() == [1, 0]


def test_an_evaluation_inside_train_is_not_of_the_training_data(tmp_path, model):
    def evaluate(data):
        return loss_of(model, *data)

    def train(train_loader):
        for _ in train_loader:
            step(model)
            evaluate(batch())

    with recorded(tmp_path / "run"):
        train(range(2))
    assert [label.split()[0] for label in splits(tmp_path / "run")] == ["evaluation", "evaluation"]


def test_the_loop_around_a_loss_names_its_data(tmp_path, model):
    val_loader = [batch(), batch()]
    total = 0.0
    with recorded(tmp_path / "run"):
        step(model)
        with torch.no_grad():
            for x, y in val_loader:
                total += functional.cross_entropy(model(x), y)
    assert splits(tmp_path / "run") == ["validation"]


def test_an_optimizer_built_again_goes_on(tmp_path, model):
    with recorded(tmp_path / "run"):
        for _ in range(3):
            step(model)
    run = run_of(tmp_path / "run")
    assert [one.id for one in run.trainings] == [0]
    assert run.steps["step"].tolist() == [0, 1, 2]
    assert run.training(0).matrix("has_grad").shape == (3, 4)


def test_a_framework_that_says_it_fits_does_not_rename_its_sanity_check(tmp_path, model):
    x, y = batch()

    def validation_step():
        with torch.no_grad():
            return functional.cross_entropy(model(x), y)

    def fit(stage="train"):
        validation_step()
        step(model)
        return stage

    with recorded(tmp_path / "run"):
        fit()
    assert splits(tmp_path / "run") == ["validation"]


def evaluate(model, data):
    return sum(loss_of(model, x, y) for x, y in data)


def test_two_data_sets_at_one_place_are_two_splits(tmp_path, model):
    first, second = [batch(), batch()], [batch(4), batch(4)]
    with recorded(tmp_path / "run"):
        for _ in range(2):
            step(model)
            for part in (first, second):
                evaluate(model, part)
    run = run_of(tmp_path / "run")
    assert run.evaluations["split"].nunique() == 2
    assert run.evaluations["targets"].tolist() == [16, 8, 16, 8]


def test_any_loop_variable_may_name_the_split(tmp_path, model):
    with recorded(tmp_path / "run"):
        step(model)
        for kind, part in (("train", [batch()]), ("valid", [batch(4)])):
            evaluate(model, part)
            assert kind
    run = run_of(tmp_path / "run")
    assert run.evaluations[["split", "targets"]].to_numpy().tolist() == [["train", 8], ["validation", 4]]


def test_a_setting_called_mode_is_no_split(tmp_path, model):
    mode = "train"
    with recorded(tmp_path / "run"):
        step(model)
        evaluate(model, [batch()])
    assert mode
    assert splits(tmp_path / "run")[0].startswith("evaluation")


def test_a_function_that_trains_and_evaluates_is_named_by_its_caller(tmp_path, model):
    def run_epoch(data, train):
        for x, y in data:
            with torch.set_grad_enabled(train):
                loss = functional.cross_entropy(model(x), y)
            if train:
                optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
                loss.backward()
                optimizer.step()

    with recorded(tmp_path / "run"):
        run_epoch([batch()], True)
        for kind, part in (("train", [batch()]), ("val", [batch(4)])):
            run_epoch(part, kind == "")
        test_set = [batch(2)]
        run_epoch(test_set, False)
    run = run_of(tmp_path / "run")
    assert run.evaluations[["split", "targets"]].to_numpy().tolist() == [["test", 2], ["train", 8], ["validation", 4]]


def test_one_test_function_for_the_data_of_all_splits(tmp_path, model):
    """The call says which data; the function's name is that of the last use that its author thought of."""
    x, y = batch()

    def test(model, x, y, mask, training=False):
        model.eval()
        with torch.no_grad():
            return functional.cross_entropy(model(x[mask]), y[mask]), 0.5

    def train(train_mask, val_mask):
        for _ in range(3):
            step(model)
            loss_train, _acc = test(model, x, y, train_mask)
            loss_val, _acc = test(model, x, y, val_mask, training=False)
            del loss_train, loss_val

    with recorded(tmp_path / "run"):
        train(slice(0, 4), slice(4, 6))
        chosen = slice(6, 8)
        test(model, x, y, chosen)
    found = run_of(tmp_path / "run").evaluations
    assert found["split"].value_counts().to_dict() == {"train": 3, "validation": 3, "test": 1}
    assert found.groupby("split")["targets"].unique().map(list).to_dict() == {
        "train": [4], "validation": [2], "test": [2],
    }  # fmt: skip


def test_a_mode_is_no_data(tmp_path, model):
    """skorch's validation step says training=False."""
    x, y = batch()

    def get_loss(y_pred, y_true, training=False):
        return functional.cross_entropy(y_pred, y_true)

    def validation_step():
        with torch.no_grad():
            loss = get_loss(model(x), y, training=False)
        return loss

    with recorded(tmp_path / "run"):
        for _ in range(2):
            step(model)
            validation_step()
    assert splits(tmp_path / "run") == ["validation"] * 2


def test_a_loader_is_known_by_its_data_set(tmp_path, model):
    x, y = batch()
    data = TensorDataset(x, y)

    def loss_over(loader):
        model.eval()
        with torch.no_grad():
            return sum(functional.cross_entropy(model(x), y).item() for x, y in loader)

    with recorded(tmp_path / "run"):
        for _ in range(3):
            step(model)
            loss_over(DataLoader(data, 4))
        eval_data = DataLoader(data, 4)
        loss_over(eval_data)
    assert splits(tmp_path / "run") == ["evaluation"] * 3 + ["validation"]


def test_a_wrapper_does_not_hide_the_mode_of_the_model(tmp_path, model):
    x, y = batch()
    task = nn.Module()
    task.model, task.criterion = model, nn.CrossEntropyLoss()
    with recorded(tmp_path / "run"):
        optimizer = torch.optim.SGD(task.parameters(), lr=0.1)
        for _ in range(2):
            model.train()
            task.criterion(task.model(x), y).backward()
            optimizer.step()
            model.eval()
            with torch.no_grad():
                task.criterion(task.model(x), y)
    run = run_of(tmp_path / "run")
    assert run.steps["training"].tolist() == [1, 1]
    assert run.evaluations["training"].tolist() == [0, 0]
