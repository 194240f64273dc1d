"""Moments of the floating tensors in batches: a sample of each, worked out at once and kept as sums."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch

from gradaudit.schema.loaders import ChannelFacts, InputFacts

_ROWS = 64  # examples of a batch that are looked at
_COLUMNS = 512  # elements of an example, evenly spaced
_MOST_CHANNELS = 4  # of an image
_FEWEST_ROWS = 8  # examples that say whether a feature is constant


@dataclass
class Moments:
    """Sums over the sampled elements of one tensor of each batch, in units of the first batch's spread."""

    place: str
    dtype: str
    shape: list[int]
    centre: float = math.nan
    scale: float = 1.0
    batches: int = 0
    examples: int = 0
    elements: int = 0
    nonfinite: int = 0
    powers: Any = field(default_factory=lambda: numpy.zeros(4))  # sums of z, z^2, z^3, z^4
    by_batch: Any = field(default_factory=lambda: numpy.zeros(4))  # of the batches' mean, its square, spread, square
    minimum: float = math.inf
    maximum: float = -math.inf
    constant: float = 0.0
    judged: int = 0  # batches in `constant`
    channels: list["Moments"] = field(default_factory=list)  # of images

    def add(self, tensor: torch.Tensor) -> None:
        """Take in the tensor of one batch, [examples, ...] on the CPU."""
        table, channel = sampled(tensor), channels_of(tensor)
        self._take(table)
        if not self.channels and channel is not None and len(channel) == table.shape[1]:
            self.channels = [Moments(self.place, self.dtype, []) for _ in range(int(channel.max()) + 1)]
        for number, one in enumerate(self.channels):
            if channel is not None:
                one._take(table[:, channel == number])

    def _take(self, table: Any) -> None:
        finite = numpy.isfinite(table)
        values = table[finite]
        self.batches += 1
        self.examples += len(table)
        self.elements += table.size
        self.nonfinite += table.size - values.size
        if not values.size:
            return
        if math.isnan(self.centre):
            self.centre = float(values.mean())
            self.scale = float(values.std()) or 1.0
        z = (values - self.centre) / self.scale
        square = z * z
        mean, mean_square = z.mean(), square.mean()
        self.powers += (z.sum(), square.sum(), (square * z).sum(), (square * square).sum())
        spread = math.sqrt(max(0.0, mean_square - mean * mean))
        self.by_batch += (mean, mean * mean, spread, spread * spread)
        self.minimum, self.maximum = min(self.minimum, float(values.min())), max(self.maximum, float(values.max()))
        if len(table) >= _FEWEST_ROWS:
            self.constant += float((table == table[:1]).all(axis=0).mean())
            self.judged += 1

    def facts(self) -> InputFacts:
        """What goes into run.json."""
        count = self.elements - self.nonfinite
        known: dict[str, Any] = {}
        if count:
            first, second, third, fourth = (float(total) / count for total in self.powers)
            variance = max(0.0, second - first**2)
            known = {"mean": self.centre + self.scale * first, "std": self.scale * math.sqrt(variance)}
            if variance > 1e-12:
                cubed = third - 3 * first * second + 2 * first**3
                known["skewness"] = cubed / variance**1.5
                known["kurtosis"] = (fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4) / variance**2
            mean, mean_square, spread, spread_square = (float(total) / self.batches for total in self.by_batch)
            known["mean_scatter"] = self.scale * math.sqrt(max(0.0, mean_square - mean**2))
            known["std_scatter"] = self.scale * math.sqrt(max(0.0, spread_square - spread**2))
            known |= {"minimum": self.minimum, "maximum": self.maximum}
        return InputFacts(
            place=self.place,
            dtype=self.dtype,
            shape=self.shape,
            batches=self.batches,
            examples=self.examples,
            elements=self.elements,
            nonfinite_share=self.nonfinite / self.elements if self.elements else 0.0,
            constant_share=self.constant / self.judged if self.judged else None,
            channels=[_of_channel(one.facts()) for one in self.channels],
            **{name: value for name, value in known.items() if math.isfinite(value)},
        )


def _of_channel(facts: InputFacts) -> ChannelFacts:
    return ChannelFacts(**{name: getattr(facts, name) for name in ChannelFacts.__struct_fields__})


def channels_of(tensor: torch.Tensor) -> Any:
    """The channel of each of the elements that are `sampled` of images [examples, channels, ...]; else None."""
    if tensor.ndim != 4 or not 1 < tensor.shape[1] <= _MOST_CHANNELS:
        return None
    size = tensor[0].numel()
    columns = numpy.arange(0, size, spacing(size, _COLUMNS))
    return columns // (tensor.shape[2] * tensor.shape[3])


def sampled(tensor: torch.Tensor) -> Any:
    """[examples, elements] in float64: up to 64 examples and 512 elements of each, evenly spaced."""
    tensor = tensor.detach()
    rows = tensor[:: spacing(len(tensor), _ROWS)]
    flat = rows.reshape(len(rows), -1)
    return flat[:, :: spacing(flat.shape[1], _COLUMNS)].to(torch.float64).numpy()


def spacing(size: int, most: int) -> int:
    """How far apart `most` of `size` places are; odd, since an even step would visit few columns of an image."""
    stride = max(1, -(-size // most))
    return stride + (stride > 1 and stride % 2 == 0)
