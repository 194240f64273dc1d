"""Samples of what goes into the losses, against what the training itself computed; sick wirings show in them."""

import math

import numpy
import pytest
import torch
from torch.nn import functional

from gradaudit.record.measure import samples
from tests.record.training import batch, classifier, recorded, run_of


def train(loss_of, steps=3, micro=1):
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = batch()
    inputs = []
    for _ in range(steps):
        optimizer.zero_grad()
        for part in range(micro):
            output = model(x)
            if not part:
                inputs.append(output.detach().clone())
            loss_of(output, y).backward()
        optimizer.step()
    return inputs


def loss_inputs(directory):
    frame = run_of(directory).samples
    return frame[frame["kind"] == "loss_input"].reset_index(drop=True)


@pytest.mark.parametrize("micro", [1, 3])
def test_the_logits_of_a_classifier(tmp_path, micro):
    with recorded(tmp_path / "run"):
        logits = train(functional.cross_entropy, micro=micro)
    found = loss_inputs(tmp_path / "run")
    assert found[["step", "module", "loss"]].to_numpy().tolist() == [[0, -1, 0], [1, -1, 0], [2, -1, 0]]
    assert found["elements"].tolist() == [24] * 3
    for name, known in {
        "minimum": [x.min() for x in logits],
        "maximum": [x.max() for x in logits],
        "mean": [x.mean() for x in logits],
        "std": [x.std(correction=0) for x in logits],
        "row_sum_error": [(x.sum(1) - 1).abs().mean() for x in logits],
        "batch_spread": [x.std(0).mean() for x in logits],
    }.items():
        assert found[name].tolist() == pytest.approx([float(value) for value in known], rel=1e-5), name
    assert found["nonfinite"].tolist() == [0] * 3
    assert found["zero_fraction"].tolist() == [0.0] * 3
    assert found[["feature_std_ratio", "saturated_fraction", "dead_fraction"]].isna().all(axis=None)


def test_a_softmax_before_the_cross_entropy_shows(tmp_path):
    with recorded(tmp_path / "run"):
        train(lambda output, y: functional.cross_entropy(output.softmax(1), y))
    found = loss_inputs(tmp_path / "run")
    assert (found["minimum"] >= 0).all()
    assert (found["maximum"] <= 1).all()
    assert (found["row_sum_error"] < 1e-6).all()


def test_a_sigmoid_before_the_binary_loss_shows(tmp_path):
    def binary(output, y):
        return functional.binary_cross_entropy_with_logits(output, (y > 0).float())

    with recorded(tmp_path / "run"):
        train(lambda output, y: binary(output[:, 0].sigmoid(), y))
        train(lambda output, y: binary(output[:, 0] * 50, y))
    found = loss_inputs(tmp_path / "run")
    inside = (found["minimum"] >= 0) & (found["maximum"] <= 1)
    assert inside.tolist() == [True] * 3 + [False] * 3
    assert found["row_sum_error"].isna().all()
    assert (found["batch_spread"] > 0).all()


def test_an_output_that_ignores_its_input_has_no_spread(tmp_path):
    with recorded(tmp_path / "run"):
        train(lambda output, y: functional.mse_loss(output * 0 + output.mean(), functional.one_hot(y, 3).float()))
    assert loss_inputs(tmp_path / "run")["batch_spread"].tolist() == pytest.approx([0.0] * 3, abs=1e-7)


def test_only_what_is_differentiated_at_recorded_steps_is_sampled(tmp_path):
    x, y = batch()
    with recorded(tmp_path / "run", every=2):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(5):
            with torch.no_grad():
                functional.cross_entropy(model(x) * 1000, y)
            functional.l1_loss(model(x), functional.one_hot(y, 3))  # a metric
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    run = run_of(tmp_path / "run")
    assert run.samples["step"].tolist() == [0, 2, 4]
    assert {run.loss_facts(loss).function for loss in run.samples["loss"]} == {"cross_entropy"}
    assert run.samples["maximum"].max() < 100


def row_of(tensor, classes=0):
    return samples.of_loss(tensor, classes).row(0, -1, 0)


@pytest.mark.parametrize(
    ("shape", "classes"),
    [((4096, 10), 10), ((1024, 50_000), 50_000), ((8, 21, 128, 96), 21), ((4, 3, 4097), 3), ((3, 4, 5, 6, 7), 4),
     ((2_000_000,), 0), ((16, 3, 224, 224), 0), ((100_000, 7), 0), ((2, 1), 0)],
)  # fmt: skip
def test_what_is_looked_at_is_bounded_and_holds_whole_rows(shape, classes):
    known = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    row = row_of(known.softmax(1) if classes else known, classes)
    assert min(known.numel(), 2) <= row["elements"] <= max(1.1 * samples.ELEMENTS, 5 * classes)
    assert row["elements"] >= min(known.numel(), samples.ELEMENTS, samples.ROWS * math.prod(shape[1:])) / 3
    if classes:
        assert row["row_sum_error"] < 1e-5
    else:
        assert row["mean"] == pytest.approx(0.5, abs=0.05 if known.numel() > 2 else 1)
        assert row["batch_spread"] == pytest.approx(12**-0.5, rel=0.1) or known.numel() == 2


def test_examples_laid_end_to_end_are_not_looked_at_at_one_position():
    places = torch.arange(1024)[:, None] % 128  # eight sequences of 128 tokens
    logits = places.expand(-1, 5000).float()
    assert row_of(logits, 5000)["batch_spread"] > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_nan_and_infinity_are_counted_and_left_out(dtype):
    logits = torch.arange(12, dtype=dtype).reshape(4, 3)
    logits[0, 0], logits[1, 1], logits[2, 2] = math.nan, math.inf, -math.inf
    row = row_of(logits, 3)
    kept = numpy.array([1, 2, 3, 5, 6, 7, 9, 10, 11])
    assert (row["nonfinite"], row["minimum"], row["maximum"]) == (3, 1, 11)
    assert (row["mean"], row["std"]) == (pytest.approx(kept.mean()), pytest.approx(kept.std()))
    assert row["row_sum_error"] == pytest.approx(29), "of the only row that is finite"
    nothing = row_of(torch.full((2, 3), math.nan, dtype=dtype), 3)
    assert nothing["nonfinite"] == 6
    assert all(math.isnan(nothing[name]) for name in ("minimum", "maximum", "mean", "std", "batch_spread"))


def test_one_example_has_no_spread():
    assert math.isnan(row_of(torch.zeros(1, 3), 3)["batch_spread"])
    assert row_of(torch.zeros(3), 3)["row_sum_error"] == 1


@pytest.mark.parametrize("tensor", [torch.zeros(0, 3), torch.zeros(2, 2).to_sparse(), torch.zeros(2, 2) * 1j])
def test_what_cannot_be_sampled(tensor):
    assert samples.of_loss(tensor, 0) is None


def test_a_sample_is_a_copy():
    logits = torch.ones(2, 2)
    sample = samples.of_loss(logits, 2)
    logits.zero_()
    assert sample.row(0, -1, 0)["minimum"] == 1
