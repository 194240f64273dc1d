"""The loss at the positions of a sequence, and targets and outputs column by column."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gradaudit.record.observe.outputs import OUTPUTS, Outputs, columns, positions
from gradaudit.record.observe.outputs.layout import Layout
from gradaudit.record.observe.outputs.parts import MOST, Parts
from tests.record.training import recorded, run_of

N, T, C, WIDTH = 6, 12, 10, 8


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(C, WIDTH), nn.Linear(WIDTH, C)

    def forward(self, x):
        return self.head(self.table(x))


def trained(folder, loss_of, steps=13, evaluate=True):
    """What is recorded of a loss over sequences of random tokens."""
    with recorded(folder):
        torch.manual_seed(0)
        model = Tokens()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        for _ in range(steps):
            x, y = torch.randint(C, (2, N, T))
            optimizer.zero_grad()
            loss_of(model(x), y).backward()
            optimizer.step()
            if evaluate:
                with torch.no_grad():
                    loss_of(model(x), y)
    return run_of(folder).meta


FLAT = {
    "view": lambda logits, y: F.cross_entropy(logits.view(-1, C), y.view(-1)),
    "flatten": lambda logits, y: F.cross_entropy(logits.flatten(0, 1), y.flatten()),
    "log_softmax": lambda logits, y: F.nll_loss(logits.log_softmax(-1).view(-1, C), y.reshape(-1)),
    "temperature": lambda logits, y: F.cross_entropy(logits.reshape(-1, C) / 0.7, y.reshape(-1)),
    "shifted": lambda logits, y: F.cross_entropy(logits[:, :-1].reshape(-1, C), y[:, 1:].reshape(-1)),
}


@pytest.mark.parametrize("name", FLAT)
def test_flattened_sequences_are_known_by_their_views(tmp_path, name):
    facts = trained(tmp_path / "run", FLAT[name]).outputs.positions
    by_axis = {one.time_axis: one for one in facts}
    length = T - 1 if name == "shifted" else T
    assert (by_axis[1].length, by_axis[1].classes, by_axis[1].whole) == (length, C, name != "shifted")
    assert 0 not in by_axis, "six sequences are fewer than eight positions"
    for parts, looks in ((by_axis[1].training, 4), (by_axis[1].evaluation, 13)):
        assert len(parts) == looks
        assert parts[0].targets == [N] * 8
        assert all(1.5 < loss < 4 for loss in parts[0].losses)


def test_classes_between_batch_and_positions_are_known_by_their_shape(tmp_path):
    outputs = trained(tmp_path / "run", lambda logits, y: F.cross_entropy(logits.transpose(1, 2), y)).outputs
    assert [(one.time_axis, one.length) for one in outputs.positions] == [(1, T)]
    assert outputs.positions[0].evaluation[0].targets == [N] * 8


def test_positions_that_come_first_are_kept_beside(tmp_path):
    def positions_first(logits, y):
        return F.cross_entropy(logits.transpose(0, 1).reshape(-1, C), y.T.reshape(-1))

    facts = trained(tmp_path / "run", positions_first).outputs.positions
    assert [(one.time_axis, one.length) for one in facts] == [(0, T)]


def test_a_classifier_has_no_sequences(tmp_path):
    with recorded(tmp_path / "run") as folder:
        model = nn.Linear(3, C)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        for _ in range(40):
            F.cross_entropy(model(torch.randn(64, 3)), torch.randint(C, (64,))).backward()
            optimizer.step()
    outputs = run_of(folder).meta.outputs
    assert outputs.looked
    assert (outputs.positions, outputs.columns, outputs.inside) == ([], [], 0)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_loss_inside_a_compiled_region_is_told(tmp_path):
    @torch.compile(backend="aot_eager")
    def loss_of(logits, y):
        return F.cross_entropy((logits * 2).reshape(-1, C), y.reshape(-1) + 0)

    outputs = trained(tmp_path / "run", loss_of, evaluate=False).outputs
    assert (outputs.positions, outputs.inside) == ([], 1)


def test_the_losses_are_torchs_at_the_positions_of_the_valid_targets():
    torch.manual_seed(0)
    logits, targets = torch.randn(3, 20, C), torch.randint(C, (3, 20))
    targets[0, 15:] = -100  # padding on the right
    targets[1, :4] = -100  # and on the left
    targets[2] = -100
    flat = logits.view(-1, C), targets.view(-1)
    sums = positions.measure(*flat, Layout(3, 20, False), -100, False)[0]
    each = F.cross_entropy(*flat, reduction="none", ignore_index=-100).view(3, 20)
    places = [[14 * k // 6 for k in range(6)] + [13, 14], [4 + 15 * k // 6 for k in range(6)] + [18, 19]]
    wanted = each[0, places[0]] + each[1, places[1]]
    assert sums[:, 0].tolist() == pytest.approx(wanted.tolist(), abs=1e-5)
    part = positions.part_of(sums)
    assert part.targets == [2] * 8
    assert all(value == pytest.approx(math.log(2)) or value == 0 for value in part.entropy)


def test_sequences_of_fewer_positions_than_are_looked_at_count_nothing():
    sums = positions.measure(torch.randn(20, C), torch.randint(C, (20,)), Layout(4, 5, False), None, False)
    assert sums[0, :, 1].tolist() == [0] * 8


def test_the_parts_of_a_training_do_not_grow_with_it():
    parts, looked = Parts(torch.add), []
    for call in range(5000):
        if parts.due():
            looked.append(call)
            parts.add(torch.tensor([1.0]))
    assert MOST // 2 <= len(parts.held) <= MOST
    assert sum(float(part) for part in parts.held) == len(looked) < 100
    assert looked[-1] > 5000 * 7 / 8 - 1


def test_columns_of_two_parts_are_those_of_both():
    torch.manual_seed(0)
    outputs, targets = torch.randn(2, 50, 4), 3 + torch.randn(2, 50, 4) * torch.tensor([1.0, 2.0, 3.0, 0.0])
    targets[1] += 5
    joined = columns.join(*(columns.measure(outputs[i], targets[i], False) for i in range(2)))
    found = columns.columns_of([joined])
    flat = targets.reshape(100, 4)
    assert [one.target_mean for one in found] == pytest.approx(flat.mean(0).tolist(), rel=1e-4)
    assert [one.target_std for one in found] == pytest.approx(flat.std(0).tolist(), rel=1e-4)
    within = (outputs.var(1).mean(0)).sqrt()
    assert [one.output_std for one in found] == pytest.approx(within.tolist(), rel=1e-4)
    error = (outputs - targets).square().reshape(100, 4).mean(0)
    assert [one.error for one in found] == pytest.approx(error.tolist(), rel=1e-4)


def test_targets_that_move_are_seen_in_the_parts(tmp_path):
    with recorded(tmp_path / "run") as folder:
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        for step in range(100):
            # One column rises as much as the other falls: the mean over both stays.
            targets = torch.randn(8, 2) + torch.tensor([1.0, -1.0]) * step / 10
            F.mse_loss(model(torch.randn(8, 3)), targets).backward()
            optimizer.step()
    (facts,) = run_of(folder).meta.outputs.columns
    assert (facts.outputs, facts.seen, facts.probabilities) == (2, 2, False)
    assert MOST // 2 < len(facts.parts) <= MOST
    assert facts.parts[0].target_shift == pytest.approx(25, rel=0.5)
    assert facts.parts[0].target_variance == pytest.approx(1, rel=0.6)
    assert facts.columns[0].target_mean == pytest.approx(-facts.columns[1].target_mean, abs=0.5)


def test_wide_outputs_are_sampled(tmp_path):
    numbers = columns.measure(torch.zeros(4, 3, 64, 64), torch.rand(4, 3, 64, 64), True)
    assert numbers.shape == (6, columns.width_of(torch.zeros(4, 3, 64, 64)).seen)
    assert numbers.shape[1] <= columns.MOST_COLUMNS
    part = columns.parts_of([numbers])[0]
    assert part.target_variance == pytest.approx(1 / 12, rel=0.1)
    assert (part.output_variance, part.error) == (0, pytest.approx(1 / 12, rel=0.1))
    assert columns.columns_of([numbers]) == []


def test_numbers_that_are_not_finite_are_left_out(tmp_path):
    with recorded(tmp_path / "run") as folder:
        model = nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=math.nan)
        for _ in range(9):
            F.mse_loss(model(torch.randn(1, 3)), torch.randn(1, 1)).backward()
            optimizer.step()
    (facts,) = run_of(folder).meta.outputs.columns
    assert facts.columns[0].output_std is None
    assert facts.columns[0].error is None


@pytest.mark.parametrize("shapes", [[(4, 1, 3, 3)] * 3, [(4, 5, 3), (4, 6, 3), (4, 5, 3)]])
def test_binary_targets_have_a_frequency_for_each_output(tmp_path, shapes):
    """For each pixel of images of one size, for each label of sequences of many lengths."""
    with recorded(tmp_path / "run") as folder:
        model = nn.Linear(1, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        for shape in shapes:
            targets = (torch.arange(math.prod(shape[1:])) % shape[-1] == 0).float().reshape(shape[1:]).expand(shape)
            F.binary_cross_entropy_with_logits(model(torch.ones(*shape, 1))[..., 0], targets).backward()
            optimizer.step()
    assert run_of(folder).meta.losses[0].binary_entropy == pytest.approx(0)


@pytest.mark.parametrize("method", ["look", "facts"])
def test_a_fault_costs_targets_and_outputs_only(tmp_path, monkeypatch, method):
    def fails(*_):
        raise RuntimeError("no")

    monkeypatch.setattr(Outputs, method, fails)
    meta = trained(tmp_path / "run", FLAT["view"])
    assert [fault.observer for fault in meta.disabled] == [OUTPUTS]
    assert (meta.outputs.positions, meta.losses[0].classes, sum(meta.losses[0].label_counts)) == ([], C, 13 * N * T)
