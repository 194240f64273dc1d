import numpy
import pytest

from gradaudit.signals.layers.head_cooldown import cooldown_start, head_cooldown
from tests.build import build_run
from tests.diagnosers.runs import TEN, parameters

STEPS = numpy.arange(400)
RATES = 1e-3 * numpy.interp(STEPS, [0, 100, 399], [1.0, 1.0, 0.0])


def trained(path, rates=RATES, loss=None, **changes):
    """Four layers that grow to 1.1 times their norm and a head that grows to 3, both from step 0 on."""
    norms = numpy.array([1.1, 1.1, 1.1, 3.0]) ** numpy.linspace(0, 1, 400)[:, None]
    loss = numpy.linspace(2.0, 1.0, 400) if loss is None else loss
    settings = {"tensors": parameters(4), "facts": TEN, "stats": {"weight_norm": norms}}
    return build_run(
        path, loss=loss, steps={"learning_rate": rates[:, None].tolist()}, **{**settings, **changes}
    ).trainings[0]


def test_it_starts_where_the_rate_leaves_its_peak(tmp_path):
    assert cooldown_start(trained(tmp_path / "a"), 0.5) == numpy.flatnonzero(RATES >= 0.9e-3)[-1]
    assert cooldown_start(trained(tmp_path / "b", rates=numpy.full(400, 1e-3)), 0.5) is None
    late = numpy.where(STEPS < 360, 1e-3, 1e-5)
    assert cooldown_start(trained(tmp_path / "c", rates=late), 0.5) is None, "fewer than 50 steps"


def test_norms_are_over_those_of_its_start(tmp_path):
    cooldown = head_cooldown(trained(tmp_path / "a"), 3, 129)
    assert (cooldown.first, cooldown.last, cooldown.row) == (129, 399, 129)
    assert cooldown.head_growth == pytest.approx(3 ** (270 / 399), rel=1e-5)
    assert cooldown.others_growth == pytest.approx(1.1 ** (270 / 399), rel=1e-5)
    assert cooldown.head_over_others == pytest.approx((3 / 1.1) ** (270 / 399), rel=1e-5)


def test_the_loss_is_judged_by_tenths(tmp_path):
    loss = numpy.interp(STEPS, [0, 200, 399], [2.0, 1.0, 1.5])
    loss[130::2] += 0.02
    cooldown = head_cooldown(trained(tmp_path / "a", loss=loss), 3, 129)
    tenths = numpy.array_split(loss[129:], 10)
    means = [tenth.mean() for tenth in tenths]
    lowest = int(numpy.argmin(means))
    assert cooldown.lowest_loss == pytest.approx(means[lowest], rel=1e-5)
    assert cooldown.last_loss == pytest.approx(means[-1], rel=1e-5)
    assert cooldown.loss_rise == pytest.approx(means[-1] / means[lowest] - 1, rel=1e-4)
    noise = numpy.hypot(*(tenths[i].std() / len(tenths[i]) ** 0.5 for i in (lowest, -1)))
    assert cooldown.errors == pytest.approx((means[-1] - means[lowest]) / noise, rel=1e-4)
    assert cooldown.is_rising


def test_a_loss_that_falls_to_the_end_does_not_rise(tmp_path):
    cooldown = head_cooldown(trained(tmp_path / "a"), 3, 129)
    assert (cooldown.loss_rise, cooldown.errors, cooldown.is_rising) == (0.0, 0.0, False)


def test_it_is_not_known_of_weights_that_were_recorded_before_it_only(tmp_path):
    stats = {"weight_norm": 1.0}
    assert head_cooldown(trained(tmp_path / "a", recorded=range(100), stats=stats), 3, 129) is None
    assert head_cooldown(trained(tmp_path / "b", recorded=range(200), stats=stats), 3, 129) is None
