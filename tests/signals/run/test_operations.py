"""The first operation that is not finite, against traces written by hand."""

import pandas
import pytest

from gradaudit.signals.run.operations import first_broken


class Traced:
    """What the signal reads of a run."""

    class meta:
        modules = ()

    def __init__(self, rows):
        self.operations = pandas.DataFrame(rows)


def row(step, operation, name, nan=0, inf=0, phase="forward", place="train.py:1 in forward", node=-1):
    return {
        "step": step, "operation": operation, "name": f"aten.{name}.default", "phase": phase, "module": -1,
        "place": place, "node": node, "shape": [2, 4], "dtype": "float32", "nan": nan, "inf": inf, "largest": 1.0,
    }  # fmt: skip


def test_nothing_was_recorded():
    assert first_broken(Traced([]), 3) is None


def test_all_is_finite():
    assert first_broken(Traced([row(3, 0, "mm"), row(3, 1, "relu")]), 3) is None


def test_only_the_step_in_question():
    assert first_broken(Traced([row(2, 0, "log", nan=1), row(3, 0, "mm")]), 3) is None


def test_the_first_of_several():
    rows = [row(3, 0, "mm"), row(3, 1, "log", nan=2, place="train.py:7 in forward"), row(3, 2, "mm", nan=8)]
    found = first_broken(Traced(rows), 3)
    assert (found.name, found.place, found.what, found.share, found.earlier, found.backward) == (
        "log", "train.py:7 in forward", "NaN", pytest.approx(0.25), 1, False,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["masked_fill", "exp"])
def test_an_infinity_of_every_step_is_meant(name):
    mask = [row(step, 0, name, inf=3) for step in (2, 3)]
    found = first_broken(Traced([*mask, row(3, 1, "softmax", nan=1)]), 3)
    assert (found.name, found.earlier) == ("softmax", 1)


def test_an_infinity_of_this_step_alone():
    found = first_broken(Traced([row(2, 0, "exp"), row(3, 0, "exp", inf=4), row(3, 1, "div", nan=4)]), 3)
    assert (found.name, found.what, found.share) == ("exp", "infinite", 0.5)


def test_a_mask_in_a_stretch_of_one_step():
    found = first_broken(Traced([row(3, 0, "masked_fill", inf=4), row(3, 1, "div", nan=4)]), 3)
    assert found.name == "div"


def test_a_backward_operation_has_the_place_of_its_forward():
    rows = [
        row(3, 0, "sqrt", node=17, place="train.py:9 in forward"),
        row(3, 1, "div", nan=1, phase="backward", node=17, place="train.py:30 in main"),
    ]
    found = first_broken(Traced(rows), 3)
    assert (found.place, found.backward) == ("train.py:9 in forward", True)
