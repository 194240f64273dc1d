import pytest

from gradaudit.evidence.words.loading import renamed, renaming_code
from gradaudit.schema import LoadFacts


@pytest.mark.parametrize(
    ("facts", "words", "code"),
    [
        ({"prefix": "module."}, "without their prefix 'module.'", "key.removeprefix('module.')"),
        ({"instead": "encoder."}, "with the prefix 'encoder.'", "'encoder.' + key: value"),
        (
            {"prefix": "net.", "instead": "encoder."},
            "with 'encoder.' in place of 'net.'",
            "'encoder.' + key.removeprefix('net.')",
        ),
        ({"inside": "state"}, "inside of its entry 'state'", "model.load_state_dict(checkpoint['state'])"),
    ],
)
def test_how_keys_fit(facts, words, code):
    facts = LoadFacts(name="net", **facts)
    assert renamed(facts, 20) == words
    assert code in renaming_code(facts)


def test_long_prefixes_are_cut():
    assert renamed(LoadFacts(name="net", prefix="a" * 99), 5) == "without their prefix 'aaaa…'"
