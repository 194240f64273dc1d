"""The line of code that lowers a weight decay says what is known."""

import math

import pytest

from gradaudit.evidence.words.weight_decay import less_decay
from gradaudit.signals.updates.strongest_decay import StrongestDecay
from tests.build import build_run
from tests.diagnosers.runs import falling


@pytest.mark.parametrize(("rate", "shown"), [(0.01, "lr=0.01, "), (math.nan, ""), (0.0, "")])
def test_a_learning_rate_that_is_not_known_is_not_written_as_zero(tmp_path, rate, shown):
    training = build_run(tmp_path / "a", loss=falling(), optimizer="AdamW").trainings[0]
    decay = StrongestDecay(group=0, value=1.0, explains=True, peak_rates=[rate], suggested=0.1)
    code = less_decay(decay, training)[0].code
    assert code == f"torch.optim.AdamW(model.parameters(), {shown}weight_decay=0.1)"
