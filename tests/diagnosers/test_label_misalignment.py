import pytest

from gradaudit.diagnosers.label_misalignment import Aligned, Echo, NotShifted, ShiftedTwice, label_misalignment
from gradaudit.findings import Severity
from gradaudit.schema.loaders import AlignmentFacts
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling
from tests.diagnosers.sick_data import OWN, aligned, echoing
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged

COPY, NEXT, TWICE = (0.04, 1.0, 0.04, 0.03), (0.04, 0.03, 1.0, 0.03), (0.04, 0.03, 0.03, 1.0)


def test_targets_that_are_the_next_id_are_quiet(tmp_path):
    run = aligned(tmp_path / "a", NEXT)
    assert judged(label_misalignment, run, Aligned).following == 1
    assert_clean(label_misalignment, run)


@pytest.mark.parametrize("causal", ["", "bidirectional"])
def test_an_autoencoder_is_quiet(tmp_path, causal):
    """Its targets are its inputs; so are those of a copy task."""
    assert_clean(label_misalignment, aligned(tmp_path / "a", COPY, causal=causal))


def test_masked_and_denoising_models_are_quiet(tmp_path):
    """A tenth of the masked places keeps its token; a noisy input keeps most."""
    assert_clean(label_misalignment, aligned(tmp_path / "a", (0.04, 0.1, 0.03, 0.03)))
    assert_clean(label_misalignment, aligned(tmp_path / "b", (0.04, 0.9, 0.04, 0.03)))


def test_an_encoder_and_a_decoder_on_a_copy_task_are_quiet(tmp_path):
    """The decoder's ids are shifted by one, and the encoder's are the targets."""
    decoder = AlignmentFacts(embedding=1, calls=10, compared=[1000] * 4, equal=[30, 40, 1000, 30], ids_calls=2)
    assert_clean(label_misalignment, aligned(tmp_path / "a", COPY, ids_calls=2, others=[decoder]))


def test_a_head_for_later_tokens_beside_the_next_is_quiet(tmp_path):
    following = AlignmentFacts(loss=1, calls=10, compared=[1000] * 4, equal=[30, 40, 1000, 30])
    assert_clean(label_misalignment, aligned(tmp_path / "a", TWICE, others=[following]))


def test_sequences_that_repeat_themselves_say_nothing(tmp_path):
    assert_clean(label_misalignment, aligned(tmp_path / "a", (1.0, 1.0, 1.0, 1.0)))
    assert_clean(label_misalignment, aligned(tmp_path / "b", (0.5, 0.95, 0.5, 1.0)))


def test_few_targets_say_nothing(tmp_path):
    assert_clean(label_misalignment, aligned(tmp_path / "a", TWICE, count=99))


def test_a_column_that_is_the_target_is_a_note(tmp_path):
    """The task may be to repeat it, as in tests of memory."""
    run = echoing(tmp_path / "a", windows=0, sizes=[12, 3], position=[0, 2])
    finding = assert_finds(label_misalignment, run, Severity.NOTE)
    assert "position 1 of 12, 3 of 3" in finding.headline


def test_an_earlier_value_of_a_window_is_a_note(tmp_path):
    """As in tests of memory over one long series: the input of five steps ago."""
    run = echoing(tmp_path / "a", sizes=[10, 1], position=[4, 0])
    assert "tests of memory" in assert_finds(label_misalignment, run, Severity.NOTE).explanation


def test_few_examples_and_no_equal_position_say_nothing(tmp_path):
    assert_not_applicable(label_misalignment, echoing(tmp_path / "a", examples=99))
    assert_not_applicable(label_misalignment, echoing(tmp_path / "b", examples=0, batches=0, position=[], sizes=[]))


def test_a_target_in_its_window_is_critical(tmp_path):
    run = echoing(tmp_path)
    assert judged(label_misalignment, run, Echo).facts.position == [15]
    finding = assert_finds(label_misalignment, run, Severity.CRITICAL)
    assert "all 640 examples" in finding.headline
    assert all(measure.met for measure in finding.measures)


def test_no_sequences_and_no_record(tmp_path):
    run = build_run(tmp_path / "a", loss=falling(), facts=TEN, loaders=[OWN])
    assert_not_applicable(label_misalignment, run)
    assert_skipped(label_misalignment, build_run(tmp_path / "b", loss=falling(), facts=TEN))


def test_labels_shifted_twice_are_critical(tmp_path):
    run = aligned(tmp_path / "a", TWICE)
    found = judged(label_misalignment, run, ShiftedTwice)
    assert (found.equal, found.targets) == (1, 1000)
    finding = assert_finds(label_misalignment, run, Severity.CRITICAL)
    assert finding.title == "Labels shifted twice"
    assert "labels=ids" in finding.actions[0].code


@pytest.mark.parametrize("causal", ["attention", "mask", "recurrent"])
def test_labels_that_are_not_shifted_are_critical_in_a_causal_model(tmp_path, causal):
    run = aligned(tmp_path / "a", COPY, causal=causal)
    assert judged(label_misalignment, run, NotShifted).causal == causal
    finding = assert_finds(label_misalignment, run, Severity.CRITICAL)
    assert "ids[:, 1:]" in finding.actions[0].code
