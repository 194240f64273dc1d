"""What holds for all tests of the recorder: each begins as a process does."""

import weakref

import pytest

from gradaudit.record.observe import optimizers


@pytest.fixture(autouse=True)
def _no_optimizers_of_other_tests(monkeypatch):
    """What torch's compiler keeps of their optimizers, or pytest of a failure, is not this test's."""
    monkeypatch.setattr(optimizers, "_known", weakref.WeakSet())
