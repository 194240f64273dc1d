"""Statistics are recorded at every step at first, then on nested grids as sparse as the budget asks for."""

import itertools

import pytest

from gradaudit.record.cadence import FULL, SPARSEST, Cadence


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
    assert found[FULL:] == [step for step in range(FULL, 2000) if step % every == 0]


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
