"""The benchmark's models are what their names say, seen without a GPU."""

import torch

from benchmarks.gpu import GPT, small


def test_the_shapes_are_those_of_gpt_2():
    with torch.device("meta"):
        model = GPT()
    assert sum(parameter.numel() for parameter in model.parameters()) == 124_439_808
    assert len(list(model.parameters())) == 148
    assert model(torch.zeros(2, 16, dtype=torch.long, device="meta")).shape == (2, 16, 50257)


def test_the_small_model_has_a_million_parameters():
    model, loss = small(torch.device("meta"))
    assert round(sum(parameter.numel() for parameter in model.parameters()), -4) == 1_060_000
    loss().backward()
