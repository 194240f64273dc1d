"""Histograms against a count in float64 with math.log2, and where in a run they are taken."""

import math
from collections import Counter

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional

from gradaudit.record.measure import histograms
from tests.record.training import batch, classifier, recorded, run_of


def counted(values):
    """(elements, zeros, nonfinite, {signed bin: count}) of floats, one by one."""
    zeros = sum(value == 0 for value in values)
    nonfinite = sum(not math.isfinite(value) for value in values)
    bins = Counter(
        (math.floor(4 * math.log2(abs(value))), value < 0) for value in values if value and math.isfinite(value)
    )
    return len(values), zeros, nonfinite, dict(bins)


def spread_out(row):
    """The same of a row of table `histograms`."""
    bins = {}
    for negative, name in enumerate(("positive", "negative")):
        bins |= {(row["lowest"] + place, bool(negative)): count for place, count in enumerate(row[name]) if count}
    return row["elements"], row["zeros"], row["nonfinite"], bins


def row_of(tensor, scale=1.0):
    (row,) = histograms.sample("gradient", [7], [tensor]).rows(scale)
    assert (row["tensor"], row["kind"]) == (7, "gradient")
    return row


ODD = [0.0, -0.0, math.nan, math.inf, -math.inf, 1.0, -1.0, 2.0, 0.5, 3.0, 1e-45, -1e-40, 1.2e-38, 3.4e38]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_bins_are_quarters_of_an_octave(dtype):
    generator = torch.Generator().manual_seed(0)
    wide = torch.randn(2000, generator=generator) * 10 ** (12 * torch.rand(2000, generator=generator) - 6)
    values = torch.cat([wide, torch.tensor(ODD)]).to(dtype)
    assert spread_out(row_of(values)) == counted(values.tolist())


def test_values_outside_of_float32_have_bins_too():
    values = torch.tensor([1e300, -1e-300, 5e-324, 1e-46, 1.7e308, 1.0], dtype=torch.float64)
    assert spread_out(row_of(values)) == counted(values.tolist())


@pytest.mark.parametrize("values", [[0.0, 0.0], [math.nan], [-2.0], [math.inf, 0.0]])
def test_little_to_count(values):
    assert spread_out(row_of(torch.tensor(values))) == counted(values)


def test_an_amp_scale_is_taken_off():
    values = torch.randn(100)
    assert spread_out(row_of(values * 65536.0, 65536.0)) == counted(values.tolist())


def test_what_a_device_would_hand_over_counts_the_same():
    values = torch.cat([torch.randn(300), torch.tensor(ODD)])
    sampled = histograms.sample("parameter", [1, 2], [values[:100], values[100:]])
    known = sampled.rows(1.0)
    sampled.values = histograms.codes(sampled.values)
    assert sampled.values.dtype == torch.int16
    assert sampled.rows(1.0) == known


def test_a_large_tensor_is_sampled_from_all_its_columns():
    tensor = torch.zeros(600, 512)
    tensor[:, ::2] = 1.0
    row = row_of(tensor)
    assert histograms.MOST * 0.9 < row["elements"] <= histograms.MOST
    assert row["zeros"] / row["elements"] == pytest.approx(0.5, abs=0.01)


def test_sparse_missing_empty_and_complex_gradients():
    dense = torch.zeros(100, 4)
    dense[3] = 2.0
    row = row_of(dense.to_sparse(1))
    assert spread_out(row) == counted(dense.ravel().tolist())
    assert histograms.sample("gradient", [0, 1], [None, torch.zeros(0)]) is None
    assert spread_out(row_of(torch.tensor([1 + 2j]))) == counted([1.0, 2.0])


def test_many_tensors_are_bounded():
    tensors = [torch.ones(100)] * 10_000
    sampled = histograms.sample("gradient", range(10_000), tensors)
    assert sampled.values.numel() <= histograms.BUDGET
    assert sampled.identifiers[:3] == [0, 3, 6]


def test_the_grid_is_part_of_every_cadence_and_few_in_the_longest_run():
    early = [step for step in range(2048) if histograms.due(step, None)]
    assert [step for step in early if step >= 320] == [*range(320, 640, 32), *range(640, 2048, 64)]
    assert early[:24] == [*range(20), 20, 22, 24, 26]
    assert [step for step in range(2048, 4096) if histograms.due(step, None)] == list(range(2048, 4096, 128))
    assert sum(histograms.due(step, None) for step in range(0, 1_000_000, 64)) < 200
    assert [step for step in range(150) if histograms.due(step, 5)] == [*range(0, 100, 5), *range(100, 150, 10)]


def test_gradients_and_weights_before_the_step(tmp_path):
    known = {}
    with recorded(tmp_path / "run", every=None):
        model = classifier()
        unused = nn.Linear(2, 1)
        optimizer = torch.optim.SGD([*model.parameters(), *unused.parameters()], lr=1.0)
        x, y = batch()
        for step in range(12):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            known[step, "parameter"] = model[0].weight.detach().flatten().tolist()
            known[step, "gradient"] = model[0].weight.grad.flatten().tolist()
            optimizer.step()
    run = run_of(tmp_path / "run")
    found = run.histograms[run.histograms["tensor"] == 0]
    assert [tuple(row) for row in found[["step", "kind"]].to_numpy()] == sorted(known)
    for _, row in found.iterrows():
        assert spread_out(row) == counted(known[row["step"], row["kind"]])
    unused = {tensor.id for tensor in run.meta.tensors if tensor.shape in ([1, 2], [1])}
    assert set(run.histograms[run.histograms["tensor"].isin(unused)]["kind"]) == {"parameter"}


def test_a_fused_optimizers_gradients_are_unscaled(tmp_path):
    with recorded(tmp_path / "run"):
        model = nn.Linear(10, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=True)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        x, y = batch()
        functional.cross_entropy(model(x), y).backward()
        true = model.weight.grad.flatten().tolist()
        weights = model.weight.detach().flatten().tolist()
        optimizer.zero_grad()
        scaler.scale(functional.cross_entropy(model(x), y)).backward()
        scaler.step(optimizer)
    rows = run_of(tmp_path / "run").histograms.set_index(["tensor", "kind"])
    assert spread_out(rows.loc[0, "gradient"]) == counted(true)
    assert spread_out(rows.loc[0, "parameter"]) == counted(weights)


def test_numbers_of_bins_fit_their_column():
    ends = torch.tensor([5e-324, -1.7e308], dtype=torch.float64)
    row = row_of(ends)
    assert numpy.iinfo(numpy.int16).min < row["lowest"] == 4 * -1074
    assert len(row["positive"]) == len(row["negative"]) == 4 * (1024 + 1074)
