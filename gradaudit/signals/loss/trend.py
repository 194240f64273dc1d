"""The trend of a loss, and how far it scatters from batch to batch, and how high a loss stands above it."""

import math

import msgspec
import numpy

from gradaudit.signals.order_statistics import Floats


class Height(msgspec.Struct, frozen=True):
    """How high the running median of the loss stands at the step where it is farthest above its trend."""

    level: float  # the running median
    trend: float  # the median of the steps before
    scatter: float  # of the loss from batch to batch, as a standard deviation
    start: float  # median of the first steps: the first loss is one batch's, and may be far off

    @property
    def above(self) -> float:
        """Over the trend."""
        return self.level - self.trend

    @property
    def gained(self) -> float:
        """What the trend had gained from the first steps."""
        return self.start - self.trend


def trend_and_scatter(values: Floats, window: int) -> tuple[Floats, Floats]:
    """([steps], [steps]): the median of the `window` steps before each one, and their scatter from batch to batch.

    The scatter is a standard deviation, that of the differences between neighbours, so that the slope of a loss that
    falls is no part of it. Both are NaN where fewer than half of the window are known.
    """
    import pandas

    series = pandas.Series(numpy.where(numpy.isfinite(values), values, numpy.nan))
    trend = series.shift(1).rolling(window, min_periods=window // 2).median()
    apart = series.diff().abs().shift(1).rolling(window, min_periods=window // 2).median()
    # 1.4826 times the median absolute deviation is the standard deviation of normal values; a difference has two.
    return trend.to_numpy(dtype=numpy.float64), (apart * 1.4826 / math.sqrt(2)).to_numpy(dtype=numpy.float64)
