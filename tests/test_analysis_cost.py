"""What analyzing a long run takes of memory; the time is measured by benchmarks/analysis.py, on a quiet machine."""

import pytest

from benchmarks import analysis

MOST = 400  # MiB


@pytest.mark.long
def test_the_memory_of_150_tensors_and_10_000_steps(tmp_path):
    analysis.record(tmp_path / "run")
    assert analysis.measure(tmp_path / "run", rounds=1)["mebibytes"] < MOST
