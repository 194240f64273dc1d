"""The findings in a terminal: wrapped, readable in ASCII, safe from what names may hold."""

import click
import msgspec
import pytest

from gradaudit.audit.result import Audit
from gradaudit.report import terminal
from gradaudit.report.text import clipped, duration, large, visible


def lines(audit: Audit, width: int = 88, unicode: bool = True, verbose: bool = False) -> list[str]:
    return click.unstyle(terminal.render(audit, width=width, unicode=unicode, verbose=verbose)).split("\n")[:-1]


def test_findings_come_worst_first_and_counts_last(audit: Audit) -> None:
    text = lines(audit)
    heads = [line.split()[0] + " " + line.split()[1] for line in text if line[:1] in "✗!·" and line]
    assert heads == ["✗ critical", "! warning", "· note"]
    assert text[-1].endswith("(-v lists them)")
    assert "2 critical, 2 warnings, 1 note, 3 passed, 2 not applicable" in " ".join(text[-2:])


def test_consequences_are_indented_under_their_root(audit: Audit) -> None:
    text = lines(audit)
    root = next(i for i, line in enumerate(text) if line.startswith("✗ critical"))
    below = [i for i, line in enumerate(text) if line.startswith("  ↳ ")]
    assert len(below) == 2
    other = next(i for i, line in enumerate(text) if line.startswith("! warning"))
    assert root < below[0] < below[1] < other
    assert [line for line in text[root:other] if "Next:" in line] == [
        line for line in text[root : below[0]] if "Next:" in line
    ]


@pytest.mark.parametrize("width", [40, 60, 88, 300])
@pytest.mark.parametrize("unicode", [True, False])
def test_no_line_is_wider_than_the_window(audit: Audit, hostile_audit: Audit, width: int, unicode: bool) -> None:
    for shown in (audit, hostile_audit):
        for line in lines(shown, width, unicode, verbose=True):
            assert len(line) <= min(width, terminal.WIDEST), line


def test_ascii_is_ascii(audit: Audit, hostile_audit: Audit) -> None:
    for shown in (audit, hostile_audit):
        text = terminal.render(shown, width=88, unicode=False, verbose=True, report="runs/x…/report.html")
        assert text.isascii()
    assert "x critical" in terminal.render(audit, width=88, unicode=False, verbose=False)


def test_names_cannot_control_the_terminal(hostile_audit: Audit) -> None:
    named = msgspec.structs.replace(hostile_audit.meta, name="a\x1b[2Jb")
    hostile_audit = msgspec.structs.replace(hostile_audit, meta=named)
    text = click.unstyle(terminal.render(hostile_audit, width=88, unicode=True, verbose=True))
    for character in "\x1b\x07\x00\x01\u202e\u2066\u200b\r":
        assert character not in text, ascii(character)
    assert "a\\x1b[2Jb" in text
    assert not any(line.startswith("::error") for line in text.split("\n"))


def test_verbose_lists_every_check_with_its_reason(audit: Audit) -> None:
    text = "\n".join(lines(audit, verbose=True))
    for outcome in audit.outcomes:
        assert outcome.diagnoser in text
    assert "dead_relu: the run has no modules. To enable: record with --activations" in text
    assert "small_batch_normalization: KeyError: 'x'" in text
    assert "-v lists them" not in text


def test_a_killed_run_says_so(audit: Audit) -> None:
    text = lines(msgspec.structs.replace(audit, state="killed"))
    assert "The run was killed: the record ends at step 1,999." in text


def test_nothing_found_is_not_called_healthy(audit: Audit) -> None:
    text = lines(msgspec.structs.replace(audit, ranked=[]))
    assert any(line.startswith("no problem found, 3 passed") for line in text[-2:])
    assert "healthy" not in " ".join(text)


def test_what_was_left_out_and_the_report_are_named(audit: Audit) -> None:
    holed = msgspec.structs.replace(audit, problems=[f"part {i} is damaged" for i in range(13)])
    text = click.unstyle(
        terminal.render(holed, width=88, unicode=True, verbose=False, report="runs/x/report.html (455 KB)")
    )
    assert "Left out: part 0 is damaged" in text
    assert "Left out: 3 more parts" in text
    assert text.endswith("Report: runs/x/report.html (455 KB)\n")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain – ünïcode 層", "plain – ünïcode 層"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\nb\tc", "a\\nb c"),
        ("\u202e\ufeff\x00", "\\u202e\\ufeff\\x00"),
        ("[/red]", "[/red]"),
    ],
)
def test_hidden_characters_become_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_long_names_keep_both_ends() -> None:
    name = "transformer." + "x" * 300 + ".weight"
    assert len(clipped(name)) == 80
    assert clipped(name).startswith("transformer.")
    assert clipped(name).endswith(".weight")
    assert clipped("short") == "short"
    assert len(clipped("x" * 81)) == 80


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.5, "0.5 s"),
        (42, "42 s"),
        (800, "13 min 20 s"),
        (7500, "2 h 5 min"),
        (86400 * 3, "3 d"),
        (float("nan"), "unknown time"),
    ],
)
def test_durations_have_two_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(512, "512"), (9999, "9,999"), (12_480, "12.5 k"), (98_800_000, "98.8 M"), (1_200_000_000, "1.2 B")],
)
def test_large_counts_have_three_digits(count: int, words: str) -> None:
    assert large(count) == words
