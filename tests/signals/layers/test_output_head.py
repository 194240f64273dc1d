"""Which layer makes the outputs, by the order of torch's parameters and the classes of the loss."""

import msgspec
import numpy
import pytest

from gradaudit.schema import LossFacts, TensorFacts
from gradaudit.signals.layers.output_head import output_head
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import TEN, falling

CLASSES, SQUARES = 10, LossFacts(id=0, function="mse_loss")


def layer(index, rows, role="weight", module_class="Linear", **more):
    return TensorFacts(id=index, name=f"t{index}", role=role, module=f"m{index}", module_class=module_class,
                       shape=[rows, 32], depth=index, **{"optimizer": 0, "group": 0, **more})  # fmt: skip


def head(path, tensors, facts=TEN):
    return output_head(build_run(path, loss=falling(20), tensors=tensors, facts=facts).trainings[0])


def table(**more):
    return layer(0, CLASSES, role="embedding", module_class="Embedding", **more)


@pytest.mark.parametrize(
    ("tensors", "facts", "found"),
    [
        ([layer(0, 32), layer(1, CLASSES), layer(2, 32)], TEN, 1),
        ([layer(0, CLASSES), layer(1, CLASSES), layer(2, 32)], TEN, 1),
        ([layer(0, 32), layer(1, CLASSES), layer(2, 32)], SQUARES, 2),
        ([layer(0, 32), layer(1, 32)], TEN, 1),
        ([layer(0, 32), layer(1, CLASSES, optimizer=-1)], TEN, 0),
        ([layer(0, 32), layer(1, CLASSES, requires_grad=False)], TEN, 0),
        ([table(), layer(1, 32)], TEN, 1),
        ([table(aliases=["head.weight"]), layer(1, 32)], TEN, 0),
        ([table(aliases=["head.weight"]), layer(1, CLASSES)], TEN, 0),
    ],
)
def test_the_deepest_with_a_row_for_each_class(tmp_path, tensors, facts, found):
    assert head(tmp_path / "a", tensors, facts) == found


def test_the_order_of_the_tensors_in_a_file_makes_no_difference(tmp_path):
    tensors = [layer(0, 32), layer(1, CLASSES), layer(2, 32)]
    order = numpy.random.default_rng(0).permutation(3)
    assert head(tmp_path / "a", [tensors[place] for place in order]) == 1


def test_without_a_layer_there_is_none(tmp_path):
    biases = [msgspec.structs.replace(tensor, optimizer=-1) for tensor in linear_stack(1)]
    assert head(tmp_path / "a", biases) is None
