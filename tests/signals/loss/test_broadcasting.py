"""What torch broadcasts two shapes to, against numpy."""

import numpy
import pytest

from gradaudit.signals.loss.broadcasting import broadcast_shapes


@pytest.mark.parametrize(
    ("prediction", "target", "squeezed"),
    [([32, 1], [32], 1), ([32], [32, 1], 1), ([8, 1, 5], [8, 5], 1), ([1, 8, 1], [8], None), ([4, 4, 1], [4, 4], 2)],
)
def test_it_is_what_numpy_broadcasts_them_to(prediction, target, squeezed):
    shapes = broadcast_shapes([prediction, target])
    assert shapes.compared == numpy.broadcast_shapes(tuple(prediction), tuple(target))
    assert (shapes.differences, shapes.meant) == (numpy.prod(shapes.compared), numpy.prod(prediction))
    assert shapes.squeezed == squeezed
    if squeezed is not None:
        longer = max(prediction, target, key=len)
        assert numpy.zeros(longer).squeeze(squeezed).shape == shapes.shorter


@pytest.mark.parametrize(
    "recorded", [None, [], [[3], [3]], [[32, 1], [1, 32]], [[8, 1], [1]], [[-1], [1, 1]], [[3, 1]]]
)
def test_equal_shapes_outer_products_and_damage_are_none(recorded):
    assert broadcast_shapes(recorded) is None
