"""Why a table stands still, and by how much a slow one is behind."""

import math

import msgspec
import numpy
import pytest

from gradaudit.schema import TensorFacts
from gradaudit.signals.embeddings.embedding_rows import row_history
from gradaudit.signals.embeddings.embedding_update_ratio import EmbeddingUpdateRatio
from gradaudit.signals.embeddings.table_state import slow_table, unchanged_table
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import embedding_rows, falling

NAN, INF = math.nan, math.inf
STEPS, RATE = 40, 1e-3
RATIO = EmbeddingUpdateRatio(table=1e-5, layers=1e-3, hit_share=0.25, relative=0.02, update=1e-6)


def of(path, tensors=None, stats=None, **changes):
    tensors = linear_stack(2, embedding=50) if tensors is None else tensors
    return build_run(path, loss=falling(STEPS), tensors=tensors, stats=stats or {}, **changes).trainings[0]


def replaced(place, **changes):
    """The tensors of a small model, one of them changed."""
    return [
        msgspec.structs.replace(tensor, **(changes if at == place else {}))
        for at, tensor in enumerate(linear_stack(2, embedding=50))
    ]


def still(training, history=None):
    return unchanged_table(training, training.tensors[0], history)


@pytest.mark.parametrize(
    ("facts", "has_grad", "rate", "reason"),
    [
        ({"requires_grad": False}, False, RATE, "frozen"),
        ({"requires_grad": False, "optimizer": -1}, False, RATE, "fixed"),
        ({"optimizer": -1}, True, RATE, "not owned"),
        ({}, False, RATE, "no gradient"),
        ({}, True, 0.0, "rate zero"),
    ],
)
def test_the_reason_is_that_of_the_table(tmp_path, facts, has_grad, rate, reason):
    there = numpy.asarray([has_grad, True, True, True, True])
    steps = {"learning_rate": [[rate]] * STEPS}
    training = of(tmp_path / "a", replaced(0, **facts), {"has_grad": there, "update_norm": 0.0}, steps=steps)
    found = still(training)
    assert (found.reason, found.table.name, found.use) == (reason, "embedding.weight", "unknown")


@pytest.mark.parametrize(("same", "exact"), [(True, True), (False, False)])
def test_equal_checksums_make_it_exact(tmp_path, same, exact):
    rows = [{**row, "checksum": 7 if same else row["step"]} for row in embedding_rows(STEPS, 0, 50, 30)]
    training = of(tmp_path / "a", rows=rows)
    assert still(training, row_history(training, 0)).is_exact is exact
    assert not still(training).is_exact, "no row was recorded"


@pytest.mark.parametrize(
    ("elements", "outside"),
    [([900, 1100, 0], True), ([1000, 1000, 0], False), ([1100, 900, 0], False), ([0, 0, 9], False)],
)
def test_most_are_outside_by_their_elements(tmp_path, elements, outside):
    """Of those inside, outside, and frozen ones outside, which nobody wants an optimizer to have."""
    inside, out, frozen = elements
    table = linear_stack(1, embedding=50)[0]
    others = [
        TensorFacts(id=place, name=f"p{place}", role="weight", shape=[size], depth=place, optimizer=optimizer, group=0,
                    requires_grad=place != 3)
        for place, size, optimizer in ((1, inside, 0), (2, out, -1), (3, frozen, -1))
    ]  # fmt: skip
    assert still(of(tmp_path / "a", [table, *others])).most_are_outside is outside


def test_a_model_of_one_table_has_no_others(tmp_path):
    table = msgspec.structs.replace(linear_stack(1, embedding=50)[0], optimizer=-1)
    assert not still(of(tmp_path / "a", [table])).most_are_outside


def slow(path, relative=0.02, rates=RATE, share=0.1, **changes):
    steps = {"learning_rate": numpy.reshape(numpy.broadcast_to(rates, STEPS), (STEPS, 1)).tolist()}
    training = of(path, steps=steps, **changes)
    return slow_table(training, training.tensors[0], msgspec.structs.replace(RATIO, relative=relative), share)


@pytest.mark.parametrize(
    ("relative", "times", "raised"),
    [(0.02, 50, 100), (0.5, 2, 10), (0.2, 5, 10), (1e-3, 1000, 100), (2.0, 0.5, 10), (0.0, INF, 100), (NAN, INF, 100)],
)
def test_the_rate_is_raised_by_whole_decades_two_at_most(tmp_path, relative, times, raised):
    found = slow(tmp_path / "a", relative)
    assert (found.times, found.peak_rate) == (pytest.approx(times), pytest.approx(RATE))
    assert found.suggested_rate == pytest.approx(raised * RATE)
    assert (found.share_of_fastest, found.table.name) == (0.1, "embedding.weight")


def test_the_peak_is_the_greatest_finite_rate(tmp_path):
    rates = numpy.linspace(0, RATE, STEPS)
    rates[[3, 7]] = NAN, INF
    assert slow(tmp_path / "a", rates=rates).peak_rate == pytest.approx(RATE)


@pytest.mark.parametrize(("rate", "peak"), [(NAN, NAN), (0.0, 0.0)])
def test_nothing_is_made_of_a_rate_that_is_zero_or_unknown(tmp_path, rate, peak):
    found = slow(tmp_path / "a", rates=rate)
    assert found.peak_rate == pytest.approx(peak, nan_ok=True)
    assert math.isnan(found.suggested_rate)


def test_the_rate_is_that_of_the_group_of_the_table(tmp_path):
    steps = {"learning_rate": [[RATE, 0.5]] * STEPS}
    training = of(tmp_path / "a", replaced(0, group=1), steps=steps)
    assert slow_table(training, training.tensors[0], RATIO, NAN).peak_rate == pytest.approx(0.5)
    assert slow_table(training, training.tensors[1], RATIO, NAN).peak_rate == pytest.approx(RATE)


def test_a_group_that_is_added_at_the_last_step_has_a_rate(tmp_path):
    steps = {"learning_rate": [[RATE]] * (STEPS - 1) + [[RATE, 0.5]]}
    training = of(tmp_path / "a", replaced(0, group=1), steps=steps)
    assert slow_table(training, training.tensors[0], RATIO, NAN).peak_rate == pytest.approx(0.5)


@pytest.mark.parametrize(("optimizer", "adaptive"), [("SGD", False), ("Adam", True)])
def test_what_the_optimizer_does(tmp_path, optimizer, adaptive):
    assert slow(tmp_path / "a", optimizer=optimizer).is_adaptive is adaptive
