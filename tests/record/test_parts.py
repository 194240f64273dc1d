"""Several data sets at one place of a script are never averaged, and batches are no data sets."""

import dataclasses
from collections import UserDict, namedtuple

import numpy
import pytest
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, TensorDataset

from gradaudit.record.observe.evaluation.words import one_of
from tests.record.training import batch, classifier, recorded, run_of
from tests.thin import thin

PASSES = 4


@pytest.fixture
def model():
    return classifier()


def data(seed, size=8):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, 10, generator=generator), torch.randint(0, 3, (size,), generator=generator)


def step(model):
    x, y = batch()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    functional.cross_entropy(model(x), y).backward()
    optimizer.step()


def loss_of(model, x, y):
    with torch.no_grad():
        return functional.cross_entropy(model(x), y).item()


def over(model, batches):
    return sum(loss_of(model, x, y) for x, y in batches)


def found(directory):
    """The splits of a run, each with its losses, one a pass."""
    rows = run_of(directory).evaluations
    return {str(split): part["mean_loss"].tolist() for split, part in rows.groupby("split", sort=False)}


def trained(directory, model, measure):
    """Train a little and measure, several times; what was recorded, and what `measure` gave."""
    with recorded(directory):
        values = []
        for _ in range(PASSES):
            step(model)
            values.append(measure())
    return found(directory), list(zip(*values, strict=True)) if isinstance(values[0], tuple | list) else [values]


def holds(splits, names, values):
    assert list(splits) == names
    for name, expected in zip(names, values, strict=True):
        assert splits[name] == pytest.approx(list(expected)), name


# Batches that are objects, made anew for each loss. ------------------------------------------------------------------


@dataclasses.dataclass
class Record:
    x: torch.Tensor
    y: torch.Tensor


@dataclasses.dataclass(slots=True)
class Slotted:
    x: torch.Tensor
    y: torch.Tensor


class Encoding(UserDict):
    """As the batches of Hugging Face's tokenizers."""

    x = property(lambda self: self.data["x"])
    y = property(lambda self: self.data["y"])


class Output(dict):
    """As the outputs of Hugging Face's models."""

    x = property(lambda self: self["x"])
    y = property(lambda self: self["y"])


class Store:
    def __init__(self, x, y):
        self.mapping = {"x": x, "y": y}


class Graph:
    """As the batches of graph libraries, which keep their tensors a level further in."""

    def __init__(self, x, y):
        self.store = Store(x, y)

    x = property(lambda self: self.store.mapping["x"])
    y = property(lambda self: self.store.mapping["y"])


Pair = namedtuple("Pair", "x y")
KINDS = {
    "dataclass": Record,
    "slots": Slotted,
    "encoding": lambda x, y: Encoding({"x": x, "y": y}),
    "output": lambda x, y: Output(x=x, y=y),
    "namedtuple": Pair,
    "object": Graph,
}


@pytest.mark.parametrize("size", [2, 16], ids=["many", "few"])
@pytest.mark.parametrize("kind", thin(2, KINDS.values()), ids=KINDS)
def test_batches_that_are_objects_are_one_split(tmp_path, model, kind, size):
    x, y = data(1, 32)

    def batches(x, y):
        return [kind(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]

    def loss(model, batch):
        return functional.cross_entropy(model(batch.x), batch.y)

    def evaluate(model, data):
        with torch.no_grad():
            return sum(loss(model, batch).item() for batch in data) * size / 32

    splits, values = trained(tmp_path / "run", model, lambda: evaluate(model, batches(x, y)))
    holds(splits, ["evaluation"], values)


def test_batches_of_a_generator_are_one_split(tmp_path, model):
    x, y = data(1, 32)

    def batches():
        for i in range(0, 32, 16):
            yield Record(x[i : i + 16], y[i : i + 16])

    def evaluate(model, given):
        return sum(loss_of(model, each.x, each.y) for each in given) / 2

    splits, values = trained(tmp_path / "run", model, lambda: evaluate(model, batches()))
    holds(splits, ["evaluation"], values)


def test_batches_that_a_function_gives_are_one_split(tmp_path, model):
    drawn = torch.Generator().manual_seed(0)

    def estimate():
        total = 0.0
        for _ in range(3):
            places = torch.randint(0, 32, (8,), generator=drawn)
            total += loss_of(model, x[places], y[places])
        return total / 3

    x, y = data(1, 32)
    splits, values = trained(tmp_path / "run", model, estimate)
    holds(splits, ["evaluation"], values)


# Several data sets at one place. -------------------------------------------------------------------------------------


def test_a_comprehension_over_names_says_them(tmp_path, model):
    """As nanoGPT's, written in one expression."""
    sets = {"train": data(1), "val": data(2)}

    def measure():
        losses = {split: sum(loss_of(model, *sets[split]) for _ in range(3)) / 3 for split in ("train", "val")}
        return tuple(losses.values())

    splits, values = trained(tmp_path / "run", model, measure)
    holds(splits, ["train", "validation"], values)


def test_a_comprehension_over_pairs_is_named_by_what_is_written_out(tmp_path, model):
    x_train, y_train = data(1)
    x_val, y_val = data(2)
    splits, values = trained(
        tmp_path / "run", model, lambda: [loss_of(model, x, y) for x, y in ((x_train, y_train), (x_val, y_val))]
    )
    holds(splits, ["train", "validation"], values)


def test_two_sets_of_a_comprehension_without_a_name_are_told_apart(tmp_path, model):
    a, b, c, d = *data(1), *data(2)
    splits, values = trained(tmp_path / "run", model, lambda: [loss_of(model, x, y) for x, y in ((a, b), (c, d))])
    holds(splits, ["evaluation", "evaluation 2"], values)


def test_two_sets_made_anew_for_each_pass_are_told_apart_by_their_order(tmp_path, model):
    def measure():
        return [over(model, part) for part in ([data(1)] * 3, [data(2)] * 3)]

    splits, values = trained(tmp_path / "run", model, measure)
    holds(splits, ["evaluation", "evaluation 2"], [numpy.asarray(each) / 3 for each in values])


def test_order_says_nothing_where_it_does_not_repeat(tmp_path, model):
    with recorded(tmp_path / "run"):
        for number in range(4):
            step(model)
            parts = [[data(1)] * 3, [data(2)] * 3]
            for part in parts if number < 2 else parts[1:]:
                over(model, part)
                del part
            del parts
    rows = run_of(tmp_path / "run").evaluations
    assert rows["split"].tolist() == ["evaluation", "evaluation 2"] * 2 + ["unknown", "evaluation"]


def test_data_is_known_again_in_another_order(tmp_path, model):
    first, second = [data(1)] * 2, [data(2)] * 2
    with recorded(tmp_path / "run"):
        for parts in ((first, second), (second, first), (second,)):
            step(model)
            for part in parts:
                over(model, part)
    rows = run_of(tmp_path / "run").evaluations
    assert rows["split"].tolist() == ["evaluation", "evaluation 2"] * 2 + ["evaluation 2"]


def test_two_things_that_may_be_batches_or_sets_are_unknown(tmp_path, model):
    pairs = [data(1), data(2)]
    splits, _ = trained(tmp_path / "run", model, lambda: sum(loss_of(model, x, y) for x, y in pairs) / 2)
    assert list(splits) == ["unknown"]


def test_map_over_two_sets_is_unknown(tmp_path, model):
    first, second = data(1), data(2)

    def measure(pair):
        x, y = pair
        return loss_of(model, x, y)

    splits, _ = trained(tmp_path / "run", model, lambda: tuple(map(measure, (first, second))))
    assert list(splits) == ["unknown"]


def test_many_batches_of_a_list_are_one_split(tmp_path, model):
    pairs = [data(seed) for seed in range(5)]
    splits, values = trained(tmp_path / "run", model, lambda: sum(loss_of(model, x, y) for x, y in pairs) / 5)
    holds(splits, ["evaluation"], values)


def test_two_batches_of_a_loader_are_one_split(tmp_path, model):
    loader = DataLoader(TensorDataset(*data(1)), 4)

    def measure():
        total = 0.0
        for x, y in loader:
            total += loss_of(model, x, y)
        return total / 2

    splits, values = trained(tmp_path / "run", model, measure)
    holds(splits, ["evaluation"], values)


def test_the_loader_that_is_trained_on_is_known(tmp_path, model):
    first, second = (DataLoader(TensorDataset(*data(seed)), 4) for seed in (1, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with recorded(tmp_path / "run"):
        for _ in range(2):
            for x, y in first:
                optimizer.zero_grad()
                functional.cross_entropy(model(x), y).backward()
                optimizer.step()
            expected = [over(model, loader) / 2 for loader in (second, first)]
    splits = found(tmp_path / "run")
    assert list(splits) == ["evaluation", "train"]
    assert [values[-1] for values in splits.values()] == pytest.approx(expected)


class Views(Dataset):
    """A data set that holds tensors, as a batch does."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], self.y[index]


class Plain:
    def __init__(self, x, y):
        self.x, self.y = x, y


@pytest.mark.parametrize("kind", [Views, Plain], ids=["data set", "object"])
def test_sets_that_hold_tensors_are_no_batches(tmp_path, model, kind):
    first, second = kind(*data(1)), kind(*data(2))

    def evaluate(model, data):
        total = 0.0
        for i in range(0, 8, 4):
            total += loss_of(model, data.x[i : i + 4], data.y[i : i + 4])
        return total / 2

    splits, values = trained(tmp_path / "run", model, lambda: [evaluate(model, part) for part in (first, second)])
    holds(splits, ["evaluation", "evaluation 2"], values)


def test_two_loaders_under_one_name_are_two_splits(tmp_path, model):
    first, second = (DataLoader(TensorDataset(*data(seed)), 4) for seed in (1, 2))

    def validate(loader):
        total = 0.0
        for x, y in loader:
            total += loss_of(model, x, y)
        return total / 2

    splits, values = trained(tmp_path / "run", model, lambda: (validate(first), validate(second)))
    holds(splits, ["validation", "validation 2"], values)


def test_a_last_evaluation_of_other_data_is_not_averaged_with_the_last_validation(tmp_path, model):
    first, second = (DataLoader(TensorDataset(*data(seed)), 4) for seed in (1, 2))

    def validate(loader):
        total = 0.0
        for x, y in loader:
            total += loss_of(model, x, y)
        return total / 2

    with recorded(tmp_path / "run"):
        for _ in range(3):
            step(model)
            expected = validate(first)
        final = validate(second)
    splits = found(tmp_path / "run")
    assert {name: len(values) for name, values in splits.items()} == {"validation": 3, "validation 2": 1}
    assert [splits["validation"][-1], splits["validation 2"][0]] == pytest.approx([expected, final])


def test_two_losses_of_one_batch_are_one_split(tmp_path, model):
    """The start and the end of an answer: two losses in one step of a validation."""
    loader = DataLoader(TensorDataset(*data(1)), 4)

    def validate():
        total = 0.0
        with torch.no_grad():
            for x, y in loader:
                out = model(x)
                total += functional.cross_entropy(out, y) + functional.cross_entropy(out.flip(1), y)
        return float(total) / 4

    splits, values = trained(tmp_path / "run", model, validate)
    holds(splits, ["validation"], values)


def test_an_object_made_anew_for_each_pass_makes_no_new_split(tmp_path, model):
    x, y = data(1)

    class Evaluator:
        def __init__(self, model):
            self.model, self.seen = model, []

        def run(self):
            return loss_of(self.model, x, y)

    splits, values = trained(tmp_path / "run", model, lambda: Evaluator(model).run())
    holds(splits, ["evaluation"], values)


# Modes are no data. --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    thin(
        2,
        [
            "loss = get_loss(x, y, training=False)",
            "loss = get_loss(x, y, train=False)",
            "loss = get_loss(x, y, is_train)",
            "loss = get_loss(x, y, train)",
            "loss = get_loss(x, y, mode='train')",
            "loss = get_loss(x, y, mode)",
            "loss = get_loss(x, y, model.training)",
            "model.train(False); loss = get_loss(x, y); model.train()",
            "model.eval(); loss = get_loss(x, y) if not train else None",
        ],
    ),
)
def test_what_switches_the_mode_is_no_data(tmp_path, model, statement):
    text = f"""
import torch
from torch.nn import functional

def get_loss(x, y, flag=None, *, training=None, train=None, mode="train"):
    return functional.cross_entropy(model(x), y)

def measure(x, y):
    is_train = train = False
    mode = "eval"
    with torch.no_grad():
        {statement}
    return loss.item()
"""
    path = tmp_path / "script.py"
    path.write_text(text)
    space = {"__name__": "script", "model": model}
    exec(compile(text, str(path), "exec"), space)
    splits, values = trained(tmp_path / "run", model, lambda: space["measure"](*data(1)))
    holds(splits, ["evaluation"], values)


@pytest.mark.parametrize(
    ("names", "split"),
    [
        (["is_train"], None), (["training"], None), (["train_mode"], None), (["do_eval"], None), (["eval"], None),
        (["eval_loader"], "validation"), (["training_data"], "train"), (["Xtrain"], "train"), (["x_te"], "test"),
        (["te"], None), (["ydev"], "validation"), (["train_loss", "val_loss"], None), (["train_val_set"], None),
    ],
)  # fmt: skip
def test_which_words_are_data(names, split):
    assert one_of(names) == split
