"""Gradients of every scale and shape get the numbers that float64 gives."""

import numpy
import pytest
import torch

from gradaudit.record.measure.on_device import measure_on_device
from gradaudit.record.measure.rows import _rows_with_a_value
from gradaudit.record.measure.sampler import ParameterSampler, stride_for
from gradaudit.record.measure.stats import COLUMNS, measure
from tests.record.gradients import exact, gradients

NORM, MEAN, STD, MAX, ZERO, NAN, INF = range(1, len(COLUMNS))
PATHS = {
    "cpu": measure,
    "device": lambda gradients: measure_on_device(gradients, torch.device("cpu")).numpy(),
}
each_path = pytest.mark.parametrize("measured", PATHS.values(), ids=PATHS)


@each_path
@pytest.mark.parametrize("name", list(gradients()))
def test_moments_are_those_of_float64(name, measured):
    gradient = gradients()[name]
    row = dict(zip(COLUMNS, measured([gradient])[0], strict=True))
    true = exact(gradient)
    assert row["gradient_norm"] == pytest.approx(true["gradient_norm"], rel=2e-6)
    assert row["gradient_std"] == pytest.approx(true["gradient_std"], rel=2e-5)
    size = max(true["gradient_std"], abs(true["gradient_mean"]))
    assert row["gradient_mean"] == pytest.approx(true["gradient_mean"], abs=1e-6 * size)
    assert row["gradient_max_abs"] == pytest.approx(true["gradient_max_abs"], rel=1e-7)
    assert row["gradient_zero_fraction"] == pytest.approx(true["gradient_zero_fraction"])
    assert (row["gradient_nan"], row["gradient_inf"]) == (0, 0)


@each_path
@pytest.mark.parametrize("size", [50, 300_000])
def test_nan_and_inf_are_counted_and_the_rest_is_kept(size, measured):
    gradient = torch.ones(size)
    gradient[3], gradient[5], gradient[7], gradient[9] = float("nan"), float("inf"), -float("inf"), 0.0
    row = measured([gradient])[0]
    assert (row[NAN], row[INF]) == (1, 2)
    assert row[NORM] == pytest.approx((size - 4) ** 0.5)
    assert row[ZERO] == pytest.approx(1 / size)


@each_path
def test_without_a_finite_element_the_moments_are_unknown(measured):
    row = measured([torch.tensor([float("nan"), float("inf")])])[0]
    assert (row[0], row[ZERO], row[NAN], row[INF]) == (1, 0, 1, 1)
    assert numpy.isnan(row[NORM : MAX + 1]).all()


@each_path
def test_missing_zero_and_empty_gradients_are_three_things(measured):
    missing, zero, empty = measured([None, torch.zeros(4), torch.zeros(0)])
    assert missing[0] == 0
    assert numpy.isnan(missing[1:]).all()
    assert (zero[0], zero[NORM], zero[ZERO]) == (1, 0, 1)
    assert (empty[0], empty[NORM]) == (1, 0)
    assert numpy.isnan(empty[ZERO])


@each_path
@pytest.mark.parametrize("rows", [2, 10])
def test_sparse_gradients_are_coalesced_and_their_absent_rows_are_zeros(rows, measured):
    sparse = torch.sparse_coo_tensor(
        torch.tensor([[1, 1, 0]]), torch.tensor([[3.0, 0.0], [1.0, 2.0], [5.0, 1.0]]), (rows, 2), check_invariants=True
    )
    row = measured([sparse])[0]
    assert row[NORM] == pytest.approx((16 + 4 + 26) ** 0.5)
    assert row == pytest.approx(measured([sparse.to_dense()])[0])


@each_path
def test_complex_gradients_are_pairs_of_reals(measured):
    row = measured([torch.tensor([3 + 4j])])[0]
    assert row[NORM] == pytest.approx(5.0)
    assert row[MAX] == 4.0


def test_probe_strides_share_no_factor_with_a_row():
    for shape in ((1000, 768), (50257, 1600), (64, 3, 7, 7), (5_000_000,)):
        stride = stride_for(shape, 4096)
        assert -(-numpy.prod(shape) // stride) <= 4096
        for axis in range(1, len(shape)):
            assert numpy.gcd(stride, int(numpy.prod(shape[axis:]))) == 1, shape


def test_probe_is_exact_for_small_tensors_and_close_for_large_ones():
    generator = torch.Generator().manual_seed(0)
    parameters = [torch.randn(16, 3, generator=generator), torch.zeros(0), torch.randn(2000, 300, generator=generator)]
    sampler = ParameterSampler(parameters)
    sampler.before(parameters, parameters)
    norms = sampler.after(parameters)["weight_norm"]
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
