"""What README and the catalogue say is what the code says."""

import re

import pytest

from gradaudit.diagnosers import all_diagnosers
from gradaudit.report import explain
from tests import documentation
from tests.samples import FOLDER

ROOT = documentation.README.parent
TEXT = documentation.README.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", documentation.BLOCKS)
def test_generated_blocks_of_the_readme_are_current(name):
    match = re.search(rf"<!-- begin {name} -->\n(.*?)\n<!-- end {name} -->", TEXT, re.DOTALL)
    assert match, f"README.md has no block {name}"
    assert match[1] == documentation.BLOCKS[name](), f"renew it with `{documentation.REWRITE}`"


def test_the_catalogue_is_current():
    on_disk = explain.CATALOGUE.read_text(encoding="utf-8")
    assert on_disk == explain.catalogue(all_diagnosers()), f"renew it with `{explain.RENEW}`"


def test_every_sample_has_its_line():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for script in FOLDER.glob("*/train.py"):
        assert f"[`{script.parent.name}`]" in text, f"sample_runs/README.md: add a line for {script.parent.name}"


def test_the_thresholds_that_the_readme_sets_exist():
    known = {f"{item.name}.{name}" for item in all_diagnosers() for name in item.thresholds}
    named = re.findall(r"--set ([a-z]\w*\.\w+)=", TEXT)
    assert named
    assert set(named) <= known


@pytest.mark.parametrize("file", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "sample_runs/README.md"])
def test_links_inside_the_repository_lead_somewhere(file):
    for target in re.findall(r"\]\(([^)#][^)]*)\)|src=\"([^\"]+)\"", (ROOT / file).read_text(encoding="utf-8")):
        link = (target[0] or target[1]).partition("#")[0]
        if not link.startswith(("http:", "https:", "mailto:")):
            assert (ROOT / file).parent.joinpath(link).exists(), f"{file} links to {link}"


def test_the_verbs_of_the_makefile_that_texts_name_exist():
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for file in ("README.md", "CONTRIBUTING.md"):
        for verb in re.findall(r"(?:`|^    |^)make ([a-z-]+)", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE):
            assert verb in verbs, f"{file} says make {verb}"


def python_blocks(word):
    return [block for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if word in block]


def test_the_readme_opens_a_table_with_pandas():
    (block,) = python_blocks("pandas.")
    names = {}
    exec(block.replace("runs/x", str(FOLDER / "initial_loss_mismatch" / "run")), names)
    assert names["steps"]["step"].tolist() == list(range(300))


def test_the_recorders_of_the_readme_can_be_made():
    import ast
    import inspect

    from gradaudit import Recorder

    calls = [
        node
        for block in python_blocks("gradaudit.Recorder")
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "gradaudit.Recorder"
    ]
    assert len(calls) == 3
    for call in calls:
        keywords = {keyword.arg: None for keyword in call.keywords}
        inspect.signature(Recorder).bind(*call.args, **keywords)


def test_the_options_that_the_readme_uses_exist():
    import click

    from gradaudit.__main__ import main

    blocks = "\n".join(re.findall(r"```(?:sh|yaml|groovy)\n(.*?)```", TEXT, re.DOTALL))
    used = re.findall(r"gradaudit ((?:analyze|compare|render|list|explain)\b[^\n'#]*)", blocks)
    assert len(used) > 8
    with click.Context(main) as context:
        for line in used:
            name, *words = line.split()
            options = {option for one in main.get_command(context, name).params for option in one.opts}
            assert {word for word in words if word.startswith("-")} <= options, line
