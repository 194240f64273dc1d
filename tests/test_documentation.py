"""What the documents say is what the code says."""

import ast
import dataclasses
import importlib.util
import inspect
import re
import sys

import click
import pytest

import gradaudit
from gradaudit.__main__ import main
from gradaudit.audit.runner import examine
from gradaudit.diagnosers import all_diagnosers
from gradaudit.reading.run import load
from tests import documentation
from tests.documentation import ROOT, layers
from tests.samples import FOLDER

TEXTS = {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in documentation.texts()}
LONGEST_README = 150  # lines: more is not read

each_text = pytest.mark.parametrize("name", TEXTS)


def blocks(language, word=""):
    """The blocks of code in this language, in all documents, that hold the word."""
    found = [block for text in TEXTS.values() for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)]
    return [block for block in found if word in block]


@each_text
def test_generated_blocks_are_current(name):
    assert documentation.renewed(TEXTS[name]) == TEXTS[name], f"renew {name} with `{documentation.REWRITE}`"


def test_every_generated_block_stands_somewhere():
    used = {block for text in TEXTS.values() for block in documentation.blocks(text)}
    assert used == set(documentation.BLOCKS)


def test_the_pages_of_the_diagnosers_are_current():
    on_disk = {file: file.read_text(encoding="utf-8") for file in (ROOT / "docs" / "diagnosers").iterdir()}
    made = documentation.pages()
    assert on_disk.keys() == made.keys(), f"renew them with `{documentation.REWRITE}`"
    stale = [file.name for file in made if on_disk[file] != made[file]]
    assert not stale, f"renew {', '.join(stale)} with `{documentation.REWRITE}`"


def test_the_readme_is_short():
    assert len(TEXTS["README.md"].splitlines()) <= LONGEST_README


def test_every_document_is_in_the_list_of_documents():
    listed = set(re.findall(r"\]\(([\w/-]+\.md)\)", TEXTS["docs/README.md"]))
    there = {name.removeprefix("docs/") for name in TEXTS if name.startswith("docs/")} - {"README.md"}
    assert there <= listed


def test_every_document_is_in_the_side_bar_of_the_site():
    conf = (ROOT / "docs" / "conf.py").read_text(encoding="utf-8")
    sections = next(
        ast.literal_eval(node.value)
        for node in ast.parse(conf).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SECTIONS"
    )
    entries = [entry for pages in sections.values() for entry in pages]
    assert {name.removeprefix("docs/").removesuffix(".md") for name in TEXTS if name.startswith("docs/")} - {
        "README"
    } <= set(entries)
    for entry in entries:
        assert (ROOT / (entry[1:] if entry.startswith("/") else f"docs/{entry}")).with_suffix(".md").exists(), entry


def test_every_room_has_its_line():
    """The table of rooms in CONTRIBUTING.md names every file and folder of the package, and nothing that is gone."""
    table = TEXTS["CONTRIBUTING.md"].split("## The rooms")[1].split("## A new diagnoser")[0]
    there = {path.name for path in (ROOT / "gradaudit").iterdir() if path.suffix in ("", ".py")}
    there -= {"__init__.py", "__main__.py", "__pycache__"}
    named = set(re.findall(r"`(?:gradaudit/)?(\w+(?:\.py)?)/?`", table))
    assert there <= named, f"CONTRIBUTING.md: no line for {', '.join(sorted(there - named))}"
    for path in re.findall(r"^\| (.+?) \|", table, re.MULTILINE):
        for part in re.findall(r"`gradaudit/([\w/.]+)`", path):
            assert (ROOT / "gradaudit" / part).exists(), f"CONTRIBUTING.md names gradaudit/{part}"


def test_the_layers_are_those_of_the_contracts():
    assert "commands\nreport\naudit" in layers.layers_block()
    assert "gradaudit/reading/" in layers.contracts_block()


def test_every_sample_has_its_line():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for script in FOLDER.glob("*/train.py"):
        assert f"[`{script.parent.name}`]" in text, f"sample_runs/README.md: add a line for {script.parent.name}"


def test_the_thresholds_that_documents_set_exist():
    known = {f"{item.name}.{name}" for item in all_diagnosers() for name in item.thresholds}
    named = {one for text in TEXTS.values() for one in re.findall(r"--set ([a-z]\w*\.\w+)=", text)}
    assert named
    assert named <= known


def test_the_verbs_of_the_makefile_that_texts_name_exist():
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for name, text in TEXTS.items():
        for words in re.findall(r"(?:`|^    |^)make ((?:[a-z]+(?:-[a-z]+)* ?)+)", text, re.MULTILINE):
            assert set(words.split()) - {"install"} <= verbs, f"{name} says make {words}"


def test_the_settings_that_documents_show_are_valid(tmp_path, monkeypatch):
    from click.testing import CliRunner

    monkeypatch.chdir(tmp_path)
    (block,) = blocks("toml")
    (tmp_path / "pyproject.toml").write_text(block, encoding="utf-8")
    shown = CliRunner().invoke(main, ["analyze", "--show-config"])
    assert shown.exit_code == 0, shown.output
    assert "backbone.*" in shown.output


def test_a_table_can_be_opened_with_pandas():
    table, facts = blocks("python", "pandas.")
    names = {}
    exec((table + facts).replace("runs/x", str(FOLDER / "unshuffled_data" / "run")), names)
    assert names["loaders"]["role"].tolist() == ["training", "evaluation"]
    exec(table.replace("runs/x", str(FOLDER / "initial_loss_mismatch" / "run")), names)
    assert names["steps"]["step"].tolist() == list(range(300))


def test_an_audit_can_be_read_as_the_page_on_python_shows(capsys):
    (block,) = blocks("python", "audit.all_ranked()")
    exec(block.replace("runs/x", str(FOLDER / "initial_loss_mismatch" / "run")), {})
    assert "Overfitting since step 39" in capsys.readouterr().out


def test_the_recorders_that_documents_make_can_be_made():
    calls = [
        node
        for block in blocks("python", "with gradaudit.Recorder")
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "gradaudit.Recorder"
    ]
    assert len(calls) == 3
    for call in calls:
        keywords = {keyword.arg: None for keyword in call.keywords}
        inspect.signature(gradaudit.Recorder).bind(*call.args, **keywords)


def test_the_diagnoser_that_is_written_as_an_example_works(tmp_path, monkeypatch):
    (block,) = blocks("python", "@diagnoser(")
    file = tmp_path / "tiny_batch.py"
    file.write_text(block, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("tiny_batch", file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "tiny_batch", module)
    spec.loader.exec_module(module)
    run = load(FOLDER / "small_batch_normalization" / "run")
    quiet = examine(module.tiny_batch, run)
    assert (quiet.status, quiet.result.measured) == ("clean", "a median batch of 4 examples")
    found = examine(module.tiny_batch, dataclasses.replace(run, thresholds={"tiny_batch.smallest": 5.0}))
    assert [finding.headline for finding in found.findings] == ["The median batch holds 4 examples"]
    assert all(measure.met for measure in found.findings[0].measures)


def test_the_options_that_documents_use_exist():
    text = "\n".join(blocks("(?:sh|yaml|groovy)"))
    commands = r"record|analyze|compare|render|list|explain"
    used = re.findall(rf"gradaudit ((?:{commands})\b[^\n'#]*)", text)
    used += [one for text in TEXTS.values() for one in re.findall(rf"`gradaudit ((?:{commands}) [^`]*)`", text)]
    assert len(used) > 30
    with click.Context(main) as context:
        for line in used:
            name, *words = re.split(r"\s+", line.strip())
            options = {option for one in main.get_command(context, name).params for option in one.opts}
            mine = words[: _script(words)] if name == "record" else words
            assert {word for word in mine if word.startswith("-") and word != "--"} <= options, line


def _script(words):
    """Where the script of a record command begins: what follows is its own."""
    return next((at for at, word in enumerate(words) if word in ("--", "-m") or word.endswith(".py")), len(words))
