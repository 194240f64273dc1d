import msgspec
import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional

from gradaudit.audit.runner import analyze, examine
from gradaudit.diagnosers.twice_averaged_loss import AveragedOnce, AveragedTwice, twice_averaged_loss
from gradaudit.findings import Confidence, Severity
from gradaudit.reading.run import load
from gradaudit.schema import LossFacts
from tests.build import build_run, write_table
from tests.diagnosers.runs import TEN, falling, healthy
from tests.diagnosers.sick import divided_twice
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_skipped, judged
from tests.record.training import recorded, run_of

SIZES = numpy.where(numpy.arange(200) % 10 == 9, 2, 50)


def of_sizes(path, factor, sizes=SIZES, facts=TEN, **changes):
    """A loss whose objective is `factor` times it, over batches of these sizes."""
    steps = {"batch_size": sizes, "targets": sizes, "objective": factor * falling()}
    return build_run(path, loss=falling(), facts=facts, steps=steps, optimizer="SGD", **changes)


def test_a_mean_is_quiet(tmp_path):
    assert judged(twice_averaged_loss, healthy(tmp_path), AveragedOnce) == AveragedOnce(1.0, "1")


def test_sums_weights_and_further_terms_are_quiet(tmp_path):
    run = of_sizes(tmp_path / "sum", SIZES)
    assert judged(twice_averaged_loss, run, AveragedOnce) == AveragedOnce(pytest.approx(1.0), "targets")
    measured = assert_clean(twice_averaged_loss, run)
    assert measured == "the differentiated loss is 1.00 times the mean loss, per targets"
    assert_clean(twice_averaged_loss, of_sizes(tmp_path / "weight", 0.02))
    summed = msgspec.structs.replace(TEN, reduction="sum")
    assert_clean(twice_averaged_loss, of_sizes(tmp_path / "half", 0.5 / SIZES, facts=summed))
    assert_clean(twice_averaged_loss, of_sizes(tmp_path / "terms", (1 + numpy.linspace(0, 0.5, 200)) / SIZES))


def test_a_weight_beside_the_mean_changes_nothing(tmp_path):
    run = of_sizes(tmp_path / "half", 0.5 / SIZES)
    found = judged(twice_averaged_loss, run, AveragedTwice)
    assert (found.function, found.weight, found.weighted) == ("cross_entropy", pytest.approx(0.5), True)
    finding = assert_finds(twice_averaged_loss, run, Severity.WARNING)
    assert (
        "the differentiated loss is cross_entropy, times 0.5, divided by the number of examples" in finding.explanation
    )


def test_batches_of_one_size_leave_it_open(tmp_path):
    assert_clean(twice_averaged_loss, of_sizes(tmp_path / "a", 1 / 50, numpy.full(200, 50)))


def test_a_loss_that_was_not_seen_cannot_be_compared(tmp_path):
    run = build_run(tmp_path / "a", loss=falling(), facts=TEN, steps={"objective": numpy.nan})
    assert_skipped(twice_averaged_loss, run)


def test_a_small_last_batch_makes_it_a_warning(tmp_path):
    run = divided_twice(tmp_path / "a")
    found = judged(twice_averaged_loss, run, AveragedTwice)
    assert (found.smallest, found.smallest_at, found.usual, found.apart) == (2, 9, 50, 25)
    assert (found.rates, found.lower) == (pytest.approx(1e-3), pytest.approx(2e-5))
    assert found.outcome is None
    finding = assert_finds(twice_averaged_loss, run, Severity.WARNING)
    assert finding.confidence is Confidence.CERTAIN
    assert finding.title == "Loss averaged twice"
    assert finding.headline.startswith("A batch of 2 counts 25 times as much as one of 50")
    assert finding.measures[1].value == 25


def test_even_batches_and_adam_make_it_a_note(tmp_path):
    even = divided_twice(tmp_path / "even", last=40)
    assert not judged(twice_averaged_loss, even, AveragedTwice).uneven
    assert_finds(twice_averaged_loss, even, Severity.NOTE)
    adam = divided_twice(tmp_path / "adam", optimizer="Adam")
    assert judged(twice_averaged_loss, adam, AveragedTwice).adaptive
    assert_finds(twice_averaged_loss, adam, Severity.NOTE)


def test_a_sequence_is_divided_by_its_targets(tmp_path):
    steps = {"batch_size": 8, "targets": 8 * SIZES, "objective": falling() / (8 * SIZES)}
    run = build_run(tmp_path / "a", loss=falling(), facts=TEN, steps=steps, optimizer="SGD")
    assert_finds(twice_averaged_loss, run, Severity.WARNING)


def test_it_is_the_root_of_what_the_long_steps_do(tmp_path):
    loss = falling()
    loss[30:] = 40.0
    update = numpy.where(numpy.arange(200) == 29, 1.2, 1e-3)[:, None]
    run = divided_twice(tmp_path / "a", loss=loss, stats={"update_norm": update})
    ranked = analyze(run).ranked
    assert [item.diagnoser for item in ranked] == ["twice_averaged_loss"]
    assert ranked[0].finding.severity is Severity.CRITICAL
    outcome = judged(twice_averaged_loss, run, AveragedTwice).outcome
    assert outcome is not None
    assert outcome.kind == "diverged"
    assert 30 <= outcome.step < 40
    assert f"Training then diverges at step {outcome.step}." in ranked[0].finding.explanation
    assert {item.diagnoser for item in ranked[0].consequences} >= {"learning_rate_too_high"}


def test_the_level_of_the_loss_does_not_matter(tmp_path):
    facts = LossFacts(id=0, function="smooth_l1_loss")
    for scale in (1e-6, 1e6):
        run = divided_twice(tmp_path / str(scale), loss=scale * falling(), facts=facts)
        assert_finds(twice_averaged_loss, run, Severity.WARNING)


@pytest.mark.parametrize("again", [False, True])
def test_a_division_is_seen_beside_another_term(tmp_path, again):
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    with recorded(tmp_path / "run"):
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for step in range(24):
            x = torch.randn(3 if step % 6 == 5 else 32, 4)
            loss = functional.cross_entropy(model(x), torch.arange(len(x)) % 3)
            loss = 0.5 * loss / len(x) if again else 0.5 * loss
            optimizer.zero_grad()
            (loss + model.weight.square().sum()).backward()
            optimizer.step()
    run = run_of(tmp_path / "run")
    if again:
        found = judged(twice_averaged_loss, run, AveragedTwice)
        assert (found.usual, found.smallest, found.smallest_at) == (32, 3, 5)
        assert found.weight == pytest.approx(0.5)
    else:
        assert not examine(twice_averaged_loss, run).findings


def test_a_step_that_was_not_finite_is_passed_over(tmp_path):
    run = divided_twice(tmp_path / "a")
    frame = run.steps.copy()
    frame.loc[50, ["objective", "mean_loss"]] = numpy.nan
    write_table(tmp_path / "a" / "rank00000", "steps", frame)
    assert_finds(twice_averaged_loss, load(tmp_path / "a"), Severity.WARNING)
