"""Gradients of every scale and shape get the numbers that float64 gives."""

import numpy
import pytest
import torch

from gradaudit.record.probe import Probe, stride_for
from gradaudit.record.rows import _rows_with_a_value
from gradaudit.record.stats import COLUMNS, _measure_on_device, measure

NORM, MEAN, STD, MAX, ZERO, NAN, INF = range(1, len(COLUMNS))


def gradients() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)

    def normal(count, scale=1.0, offset=0.0):
        return torch.randn(count, generator=generator) * scale + offset

    return {
        "small": normal(100, 1e-3),
        "large": normal(300_000, 1e-3),
        "vanishing small": normal(1000, 1e-25),
        "vanishing large": normal(200_000, 1e-25),
        "exploding small": normal(1000, 1e20),
        "exploding large": normal(200_000, 1e20),
        "layer norm 1e-4": normal(200_000, 1e-4, 1.0),
        "layer norm 1e-6": normal(200_000, 1e-6, 1.0),
        "layer norm small": normal(512, 1e-6, 1.0),
        "half zero": torch.where(torch.arange(20_000) % 2 == 0, 0.0, normal(20_000)),
        "bfloat16": normal(20_000).bfloat16(),
        "float16": normal(5000).half(),
        "float64": normal(20_000).double(),
        "transposed": normal(200 * 100).reshape(200, 100).t(),
        "scalar": torch.tensor(3.0),
        "one element": torch.tensor([-2.0]),
    }


@pytest.mark.parametrize("path", ["cpu", "device"])
@pytest.mark.parametrize("name", list(gradients()))
def test_moments_are_those_of_float64(name, path):
    gradient = gradients()[name]
    row = (measure([gradient]) if path == "cpu" else _measure_on_device([gradient], torch.device("cpu")).numpy())[0]
    exact = gradient.double().numpy().ravel()
    scale = numpy.abs(exact).max()
    assert row[NORM] == pytest.approx(scale * numpy.sqrt(((exact / scale) ** 2).sum()), rel=2e-6)
    # The device path keeps float32 elements, so a spread of 1e-6 around 1 is known to their last digit only.
    loose = path == "device" and "layer norm" in name
    deviation = scale * (exact / scale).std()
    assert row[STD] == pytest.approx(deviation, rel=2e-2 if loose else 2e-5)
    assert row[MEAN] == pytest.approx(exact.mean(), abs=1e-6 * max(deviation, numpy.abs(exact.mean())))
    assert row[MAX] == pytest.approx(scale, rel=1e-7)
    assert row[ZERO] == pytest.approx((exact == 0).mean())
    assert (row[NAN], row[INF]) == (0, 0)


@pytest.mark.parametrize("path", ["cpu", "device"])
@pytest.mark.parametrize("size", [50, 300_000])
def test_nan_and_inf_are_counted_and_the_rest_is_kept(size, path):
    gradient = torch.ones(size)
    gradient[3], gradient[5], gradient[7], gradient[9] = float("nan"), float("inf"), -float("inf"), 0.0
    row = (measure([gradient]) if path == "cpu" else _measure_on_device([gradient], torch.device("cpu")).numpy())[0]
    assert (row[NAN], row[INF]) == (1, 2)
    assert row[NORM] == pytest.approx((size - 4) ** 0.5)
    assert row[ZERO] == pytest.approx(1 / size)


def test_missing_zero_and_empty_gradients_are_three_things():
    missing, zero, empty = measure([None, torch.zeros(4), torch.zeros(0)])
    assert missing[0] == 0
    assert numpy.isnan(missing[1:]).all()
    assert (zero[0], zero[NORM], zero[ZERO]) == (1, 0, 1)
    assert (empty[0], empty[NORM]) == (1, 0)


def test_sparse_gradients_are_coalesced_and_their_absent_rows_are_zeros():
    sparse = torch.sparse_coo_tensor(
        torch.tensor([[1, 1]]), torch.tensor([[3.0, 0.0], [1.0, 2.0]]), (10, 2), check_invariants=True
    )
    row = measure([sparse])[0]
    dense = measure([sparse.to_dense()])[0]
    assert row[NORM] == pytest.approx((16 + 4) ** 0.5)
    assert row == pytest.approx(dense)


def test_complex_gradients_are_pairs_of_reals():
    row = measure([torch.tensor([3 + 4j])])[0]
    assert row[NORM] == pytest.approx(5.0)


def test_probe_strides_share_no_factor_with_a_row():
    for shape in ((1000, 768), (50257, 1600), (64, 3, 7, 7), (5_000_000,)):
        stride = stride_for(shape, 4096)
        assert -(-numpy.prod(shape) // stride) <= 4096
        for axis in range(1, len(shape)):
            assert numpy.gcd(stride, int(numpy.prod(shape[axis:]))) == 1, shape


def test_probe_is_exact_for_small_tensors_and_close_for_large_ones():
    generator = torch.Generator().manual_seed(0)
    parameters = [torch.randn(16, 3, generator=generator), torch.zeros(0), torch.randn(2000, 300, generator=generator)]
    probe = Probe(parameters)
    probe.before(parameters, parameters)
    norms = probe.after(parameters)["weight_norm"]
    assert norms[0] == pytest.approx(float(parameters[0].norm()), rel=1e-6)
    assert norms[1] == 0
    assert norms[2] == pytest.approx(float(parameters[2].norm()), rel=0.05)


@pytest.mark.parametrize("shape", [(1024, 300), (3000, 100)])
def test_zero_rows_and_columns_of_a_large_tensor_are_all_counted(shape):
    generator = torch.Generator().manual_seed(0)
    gradient = torch.randn(shape, generator=generator)
    gradient[7] = 0
    assert measure([gradient])[0][ZERO] == pytest.approx(1 / shape[0])
    gradient[:, 5] = 0
    assert measure([gradient])[0][ZERO] == pytest.approx(float((gradient == 0).double().mean()))


def test_rows_with_a_value_are_found_whatever_the_layout():
    generator = torch.Generator().manual_seed(0)
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        for columns in (3, 16, 17, 64, 250):
            table = torch.zeros(40, columns)
            table[3, 0], table[9, -1], table[11, columns // 2] = 1.0, 1e-40, -2.0
            table[5] = -0.0
            table[12:20] = torch.randn(8, columns, generator=generator)
            for laid in (table.to(dtype), table.to(dtype).t().contiguous().t()):
                assert _rows_with_a_value(laid).tolist() == (laid != 0).any(dim=1).tolist()
