"""The shapes that a loss was given, where torch broadcast every prediction to every target."""

import math

import msgspec

_MOST_DIMENSIONS, _LARGEST = 16, 2**40  # of a shape that a record may hold


class Shapes(msgspec.Struct, frozen=True):
    """What the loss was given, and what torch broadcast it to; sizes by dimension."""

    prediction: tuple[int, ...]
    target: tuple[int, ...]

    @property
    def compared(self) -> tuple[int, ...]:
        """What the two broadcast to: aligned at their ends, the larger size of each pair."""
        length = max(len(self.prediction), len(self.target))
        padded = ((1,) * (length - len(sizes)) + sizes for sizes in (self.prediction, self.target))
        return tuple(max(pair) for pair in zip(*padded, strict=True))

    @property
    def differences(self) -> int:
        """How many differences are computed."""
        return math.prod(self.compared)

    @property
    def meant(self) -> int:
        """How many were meant: one for each number of the prediction."""
        return math.prod(self.prediction)

    @property
    def shorter(self) -> tuple[int, ...]:
        """The shape of fewer dimensions, which both should have."""
        return min(self.prediction, self.target, key=len)

    @property
    def squeezed(self) -> int | None:
        """The dimension of the longer shape that makes both equal when it is dropped; None where no single one does."""
        longer = max(self.prediction, self.target, key=len)
        return next((i for i in range(len(longer)) if longer[:i] + longer[i + 1 :] == self.shorter), None)


def broadcast_shapes(recorded: list[list[int]] | None) -> Shapes | None:
    """The shapes of prediction and target; None when torch broadcast none, and when the record is damaged.

    Only where both hold as many numbers in a different number of dimensions, such as (32, 1) and (32): (N, 1) and
    (1, M) are taken as meant.
    """
    if not recorded or len(recorded) != 2 or any(len(sizes) > _MOST_DIMENSIONS for sizes in recorded):
        return None
    alike = [size for size in recorded[0] if size != 1] == [size for size in recorded[1] if size != 1]
    if not alike or not all(0 < size < _LARGEST for sizes in recorded for size in sizes):
        return None
    shapes = Shapes(tuple(recorded[0]), tuple(recorded[1]))
    return shapes if shapes.differences > shapes.meant and len(recorded[0]) != len(recorded[1]) else None
