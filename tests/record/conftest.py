"""What holds for all tests of the recorder: each begins as a process does."""

import gc

import pytest
import torch
import torch._dynamo

from gradaudit.record.observe import naming, optimizers


@pytest.fixture(autouse=True, scope="module")
def _no_garbage_of_other_files():
    """Models and data of other files that only a cycle keeps are neither copies of this one's nor its data."""
    gc.collect()


@pytest.fixture(autouse=True)
def _no_optimizers_of_other_tests(monkeypatch):
    """What torch's compiler keeps of their optimizers, or pytest of a failure, is not this test's."""
    monkeypatch.setattr(optimizers, "_known", {})


@pytest.fixture(autouse=True)
def _no_modules_of_other_tests(monkeypatch):
    """A model that a fixture keeps is no copy of this test's."""
    monkeypatch.setattr(naming, "_registry", {})


@pytest.fixture(autouse=True)
def _nothing_compiled_by_other_tests(monkeypatch):
    """Where anything was compiled, modules get no hooks."""
    monkeypatch.setattr(torch._dynamo.convert_frame, "FRAME_COUNTER", 0)
