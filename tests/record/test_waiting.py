"""What is taken from a device is taken without a wait for it.

Tensors on torch's meta device have a shape and no values: whatever would read one, or needs a shape
that depends on values, raises.
"""

import pytest
import torch

from gradaudit.record.measure import checksums, histograms, samples


def test_nothing_waits_for_the_device():
    weights = [torch.ones(shape, device="meta", dtype=dtype) for shape, dtype in
               (((300, 40), torch.float32), ((40,), torch.float64), ((3, 3), torch.bfloat16))]  # fmt: skip
    taken = histograms.of_step([0, 1, 2], [*weights[:2], None], weights)
    assert [each.values.dtype for each in taken] == [torch.int16] * 2
    assert checksums.checksum(weights).shape == ()
    for sample in (
        samples.of_loss(weights[0], 40),
        samples.of_loss(weights[0], 0),
        samples.take("output", torch.ones(4, 3, 8, 8, device="meta"), rectified=True, limits=(-0.99, 0.99)),
        samples.take("input", weights[2], features=True),
    ):
        assert sample.numbers.shape == (len(samples.NUMBERS),)
        assert sample.values is None


@pytest.mark.parametrize(
    "wait", [lambda x: x.sum().item(), lambda x: x[x > 0], torch.Tensor.cpu, torch.Tensor.unique, bool, torch.bincount]
)
def test_a_wait_would_be_noticed(wait):
    with pytest.raises((RuntimeError, NotImplementedError)):
        wait(torch.ones(1, device="meta"))
