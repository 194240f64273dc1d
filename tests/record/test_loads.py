"""What a run says of checkpoints that are loaded in part: which keys fit, and under which other prefix they would."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradaudit.audit.runner import examine
from gradaudit.diagnosers.unloaded_checkpoint import unloaded_checkpoint
from gradaudit.record.observe.model_state import loads
from tests.record.training import batch, classifier, recorded, run_of


class Net(nn.Module):
    """An encoder and a head."""

    def __init__(self, classes=3):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(10, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 16))
        self.head = nn.Linear(16, classes)

    def forward(self, x):
        return self.head(self.encoder(x))


def train(model, steps=4, parameters=None):
    x, y = batch(32)
    optimizer = torch.optim.SGD(parameters or model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()


def state_of(folder, program):
    with recorded(folder):
        program()
    run = run_of(folder)
    assert run.meta.disabled == []
    return run, run.meta.model_state


def prefixed(state, prefix):
    return {f"{prefix}{name}": value for name, value in state.items()}


def a_whole_load():
    model = Net()
    model.load_state_dict(Net().state_dict())
    model.load_state_dict(Net().state_dict(), strict=False)
    train(model)


def a_new_head():
    """Of other classes, which the checkpoint keeps under another name."""
    old = Net(5).state_dict()
    old["classifier.weight"], old["classifier.bias"] = old.pop("head.weight"), old.pop("head.bias")
    model = Net()
    model.load_state_dict(old, strict=False)
    train(model)


def a_head_of_the_same_shape():
    """Under another name: it is new on purpose, and the encoder is loaded."""
    old = Net().state_dict()
    old["task1.weight"], old["task1.bias"] = old.pop("head.weight"), old.pop("head.bias")
    model = Net()
    model.load_state_dict(old, strict=False)
    train(model)


def a_backbone_out_of_more():
    model = Net()
    model.encoder.load_state_dict({**Net().encoder.state_dict(), "decoder.weight": torch.ones(3)}, strict=False)
    train(model)


def an_adapter():
    """All of its own keys match; those of the base are missing."""
    model = Net()
    model.adapter = nn.Linear(16, 3, bias=False)
    model.load_state_dict({"adapter.weight": torch.zeros(3, 16)}, strict=False)
    train(model)


def an_average():
    model = Net()
    average = copy.deepcopy(model)
    for _ in range(3):
        train(model)
        average.load_state_dict(model.state_dict(), strict=False)


def a_model_that_is_not_trained():
    metric = Net()
    metric.load_state_dict(prefixed(Net().state_dict(), "module."), strict=False)
    train(classifier())


def a_second_way():
    """The script tries the checkpoint as it is, then without the prefix."""
    model, state = Net(), prefixed(Net().state_dict(), "module.")
    model.load_state_dict(state, strict=False)
    model.load_state_dict({name.removeprefix("module."): value for name, value in state.items()})
    train(model)


def a_copy_by_hand():
    model, other = Net(), Net()
    model.load_state_dict(prefixed(other.state_dict(), "module."), strict=False)
    with torch.no_grad():
        for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
            mine.copy_(theirs)
    train(model)


def nothing_to_load():
    model = Net()
    model.load_state_dict({}, strict=False)
    train(model)


QUIET = [
    a_whole_load, a_new_head, a_head_of_the_same_shape, a_backbone_out_of_more, an_adapter, an_average,
    a_model_that_is_not_trained, a_second_way, a_copy_by_hand, nothing_to_load,
]  # fmt: skip


@pytest.mark.parametrize("program", QUIET, ids=lambda program: program.__name__)
def test_loads_on_purpose_are_quiet(tmp_path, program):
    run, state = state_of(tmp_path / "run", program)
    assert state.loaded > 0
    assert examine(unloaded_checkpoint, run).status == "clean"


def loaded(checkpoint_of, module_of=lambda model: model):
    def program():
        model = Net()
        module_of(model).load_state_dict(checkpoint_of(Net().state_dict()), strict=False)
        train(model)

    return program


SICK = {
    "a prefix too much": (loaded(lambda state: prefixed(state, "module.")), ("module.", "", ""), 8),
    "two prefixes too much": (loaded(lambda state: prefixed(state, "model.net.")), ("model.net.", "", ""), 8),
    "a prefix too few": (
        loaded(lambda state: {name.removeprefix("encoder."): value for name, value in state.items() if "enc" in name}),
        ("", "encoder.", ""),
        6,
    ),
    "another prefix": (
        loaded(lambda state: {name.replace("encoder.", "body."): v for name, v in state.items() if "enc" in name}),
        ("body.", "encoder.", ""),
        6,
    ),
    "an entry of the checkpoint": (loaded(lambda state: {"model": state, "epoch": 3}), ("", "", "model"), 8),
    "a prefix in an entry": (
        loaded(lambda state: {"state_dict": prefixed(state, "model."), "epoch": 3}),
        ("model.", "", "state_dict"),
        8,
    ),
    "the whole checkpoint for a part": (
        loaded(lambda state: state, lambda model: model.encoder),
        ("encoder.", "", ""),
        6,
    ),
}


@pytest.mark.parametrize("name", SICK)
def test_keys_that_fit_under_another_prefix(tmp_path, name):
    program, renaming, floating = SICK[name]
    run, state = state_of(tmp_path / "run", program)
    (load,) = state.loads
    assert (load.prefix, load.instead, load.inside) == renaming
    assert (load.matched, load.written, load.trained, load.step) == (0, 0, True, 0)
    assert load.renamed >= floating
    assert examine(unloaded_checkpoint, run).findings[0].severity.value == "warning"


def test_frozen_tensors_are_counted(tmp_path):
    def program():
        model = Net()
        model.load_state_dict(prefixed(Net().encoder.state_dict(), "module.encoder."), strict=False)
        model.encoder.requires_grad_(False)
        train(model, parameters=model.head.parameters())

    _, state = state_of(tmp_path / "run", program)
    assert (state.loads[0].frozen, state.loads[0].trained) == (6, True)


def test_a_wrapper_has_a_prefix_of_its_own(tmp_path):
    def program():
        model = Net()
        wrapped = nn.DataParallel(model)
        wrapped.load_state_dict(Net().state_dict(), strict=False)
        train(model)

    _, state = state_of(tmp_path / "run", program)
    assert (state.loads[0].instead, state.loads[0].trained) == ("module.", True)


def test_errors_and_results_are_torchs_own(tmp_path):
    bare = Net().load_state_dict({"a": torch.ones(1)}, strict=False)
    with recorded(tmp_path / "run"):
        assert Net().load_state_dict({"a": torch.ones(1)}, strict=False) == bare
        assert Net().load_state_dict(strict=False, state_dict={"a": torch.ones(1)}) == bare
        for wrong in ({"a": torch.ones(1)}, {"head.weight": torch.ones(1)}, 3):
            with pytest.raises((RuntimeError, TypeError)) as caught:
                Net().load_state_dict(wrong)
            frames = [frame.name for frame in caught.traceback]
            assert frames == ["test_errors_and_results_are_torchs_own", "load_state_dict"]
        train(Net())


def test_the_same_load_again_is_kept_once_and_there_is_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr(loads, "_MOST", 3)

    def program():
        model = Net()
        for _ in range(5):
            model.load_state_dict(prefixed(Net().state_dict(), "module."), strict=False)
        for _ in range(5):
            other = Net()
            other.load_state_dict(prefixed(Net().state_dict(), "module."), strict=False)
        train(model)

    _, state = state_of(tmp_path / "run", program)
    assert (state.loaded, len(state.loads)) == (10, 3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_and_lazy_modules_are_looked_at(tmp_path):
    def program():
        scripted = torch.jit.script(nn.Sequential(nn.Linear(10, 3)))
        scripted.load_state_dict({"module.0.weight": torch.ones(3, 10), "module.0.bias": torch.ones(3)}, strict=False)
        lazy = nn.Sequential(nn.LazyLinear(3))
        lazy.load_state_dict({"module.0.weight": torch.ones(3, 10), "module.0.bias": torch.ones(3)}, strict=False)
        train(Net())

    _, state = state_of(tmp_path / "run", program)
    assert [one.renamed for one in state.loads] == [2, 0]
