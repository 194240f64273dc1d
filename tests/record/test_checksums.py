"""The checksum of weights: equal for equal bits, other for any other bit, whatever the layout and the type."""

import numpy
import pytest
import torch
from torch import nn

from gradaudit.record.measure.checksums import checksum
from tests.record.training import batch, classifier, recorded, run_of

INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.int8]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(4, 6), (3, 5), (7,), (), (0,)])
def test_any_changed_element_changes_it(dtype, shape):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    before = int(checksum([values]))
    assert int(checksum([values.clone()])) == before
    for index in numpy.ndindex(shape):
        changed = values.clone()
        changed.view(INTEGERS[changed.element_size()])[index] ^= 1  # the last bit
        assert int(checksum([changed])) != before


def test_it_is_exact_and_wraps_around():
    parts = [torch.randn(1001), torch.randn(64, 8).t(), torch.randn(16, 3, 3, 3).to(memory_format=torch.channels_last)]
    known = 0
    for part in parts:
        bits = part.numpy()
        word = "int64" if bits.flags["C_CONTIGUOUS"] and bits.nbytes % 8 == 0 else "int32"
        known += sum(int(value) for value in (bits.ravel() if word == "int64" else bits.flatten()).view(word))
    assert int(checksum(parts)) == (known + 2**63) % 2**64 - 2**63
    assert checksum([]) is None
    wide = torch.ones(3, dtype=torch.complex128)
    assert int(checksum([wide])) == int(checksum([torch.view_as_real(wide)])) != 0


def test_one_process_takes_none(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = batch()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    run = run_of(tmp_path / "run")
    assert run.steps["weight_checksum"].tolist() == [0]
    assert len(run.replicas) == 0
    assert list(run.replicas) == ["rank", "global_step", "mean_loss", "objective", "gradient_norm", "weight_checksum"]
