import msgspec
import pytest

from gradaudit.diagnosers.double_softmax import double_softmax
from gradaudit.findings import Severity
from gradaudit.schema import LossFacts, ModuleFacts
from tests.diagnosers.runs import HEALTHY_WITH, TEN, healthy
from tests.diagnosers.sick_layers import BINARY, probabilities
from tests.diagnosers.verbs import assert_clean, assert_could_not_look, assert_finds, assert_not_applicable


def test_logits_are_quiet(tmp_path):
    assert "between -3.00 and 4.00" in assert_clean(double_softmax, healthy(tmp_path, **HEALTHY_WITH["double_softmax"]))


def test_logits_that_are_all_positive_are_quiet(tmp_path):
    assert_clean(double_softmax, probabilities(tmp_path / "a", high=1.5, error=3.0))
    assert_clean(double_softmax, probabilities(tmp_path / "b", low=0.001, high=0.2, error=0.4))


def test_one_sample_with_a_negative_value_is_enough_to_be_quiet(tmp_path):
    run = probabilities(tmp_path / "a", low=-0.001)
    assert_clean(double_softmax, run)


def test_log_probabilities_are_quiet(tmp_path):
    assert_clean(double_softmax, probabilities(tmp_path / "a", low=-9.0, high=0.0, error=20.0))


@pytest.mark.parametrize("function", ["binary_cross_entropy", "nll_loss", "mse_loss"])
def test_losses_that_expect_probabilities_or_their_logarithms_are_not_judged(tmp_path, function):
    facts = LossFacts(id=0, function=function, classes=10 if function == "nll_loss" else 0)
    assert_not_applicable(double_softmax, probabilities(tmp_path / "a", facts=facts))


def test_outputs_of_zero_are_a_dead_layer_and_no_sigmoid(tmp_path):
    assert_clean(double_softmax, probabilities(tmp_path / "a", low=0.0, high=0.0, error=float("nan"), facts=BINARY))


def test_small_logits_of_a_weak_signal_are_no_sigmoid(tmp_path):
    weak = {"low": 0.55, "high": 0.61, "error": float("nan"), "facts": BINARY}
    assert_clean(double_softmax, probabilities(tmp_path / "a", **weak))
    inside = [ModuleFacts(id=0, name="gate", module_class="Sigmoid"),
              ModuleFacts(id=1, name="layers.0", module_class="Linear")]  # fmt: skip
    assert_clean(double_softmax, probabilities(tmp_path / "b", modules=inside, **weak))
    end = [*inside, ModuleFacts(id=2, name="probability", module_class="Sigmoid")]
    assert_finds(double_softmax, probabilities(tmp_path / "c", modules=end, **weak), Severity.CRITICAL)


def test_few_steps_or_no_samples_cannot_be_judged(tmp_path):
    assert "span 41 steps" in assert_could_not_look(double_softmax, probabilities(tmp_path / "a", last=40))
    assert "was not sampled" in assert_could_not_look(double_softmax, healthy(tmp_path))


def test_probabilities_into_cross_entropy_are_critical(tmp_path):
    finding = assert_finds(double_softmax, probabilities(tmp_path / "a"), Severity.CRITICAL)
    assert finding.title == "Softmax applied twice"
    assert "between 0.01 and 0.97 with row sums of 1" in finding.headline
    assert [measure.value for measure in finding.measures[:2]] == pytest.approx([0.01, 0.97])
    assert "the loss would be 1.46." in finding.seen
    assert finding.confidence == "certain"


def test_the_softmax_of_the_model_is_named(tmp_path):
    modules = [ModuleFacts(id=0, name="head.2", module_class="Softmax")]
    finding = assert_finds(double_softmax, probabilities(tmp_path / "a", modules=modules))
    assert finding.actions[0].text.startswith("Remove head.2, the softmax of the model")
    assert finding.actions[0].code == "model.head[2] = nn.Identity()"


def test_a_sigmoid_before_the_binary_loss_is_critical(tmp_path):
    run = probabilities(tmp_path / "a", error=float("nan"), facts=BINARY)
    finding = assert_finds(double_softmax, run, Severity.CRITICAL)
    assert finding.title == "Sigmoid applied twice"
    assert "between 0.01 and 0.97:" in finding.headline
    assert "would be 0.541" in finding.seen


def test_a_sigmoid_before_cross_entropy_is_a_warning(tmp_path):
    finding = assert_finds(double_softmax, probabilities(tmp_path / "a", error=0.8), Severity.WARNING)
    assert finding.title == "Sigmoid before cross-entropy"


def test_class_weights_leave_the_floor_open(tmp_path):
    import msgspec

    facts = msgspec.structs.replace(TEN, weighted=True, class_weights=[1.0] * 10)
    assert "the loss would be" not in assert_finds(double_softmax, probabilities(tmp_path / "a", facts=facts)).seen


@pytest.mark.parametrize(("activation", "over"), [("", 0), (None, 0), ("softmax", 32), ("sigmoid", 0)])
def test_a_compiled_graph_that_shows_no_softmax_over_the_classes_is_quiet(tmp_path, activation, over):
    facts = msgspec.structs.replace(TEN, activation=activation, softmax_over=over)
    assert_could_not_look(double_softmax, healthy(tmp_path, facts=facts))


@pytest.mark.parametrize(
    ("function", "classes", "activation"),
    [("cross_entropy", 10, "softmax"), ("binary_cross_entropy_with_logits", 0, "sigmoid")],
)
def test_a_compiled_graph_that_shows_it_is_enough(tmp_path, function, classes, activation):
    facts = LossFacts(id=0, function=function, classes=classes, activation=activation, softmax_over=classes)
    finding = assert_finds(double_softmax, healthy(tmp_path, facts=facts), Severity.CRITICAL)
    assert finding.headline == f"The input of {function} is the output of a {activation}: probabilities, not logits"
    assert ("would be 1.46." in finding.seen) is (classes == 10)
