import numpy
import pytest

from gradaudit.audit.loss_ends import loss_ends
from gradaudit.audit.overview import overview
from gradaudit.diagnosers.initial_loss_mismatch import initial_loss_mismatch
from gradaudit.diagnosers.learning_rate_too_low import learning_rate_too_low
from gradaudit.diagnosers.twice_averaged_loss import twice_averaged_loss
from gradaudit.schema import LossFacts
from gradaudit.signals.loss.minor_term import minor_share
from gradaudit.signals.loss.training_loss import course, training_loss
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling
from tests.diagnosers.verbs import assert_clean, assert_not_applicable

MOVING = [[20, 0.3 * part, 0.1, 1.0, 0.1] for part in range(16)]
COMMITMENT = LossFacts(id=0, function="mse_loss", target_mean=0.0, target_variance=1.0, target_parts=MOVING)


def noisy(first, last, seed, steps=200):
    return numpy.linspace(first, last, steps) * numpy.random.default_rng(seed).uniform(0.9, 1.1, steps)


def autoencoder(path, weight=1.0, commitment=(0.08, 0.08), reconstruction=(1.4, 0.2), facts=COMMITMENT):
    """A reconstruction that the script writes out itself, and the squared error of a commitment, times `weight`."""
    small, large = noisy(*commitment, seed=1), noisy(*reconstruction, seed=2)
    return build_run(path, loss=small, facts=facts, steps={"objective": large + weight * small})


def test_a_term_is_held_against_the_objective_with_its_weight(tmp_path):
    assert minor_share(autoencoder(tmp_path / "a").trainings[0]) == pytest.approx(0.1, abs=0.03)
    # Ten times as much of the objective, and as small a number: the changes from step to step tell the weight.
    heavy = autoencoder(tmp_path / "b", weight=100.0, reconstruction=(1.4, 1.2))
    assert minor_share(heavy.trainings[0]) is None
    weighed = autoencoder(tmp_path / "c", weight=10.0, commitment=(0.05, 0.05), reconstruction=(2.0, 2.0))
    assert minor_share(weighed.trainings[0]) == pytest.approx(0.2, abs=0.1)


def test_a_loss_that_is_most_of_the_objective_or_all_of_it_is_none(tmp_path):
    loss = falling()
    for number, objective in enumerate([loss, 1e-3 * loss, 3 * loss + 0.05, loss + 0.3]):
        run = build_run(tmp_path / str(number), loss=loss, facts=TEN, steps={"objective": objective})
        assert minor_share(run.trainings[0]) is None
    few = build_run(tmp_path / "few", loss=falling(9), facts=TEN, steps={"objective": falling(9) + 30})
    assert minor_share(few.trainings[0]) is None


def test_a_sum_over_uneven_batches_is_not_taken_for_a_small_term(tmp_path):
    loss, sizes = noisy(2.3, 0.5, seed=3), numpy.random.default_rng(4).integers(8, 64, 200)
    steps = {"objective": loss * sizes + 0.5, "targets": sizes, "batch_size": sizes}
    assert minor_share(build_run(tmp_path / "a", loss=loss, facts=TEN, steps=steps).trainings[0]) is None


def test_the_objective_is_shown_and_judged_where_the_loss_is_a_small_term(tmp_path):
    run = autoencoder(tmp_path / "a")
    objective = run.steps["objective"].to_numpy()
    loss, ends, shown = training_loss(run.trainings[0]), loss_ends(run)[0], overview(run, set())
    assert loss.first == objective[0]
    assert ends.first == pytest.approx(objective[0], rel=1e-3)
    assert ends.last == pytest.approx(loss.last, rel=1e-3)
    assert loss.last == pytest.approx(objective[-20:].mean(), rel=1e-3)
    assert (shown.first_loss, shown.last_loss, shown.loss_name) == (ends.first, ends.last, "objective")
    assert shown.loss[0].y[-1] < 0.4 < 1.0 < shown.loss[0].y[0]
    assert dict(shown.facts)["Loss"] == "mse_loss; about 9.4 % of the objective, which is shown instead"
    assert "the loss goes from 1.42 (median of the first 10 steps) to 0.337" in assert_clean(learning_rate_too_low, run)


def test_what_moves_is_the_small_term_and_not_what_is_judged(tmp_path):
    run = autoencoder(tmp_path / "a")
    assert training_loss(run.trainings[0]).shapeless.why == "small term"
    for diagnoser in (initial_loss_mismatch, twice_averaged_loss):
        assert assert_not_applicable(diagnoser, run).startswith("mse_loss is about 9.4 % of what is minimised")


def test_a_squared_error_whose_target_stays_keeps_its_level_while_the_objective_tells_the_pace(tmp_path):
    """Always predicting the mean has a known loss, as in a posterior that collapsed: no_learning judges that."""
    facts = LossFacts(id=0, function="mse_loss", target_mean=0.0, target_variance=0.074)
    run = autoencoder(tmp_path / "a", facts=facts)
    loss, way = training_loss(run.trainings[0]), course(run.trainings[0])
    assert (loss.kind, loss.facts, loss.not_interpretable) == ("regression", facts, None)
    assert loss.first == run.steps["mean_loss"].iloc[0]
    assert (loss.shapeless.why, loss.shapeless.function) == ("several terms", "mse_loss")
    assert (way.first, way.facts) == (run.steps["objective"].iloc[0], None)
    assert "the loss goes from 1.42 (median of the first 10 steps)" in assert_clean(learning_rate_too_low, run)


def test_a_loss_that_the_script_logs_is_shown_as_it_is(tmp_path):
    run = autoencoder(tmp_path / "a", facts=LossFacts(id=0, function="logged"))
    assert (minor_share(run.trainings[0]), overview(run, set()).loss_name) == (None, "logged")


def test_a_likelihood_keeps_its_level_and_is_no_curve_of_the_training(tmp_path):
    """Its level means what it always does, even where it is a small term; the page shows the objective."""
    run = autoencoder(tmp_path / "a", commitment=(2.3, 2.0), reconstruction=(30.0, 25.0), facts=TEN)
    loss = training_loss(run.trainings[0])
    assert (loss.kind, loss.facts, loss.not_interpretable) == ("classification", TEN, None)
    assert (loss.shapeless.why, loss.shapeless.function) == ("several terms", "cross_entropy")
    assert overview(run, set()).loss_name == "objective"
