"""`gradaudit explain`: the page of each diagnoser, and a near miss of its name."""

import re

import pytest
from click.testing import CliRunner

from gradaudit.__main__ import main
from gradaudit.diagnoser import SECTIONS
from gradaudit.diagnosers import all_diagnosers

each_diagnoser = pytest.mark.parametrize("item", all_diagnosers(), ids=lambda item: item.name)


def explain(*arguments):
    return CliRunner().invoke(main, ["explain", *arguments], prog_name="gradaudit")


def words(text):
    return " ".join(text.split())


def test_without_a_name_it_lists_them_all():
    output = words(explain().stdout)
    for item in all_diagnosers():
        assert f"{item.name} {words(item.documentation.headline)}" in output


@each_diagnoser
def test_a_page_is_complete_and_fits_the_width(item):
    result = explain(item.name)
    assert result.exit_code == 0, result.output
    assert words(item.documentation.headline) in words(result.stdout)
    titles = [*SECTIONS, "Thresholds", "What it needs"]
    places = [result.stdout.index(f"\n{title}\n") for title in titles]
    assert places == sorted(places)
    for name, value in item.thresholds.items():
        assert re.search(rf"^  {name} +{value:g}", result.stdout, re.MULTILINE), name
    for need in item.needs:
        assert f"  {need} " in result.stdout
    for line in result.stdout.splitlines():
        assert len(line) <= 88, line


@pytest.mark.parametrize(
    ("name", "answer"), [("overfiting", "did you mean overfitting?"), ("zzz", "gradaudit explain lists them")]
)
def test_an_unknown_name_is_one_line_with_the_nearest(name, answer):
    result = explain(name)
    assert result.exit_code == 2
    assert result.stderr == f"gradaudit: no diagnoser is called {name!r}; {answer}\n"
