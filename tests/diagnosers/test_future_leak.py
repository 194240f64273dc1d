import msgspec
import numpy
import pytest

from gradaudit.audit.runner import analyze
from gradaudit.diagnosers.future_leak import Leak, NoContrast, NotSeen, Open, future_leak
from gradaudit.findings import Severity
from gradaudit.schema import ModuleFacts, OutputFacts, TensorFacts
from tests.build import linear_stack
from tests.diagnosers.runs import HEALTHY_WITH, healthy, sequences
from tests.diagnosers.sick_data import unmasked
from tests.diagnosers.sick_outputs import COPIED, leaking
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_a_causal_model_is_quiet(tmp_path):
    run = healthy(tmp_path, **HEALTHY_WITH["future_leak"])
    assert judged(future_leak, run, NoContrast).contrast == pytest.approx(2.6 / 2.1)
    assert_clean(future_leak, run)


def test_autoencoders_and_copies_are_quiet(tmp_path):
    """Every target is in the input, the last one, too."""
    assert_clean(future_leak, healthy(tmp_path, outputs=sequences([0.001] * 8, [0.001] * 8)))


def test_sequences_that_were_learned_by_heart_are_quiet(tmp_path):
    """The first token is the only one that nothing tells."""
    assert_clean(future_leak, healthy(tmp_path / "a", outputs=sequences([2.4, *[0.02] * 7], [1.9, *[0.03] * 7])))
    assert_clean(future_leak, healthy(tmp_path / "b", outputs=sequences([*COPIED, 2.4], [2.9] * 8)))


def test_a_copy_task_is_quiet(tmp_path):
    """Its first half is random, and its second half repeats it."""
    assert_clean(future_leak, healthy(tmp_path, outputs=sequences([2.3, 2.3, 2.3, 0.01, 0.01, 0.01, 0.01, 0.01])))


def test_one_hard_position_before_the_last_is_quiet(tmp_path):
    """Sums such as 17 + 25 = 42: the operands are random, what is between them is not."""
    assert_clean(future_leak, healthy(tmp_path, outputs=sequences([0.0, 2.3, 0.0, 0.0, 2.3, 0.0, 0.0, 2.2])))


def test_padding_on_the_left_that_is_not_ignored_is_quiet(tmp_path):
    """The targets at the other positions are one token, and need no look ahead."""
    padded = sequences([0.001] * 7 + [2.4], [0.001] * 7 + [2.4], entropy=[0.0] * 7 + [2.5])
    assert_clean(future_leak, healthy(tmp_path, outputs=padded))


def test_a_last_position_that_is_well_predicted_is_quiet(tmp_path):
    assert_clean(future_leak, healthy(tmp_path, outputs=sequences([0.001] * 7 + [0.5])))


def test_a_masked_model_has_no_such_positions(tmp_path):
    outputs = sequences([3.0] * 8)
    part = msgspec.structs.replace(outputs.positions[0].training[0], targets=[13, 6, 1, 4, 1, 4, 3, 13])
    facts = msgspec.structs.replace(outputs.positions[0], training=[part] * 8)
    run = healthy(tmp_path, outputs=msgspec.structs.replace(outputs, positions=[facts]))
    assert "masked" in assert_not_applicable(future_leak, run)


def test_a_loss_without_sequences_does_not_apply(tmp_path):
    assert_not_applicable(future_leak, healthy(tmp_path, outputs=OutputFacts(looked=True)))


def test_what_was_not_recorded_is_said(tmp_path):
    assert judged(future_leak, healthy(tmp_path / "a"), NotSeen).why == "older"
    assert "was not recorded" in assert_skipped(future_leak, healthy(tmp_path / "b"))
    inside = healthy(tmp_path / "c", outputs=OutputFacts(looked=True, inside=1))
    assert "compiled region" in assert_skipped(future_leak, inside)
    few = healthy(tmp_path / "d", outputs=sequences([2.0] * 8, targets=1))
    assert judged(future_leak, few, NotSeen).targets == 4
    assert_skipped(future_leak, few)


@pytest.mark.parametrize("evaluation", [2.5, None])
def test_a_last_position_that_stands_out_is_critical(tmp_path, evaluation):
    run = leaking(tmp_path / "a", evaluation=evaluation)
    found = judged(future_leak, run, Leak)
    assert found.contrast == pytest.approx(0.03 / 2.4)
    assert found.variety == pytest.approx(1.0)
    assert found.seen.places.tolist() == [1, 6, 11, 16, 21, 26, 31, 32]
    assert (found.seen.evaluation is None) == (evaluation is None)
    finding = assert_finds(future_leak, run, Severity.CRITICAL)
    assert finding.measures[0].value == pytest.approx(0.03 / 2.4)
    assert all(measure.met for measure in finding.measures)
    assert numpy.allclose(finding.evidence[0].series[0].y, [*COPIED, 2.4])


def test_few_evaluations_are_not_held_against_it(tmp_path):
    outputs = sequences([*COPIED, 2.4], [2.0] * 8)
    part = msgspec.structs.replace(outputs.positions[0].evaluation[0], targets=[2] * 8)
    facts = msgspec.structs.replace(outputs.positions[0], evaluation=[part])
    assert_finds(future_leak, healthy(tmp_path, outputs=msgspec.structs.replace(outputs, positions=[facts])))


def test_the_module_that_looks_ahead_is_named(tmp_path):
    reverse = TensorFacts(id=8, name="rnn.weight_ih_l0_reverse", module="rnn", module_class="LSTM", shape=[8, 8])
    kernel = TensorFacts(id=8, name="mix.weight", module="mix", module_class="Conv1d", shape=[8, 8, 5])
    inner = [
        ModuleFacts(id=0, name="layers", module_class="TransformerEncoder"),
        ModuleFacts(id=1, name="layers.layers.0", module_class="TransformerEncoderLayer"),
    ]
    first = {}
    for name, changes in {
        "none": {},
        "rnn": {"tensors": [*linear_stack(), reverse]},
        "mix": {"tensors": [*linear_stack(), kernel]},
        "layers": {"modules": inner},
    }.items():
        actions = assert_finds(future_leak, leaking(tmp_path / name, rows=[], **changes)).actions
        first[name] = actions[0].text + actions[0].code
    assert "is_causal=True" in first["none"]
    assert "bidirectional=False in rnn" in first["rnn"]
    assert "F.pad(x, (4, 0))" in first["mix"]
    assert "model.layers(x, mask=mask, is_causal=True)" in first["layers"]


def test_it_is_the_first_thing_that_is_said(tmp_path):
    assert analyze(leaking(tmp_path)).ranked[0].diagnoser == "future_leak"


@pytest.mark.parametrize(
    "changes",
    [
        {"masked": 20, "open": 0},  # a causal decoder, with or without a mask of padding
        {"masked": 10, "open": 10},  # layers of both kinds
        {"in_place": False},  # an encoder whose ids are the decoder's targets
        {"equal": 6000},  # a masked language model of repetitive text
    ],
)
def test_attention_that_may_be_meant_is_quiet(tmp_path, changes):
    assert_not_applicable(future_leak, unmasked(tmp_path, outputs=OutputFacts(looked=True), **changes))


def test_attention_without_a_mask_over_its_targets_is_critical(tmp_path):
    run = unmasked(tmp_path)
    assert judged(future_leak, run, Open).seen.targets == 9000
    finding = assert_finds(future_leak, run, Severity.CRITICAL)
    assert all(measure.met for measure in finding.measures)
    for option in ("following", "compared"):
        assert_skipped(future_leak, run, **{option: 1e9})
