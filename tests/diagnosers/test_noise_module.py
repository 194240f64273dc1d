import dataclasses

import msgspec
import numpy
import pytest

from gradaudit.diagnosers.noise_module import FewPairs, Noise, NonFinite, NoNoise, noise_module
from gradaudit.findings import Severity
from gradaudit.schema import GraphFacts, TermFacts
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, healthy, parameters
from tests.diagnosers.sick_weights import noisy, noisy_before_one_output, with_biases
from tests.diagnosers.verbs import (
    assert_clean,
    assert_finds,
    assert_not_applicable,
    assert_skipped,
    judged,
)


def test_layers_that_hear_the_same_at_successive_steps_are_quiet(tmp_path):
    run = healthy(tmp_path, stats={"gradient_cosine": 0.3})
    found = judged(noise_module, run, NoNoise)
    assert (found.cosine, found.left) == pytest.approx((0.3, 1.0))
    assert "cosine 0.3)" in assert_clean(noise_module, run)


def test_a_noisy_gradient_whose_weight_grows_is_quiet(tmp_path):
    """Layers of healthy models with such a cosine end above 1.1 times their first norm."""
    assert_clean(noise_module, noisy(tmp_path / "a", last=1.1))


def test_a_layer_that_shrinks_along_a_steady_gradient_is_quiet(tmp_path):
    assert_clean(noise_module, noisy(tmp_path / "a", cosine=0.3))


def test_layers_that_all_shrink_are_quiet(tmp_path):
    assert_clean(noise_module, noisy(tmp_path / "a", others=0.9))


def test_an_oscillating_gradient_is_no_noise(tmp_path):
    """Its cosines are far from zero, with changing sign."""
    cosine = numpy.where(numpy.arange(200)[:, None] % 2, 0.4, -0.4) * numpy.ones((1, 6))
    stats = {"gradient_cosine": cosine, "weight_norm": numpy.geomspace(1, 0.8, 200)[:, None]}
    run = build_run(tmp_path / "a", loss=falling(), tensors=parameters(6), facts=TEN, stats=stats)
    assert_clean(noise_module, run)


def test_what_weight_decay_takes_is_not_the_noise(tmp_path):
    """At a learning rate of 1e-3, 200 steps with a decay of 1.5 take a quarter, and 0.01 next to nothing."""
    shrunk = {"decoupled": noisy(tmp_path / "a", steps={"weight_decay": [[1.5]] * 200}, optimizer="AdamW")}
    assert judged(noise_module, shrunk["decoupled"], NoNoise).left == pytest.approx(0.8, abs=0.01)
    assert_clean(noise_module, shrunk["decoupled"])
    assert_finds(noise_module, noisy(tmp_path / "b", steps={"weight_decay": [[0.01]] * 200}, optimizer="AdamW"))


def test_a_decay_that_passes_the_optimizers_scaling_hides_what_it_takes(tmp_path):
    run = noisy(tmp_path / "a", steps={"weight_decay": [[0.01]] * 200}, optimizer="Adam")
    assert "too small for this, or it is not known" in assert_not_applicable(noise_module, run)


def test_noise_behind_a_variational_bound_is_a_note(tmp_path):
    """A term reaches what is in front of the noisy layer alone, as the prior of a latent that is sampled."""
    run = noisy(tmp_path / "a")
    found = judged(noise_module, run, Noise)
    names = {tensor.name: tensor.id for tensor in run.meta.tensors}
    noise = {names[name] for name in found.tensors}
    front = [key for key in names.values() if key not in noise][:2]
    both = [TermFacts(id=0, tensors=sorted(names.values()), used=9), TermFacts(id=1, tensors=front, used=9)]
    for terms, severity in ((both, Severity.NOTE), (both[:1], Severity.WARNING)):
        meta = msgspec.structs.replace(run.meta, graph=GraphFacts(terms=terms))
        assert_finds(noise_module, dataclasses.replace(run, meta=meta), severity)


def test_small_weights_cannot_be_told_from_noise(tmp_path):
    tiny = [msgspec.structs.replace(tensor, shape=[9, 9]) for tensor in parameters(6)]
    assert_not_applicable(noise_module, noisy(tmp_path / "a", tensors=tiny))


def test_a_generators_first_layer_is_quiet(tmp_path):
    """Its input is noise, as it should be: its gradients agree at 0.65, and the others grow to 1.26."""
    assert_clean(noise_module, noisy_before_one_output(tmp_path / "a", cosine=0.65, last=0.89, others=1.26))
    assert_clean(noise_module, noisy_before_one_output(tmp_path / "b", others=1.26))
    assert_clean(noise_module, noisy_before_one_output(tmp_path / "c", cosine=0.65))


def test_a_weight_that_shrinks_beside_a_bias_that_does_not_agree_is_quiet(tmp_path):
    assert_clean(noise_module, noisy_before_one_output(tmp_path / "a", bias=0.4))


def test_a_regression_head_is_quiet(tmp_path):
    """Its bias is one number, and the gradients of all layers agree as much as its own."""
    run = regression_head(tmp_path / "a", bias=[1])
    assert_clean(noise_module, run)
    assert_clean(noise_module, regression_head(tmp_path / "b", cosine=0.03, held=0.965, bias=[1]))
    assert_finds(noise_module, regression_head(tmp_path / "c", cosine=0.03, held=0.965, bias=[8]))


def test_the_last_layer_is_not_in_front_of_the_output(tmp_path):
    assert_clean(noise_module, regression_head(tmp_path / "a", cosine=0.3, bias=[8]))
    behind = regression_head(tmp_path / "b", cosine=0.3, bias=[8], head=2)
    assert_finds(noise_module, behind, Severity.WARNING)


def test_a_layer_whose_gradients_agree_as_much_as_the_others_has_no_noise(tmp_path):
    assert_clean(noise_module, noisy_before_one_output(tmp_path / "a", cosine=0.4))
    assert_finds(noise_module, noisy_before_one_output(tmp_path / "b", cosine=0.38))


def test_a_bias_of_one_number_is_no_evidence(tmp_path):
    tensors = [msgspec.structs.replace(t, shape=[1]) if t.role == "bias" else t for t in with_biases()]
    assert judged(noise_module, noisy(tmp_path / "a", tensors=tensors), Noise).bias_cosine is None


def regression_head(path, cosine=0.4, held=0.92, *, bias, head=4):
    """Three layers with biases, cosines of 0.4, that grow to 1.6; that at `head`, the last, ends at `held` instead."""
    tensors = with_biases()
    shapes = {head: [1, 256], head + 1: bias}
    tensors = [msgspec.structs.replace(t, shape=shapes.get(t.id, t.shape)) for t in tensors]
    cosines, ends = numpy.full((1, 6), 0.4), numpy.full(6, 1.6)
    cosines[:, head], cosines[:, head + 1], ends[head] = cosine, 1.0, held
    norms = ends ** numpy.linspace(0, 1, 200)[:, None]
    stats = {"gradient_cosine": cosines, "weight_norm": norms}
    return build_run(path, loss=falling(), tensors=tensors, stats=stats, facts=TEN)


def test_a_weight_that_stays_in_front_of_one_output_is_quiet(tmp_path):
    assert_clean(noise_module, noisy_before_one_output(tmp_path / "a", last=0.96))


def test_noise_in_front_of_one_output_is_a_warning(tmp_path):
    run = noisy_before_one_output(tmp_path / "a")
    found = judged(noise_module, run, Noise)
    assert found.before_one_output
    assert (found.tensors, found.held_limit) == (("layers.1.weight",), 0.93)
    assert (found.held, found.held_of_others) == pytest.approx((0.85, 2.5), abs=0.01)
    finding = assert_finds(noise_module, run, Severity.WARNING)
    assert [measure.option for measure in finding.measures] == ["", "down", ""]


def test_beside_a_bias_that_agrees_a_little_shrinking_is_enough(tmp_path):
    barely = {"cosine": 0.03, "last": 0.965, "others": 1.05}
    assert_finds(noise_module, noisy_before_one_output(tmp_path / "a", **barely), Severity.WARNING)
    assert_clean(noise_module, noisy_before_one_output(tmp_path / "b", bias=0.3, **barely))
    assert_clean(noise_module, noisy_before_one_output(tmp_path / "c", **{**barely, "last": 1.0}))


def test_it_needs_successive_steps_and_200_of_them(tmp_path):
    sparse = noisy(tmp_path / "a", recorded=numpy.arange(0, 200, 10))
    assert judged(noise_module, sparse, FewPairs) == FewPairs(pairs=0)
    assert "0 pairs of successive steps" in assert_skipped(noise_module, sparse)
    assert_skipped(noise_module, build_run(tmp_path / "b", loss=falling(199), stats={"gradient_cosine": 0.0}))
    assert_skipped(noise_module, build_run(tmp_path / "c", loss=falling()))


def test_noise_that_training_shrinks_is_a_warning(tmp_path):
    run = noisy(tmp_path / "a")
    found = judged(noise_module, run, Noise)
    assert (found.tensors, found.module) == (("layers.2.weight",), "layers.2")
    assert (found.cosine, found.cosine_of_others) == pytest.approx((0.02, 0.4))
    assert (found.left, found.left_of_others) == pytest.approx((0.8, 1.5), abs=0.01)
    assert not found.before_one_output
    finding = assert_finds(noise_module, run, Severity.WARNING)
    assert finding.title == "Module adds only noise"
    assert finding.headline.startswith("Successive gradients of layers.2 have a cosine of ")
    assert finding.measures[1].value == found.held


def test_the_first_hundred_steps_recorded_are_enough(tmp_path):
    dense_start = numpy.concatenate([numpy.arange(100), numpy.arange(100, 200, 8)])
    assert_finds(noise_module, noisy(tmp_path / "a", recorded=dense_start), Severity.WARNING)


def test_a_bias_that_agrees_is_told_as_evidence(tmp_path):
    run = noisy(tmp_path / "a", tensors=with_biases())
    assert judged(noise_module, run, Noise).bias_cosine == pytest.approx(0.4)
    assert "The gradients of its bias agree (cosine 0.4):" in assert_finds(noise_module, run).explanation


def test_of_a_run_that_breaks_the_weights_at_the_end_say_nothing(tmp_path):
    loss = falling(300)
    loss[250:] = numpy.nan
    run = healthy(tmp_path / "a", loss=loss, stats={"gradient_cosine": 0.3})
    assert judged(noise_module, run, NonFinite) == NonFinite(step=250)
    assert "from step 250 on" in assert_skipped(noise_module, run)
