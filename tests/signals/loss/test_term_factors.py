import pytest

from gradaudit.schema import FactorFacts, LossFacts, TermFacts
from gradaudit.signals.loss.term_factors import divided_term

CROSS_ENTROPY = LossFacts(id=0, function="cross_entropy", classes=10, reduction="mean")


def told(pairs, count=1, optimizer=0, function="nll_loss"):
    factors = [FactorFacts(step=step, batch=batch, factor=factor) for step, (batch, factor) in enumerate(pairs)]
    terms = [TermFacts(id=0, function=function, optimizers=[optimizer], factors=factors)] * count
    return divided_term(terms, 0, CROSS_ENTROPY, 1.02)


@pytest.mark.parametrize(
    "pairs",
    [
        [(50, 1.0), (2, 1.0)],
        [(50, 0.02)],  # batches of one size may have any weight
        [(50, 0.02), (48, 1 / 48)],
        [(50, 1.0), (2, 0.5)],  # a weight that changes
        [(50, 0.02), (2, None)],
        [(50, 0.02), (0, 0.5)],  # a batch of unknown size
        [],
    ],
)
def test_terms_that_are_not_divided_are_quiet(pairs):
    assert told(pairs) is None


def test_which_term_is_the_loss_has_to_be_known():
    pairs = [(50, 0.02), (2, 0.5)]
    assert told(pairs) is not None
    assert told(pairs, count=2) is None
    assert told(pairs, optimizer=1) is None
    assert told(pairs, function="mse_loss") is None


def test_a_division_by_the_batch_is_told_with_its_weight():
    found = told([(50, 0.01), (2, 0.25), (25, 0.02)])
    assert found.sizes.tolist() == [50, 2, 25]
    assert found.varies == pytest.approx(1.0)
