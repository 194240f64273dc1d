"""The advice to clip carries a line of code that runs."""

import math

import pytest
import torch

from gradaudit.evidence.words.clipping import clip_norm


@pytest.mark.parametrize(("most", "expected"), [(math.nan, 1.0), (0.0, 1.0), (0.25, 0.25), (12_000.0, 12_000.0)])
def test_the_line_clips_at_the_number(most, expected):
    model = torch.nn.Linear(4, 1)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e5)
    exec(clip_norm("Clip", most).code, {"torch": torch, "model": model})
    norm = torch.cat([parameter.grad.flatten() for parameter in model.parameters()]).norm()
    assert float(norm) == pytest.approx(expected, rel=1e-3)
