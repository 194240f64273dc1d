"""Hidden characters: one set of them for what is read and for what is shown."""

import unicodedata

import pytest

from gradaudit.hidden_characters import escaped
from gradaudit.reading.segments import clean_text
from gradaudit.report.text import visible


@pytest.mark.parametrize("category", ["Cc", "Cf", "Cs", "Zl", "Zp"])
def test_no_character_of_a_hidden_category_stays(category: str) -> None:
    found = [chr(i) for i in range(0x10000) if unicodedata.category(chr(i)) == category]
    seen = [one for one in found if escaped(one) == one]
    # Signs that stand in front of numbers in Arabic and Syriac, and interlinear marks that do show.
    assert [one for one in seen if not "\u0600" <= one <= "\u08ff"] == []


def test_what_is_plain_stays() -> None:
    text = "Größe layers.0.weight 日本 → 1e−4 🙂"
    assert escaped(text) == text


def test_reader_and_report_hide_the_same_characters() -> None:
    for character in map(chr, range(0x10000)):
        if character != "\t":  # a blank on pages
            assert clean_text(character) == visible(character), ascii(character)
    assert (escaped("a\tb\n"), visible("a\tb\n")) == ("a\\tb\\n", "a b\\n")
