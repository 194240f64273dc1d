"""The Triton kernels give the numbers of float64, in Triton's interpreter, and compile for GPUs that are not here."""

import inspect
import os
import subprocess
import sys

import numpy
import pytest
import torch

from gradaudit.record.measure.stats import COLUMNS, measure
from tests.record.gradients import exact, gradients, mixed, poisoned

triton = pytest.importorskip("triton")
SINGLE = {**gradients(), **poisoned()}


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    """The rows of every scene of tests.record.interpreted."""
    if triton.__version__.startswith("3.0."):
        pytest.skip("the interpreter of Triton 3.0 loses what a kernel stores in a tensor of the CPU")
    file = tmp_path_factory.mktemp("kernels") / "rows.npz"
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "tests.record.interpreted", file]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(numpy.load(file))


@pytest.mark.parametrize("name", SINGLE)
def test_moments_are_those_of_float64(name, interpreted):
    row = dict(zip(COLUMNS, interpreted[name], strict=False))
    true = exact(SINGLE[name])
    assert row["has_grad"] == 1
    assert row["gradient_norm"] == pytest.approx(true["gradient_norm"], rel=1e-6)
    size = max(true["gradient_std"], abs(true["gradient_mean"]))
    assert row["gradient_std"] == pytest.approx(true["gradient_std"], rel=2e-6, abs=1e-12 * size)
    assert row["gradient_mean"] == pytest.approx(true["gradient_mean"], abs=1e-6 * size)
    assert row["gradient_max_abs"] == true["gradient_max_abs"]
    assert row["gradient_zero_fraction"] == pytest.approx(true["gradient_zero_fraction"], rel=1e-12)
    assert (row["gradient_nan"], row["gradient_inf"]) == (true["gradient_nan"], true["gradient_inf"])


def test_a_list_of_everything_is_measured_as_on_the_cpu(interpreted):
    several = mixed()
    first, moved, again = interpreted["mixed"][:, :, : len(COLUMNS)]
    assert first == pytest.approx(measure(several), rel=1e-6, abs=1e-7, nan_ok=True)
    present = [torch.ones(6) if gradient is None else gradient for gradient in several]
    assert moved == pytest.approx(measure(present), rel=1e-6, abs=1e-7, nan_ok=True)
    # No atomics: the same gradients give the same bits.
    assert numpy.array_equal(first, again, equal_nan=True)


def test_a_gradient_of_another_size_or_type_than_its_parameter_is_not_read_beyond_its_end(interpreted):
    norms = interpreted["changed"][:, 0, COLUMNS.index("gradient_norm")]
    assert norms == pytest.approx([3**0.5, 3.0])


def test_the_probe_gives_the_numbers_of_numpy(interpreted):
    ours, theirs = interpreted["sampler by the kernels"], interpreted["sampler by numpy"]  # [steps, columns, tensors]
    assert numpy.isfinite(theirs[:, :, 4]).sum() == 3 * 7 - 2, "no cosine of the first gradient and of no update"
    assert ours == pytest.approx(theirs, rel=2e-5, abs=1e-7, nan_ok=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("capability", [90, pytest.param(80, marks=pytest.mark.long)])
def test_the_kernels_compile_for_devices_that_are_not_here(dtype, capability, tmp_path, monkeypatch):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    if "constexprs" not in inspect.signature(ASTSource).parameters:
        pytest.skip("the Triton of this torch compiles from another description")
    from gradaudit.record.measure import kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    constants = {"ELEMENT": kernels.ELEMENTS[dtype], "DIVISOR": 16, "PARTIALS": kernels.PARTIALS, "BLOCK": 1024}
    types = {"addresses": "*i64", "owners": "*i32", "offsets": "*i64", "lengths": "*i32", "partials": "*fp64"}
    types |= {"first": "i32", **dict.fromkeys(constants, "constexpr")}
    source = ASTSource(fn=kernels._reduce, signature=types, constexprs=constants)
    code = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=kernels.OPTIONS)
    # 16 bytes in one load, or the kernel would be far from the speed of the memory.
    assert dtype == torch.float64 or "ld.global.v4.b32" in code.asm["ptx"]
    constants = {"WIDTH": 16, "PARTIALS": kernels.PARTIALS, "MERGED": kernels.MERGED}
    types = {"addresses": "*i64", "spans": "*i32", "partials": "*fp64", "rows": "*fp64"}
    source = ASTSource(fn=kernels._merge, signature=types | dict.fromkeys(constants, "constexpr"), constexprs=constants)
    triton.compile(source, target=GPUTarget("cuda", capability, 32), options=kernels.OPTIONS)
