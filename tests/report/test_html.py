"""The page as source: what it says, what it may execute, how large it is, and where its templates come from."""

import base64
import hashlib
import re
import time
from pathlib import Path

import msgspec
import numpy
import pytest

import gradaudit
from gradaudit.audit.overview import overview
from gradaudit.audit.result import Audit, Outcome
from gradaudit.findings import Clean, Measure, Severity
from gradaudit.reading.run import Run
from gradaudit.report.charts import figures
from gradaudit.report.charts.theme import INKS
from gradaudit.report.html import report_page
from gradaudit.report.html.view import MOST_CARDS, headline_line, title, top_actions
from gradaudit.report.run_state import banner
from gradaudit.schema import PrivateFacts, TensorFacts
from tests.build import build_run
from tests.report.parsed import Parsed

SECTIONS = ("Do these first", "The run", "Every layer, every step", "Gradient sizes",
    "Findings", "Passed", "Not applicable",
            "Skipped", "Could not run", "All parameters", "Run facts", "Glossary")  # fmt: skip


def without_findings(audit: Audit) -> Audit:
    """The audit with nothing found."""
    calm = [
        Outcome(diagnoser=one.diagnoser, documentation={}, thresholds={}, result=Clean(measured="fine"))
        for one in audit.outcomes
    ]
    return msgspec.structs.replace(audit, outcomes=calm, ranked=[])


def sha256(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def template(file: str) -> str:
    """A style sheet or script as pages carry it."""
    return (report_page.templates_folder() / file).read_text()


def assert_harmless(source: str) -> None:
    """One known script, one known style sheet, no handler, no address but anchors and inline pictures."""
    parsed = Parsed(source)
    assert [sha256(text) for text in parsed.scripts] == [sha256(template("report.js"))]
    assert [sha256(text) for text in parsed.styles] == [sha256(template("report.css"))]
    policy = next(a["content"] for tag, a in parsed.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == (
        f"default-src 'none'; img-src data:; style-src '{sha256(parsed.styles[0])}'; "
        f"script-src '{sha256(parsed.scripts[0])}'; base-uri 'none'; form-action 'none'"
    )
    for tag, attributes in parsed.elements:
        assert tag not in ("iframe", "object", "embed", "link", "base", "form", "img", "foreignobject", "use"), tag
        for name, value in attributes.items():
            assert re.fullmatch(r"[a-zA-Z][a-zA-Z:-]*\d?", name), f"<{tag}> has an attribute {name!r}"
            assert not name.startswith("on"), f"<{tag} {name}>"
            assert name not in ("style", "src", "srcset", "srcdoc", "action", "formaction", "xlink:href"), name
            if name == "href":
                allowed = value.startswith("data:image/png;base64,") if tag == "image" else value.startswith("#")
                assert allowed, f"<{tag} href={value[:60]!r}>"


def test_the_sample_page_is_harmless(page: str) -> None:
    assert_harmless(page)


def test_a_hostile_audit_makes_a_harmless_page(hostile_page: str) -> None:
    assert_harmless(hostile_page)


def test_hidden_characters_are_shown_as_escapes(hostile_page: str) -> None:
    for character in "\x00\x01\x07\x1b\u202e\u2066\u200b\ufffe\uffff":
        assert character not in hostile_page, ascii(character)
    assert "\\x1b]0;pwned\\x07" in hostile_page
    assert "\\u202e" in hostile_page


def test_templates_in_names_are_not_evaluated(hostile_page: str) -> None:
    assert "{{ 7 * 7 }}" in Parsed(hostile_page).text


def test_sections_stand_in_order(page: str) -> None:
    headings = [re.sub("<[^>]+>", "", heading) for heading in re.findall(r"<h2>(.*?)</h2>", page)]
    assert tuple(headings) == SECTIONS


def test_every_finding_and_every_check_is_readable_without_a_script(page: str, audit: Audit) -> None:
    text = Parsed(page).text
    for item in audit.all_ranked():
        assert item.finding.headline in text
        for action in item.finding.actions:
            assert action.text in text
    for outcome in audit.outcomes:
        assert outcome.diagnoser in text
        assert outcome.result.text in text
    assert "KeyError: 'x'" in text
    assert "ln(8,192) = 9.01 · uniform prediction" in text
    assert "record with --activations" in text


def test_ids_are_unique_and_every_link_has_its_target(page: str, hostile_page: str) -> None:
    for source in (page, hostile_page):
        parsed = Parsed(source)
        assert len(parsed.ids) == len(set(parsed.ids))
        targets = {value[1:] for tag, a in parsed.elements if tag == "a" and (value := a.get("href", ""))}
        assert targets <= set(parsed.ids), targets - set(parsed.ids)


def test_the_anchor_of_a_finding_is_its_name(page: str) -> None:
    assert {"frozen_parameter", "layer_imbalance", "non_finite", "overfitting"} <= set(Parsed(page).ids)


def test_consequences_stand_inside_their_root(audit: Audit) -> None:
    view = report_page.build(audit)
    root = next(card for card in view.cards if card.id == "frozen_parameter")
    assert {card.id for card in root.consequences} == {"layer_imbalance", "non_finite"}
    assert {card.cause_id for card in root.consequences} == {"frozen_parameter"}
    assert [card.id for card in view.cards] == ["frozen_parameter", "overfitting", "dead_embedding"]


def test_first_things_are_those_of_the_roots(audit: Audit) -> None:
    first = top_actions(audit.ranked)
    assert [one.href for one in first] == ["frozen_parameter", "overfitting"]
    assert first[0].text.startswith("Look for a detach()")


def test_a_run_without_findings_is_not_called_healthy(audit: Audit) -> None:
    source = report_page.render(without_findings(audit))
    text = Parsed(source).text
    assert "No problem found in 12 checks." in text
    assert "healthy" not in text.lower()
    assert "Do these first" not in text
    assert_harmless(source)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("killed", "The run was killed: the record ends at step 1,999."),
        ("failed", "The script ended with an error at step 1,999."),
        ("interrupted", "The run was cut short at step 1,999."),
        ("running", "The run is still training: the record reached step 1,999"),
        ("finished", ""),
    ],
)
def test_a_run_that_did_not_end_by_itself_says_so(audit: Audit, state: str, words: str) -> None:
    assert banner(msgspec.structs.replace(audit, state=state)).startswith(words)


def test_what_was_left_out_is_named(audit: Audit) -> None:
    problems = ["rank00000/steps-000001.parquet is damaged and was left out"]
    view = report_page.build(msgspec.structs.replace(audit, problems=problems))
    assert view.problems == tuple(problems)
    assert problems[0] in report_page.render_page(view)


def test_private_facts_are_shown_only_when_the_audit_holds_them(audit: Audit, page: str) -> None:
    private = PrivateFacts(host="machine-7", user="ada", directory="/home/ada", command=["python", "train.py"])
    open_audit = msgspec.structs.replace(audit, meta=msgspec.structs.replace(audit.meta, private=private))
    assert "machine-7" in report_page.render(open_audit)
    assert "Host" not in Parsed(page).text


def test_a_command_is_shown_as_it_was_typed(audit: Audit) -> None:
    typed = PrivateFacts(command=["train.py", "--lr", "1e-4", "--shift", "-1", "--cut", "5 %"], directory="/d/-3")
    source = report_page.render(msgspec.structs.replace(audit, meta=msgspec.structs.replace(audit.meta, private=typed)))
    assert "train.py --lr 1e-4 --shift -1 --cut 5 %" in source
    assert "/d/-3" in source


def test_long_texts_of_digits_take_no_time() -> None:
    """Compared with one of half the length: a backtracking expression would take four times as long."""

    def seconds(length: int) -> float:
        started = time.process_time()
        report_page.no_break("1." * length)
        return time.process_time() - started

    assert seconds(200_000) < 20 * max(seconds(100_000), 0.01)


@pytest.mark.usefixtures("charts_drawn_anew")
def test_the_same_audit_gives_the_same_bytes(audit: Audit, page: str) -> None:
    assert report_page.render(audit) == page


def test_the_sample_page_is_of_typical_size(page: str) -> None:
    assert len(page.encode()) < 600_000


@pytest.mark.long
def test_ten_thousand_tensors_with_long_names_stay_below_the_limit(tmp_path: Path, audit: Audit) -> None:
    tensors = [
        TensorFacts(id=i, name=f"{'block' * 50}.{i // 7}.{'layer' * 8}.{i}.weight", role="weight", shape=[8, 8],
                    optimizer=0, group=0, depth=i)
        for i in range(10_000)
    ]  # fmt: skip
    run = build_run(tmp_path / "large", loss=numpy.linspace(9, 2, 4), tensors=tensors)
    flagged = {run.meta.tensors[7].name, run.meta.tensors[9000].name}
    large = msgspec.structs.replace(audit, overview=overview(run, flagged))
    view = report_page.build(large)
    source = report_page.render_page(view)
    assert len(source.encode()) < 2_000_000
    assert "The first 300 are shown" in Parsed(source).text
    assert len(view.parameters) == 300
    assert max(len(row.name) for row in view.parameters) <= 80
    assert [row.flagged for row in view.parameters[:3]] == [True, True, False]


@pytest.mark.long
def test_five_hundred_findings_stay_below_the_limit(audit: Audit) -> None:
    one = next(item for item in audit.ranked if item.anchor == "overfitting")
    many = [msgspec.structs.replace(one, anchor=f"overfitting-{i}") for i in range(500)]
    # One figure each is enough to spend the budget; drawing all would only be slow.
    source = report_page.render(msgspec.structs.replace(audit, ranked=many))
    assert len(source.encode()) < 2_000_000
    assert f"{500 - MOST_CARDS} more findings are in the JSON" in Parsed(source).text
    assert "as many charts as it can hold" in source


def test_a_chart_that_fails_does_not_cost_the_report(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("no </script> engine")

    monkeypatch.setattr(figures, "render", broken)
    source = report_page.render(audit)
    text = Parsed(source).text
    for item in audit.all_ranked():
        assert item.finding.headline in text
    assert "This chart could not be drawn (no </script> engine). Its numbers:" in text
    assert "validation" in text
    assert_harmless(source)


def test_every_ink_follows_the_dark_theme() -> None:
    css = (report_page.templates_folder() / "report.css").read_text()
    for ink in INKS:
        variables = re.findall(rf'\.ink \[(?:fill|stroke)="{ink}"\] {{ (?:fill|stroke): var\((--[\w-]+)\)', css)
        assert len(variables) == 2, f"{ink} lacks a rule for fill or stroke"
        # Once in light, once for the reader's system, once for the button.
        assert len(re.findall(rf"{variables[0]}: #[0-9a-f]{{6}};", css)) == 3, variables[0]


def test_the_script_is_small() -> None:
    assert len(template("report.js").encode()) <= 15_000


def test_the_script_makes_no_markup() -> None:
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(", template("report.js"))


def test_the_repository_templates_win_in_a_checkout() -> None:
    assert report_page.templates_folder() == Path(gradaudit.__file__).parents[1] / "templates"


def test_an_installed_package_uses_its_own_templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "gradaudit"
    (package / "templates").mkdir(parents=True)
    monkeypatch.setattr(gradaudit, "__file__", str(package / "__init__.py"))
    assert report_page.templates_folder() == package / "templates"
    # A folder called templates that belongs to something else is not ours.
    (tmp_path / "site-packages" / "templates").mkdir()
    (tmp_path / "site-packages" / "templates" / "report.html").write_text("other")
    assert report_page.templates_folder() == package / "templates"


def test_numbers_do_not_break_at_their_minus() -> None:
    assert str(report_page.no_break("only 3.3e-7 <b>")) == 'only <span class="number">3.3e−7</span> &lt;b&gt;'


def test_a_percentage_does_not_break() -> None:
    assert str(report_page.no_break("8.3 % of 12% and %d %")) == "8.3\u00a0% of 12% and %d %"


def test_prose_has_the_minus_of_the_charts_and_code_its_own() -> None:
    assert str(report_page.no_break("from -0.5 to (-1, 3-5)")) == "from −0.5 to (−1, 3-5)"
    for code in ("softmax(dim=-1)", "softmax(-1)", "lr=1e-4", "layer-1", "x[0,-1]"):
        assert code in str(report_page.no_break(f"call {code} first")), code


def test_code_does_not_break_inside_a_number() -> None:
    assert str(report_page.code("f(0.1, model.layers.0.weight)")) == (
        "f(<wbr>0.1, model.<wbr>layers.<wbr>0.<wbr>weight)"
    )


def test_lines_of_code_end_behind_dots_and_brackets() -> None:
    assert report_page.code("model.fc.requires_grad_(False)") == "model.<wbr>fc.<wbr>requires_grad_(<wbr>False)"
    assert report_page.code("<b>.x&") == "&lt;b&gt;.<wbr>x&amp;"


def test_severities_are_words_not_only_colours(page: str) -> None:
    text = Parsed(page).text
    for severity in Severity:
        assert severity.value.capitalize() in text


def test_a_run_of_one_step_has_a_page(tmp_path: Path, audit: Audit) -> None:
    run: Run = build_run(tmp_path / "one", loss=[2.3])
    assert_harmless(report_page.render(msgspec.structs.replace(audit, overview=overview(run, set()), meta=run.meta)))


def test_a_run_of_nan_has_a_page(tmp_path: Path, audit: Audit) -> None:
    nan = numpy.nan
    stats = {"gradient_norm": nan, "gradient_nan": 3, "weight_norm": nan, "update_norm": nan}
    run = build_run(tmp_path / "nan", loss=[nan] * 5, stats=stats, steps={"gradient_norm": nan})
    text = Parsed(report_page.render(msgspec.structs.replace(audit, overview=overview(run, set()), meta=run.meta))).text
    assert "The loss was NaN or infinite at 5 steps, first at step 0." in text
    assert "could not be drawn" not in text


def test_the_window_says_how_a_run_ended_and_what_is_not_known(audit: Audit) -> None:
    short = msgspec.structs.replace(audit, ranked=[], outcomes=audit.with_status("skipped"))
    assert title(short).startswith("too little recorded – ")
    assert title(msgspec.structs.replace(short, state="killed")).startswith("killed, too little recorded – ")
    assert title(audit).startswith("2 critical, ")


def test_a_page_of_one_rank_says_so(audit: Audit) -> None:
    several = msgspec.structs.replace(audit, meta=msgspec.structs.replace(audit.meta, world_size=8, rank=3))
    assert "of rank 3 of 8" in headline_line(several)
    assert "rank" not in headline_line(audit)


def test_the_table_of_measures_says_what_is_met_and_what_it_decides(audit: Audit) -> None:
    measures = [
        Measure(quantity="share", value=0.95, comparison=">", threshold=0.9, unit="fraction", option="most"),
        Measure(quantity="rise", value=0.2, comparison=">", threshold=2, decides="warning", any_of="height"),
        Measure(quantity="epochs", value=None, comparison=">=", threshold=5, decides="critical"),
    ]
    finding = msgspec.structs.replace(audit.ranked[0].finding, measures=measures)
    ranked = [msgspec.structs.replace(audit.ranked[0], finding=finding, consequences=[])]
    page = report_page.render(msgspec.structs.replace(audit, ranked=ranked))
    rows = re.findall(r"<tr>(.*?)</tr>", page[page.index('<table class="measures">') :].partition("</tbody>")[0])
    cells = [[re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)] for row in rows]
    plain = [[cell.replace("\xa0", " ").replace("\u202f", " ") for cell in row] for row in cells if row]
    assert [row[:5] for row in plain] == [
        ["share", "95 %", "&gt; 90 %", "met", "finding"],
        ["rise", "0.2", "&gt; 2", "not met", "one of: warning"],
        ["epochs", "unknown", "&gt;= 5", "unknown", "critical"],
    ]


def test_only_the_reason_of_a_first_thing_stands_on_a_line_of_its_own() -> None:
    """A number within it is a span, too."""
    css = template("report.css")
    assert ".first > li > span {" in css
    assert ".first span {" not in css


def test_the_measures_are_stacked_on_a_phone_and_fit_on_paper() -> None:
    phone, paper = template("report.css").split("@media screen and (max-width: 640px)")[1].split("@media print")
    assert re.search(r"\.measures tr \{ display: flex;", phone)
    assert "td.right { white-space: normal; }" in paper
    assert "details:not([open]) { display: none; }" in paper


def test_the_loss_of_a_uniform_prediction_stays_on_one_line():
    assert report_page.no_break("prediction, ln 3 = 1.10.") == "prediction, ln\xa03\xa0=\xa01.10."
