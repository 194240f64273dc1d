import math

import msgspec
import pytest

from gradaudit.diagnosers.activation_before_loss import (
    ActivationInGraph,
    Logits,
    Probabilities,
    TooFewSamples,
    activation_before_loss,
)
from gradaudit.findings import Severity
from gradaudit.schema import LossFacts, ModuleFacts
from tests.build import build_run
from tests.diagnosers.runs import HEALTHY_WITH, TEN, falling, healthy
from tests.diagnosers.sick_layers import BINARY, probabilities
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_logits_are_quiet(tmp_path):
    run = healthy(tmp_path, **HEALTHY_WITH["activation_before_loss"])
    seen = judged(activation_before_loss, run, Logits).seen
    assert (seen.low, seen.high) == (-3.0, 4.0)
    assert_clean(activation_before_loss, run)


def test_logits_that_are_all_positive_are_quiet(tmp_path):
    assert_clean(activation_before_loss, probabilities(tmp_path / "a", high=1.5, error=3.0))
    assert_clean(activation_before_loss, probabilities(tmp_path / "b", low=0.001, high=0.2, error=0.4))


def test_one_sample_with_a_negative_value_is_enough_to_be_quiet(tmp_path):
    run = probabilities(tmp_path / "a", low=-0.001)
    assert_clean(activation_before_loss, run)


def test_log_probabilities_are_quiet(tmp_path):
    assert_clean(activation_before_loss, probabilities(tmp_path / "a", low=-9.0, high=0.0, error=20.0))


@pytest.mark.parametrize("function", ["binary_cross_entropy", "nll_loss", "mse_loss"])
def test_losses_that_expect_probabilities_or_their_logarithms_are_not_judged(tmp_path, function):
    facts = LossFacts(id=0, function=function, classes=10 if function == "nll_loss" else 0)
    assert_not_applicable(activation_before_loss, probabilities(tmp_path / "a", facts=facts))


def test_outputs_of_zero_are_a_dead_layer_and_no_sigmoid(tmp_path):
    assert_clean(
        activation_before_loss, probabilities(tmp_path / "a", low=0.0, high=0.0, error=float("nan"), facts=BINARY)
    )


def test_small_logits_of_a_weak_signal_are_no_sigmoid(tmp_path):
    weak = {"low": 0.55, "high": 0.61, "error": float("nan"), "facts": BINARY}
    assert_clean(activation_before_loss, probabilities(tmp_path / "a", **weak))
    inside = [ModuleFacts(id=0, name="gate", module_class="Sigmoid"),
              ModuleFacts(id=1, name="layers.0", module_class="Linear")]  # fmt: skip
    assert_clean(activation_before_loss, probabilities(tmp_path / "b", modules=inside, **weak))
    end = [*inside, ModuleFacts(id=2, name="probability", module_class="Sigmoid")]
    assert_finds(activation_before_loss, probabilities(tmp_path / "c", modules=end, **weak), Severity.CRITICAL)


def test_few_steps_or_no_samples_cannot_be_judged(tmp_path):
    run = probabilities(tmp_path / "a", last=40)
    assert judged(activation_before_loss, run, TooFewSamples).span == 41
    assert_skipped(activation_before_loss, run)
    run = healthy(tmp_path / "b")
    assert judged(activation_before_loss, run, TooFewSamples).span == 0
    assert "was not sampled" in assert_skipped(activation_before_loss, run)


def test_probabilities_into_cross_entropy_are_critical(tmp_path):
    run = probabilities(tmp_path / "a")
    found = judged(activation_before_loss, run, Probabilities)
    assert (found.squash, found.seen.applies) == ("softmax", "softmax")
    assert [found.seen.low, found.seen.high] == pytest.approx([0.01, 0.97])
    assert found.lowest_loss == pytest.approx(math.log(math.e + 9) - 1)
    finding = assert_finds(activation_before_loss, run, Severity.CRITICAL)
    assert finding.title == "Softmax applied twice"
    assert [measure.value for measure in finding.measures[:2]] == pytest.approx([0.01, 0.97])
    assert finding.confidence == "certain"


def test_the_softmax_of_the_model_is_named(tmp_path):
    modules = [ModuleFacts(id=0, name="head.2", module_class="Softmax")]
    finding = assert_finds(activation_before_loss, probabilities(tmp_path / "a", modules=modules))
    assert finding.actions[0].text.startswith("Remove head.2, the softmax of the model")
    assert finding.actions[0].code == "model.head[2] = nn.Identity()"


def test_a_sigmoid_before_the_binary_loss_is_critical(tmp_path):
    run = probabilities(tmp_path / "a", error=float("nan"), facts=BINARY)
    found = judged(activation_before_loss, run, Probabilities)
    assert (found.squash, found.seen.applies) == ("sigmoid", "sigmoid")
    assert [found.seen.low, found.seen.high] == pytest.approx([0.01, 0.97])
    assert found.lowest_loss == pytest.approx(0.541, abs=5e-4)
    assert assert_finds(activation_before_loss, run, Severity.CRITICAL).title == "Sigmoid applied twice"


def test_a_sigmoid_before_cross_entropy_is_a_warning(tmp_path):
    run = probabilities(tmp_path / "a", error=0.8)
    found = judged(activation_before_loss, run, Probabilities)
    assert (found.squash, found.seen.applies) == ("sigmoid", "softmax")
    assert assert_finds(activation_before_loss, run, Severity.WARNING).title == "Sigmoid before cross-entropy"


def test_class_weights_leave_the_floor_open(tmp_path):
    facts = msgspec.structs.replace(TEN, weighted=True, class_weights=[1.0] * 10)
    run = probabilities(tmp_path / "a", facts=facts)
    assert math.isnan(judged(activation_before_loss, run, Probabilities).lowest_loss)
    assert "the loss would be" not in assert_finds(activation_before_loss, run).explanation


@pytest.mark.parametrize(("activation", "over"), [("", 0), (None, 0), ("softmax", 32)])
def test_a_compiled_graph_that_shows_no_softmax_over_the_classes_is_quiet(tmp_path, activation, over):
    facts = msgspec.structs.replace(TEN, activation=activation, softmax_over=over)
    assert_skipped(activation_before_loss, healthy(tmp_path, facts=facts))


@pytest.mark.parametrize(
    ("function", "classes", "activation"),
    [("cross_entropy", 10, "softmax"), ("binary_cross_entropy_with_logits", 0, "sigmoid")],
)
def test_a_compiled_graph_that_shows_it_is_enough(tmp_path, function, classes, activation):
    facts = LossFacts(id=0, function=function, classes=classes, activation=activation, softmax_over=classes)
    run = healthy(tmp_path, facts=facts)
    found = judged(activation_before_loss, run, ActivationInGraph)
    assert (found.activation, found.training) == (activation, run.trainings[0])
    assert math.isfinite(found.lowest_loss) is (classes == 10)
    finding = assert_finds(activation_before_loss, run, Severity.CRITICAL)
    assert finding.headline == f"The input of {function} is the output of a {activation}: probabilities, not logits"
    assert ("would be 1.46." in finding.explanation) is (classes == 10)


@pytest.mark.parametrize(
    ("function", "activation"),
    [
        ("binary_cross_entropy", "sigmoid"),
        ("nll_loss", "log_softmax"),
        ("mse_loss", "relu"),
        ("l1_loss", "tanh"),
        ("kl_div", "log_softmax"),
        ("kl_div", ""),  # the logarithm of a softmax, or of what two were added to
    ],
)
def test_activations_that_belong_before_a_loss_are_quiet(tmp_path, function, activation):
    facts = LossFacts(id=0, function=function, classes=10 if function == "nll_loss" else 0, activation=activation)
    assert_not_applicable(activation_before_loss, healthy(tmp_path, facts=facts))


@pytest.mark.parametrize(
    ("function", "activation", "severity", "title", "lowest"),
    [
        ("cross_entropy", "relu", Severity.WARNING, "ReLU before cross-entropy", None),
        ("cross_entropy", "tanh", Severity.WARNING, "Tanh before cross-entropy", 0.797),
        ("cross_entropy", "sigmoid", Severity.WARNING, "Sigmoid before cross-entropy", 1.461),
        ("cross_entropy", "log_softmax", Severity.NOTE, "Log-softmax applied twice", None),
        ("nll_loss", "softmax", Severity.CRITICAL, "Softmax before nll_loss", None),
        ("kl_div", "softmax", Severity.CRITICAL, "Softmax before kl_div", None),
        ("binary_cross_entropy_with_logits", "relu", Severity.CRITICAL, "ReLU before the binary loss", None),
        ("binary_cross_entropy_with_logits", "tanh", Severity.WARNING, "Tanh before the binary loss", 0.313),
    ],
)
def test_the_graph_tells_after_a_step(tmp_path, function, activation, severity, title, lowest):
    classes = 0 if function.startswith("binary") else 10
    over = classes if activation == "softmax" else 0
    mean = None if classes else 0.5
    facts = LossFacts(
        id=0, function=function, classes=classes, activation=activation, softmax_over=over, target_mean=mean
    )
    run = build_run(tmp_path / "a", loss=falling(5), facts=facts)
    found = judged(activation_before_loss, run, ActivationInGraph)
    assert (found.lowest_loss == pytest.approx(lowest, abs=5e-4)) if lowest else math.isnan(found.lowest_loss)
    assert assert_finds(activation_before_loss, run, severity).title == title
