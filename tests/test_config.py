"""[tool.gradaudit] of the nearest pyproject.toml that has one, and every mistake in it as one line."""

import os

import pytest

from gradaudit.config import Config, ConfigError, read


def write(folder, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(text)


def test_without_a_section_nothing_is_set(tmp_path):
    assert read(tmp_path) == Config()
    write(tmp_path, "[tool.other]\nselect = 1\n")
    assert read(tmp_path) == Config()
    write(tmp_path, "tool = 3\n")
    assert read(tmp_path) == Config()


def test_the_section_is_read(tmp_path):
    text = (
        "[tool.gradaudit]\nselect = ['a']\nignore = ['b', 'c']\nfail-on = 'note'\n[tool.gradaudit.a]\nx = 1\ny = 2.5\n"
    )
    write(tmp_path, text)
    assert read(tmp_path) == Config(
        tmp_path / "pyproject.toml", ("a",), ("b", "c"), "note", {"a.x": 1, "a.y": 2.5}
    )  # fmt: skip


def test_patterns_of_frozen_tensors_are_read(tmp_path):
    write(tmp_path, "[tool.gradaudit]\nexpected-frozen = ['backbone.*', '*.position']\n")
    assert read(tmp_path).expected_frozen == ("backbone.*", "*.position")


def test_the_nearest_file_with_a_section_holds(tmp_path):
    write(tmp_path, "[tool.gradaudit]\nfail-on = 'note'\n")
    write(tmp_path / "a", "[project]\nname = 'x'\n")
    (tmp_path / "a" / "b").mkdir()
    assert read(tmp_path / "a" / "b").fail_on == "note"
    write(tmp_path / "a" / "b", "[tool.gradaudit]\n")
    assert read(tmp_path / "a" / "b") == Config(tmp_path / "a" / "b" / "pyproject.toml")


def test_what_is_no_file_is_passed_over(tmp_path):
    write(tmp_path, "[tool.gradaudit]\nfail-on = 'note'\n")
    (tmp_path / "a" / "pyproject.toml").mkdir(parents=True)
    (tmp_path / "a" / "b").mkdir()
    os.mkfifo(tmp_path / "a" / "b" / "pyproject.toml")
    assert read(tmp_path / "a" / "b").fail_on == "note"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tool.gradaudit", "is not TOML"),
        ("[tool]\ngradaudit = 3", "not a table"),
        ("[tool.gradaudit]\nselect = 'a'", "select is not a list of names"),
        ("[tool.gradaudit]\nignore = [1]", "ignore is not a list of names"),
        ("[tool.gradaudit]\nexpected-frozen = 'a'", "such as expected-frozen = ['backbone.*']"),
        ("[tool.gradaudit]\nfail-on = 'always'", "fail-on is 'always'; it may be critical, warning, note, never"),
        ("[tool.gradaudit]\nfail_on = 'note'", "has no key 'fail_on'; it has select, ignore, fail-on"),
        ("[tool.gradaudit.a]\nx = 'much'", "a.x is 'much', not a finite number"),
        ("[tool.gradaudit.a]\nx = true", "a.x is True, not a finite number"),
        ("[tool.gradaudit.a]\nx = nan", "a.x is nan, not a finite number"),
        (f"[tool.gradaudit.a]\nx = 1{'0' * 400}", "a.x is too large, not a finite number"),
        (f"[tool.gradaudit.a]\nx = 0x{'f' * 5000}", "a.x is too large, not a finite number"),
        (f"[tool.gradaudit.a]\nx = {'9' * 5000}", "is not TOML"),
        (f"a = {'[' * 5000}", "is nested too deeply"),
        (f"a = '{'x' * 10_000_000}'", "has 10 MB"),
    ],
)
def test_a_mistake_names_the_file_and_the_key(tmp_path, text, words):
    write(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        read(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'pyproject.toml'}")
    assert words in str(error.value)


def test_bytes_that_are_no_text_are_a_mistake_too(tmp_path):
    (tmp_path / "pyproject.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not TOML"):
        read(tmp_path)
