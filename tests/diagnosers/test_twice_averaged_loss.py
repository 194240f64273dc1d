import msgspec
import numpy

from gradaudit.audit.runner import analyze
from gradaudit.diagnosers.twice_averaged_loss import twice_averaged_loss
from gradaudit.findings import Confidence, Severity
from gradaudit.reading.run import load
from gradaudit.schema import LossFacts
from tests.build import build_run, write_table
from tests.diagnosers.runs import TEN, falling, healthy
from tests.diagnosers.sick import divided_twice
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_skipped

SIZES = numpy.where(numpy.arange(200) % 10 == 9, 2, 50)


def of_sizes(path, factor, sizes=SIZES, facts=TEN, **changes):
    """A loss whose objective is `factor` times it, over batches of these sizes."""
    steps = {"batch_size": sizes, "targets": sizes, "objective": factor * falling()}
    return build_run(path, loss=falling(), facts=facts, steps=steps, optimizer="SGD", **changes)


def test_a_mean_is_quiet(tmp_path):
    measured = assert_clean(twice_averaged_loss, healthy(tmp_path))
    assert measured == "the differentiated loss is 1.00 times the mean loss"


def test_sums_weights_and_further_terms_are_quiet(tmp_path):
    measured = assert_clean(twice_averaged_loss, of_sizes(tmp_path / "sum", SIZES))
    assert measured == "the differentiated loss is 1.00 times the mean loss, per targets"
    assert_clean(twice_averaged_loss, of_sizes(tmp_path / "weight", 0.02))
    summed = msgspec.structs.replace(TEN, reduction="sum")
    assert_clean(twice_averaged_loss, of_sizes(tmp_path / "half", 0.5 / SIZES, facts=summed))
    assert_clean(twice_averaged_loss, of_sizes(tmp_path / "terms", (1 + numpy.linspace(0, 0.5, 200)) / SIZES))


def test_a_weight_beside_the_mean_changes_nothing(tmp_path):
    finding = assert_finds(twice_averaged_loss, of_sizes(tmp_path / "half", 0.5 / SIZES), Severity.WARNING)
    assert (
        "the differentiated loss is cross_entropy, times 0.5, divided by the number of examples" in finding.explanation
    )


def test_batches_of_one_size_leave_it_open(tmp_path):
    assert_clean(twice_averaged_loss, of_sizes(tmp_path / "a", 1 / 50, numpy.full(200, 50)))


def test_a_loss_that_was_not_seen_cannot_be_compared(tmp_path):
    run = build_run(tmp_path / "a", loss=falling(), facts=TEN, steps={"objective": numpy.nan})
    assert_skipped(twice_averaged_loss, run)


def test_a_small_last_batch_makes_it_a_warning(tmp_path):
    finding = assert_finds(twice_averaged_loss, divided_twice(tmp_path / "a"), Severity.WARNING)
    assert finding.confidence is Confidence.CERTAIN
    assert finding.title == "Loss averaged twice"
    assert finding.headline.startswith("A batch of 2 counts 25 times as much as one of 50")
    assert finding.measures[1].value == 25
    assert "The smallest has 2, first at step 9" in finding.explanation
    assert finding.actions[1].text.startswith("Divide the learning rate by 50 in exchange, from 0.001 to 2e-5")


def test_even_batches_and_adam_make_it_a_note(tmp_path):
    assert_finds(twice_averaged_loss, divided_twice(tmp_path / "even", last=40), Severity.NOTE)
    assert_finds(twice_averaged_loss, divided_twice(tmp_path / "adam", optimizer="Adam"), Severity.NOTE)


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
    assert "Training then diverges at step 3" in ranked[0].finding.explanation
    assert {item.diagnoser for item in ranked[0].consequences} >= {"learning_rate_too_high"}


def test_the_level_of_the_loss_does_not_matter(tmp_path):
    facts = LossFacts(id=0, function="smooth_l1_loss")
    for scale in (1e-6, 1e6):
        run = divided_twice(tmp_path / str(scale), loss=scale * falling(), facts=facts)
        assert_finds(twice_averaged_loss, run, Severity.WARNING)


def test_a_step_that_was_not_finite_is_passed_over(tmp_path):
    run = divided_twice(tmp_path / "a")
    frame = run.steps.copy()
    frame.loc[50, ["objective", "mean_loss"]] = numpy.nan
    write_table(tmp_path / "a" / "rank00000", "steps", frame)
    assert_finds(twice_averaged_loss, load(tmp_path / "a"), Severity.WARNING)
