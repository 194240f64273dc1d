"""Every public name of gradaudit has an example, and each example runs."""

import doctest
import inspect
import shutil

import pytest
import torch

import gradaudit
from gradaudit.findings import Severity
from tests.documentation import api
from tests.samples import FOLDER

INTERFACE = [*api.EXPORTED, *api.RETURNED]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with the runs that the examples name: x, which fails, and y, the same task trained otherwise."""
    folder = tmp_path_factory.mktemp("examples")
    for name, sample in (("x", "initial_loss_mismatch"), ("y", "overfitting")):
        shutil.copytree(FOLDER / sample / "run", folder / "runs" / name)
    return folder


def names() -> dict[str, object]:
    """What the examples take for granted: a small model, its batches, and a recorder that is open."""
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3)
    return {
        "gradaudit": gradaudit,
        "nn": torch.nn,
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "batches": [(torch.randn(8, 4), torch.randint(3, (8,))) for _ in range(5)],
        "validation_loss": lambda: 1.1,
        "Severity": Severity,
    }


def examples(item):
    """The examples of a class with its methods, or of a function."""
    found = doctest.DocTestFinder(recurse=True).find(item, item.__name__)
    return [one for one in found if one.examples]


def test_the_reference_shows_all_that_is_exported():
    exported = {getattr(gradaudit, name) for name in gradaudit.__all__ if name != "__version__"}
    assert exported == set(api.EXPORTED)


@pytest.mark.parametrize("item", INTERFACE, ids=lambda item: item.__name__)
def test_every_public_name_has_an_example(item):
    shown = {one.name for one in examples(item)}
    if item in api.EXPORTED or hasattr(item, "__dataclass_fields__"):
        assert item.__name__ in shown
    methods = {
        f"{item.__name__}.{name}"
        for name, member in (vars(item).items() if inspect.isclass(item) else ())
        if inspect.isfunction(member) and not name.startswith("_") and name not in api.INTERNAL
    }
    assert methods <= shown


@pytest.mark.parametrize("item", INTERFACE, ids=lambda item: item.__name__)
def test_the_examples_run(item, runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    for example in examples(item):
        example.globs = {**vars(inspect.getmodule(item)), **names()}
        if example.name in ("Recorder.log", "Recorder.close"):
            example.globs["recorder"] = gradaudit.Recorder(
                example.globs["model"], directory=runs / "runs" / example.name, quiet=True
            )
        runner.run(example, clear_globs=False)
    assert runner.failures == 0, capsys.readouterr().out
