"""Updates that rounding undoes, against the elements of a torch tensor that a step left as they were."""

import math

import msgspec
import numpy
import pytest
import torch

from gradaudit.signals.updates.lost_updates import lost_updates
from tests.build import build_run
from tests.diagnosers.runs import falling, parameters

STEPS = 40


def of(path, still, zeros=0.0, dtypes=("bfloat16",), steps=STEPS, columns=None, **changes):
    tensors = [msgspec.structs.replace(t, dtype=d) for t, d in zip(parameters(len(dtypes)), dtypes, strict=True)]
    tensors = changes.pop("tensors", tensors)
    stats = {"unchanged_fraction": still, "gradient_zero_fraction": zeros}
    return lost_updates(
        build_run(path, loss=falling(steps), tensors=tensors, stats=stats, steps=columns, **changes).trainings[0]
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_it_is_the_share_of_updates_that_change_nothing(tmp_path, dtype):
    torch.manual_seed(0)
    kind, shares, zeros, lost = getattr(torch, dtype), [], [], []
    weight = torch.randn(32, 32).to(kind)
    for step in range(STEPS):
        update = torch.randn(32, 32) * 10 ** (-4 + 2 * step / STEPS)
        update[:4] = 0
        after = weight - update.to(kind)
        shares.append([float((after == weight).double().mean())])
        zeros.append([float((update == 0).double().mean())])
        lost.append(float(((after == weight) & (update != 0)).double().mean()))
        weight = after
    found = of(tmp_path / "a", shares, zeros, (dtype,))
    numpy.testing.assert_allclose(found.over_time, lost, atol=1e-6)
    assert found.share == found.shares[0] == pytest.approx(numpy.median(lost))
    assert found.steps.tolist() == list(range(STEPS))


def test_tensors_count_by_their_elements(tmp_path):
    tensors = [msgspec.structs.replace(tensor, dtype="float16") for tensor in parameters(2)]
    tensors[1] = msgspec.structs.replace(tensors[1], shape=[32, 96])
    found = of(tmp_path / "a", [0.8, 0.4], tensors=tensors)
    assert found.shares.tolist() == pytest.approx([0.8, 0.4])
    assert found.share == pytest.approx((0.8 + 3 * 0.4) / 4)
    numpy.testing.assert_allclose(found.over_time, found.share)


def test_what_is_not_known_is_left_out(tmp_path):
    still = numpy.full((STEPS, 2), 0.5)
    still[:10, 0], still[:30, 1] = math.nan, math.nan
    found = of(tmp_path / "a", still, dtypes=("float16", "float16"))
    assert [tensor.id for tensor in found.tensors] == [0]
    assert numpy.isnan(found.over_time).tolist() == [True] * 10 + [False] * 30
    assert of(tmp_path / "b", math.nan) is None


def test_steps_at_less_than_half_of_the_rate_and_skipped_ones_do_not_count(tmp_path):
    rates = [[1e-3 * min(1.0, (step + 1) / 9)] for step in range(STEPS)]
    skipped = numpy.arange(STEPS) == 20
    found = of(tmp_path / "a", 0.5, columns={"learning_rate": rates, "skipped": skipped})
    assert found.steps.tolist() == [step for step in range(STEPS) if rates[step][0] >= 0.5e-3 and step != 20]


@pytest.mark.parametrize(("steps", "told"), [(19, False), (20, True)])
def test_twenty_steps_are_enough(tmp_path, steps, told):
    assert (of(tmp_path / "a", 0.5, steps=steps) is not None) is told


def test_single_precision_tables_and_other_optimizers_are_not_looked_at(tmp_path):
    (half,) = [msgspec.structs.replace(tensor, dtype="float16") for tensor in parameters(1)]
    assert of(tmp_path / "a", 0.5, dtypes=("float32",)) is None
    assert of(tmp_path / "b", 0.5, tensors=[msgspec.structs.replace(half, role="embedding")]) is None
    assert of(tmp_path / "c", 0.5, tensors=[msgspec.structs.replace(half, optimizer=1)]) is None


def test_more_zeros_than_elements_at_rest_are_no_negative_share(tmp_path):
    assert of(tmp_path / "a", 0.1, 0.3).share == 0
