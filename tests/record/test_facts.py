"""Directions, unchanged weights, silent outputs and batch-norm sizes, against what the training itself computed."""

import math

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional

from gradaudit.record.measure.rows import OutputCounter
from tests.record.training import batch, classifier, recorded, run_of


def cosine(one, other):
    one, other = one.double().ravel(), other.double().ravel()
    return float(one @ other / (one.norm() * other.norm())) if one.norm() * other.norm() > 0 else math.nan


@pytest.mark.parametrize("every", [1, 2])
def test_directions_of_gradients_and_updates(tmp_path, every):
    known = []
    with recorded(tmp_path / "run", every=every):
        model = classifier()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.5)
        previous = None
        for step in range(6):
            generator = torch.Generator().manual_seed(step)
            x, y = torch.randn(8, 10, generator=generator), torch.randint(0, 3, (8,), generator=generator)
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            gradients = [p.grad.clone() for p in model.parameters()]
            before = [p.detach().clone() for p in model.parameters()]
            optimizer.step()
            if step % every == 0:
                turned = [math.nan] * 4 if previous is None else [*map(cosine, gradients, previous)]
                moved = [cosine(p.detach() - old, old) for p, old in zip(model.parameters(), before, strict=True)]
                known.append((turned, moved, [float(old.abs().max()) for old in before]))
                previous = gradients
    run = run_of(tmp_path / "run")
    truth = numpy.array(known)
    for index, name in enumerate(("gradient_cosine", "update_weight_cosine", "weight_max_abs")):
        assert run.training(0).matrix(name) == pytest.approx(truth[:, index], abs=1e-5, nan_ok=True), name
    assert (numpy.abs(truth[1:, 0]) < 0.99).all(), "the gradients turned, or the test shows nothing"


def test_weights_that_a_step_leaves_as_they_were(tmp_path):
    with recorded(tmp_path / "run"):
        torch.manual_seed(0)
        model = nn.Linear(30, 30, bias=False).bfloat16()
        # Nearly every update is below half a digit of bfloat16, and rounds away.
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        frozen = torch.optim.SGD(model.parameters(), lr=0.0)
        shares = []
        for turn in (optimizer, frozen):
            turn.zero_grad()
            model(torch.ones(2, 30).bfloat16()).float().square().mean().backward()
            before = model.weight.detach().clone()
            turn.step()
            shares.append(float((model.weight == before).double().mean()))
    run = run_of(tmp_path / "run")
    assert 0.5 < shares[0] < 1
    assert run.training(0).matrix("unchanged_fraction")[:, 0].tolist() == pytest.approx(shares)


def test_cosines_of_missing_and_zero_gradients_are_unknown(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = batch()
        for step in range(3):
            optimizer.zero_grad()
            (functional.cross_entropy(model(x), y) * (0.0 if step == 1 else 1.0)).backward()
            if step == 2:
                model[0].weight.grad = None
            optimizer.step()
    turned = run_of(tmp_path / "run").training(0).matrix("gradient_cosine")
    assert numpy.isnan(turned).all(), "of the first step, of a zero gradient, after a zero gradient"


class Units(nn.Module):
    """A hidden layer in which unit 3 never fires, and unit 5 only at first."""

    def __init__(self):
        super().__init__()
        self.hidden, self.output = nn.Linear(40, 8), nn.Linear(8, 3)
        self.steps = 0
        with torch.no_grad():
            self.hidden.bias[3] = -1000.0

    def forward(self, x):
        with torch.no_grad():
            if self.steps == 5:
                self.hidden.bias[5] = -1000.0
        self.steps += 1
        return self.output(functional.relu(self.hidden(x)))


def test_silent_outputs(tmp_path):
    with recorded(tmp_path / "run"):
        torch.manual_seed(0)
        model = Units()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        for step in range(41):
            generator = torch.Generator().manual_seed(step)
            x, y = torch.randn(64, 40, generator=generator), torch.randint(0, 3, (64,), generator=generator)
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    run = run_of(tmp_path / "run")
    axes = {tensor.name: (tensor.id, tensor.output_axis) for tensor in run.meta.tensors}
    assert [axes[name][1] for name in ("hidden.weight", "hidden.bias", "output.weight")] == [0, -1, 0]
    rows = run.rows[run.rows["step"] % 10 == 0]
    hidden = rows[rows["tensor"] == axes["hidden.weight"][0]]
    assert hidden["step"].tolist() == [0, 10, 20, 30, 40]
    assert hidden["rows"].tolist() == [8] * 5
    assert (hidden["tracked"] - hidden["hit"]).tolist() == [1, 2, 2, 2, 2]
    assert hidden["ever_hit"].tolist() == [7] * 5
    assert hidden["silent"].tolist() == [0, 0, 0, 1, 2]
    assert hidden["never_hit_rows"].iloc[-1].tolist() == [3]
    assert hidden["moved"].tolist() == [-1] * 5
    output = rows[rows["tensor"] == axes["output.weight"][0]]
    assert output["hit"].tolist() == [3] * 5
    assert output["silent"].tolist() == [0] * 5


def test_outputs_of_a_module_that_was_not_used_are_not_observed():
    counter = OutputCounter(torch.ones(4, 20))
    gradient = torch.zeros(4, 20)
    gradient[:2, 0] = 1.0  # outside of the columns that are looked at first
    for _ in range(40):
        counter.observe(None, math.nan)
        counter.observe(gradient, float((gradient == 0).double().mean()))
        counter.observe(torch.ones(4, 20), 0.0)
    row = counter.snapshot(torch.ones(4, 20)).row()
    assert counter.observed == 80
    assert (row["hit"], row["ever_hit"], row["silent"]) == (4, 4, 0)
    assert counter.hits.tolist() == [80, 80, 40, 40]
    for _ in range(30):
        counter.observe(gradient, 0.975)
    assert counter.snapshot(torch.ones(4, 20)).row()["silent"] == 2


def test_convolutions_and_values_per_channel(tmp_path):
    with recorded(tmp_path / "run"):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5),
            nn.BatchNorm1d(5, affine=False), nn.Linear(5, 3),
        )  # fmt: skip
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model.eval()(torch.randn(9, 1, 6, 6))
        model.train()
        functional.cross_entropy(model(torch.randn(2, 1, 6, 6)), torch.tensor([0, 1])).backward()
        optimizer.step()
    run = run_of(tmp_path / "run")
    sizes = {module.name: module.batch_norm_values for module in run.meta.modules if module.batch_norm}
    assert sizes == {"1": 2 * 4 * 4, "5": 2}
    rows = run.rows.set_index("tensor")["rows"]
    assert {run.meta.tensors[index].name: count for index, count in rows.items()} == {
        "0.weight": 4,
        "4.weight": 5,
        "6.weight": 3,
    }


def trained(optimizer, *tensors):
    """One step of the sum of squares."""
    optimizer.zero_grad()
    sum(tensor.square().sum() for tensor in tensors).backward()
    optimizer.step()


def test_how_many_elements_of_a_tensor_are_looked_at_outlives_the_tensor(tmp_path):
    with recorded(tmp_path / "run"):
        for width in (40, 20):
            weight = nn.Parameter(torch.ones(width, width))
            optimizer = torch.optim.SGD([weight], lr=0.1)
            trained(optimizer, weight)
            del weight, optimizer
    facts = run_of(tmp_path / "run").meta.tensors
    # Of 1,600 elements every third: every second one would see the same columns of each row.
    assert [(tensor.elements, tensor.probed) for tensor in facts] == [(1600, 534), (400, 400)]


def test_where_parameters_are_added_the_smaller_sample_counts(tmp_path):
    """131,072 elements of all tensors are looked at: of 301 tensors 435 of each, on average."""
    with recorded(tmp_path / "run"):
        weight = nn.Parameter(torch.ones(30, 30))
        more = [nn.Parameter(torch.ones(1)) for _ in range(300)]
        optimizer = torch.optim.SGD([weight], lr=0.1)
        trained(optimizer, weight)
        optimizer.add_param_group({"params": more})
        trained(optimizer, weight, *more)
    first, *others = run_of(tmp_path / "run").meta.tensors
    assert first.elements == 900
    assert 0 < first.probed <= 131_072 // 301
    assert {tensor.probed for tensor in others} == {1}
