"""Which constants among the summands of an objective are losses or penalties that train nothing."""

import pytest

from gradaudit.schema import ConstantFacts, ConstantSourceFacts, GraphFacts
from gradaudit.signals.loss.constant_terms import constant_terms

VALUES = [0.5, 0.4, 0.45, 0.2]
NUMBERS = [1.0] * 4


def told(rest, looks=2.0, sizes=1.0, derived=0, **source):
    """What is told of one constant, which was in the sum four times."""
    source = {"loss": 1, "function": "kl_div", "values": VALUES, **source}
    site = ConstantFacts(looks=4, rest=rest, size=[sizes] * 4, derived=derived, sources=[ConstantSourceFacts(**source)])
    return list(constant_terms(GraphFacts(constants=[site]), looks))


@pytest.mark.parametrize(
    ("rest", "source"),
    [
        ([0.0] * 4, {}),  # a metric beside a sum that begins with 0
        ([1e-8] * 4, {}),  # beside a small number that is added
        ([0.92] * 4, {}),  # beside a normaliser
        ([0.3, 0.9, 0.1, 0.2], {}),  # beside something else that changes
        ([-value for value in VALUES], {}),  # the entropy that makes a cross entropy a divergence
        ([0.92] * 4, {"values": [0.92] * 4}),  # a loss that never changes
        ([2 * value for value in VALUES], {"values": [*VALUES[:3], None]}),  # not at every step
        ([None] * 4, {}),  # the values of the other terms are not known
        ([None] * 4, {"function": "", "loss": -1, "variable": "bonus"}),
        ([0.0] * 4, {"values": [0.0] * 4, "enabled": False}),  # under no_grad
        ([0.3] * 4, {"values": [0.0] * 4}),
    ],
)
def test_constants_that_may_be_meant_are_quiet(rest, source):
    assert told(rest, **source) == []


def test_penalties_that_may_be_meant_are_quiet():
    penalty = {"function": "", "loss": -1, "variable": "penalty", "derived": 4}
    assert told([None] * 4, **penalty) != []
    assert told([None] * 4, **{**penalty, "derived": 3}) == []
    assert told([None] * 4, **penalty, values=NUMBERS) == []  # a number that never changes
    # As of samples that are drawn by their gradients: nothing but the 0 of a sum is added.
    assert told([0.0] * 4, **penalty) == []
    assert told([None] * 4, function="mse_loss", derived=4) == []


def test_a_loss_that_is_the_rest_of_the_objective_is_told():
    (found,) = told([9 * value for value in VALUES])
    assert (found.function, found.factor, found.looks) == ("kl_div", pytest.approx(9.0), 4)
    assert told([9 * value for value in VALUES], looks=1e9) == []
    # However small it is beside the others, if it can be told from their rounding.
    assert told([9e-5 * value for value in VALUES])
    assert not told([9e-6 * value for value in VALUES])


def test_a_divergence_that_is_nothing_at_each_step_is_told():
    (found,) = told([1e-8, -2e-8, 0.0, 3e-8], values=[1e-9, -2e-9, 1e-9, 3e-9])
    assert found.factor is None


def test_one_term_is_told_once():
    sources = [ConstantSourceFacts(loss=0, function="kl_div", values=VALUES)] * 2
    site = ConstantFacts(looks=4, rest=VALUES, size=[1.0] * 4, sources=sources)
    assert len(list(constant_terms(GraphFacts(constants=[site]), 2.0))) == 1
