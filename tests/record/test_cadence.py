"""Statistics are recorded at every step at first, then on nested grids as sparse as the budget asks for."""

import itertools
import math

import pytest
import torch
import torch._dynamo
from torch import nn
from torch.nn import functional

from gradaudit.record.cadence import FULL, SPARSEST, Cadence, in_last_tenth
from tests.record.training import recorded, run_of
from tests.thin import thin


def recorded_steps(cadence, steps, cost, always=0.0, step_seconds=0.01):
    """The steps recorded of a training whose own step takes `step_seconds`."""
    found = []
    for step in range(steps):
        due = cadence.due(step)
        spent = cost + always if due else always
        cadence.note(step, due, spent, (step_seconds + spent) if step else float("nan"))
        if due:
            found.append(step)
    return found


@pytest.mark.parametrize(
    ("cost", "every"), [(0.0, 1), (0.00009, 1), (0.00011, 2), (0.0009, 16), (0.005, 64), (1.0, 2**SPARSEST)]
)
def test_what_is_recorded_follows_from_its_cost(cost, every):
    found = recorded_steps(Cadence(), 2000, cost)
    assert found[:FULL] == list(range(FULL))
    # A tenth of the steps so far is the longest gap: 8 at step 100, 64 from step 640 on.
    grid = {step: min(every, 2 ** int(math.log2(step / 10))) for step in range(FULL, 2000)}
    assert found[FULL:] == [step for step in grid if step % grid[step] == 0]


def test_rows_of_every_step_leave_less_of_the_budget():
    assert recorded_steps(Cadence(), 2000, 0.00016)[-2:] == [1996, 1998]
    assert recorded_steps(Cadence(), 2000, 0.00016, always=0.00006)[-2:] == [1992, 1996]
    # Rows alone above the budget: statistics thin out, but never end.
    late = [step for step in recorded_steps(Cadence(), 2000, 0.001, always=0.001) if step >= 1000]
    assert late == [step for step in range(1000, 2000) if step % 2**SPARSEST == 0]


def test_a_larger_budget_records_more():
    few, more, most = (len(recorded_steps(Cadence(budget=budget), 2000, 0.001)) for budget in (0.5, 5.0, 100.0))
    assert few < more < most == 2000


def test_a_fixed_grid_is_kept_whatever_it_costs():
    assert recorded_steps(Cadence(every=3), 100, 1.0) == list(range(0, 100, 3))


def test_the_grid_returns_one_step_at_a_time():
    cadence = Cadence()
    recorded_steps(cadence, 300, 0.05)
    assert cadence.exponent == SPARSEST
    exponents = []
    for step in range(300, 1500):
        cadence.note(step, cadence.due(step), 1e-6, 0.01)
        exponents.append(cadence.exponent)
    assert {before - after for before, after in itertools.pairwise(exponents)} <= {0, 1}
    assert exponents[-1] < SPARSEST


@pytest.mark.parametrize("every", [None, 1, 3])
def test_whatever_it_costs_the_last_tenth_of_any_run_has_statistics_and_rows(every):
    found = recorded_steps(Cadence(every), 3000, 1.0)
    rows = [step for step in found if in_last_tenth(step, every)]
    assert len(rows) < 130
    for steps in range(30 if every else 1, 3000):
        for last in (max(step for step in table if step < steps) for table in (found, rows)):
            assert last >= 0.9 * steps - (every or 1), f"a run of {steps} steps"


class Model(nn.Module):
    """One of every kind of module that a table has rows of."""

    def __init__(self):
        super().__init__()
        self.table, self.layer = nn.Embedding(20, 4), nn.Linear(4, 4)
        self.act, self.head = nn.Tanh(), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.act(self.layer(self.table(x))))


@pytest.mark.parametrize("steps", thin(2, [15, 101, 130, 384]))
def test_every_table_of_a_run_has_rows_in_its_last_tenth(tmp_path, monkeypatch, steps):
    """On a machine where recording takes more than the budget of any grid."""

    def note(self, step, *_):
        self.exponent = SPARSEST
        return False

    monkeypatch.setattr(Cadence, "note", note)
    monkeypatch.setattr(torch._dynamo.convert_frame, "FRAME_COUNTER", 0)  # other tests compile
    model = Model()
    with recorded(tmp_path / "run", every=None, activations=True):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(steps):
            loss = functional.cross_entropy(model(torch.randint(0, 20, (8,))), torch.randint(0, 3, (8,)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    run = run_of(tmp_path / "run")
    samples = run.samples
    tables = {
        "tensors": run.training(0).recorded,
        "embedding": run.rows[run.rows["moved"] >= 0]["step"],
        "outputs": run.rows[run.rows["moved"] < 0]["step"],
        "histograms": run.histograms["step"],
        **{kind: samples[samples["kind"] == kind]["step"] for kind in ("loss_input", "output")},
    }
    assert {name: int(found.max()) >= 0.9 * steps - 1 for name, found in tables.items()} == dict.fromkeys(tables, True)
    assert len(run.training(0).recorded) < steps or steps <= FULL
