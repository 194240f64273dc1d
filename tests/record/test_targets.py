"""Which side of a loss is the target, how targets are spread and drift, and what is kept of them."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradaudit.record.observe.loss.targets import PARTS, facts_of, observe, observe_on_host
from tests.record.training import recorded, run_of


def mse(one, other):
    """The function of that name as it is called, which the recorder may have wrapped by then."""
    return functional.mse_loss(one, other)


TWO_SIDED = {
    "mse_loss": mse,
    "l1_loss": lambda one, other: functional.l1_loss(one, other),
    "smooth_l1_loss": lambda one, other: functional.smooth_l1_loss(one, other),
    "huber_loss": lambda one, other: functional.huber_loss(one, other),
    "gaussian_nll_loss": lambda one, other: functional.gaussian_nll_loss(one, other, torch.ones(1)),
    "kl_div": lambda one, other: functional.kl_div(one.log_softmax(0), other.softmax(0), reduction="batchmean"),
    "binary_cross_entropy": lambda one, other: functional.binary_cross_entropy(one.sigmoid(), other.sigmoid()),
}


def trained(folder, loss, swapped=False, steps=4, targets=None, shape=(8,)):
    """The facts of a loss whose prediction starts far below its targets, 7 on the whole, and the first sample of it."""
    with recorded(folder):
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        for step in range(steps):
            target = 7 + torch.randn(*shape) if targets is None else targets(step)
            output = model(torch.randn(len(target), 3)).reshape(-1, *[1] * (target.ndim - 1)).expand_as(target)
            optimizer.zero_grad()
            loss(*((target, output) if swapped else (output, target))).backward()
            optimizer.step()
            with torch.no_grad():
                loss(*((target, output) if swapped else (output, target)))
    run = run_of(folder)
    sample = run.samples[run.samples["kind"] == "loss_input"].iloc[0]
    return run.meta.losses[0], sample


@pytest.mark.parametrize("name", TWO_SIDED)
@pytest.mark.parametrize("swapped", [False, True])
def test_the_side_that_is_trained_is_the_prediction(tmp_path, name, swapped):
    facts, sample = trained(tmp_path / "run", TWO_SIDED[name], swapped)
    assert facts.function == name
    assert facts.target_trained is False
    if facts.target_mean is not None and name != "binary_cross_entropy":
        assert facts.target_mean == pytest.approx(7, abs=0.5)
        assert facts.target_variance == pytest.approx(1, abs=0.5)
        assert abs(sample["mean"]) < 2, "the sample is of the prediction"


def test_labels_are_those_of_the_side_that_is_not_trained(tmp_path):
    labels = torch.where(torch.arange(8) < 2, 0.9, 0.1)

    def loss(one, other):
        return functional.binary_cross_entropy(*(side if side is labels else side.sigmoid() for side in (one, other)))

    facts, _ = trained(tmp_path / "a", loss, targets=lambda step: labels)
    swapped, _ = trained(tmp_path / "b", loss, swapped=True, targets=lambda step: labels)
    assert facts.target_mean == swapped.target_mean == pytest.approx(0.3)


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_a_broadcast_is_told_in_the_order_of_prediction_and_target(tmp_path):
    for swapped in (False, True):
        with recorded(tmp_path / str(swapped)):
            model = nn.Linear(3, 1)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            for _ in range(3):
                sides = (model(torch.randn(8, 3)), torch.randn(8))
                optimizer.zero_grad()
                functional.mse_loss(*(sides[::-1] if swapped else sides)).backward()
                optimizer.step()
                with torch.no_grad():
                    functional.mse_loss(*(sides[::-1] if swapped else sides))
        facts = run_of(tmp_path / str(swapped)).meta.losses[0]
        assert facts.broadcast == facts.evaluation_broadcast == [[8, 1], [8]]


def test_a_target_that_learns_too_is_known(tmp_path):
    with recorded(tmp_path / "run"):
        model, other = nn.Linear(3, 2), nn.Linear(3, 2)
        optimizer = torch.optim.SGD([*model.parameters(), *other.parameters()], lr=0.1)
        for _ in range(3):
            x = torch.randn(8, 3)
            optimizer.zero_grad()
            functional.mse_loss(model(x), other(x)).backward()
            optimizer.step()
    assert run_of(tmp_path / "run").meta.losses[0].target_trained is True


def test_the_variance_of_each_output_is_not_that_of_all(tmp_path):
    """Pixels differ among themselves more than from image to image."""
    levels = torch.linspace(0, 30, 6)
    facts, _ = trained(tmp_path / "run", mse, steps=60, targets=lambda step: levels + torch.randn(16, 6))
    assert facts.target_variance == pytest.approx(float(levels.var(unbiased=False)) + 1, rel=0.1)
    assert facts.output_variance == pytest.approx(1, rel=0.1)


def test_targets_that_drift_are_seen_in_the_parts_of_the_training(tmp_path):
    facts, _ = trained(tmp_path / "run", mse, steps=40, targets=lambda step: step + torch.randn(32))
    parts = facts.target_parts
    assert sum(part[0] for part in parts) == 40
    assert len(parts) == 10
    assert [part[1] for part in parts] == pytest.approx([4 * index + 1.5 for index in range(10)], abs=0.5)
    assert [part[3] for part in parts] == pytest.approx([1] * 10, abs=0.25)


def test_targets_on_a_device_are_counted_as_on_the_host():
    torch.manual_seed(0)
    host = device = None
    for shape in [(40,), (7,), (1,)] * 30:
        target = torch.randn(shape) * 3 + 1
        host, device = observe_on_host(host, target.numpy(), target.shape), observe(device, target)
    for one, other in zip(facts_of(host).values(), facts_of(device).values(), strict=True):
        flat, rest = (torch.tensor(value, dtype=torch.float64) for value in (one, other))
        assert torch.allclose(flat, rest)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (5, 1), (2, 3, 40, 40), (9000,), (6, 5000)])
def test_every_shape_is_taken(shape):
    target = torch.ones(shape)
    on_device, on_host = observe(None, target), observe_on_host(None, target.reshape(-1).numpy(), target.shape)
    if not target.numel():
        assert on_device is on_host is None
        return
    assert facts_of(on_device) == facts_of(on_host)
    assert facts_of(on_device)["target_mean"] == 1
    assert on_device.outputs.shape[1] <= 256
    assert on_device.outputs.shape[1] * on_device.rows <= 4096 + 256


def test_what_is_kept_does_not_grow(tmp_path):
    targets = None
    for call in range(3000):
        targets = observe(targets, torch.full((4,), float(call)))
        if call in (10, 70, 999, 2999):
            parts = facts_of(targets)["target_parts"]
            assert len(parts) <= 2 * PARTS
            assert sum(part[0] for part in parts) == call + 1
            assert sum(part[0] * part[1] for part in parts) == pytest.approx(call * (call + 1) / 2)
            assert len({part[0] for part in parts[:-1]}) <= 1, "all but the last are of one length"
    assert (targets.parts.shape, len(targets.waiting)) == ((PARTS, 4), 3000 % 64)


def test_a_target_that_is_no_number_says_nothing():
    assert facts_of(observe(None, torch.tensor([1.0, float("nan")]))) == {}
