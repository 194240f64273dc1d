import math

import numpy
import pytest

from gradaudit.evidence.words.run_facts import run_facts
from gradaudit.schema import DataFacts
from gradaudit.signals.gradients.noise_scale import NoiseScale, noise_scale, successive_cosines
from tests.build import build_run
from tests.diagnosers.runs import falling, parameters

STEPS, LAYERS, WIDTH, BATCH = 600, 3, 400, 32


def gradients(scale, seed=0):
    """[steps, layers, elements]: a true gradient of length 1 and noise whose scale, tr(S) / |G|^2, is `scale`."""
    random = numpy.random.default_rng(seed)
    truth = random.standard_normal((LAYERS, WIDTH)) * numpy.asarray([1.0, 3.0, 0.3])[:, None]
    truth /= numpy.linalg.norm(truth)
    noise = random.standard_normal((STEPS, LAYERS, WIDTH)) * math.sqrt(scale / BATCH / (LAYERS * WIDTH))
    return truth + noise


def recorded_run(path, found, *, recorded=None, batch=BATCH, clip=1.0, **changes):
    """Norms and cosines of each tensor as a recorder takes them."""
    kept = numpy.arange(STEPS) if recorded is None else numpy.asarray(recorded)
    found = found[kept] * numpy.broadcast_to(clip, STEPS)[kept, None, None]
    norms = numpy.linalg.norm(found, axis=2)
    cosines = numpy.full(norms.shape, numpy.nan)
    cosines[1:] = (found[1:] * found[:-1]).sum(axis=2) / (norms[1:] * norms[:-1])
    return build_run(
        path, loss=falling(STEPS), tensors=parameters(LAYERS), recorded=recorded, steps={"batch_size": batch},
        stats={"gradient_norm": norms, "gradient_cosine": cosines}, **changes,
    )  # fmt: skip


def test_the_cosine_is_that_of_the_whole_gradients(tmp_path):
    found = gradients(100.0)
    whole = found.reshape(STEPS, -1)
    expected = [
        whole[t] @ whole[t - 1] / numpy.linalg.norm(whole[t]) / numpy.linalg.norm(whole[t - 1])
        for t in range(STEPS // 2, STEPS)
    ]
    run = recorded_run(tmp_path / "a", found)
    numpy.testing.assert_allclose(successive_cosines(run.trainings[0]), expected, atol=1e-6)


@pytest.mark.parametrize("scale", [10.0, 100.0, 1000.0])
def test_it_is_the_noise_over_the_true_gradient(tmp_path, scale):
    found = noise_scale(recorded_run(tmp_path / "a", gradients(scale)).trainings[0])
    assert found.value == pytest.approx(scale, rel=0.15)
    assert found.pairs == STEPS // 2


def test_clipping_to_another_norm_at_each_step_changes_nothing(tmp_path):
    found = gradients(100.0)
    clip = numpy.random.default_rng(1).uniform(0.1, 1.0, STEPS)
    runs = [recorded_run(tmp_path / "a", found), recorded_run(tmp_path / "b", found, clip=clip)]
    assert noise_scale(runs[1].trainings[0]).value == pytest.approx(noise_scale(runs[0].trainings[0]).value, rel=1e-4)


def test_the_truth_is_within_the_bounds_nineteen_times_of_twenty(tmp_path):
    """By chance 16 of 20 or fewer once in 60 times; the seeds are fixed."""
    bounds = [noise_scale(recorded_run(tmp_path / str(s), gradients(100.0, s)).trainings[0]).bounds for s in range(20)]
    assert sum(low < 100 < high for low, high in bounds) >= 17


def test_a_cosine_that_may_be_zero_has_no_upper_bound(tmp_path):
    assert NoiseScale(batch=32, pairs=100, cosine=0.02, error=0.01).bounds == (pytest.approx(719, rel=0.01), math.inf)
    run = recorded_run(tmp_path / "a", gradients(1e5, 7))
    assert "95 %: at least" in dict(run_facts(run))["Gradient noise scale"]


def test_gradients_that_turn_back_have_none(tmp_path):
    found = gradients(1.0)
    found[::2] *= -1
    run = recorded_run(tmp_path / "a", found)
    assert noise_scale(run.trainings[0]) is None
    assert "Gradient noise scale" not in dict(run_facts(run))


@pytest.mark.parametrize("recorded", [range(0, STEPS, 2), [*range(300), *range(300, STEPS, 4)], range(0, 380)])
def test_without_successive_gradients_in_the_last_half_nothing_is_known(tmp_path, recorded):
    assert noise_scale(recorded_run(tmp_path / "a", gradients(100.0), recorded=recorded).trainings[0]) is None


def test_the_batch_must_be_known(tmp_path):
    assert noise_scale(recorded_run(tmp_path / "a", gradients(100.0), batch=0).trainings[0]) is None
    told = recorded_run(tmp_path / "b", gradients(100.0), batch=0, data=DataFacts(batch_size=64))
    assert noise_scale(told.trainings[0]).batch == 64
    alone = recorded_run(tmp_path / "c", gradients(100.0), world_size=4)
    assert noise_scale(alone.trainings[0]) is None  # how many ranks average is not known


def test_the_same_batch_at_every_step_tells_nothing_of_batches(tmp_path):
    assert noise_scale(recorded_run(tmp_path / "a", gradients(1e-6)).trainings[0]) is None


def test_the_facts_of_a_run_give_it_with_its_uncertainty(tmp_path):
    told = dict(run_facts(recorded_run(tmp_path / "a", gradients(100.0))))["Gradient noise scale"]
    assert "at a batch of 32: 300 pairs of successive gradients have a cosine of 0.2" in told
    assert told.endswith("(arXiv 1812.06162)")
