"""Channels of images in training and in evaluation, against moments written by hand."""

import pytest

from gradaudit.schema.loaders import ChannelFacts, InputFacts
from gradaudit.signals.data.channels import channel_pairs, swap
from gradaudit.signals.data.sources import Pair

# Mean, standard deviation, skewness and kurtosis of red, green and blue.
COLOURS = [(0.9, 0.1, -1.5, 5.0), (0.5, 0.2, 0.0, 2.0), (0.1, 0.1, 1.5, 9.0)]


def images(colours):
    channels = [
        ChannelFacts(mean=mean, std=std, skewness=skewness, kurtosis=kurtosis, mean_scatter=0.01, std_scatter=0.01)
        for mean, std, skewness, kurtosis in colours
    ]
    return InputFacts(place="0", shape=[32, len(colours), 8, 8], batches=20, examples=640, elements=9000, mean=0.5,
                      std=0.3, skewness=0.0, kurtosis=2.0, channels=channels)  # fmt: skip


def test_inputs_without_channels():
    assert channel_pairs(Pair(images([]), images([]))) == []
    assert swap(Pair(images([]), images([]))) is None


def test_each_channel_beside_its_own():
    pairs = channel_pairs(Pair(images(COLOURS), images(COLOURS[::-1])))
    assert [(one.training.mean, one.evaluation.mean) for one in pairs] == [(0.9, 0.1), (0.5, 0.5), (0.1, 0.9)]


@pytest.mark.parametrize(
    "colours", [COLOURS, [(0.88, 0.11, -1.4, 5.1), *COLOURS[1:]]], ids=["the same", "a little warmer"]
)
def test_channels_in_order(colours):
    assert swap(Pair(images(COLOURS), images(colours))) is None


def test_red_and_blue_have_changed_places():
    found = swap(Pair(images(COLOURS), images(COLOURS[::-1])))
    assert (found.order, found.by_form, found.left) == ((2, 1, 0), False, 0.0)


def test_no_order_fits_what_is_scaled_otherwise():
    scaled = [(3 * mean, 3 * std, 0.0, 3.0) for mean, std, _, _ in COLOURS]
    assert swap(Pair(images(COLOURS), images(scaled))) is None


def test_the_form_tells_where_each_channel_was_normalised():
    normal = [(0.0, 1.0, skewness, kurtosis) for _, _, skewness, kurtosis in COLOURS[::-1]]
    found = swap(Pair(images(COLOURS), images(normal)))
    assert (found.order, found.by_form) == ((2, 1, 0), True)
