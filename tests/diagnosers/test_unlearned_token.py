import pytest

from gradaudit.diagnosers.unlearned_token import Ignored, Learned, unlearned_token
from gradaudit.findings import Severity
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling
from tests.diagnosers.sick_data import ending, sources
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_padding_of_its_own_is_quiet(tmp_path):
    """The longest sequence of a batch has none of it."""
    run = ending(tmp_path / "a", ended=600, shortest=0)
    assert judged(unlearned_token, run, Learned).padded == 20
    assert_clean(unlearned_token, run)


@pytest.mark.parametrize(
    "quiet",
    [
        {"learned": 20},  # packing: some of its labels count
        {"shortest": 3},  # padded to a multiple of eight
        {"widths": 1},  # padded to a fixed length: padding cannot be told from an end
        {"widths": 1, "varied": 3},  # and its sequences have an end token before the padding
        {"widths": 1, "varied": 20, "ended": 600},  # the longest sequences are whole
        {"one_id": False},  # answers that end with different tokens
        {"padded": 3, "rows": 96, "ended": 96},
    ],
)
def test_what_may_be_padding_is_quiet(tmp_path, quiet):
    assert_clean(unlearned_token, ending(tmp_path / "a", **quiet))


def test_a_masked_prompt_is_quiet(tmp_path):
    """The tokens of prompts between others are ignored; the answers end with one that counts."""
    assert_clean(unlearned_token, ending(tmp_path / "a", padded=0, rows=0, ended=0, shortest=0, inside=500))


def test_no_labels_and_no_record(tmp_path):
    assert_not_applicable(unlearned_token, sources(tmp_path / "a"))
    assert_skipped(unlearned_token, build_run(tmp_path / "b", loss=falling(), facts=TEN))


def test_an_end_token_that_is_padding_is_a_warning(tmp_path):
    run = ending(tmp_path / "a")
    found = judged(unlearned_token, run, Ignored)
    assert (found.by_mask, found.by_length) == (False, True)
    finding = assert_finds(unlearned_token, run, Severity.WARNING)
    assert finding.headline == "The token that ends 640 of 640 sequences is never a target: 0 labels of it count"


def test_sequences_of_one_length_that_nothing_else_ends_are_a_warning(tmp_path):
    run = ending(tmp_path / "a", widths=1, varied=20)
    assert judged(unlearned_token, run, Ignored).by_length
    assert_finds(unlearned_token, run, Severity.WARNING)


def test_the_attention_mask_tells_it_in_sequences_of_one_length(tmp_path):
    run = ending(tmp_path / "a", widths=1, shortest=0, attended=620)
    assert judged(unlearned_token, run, Ignored).by_mask
    assert "620 of these positions" in assert_finds(unlearned_token, run, Severity.WARNING).explanation
