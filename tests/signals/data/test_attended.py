import pytest

from gradaudit.schema.loaders import AttendedFacts
from gradaudit.signals.data.attended import inverted_share, masks_of_keys, open_attentions
from tests.diagnosers.sick_data import masking, sources, unmasked

INVERTED = AttendedFacts(rows=100, partly=80, inverted=76, one_id=True, fewest=1, most=7)


def test_a_decoder_without_a_mask_is_open(tmp_path):
    (found,) = open_attentions(unmasked(tmp_path), 0.98, 100)
    assert (found.facts.embedding, found.equal, found.targets) == (1, 1.0, 9000)


@pytest.mark.parametrize("attended", [{"masked": 20, "open": 0}, {"masked": 1}, {"in_place": False}, {"open": 0}])
def test_a_mask_or_another_source_of_the_predictions_closes_it(tmp_path, attended):
    assert open_attentions(unmasked(tmp_path, **attended), 0.98, 100) == []


def test_targets_that_are_seldom_the_next_id_need_no_mask(tmp_path):
    run = unmasked(tmp_path / "a", equal=8000)
    assert open_attentions(run, 0.98, 100) == []
    assert len(open_attentions(run, 0.8, 100)) == 1
    assert open_attentions(unmasked(tmp_path / "b"), 0.98, 9001) == []


def test_the_share_of_inverted_sequences(tmp_path):
    assert inverted_share(INVERTED) == pytest.approx(0.95)
    assert inverted_share(AttendedFacts(rows=100)) == 0
    (mask,) = masks_of_keys(masking(tmp_path / "a"))
    assert inverted_share(mask) == pytest.approx(0.995)


@pytest.mark.parametrize("changes", [{"one_id": False}, {"fewest": 7}, {"partly": 0}])
def test_what_is_no_padding_counts_as_none(changes):
    known = {name: getattr(INVERTED, name) for name in AttendedFacts.__struct_fields__}
    assert inverted_share(AttendedFacts(**{**known, **changes})) == 0


def test_masks_that_hide_nothing_are_left_out(tmp_path):
    facts = [AttendedFacts(open=4), AttendedFacts(rows=9, hidden=9), INVERTED]
    assert masks_of_keys(sources(tmp_path, {"attended": facts})) == [INVERTED, facts[1]]
