"""Every module of signals has a test of its own, and knows numbers only."""

from pathlib import Path

import pytest

from tests.test_architecture import PACKAGE, imports

HERE, SIGNALS = Path(__file__).parent, PACKAGE / "signals"
MODULES = sorted(path.relative_to(SIGNALS) for path in SIGNALS.rglob("*.py") if path.name != "__init__.py")
TESTS = sorted(path.relative_to(HERE) for path in HERE.rglob("test_*.py") if path != Path(__file__))

each_module = pytest.mark.parametrize("module", MODULES, ids=str)


def name_of(module):
    return ".".join(("gradaudit", "signals", *module.with_suffix("").parts))


@each_module
def test_it_has_a_test_in_the_same_place(module):
    test = HERE / module.with_name(f"test_{module.name}")
    assert test.exists(), f"write {test.relative_to(HERE.parents[1])}"
    assert name_of(module) in imports(test), f"{test.relative_to(HERE.parents[1])} tests something else"


@each_module
def test_it_imports_no_findings_and_no_words(module):
    forbidden = ("gradaudit.findings", "gradaudit.evidence", "gradaudit.diagnoser", "gradaudit.audit")
    assert [name for name in imports(SIGNALS / module) if name.startswith(forbidden)] == []


def test_no_test_is_left_behind_by_its_module():
    assert len(MODULES) > 50
    expected = {module.with_name(f"test_{module.name}") for module in MODULES}
    assert [str(test) for test in TESTS if test not in expected] == []
