import pytest

from gradaudit.diagnosers.inverted_mask import Inverted, Right, inverted_mask
from gradaudit.findings import Severity
from tests.build import build_run
from tests.diagnosers.runs import HEALTHY_WITH, TEN, falling, healthy
from tests.diagnosers.sick_data import OWN, masking
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_a_mask_of_the_padding_is_quiet(tmp_path):
    run = healthy(tmp_path, **HEALTHY_WITH["inverted_mask"])
    assert judged(inverted_mask, run, Right).mask.partly == 600
    assert_clean(inverted_mask, run)


@pytest.mark.parametrize(
    "mask",
    [
        {"inverted": 0, "one_id": False, "fewest": 0, "most": 0},  # as it should be
        {"inverted": 300},  # texts of one word among longer ones
        {"one_id": False},  # what is left differs from text to text
        {"fewest": 1, "most": 1},  # a token that stands for the text is all that is seen
        {"rows": 15, "partly": 15, "inverted": 15},
    ],
)
def test_masks_that_may_be_meant_are_quiet(tmp_path, mask):
    assert_clean(inverted_mask, masking(tmp_path, **mask))


def test_no_mask_and_no_record(tmp_path):
    run = build_run(tmp_path / "a", loss=falling(), facts=TEN, loaders=[OWN])
    assert_not_applicable(inverted_mask, run)
    assert_not_applicable(inverted_mask, masking(tmp_path / "b", partly=0, inverted=0, one_id=False))
    assert_skipped(inverted_mask, build_run(tmp_path / "c", loss=falling(), facts=TEN))


def test_a_mask_that_leaves_the_padding_is_critical(tmp_path):
    run = masking(tmp_path)
    assert judged(inverted_mask, run, Inverted).share == pytest.approx(0.995)
    finding = assert_finds(inverted_mask, run, Severity.CRITICAL)
    assert all(measure.met for measure in finding.measures)
    assert "attention_mask == 0" in finding.actions[0].code


def test_without_a_sequence_that_is_partly_hidden_nothing_is_found(tmp_path):
    """All keys are hidden where nothing is padding: torch gives NaN, and other rules say so."""
    run = masking(tmp_path, partly=0, inverted=0, one_id=False, hidden=640)
    assert_clean(inverted_mask, run)
