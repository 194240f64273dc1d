"""What becomes of parameters without a gradient, by the calls of modules."""

import math

import numpy
import pytest

from gradaudit.schema import ModuleFacts, TensorFacts
from gradaudit.signals.layers.calls import use_of, uses
from tests.build import build_run
from tests.diagnosers.runs import falling

TRAINED = {"back.fc": 2}


def of(path, calls, trained=TRAINED, watched=5, no_grad=(), has_grad=None):
    """Parameters of these modules, `calls` {name: place of the first call}; those of `trained` have a gradient."""
    names = [*calls, *trained]
    tensors = [
        TensorFacts(id=i, name=f"{name}.weight", role="weight", module=name, module_class="Linear", shape=[4, 4],
                    depth=i, optimizer=0, group=0)
        for i, name in enumerate(names)
    ]  # fmt: skip
    modules = [
        ModuleFacts(id=i, name=name, module_class="Linear", watched=watched, first_call=call,
                    without_gradient=name in no_grad)
        for i, (name, call) in enumerate({**calls, **trained}.items())
    ]  # fmt: skip
    there = numpy.asarray([name in trained for name in names]) if has_grad is None else has_grad
    return build_run(path, loss=falling(20), tensors=tensors, modules=modules, stats={"has_grad": there})


def found(path, calls, **more):
    run = of(path, calls, **more)
    answers = uses(run.trainings[0])
    assert all(use_of(run, tensor) == answers.get(tensor.id, "unknown") for tensor in run.meta.tensors)
    return {run.meta.tensors[at].module: use for at, use in answers.items()}


@pytest.mark.parametrize(
    ("call", "use"),
    [(-1, "not called"), (0, "cut off"), (1, "cut off"), (2, "cut off"), (3, "dropped"), (9, "dropped")],
)
def test_a_call_before_what_trains_is_cut_off_and_one_after_it_is_dropped(tmp_path, call, use):
    assert found(tmp_path / "a", {"front": call}) == {"front": use}


def test_no_grad_is_named(tmp_path):
    assert found(tmp_path / "a", {"front": 0, "other": 1}, no_grad=("front",)) == {
        "front": "cut off by no_grad",
        "other": "cut off",
    }


def test_a_module_that_trains_without_this_tensor_does_not_use_it(tmp_path):
    calls = {"back": 1, "back.spare": -1}
    assert found(tmp_path / "a", calls) == {"back": "not used", "back.spare": "not called"}


def test_a_part_may_be_used_by_what_it_is_part_of(tmp_path):
    calls = {"front": 0, "front.table": -1}
    assert found(tmp_path / "a", calls) == {"front": "cut off", "front.table": "cut off"}


def test_without_watching_or_without_anything_that_trains_nothing_is_known(tmp_path):
    assert found(tmp_path / "a", {"front": 0}, watched=0) == {"front": "unknown"}
    assert found(tmp_path / "b", {"front": 0}, trained={}) == {"front": "unknown"}
    assert found(tmp_path / "c", {"front": -1}, trained={}) == {"front": "not called"}


def test_one_gradient_is_enough(tmp_path):
    there = numpy.zeros((20, 2), dtype=bool)
    there[7, 0] = there[:, 1] = True
    assert found(tmp_path / "a", {"front": 0}, has_grad=there) == {}
    assert math.isclose(there.sum(), 21)
