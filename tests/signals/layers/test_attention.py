"""The axes of attention, against shapes as torch gives them."""

import pytest

from gradaudit.schema import AttentionFacts, SoftmaxFacts
from gradaudit.signals.layers.attention import over_the_batch, single_softmaxes, sums_elsewhere


def weights(sizes, axis, **options):
    return SoftmaxFacts(sizes=sizes, axis=axis, **options)


def attention(batch, examples, queries):
    return AttentionFacts(sizes=[examples, 4, queries, 8], batch=batch)


@pytest.mark.parametrize(
    ("axis", "summed", "odd"), [(2, 2, False), (2, None, False), (1, 2, True), (2, 1, True)]
)  # fmt: skip
def test_attention_is_summed_along_the_axis_that_it_is_normalised_along(axis, summed, odd):
    assert sums_elsewhere(weights([2, 5, 7], axis, scores=True, summed=summed)) is odd


def test_what_is_no_attention_may_sum_elsewhere():
    assert not sums_elsewhere(weights([2, 5, 7], 1, summed=2))


def test_batches_of_one_size_prove_nothing():
    assert over_the_batch([attention(16, 12, 16), attention(16, 12, 16)]) is None


def test_queries_that_follow_the_batch_are_its_examples():
    sizes, batches = over_the_batch([attention(16, 12, 16), attention(5, 12, 5)])
    assert (sizes, batches) == ((12, 4, 16, 8), (5, 16))


@pytest.mark.parametrize(
    "other", [attention(5, 12, 16), attention(5, 5, 5), attention(5, 1, 5)], ids=["fixed", "both", "one sequence"]
)
def test_queries_that_do_not(other):
    assert over_the_batch([attention(16, 12, 16), other]) is None


def test_a_softmax_over_one_number_in_every_graph():
    always = [weights([8, 1], 1, last=False), weights([3, 1], 1, last=True)]
    assert [one.sizes for one in single_softmaxes(always)] == [[3, 1]]
    # Of the last word, or the only option, in one batch among others.
    assert single_softmaxes([weights([8, 1], 1), weights([8, 6], 1)]) == []
    assert single_softmaxes([weights([1], 0)]) == []
    assert single_softmaxes([weights([8, 1, 1], 2, scores=True)]) == []
