import msgspec
import numpy
import pytest

from gradaudit.signals.gradients.norm_growth import fastest_growing, norm_growth, usable_norms
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling

NORMS = numpy.random.default_rng(0).exponential(1.0, 200) + 0.1


def training(path, **changes):
    given = {"loss": falling(), "facts": TEN, "steps": {"gradient_norm": NORMS}, **changes}
    return build_run(path, **given).trainings[0]


def test_growth_is_that_of_the_medians_of_two_fifths(tmp_path):
    growth = norm_growth(training(tmp_path / "a"))
    assert growth.base == pytest.approx(numpy.median(NORMS[40:80]), rel=1e-6)
    assert growth.last == pytest.approx(numpy.median(NORMS[160:]), rel=1e-6)
    assert growth.times == growth.last / growth.base
    loss = falling()
    assert growth.fall == pytest.approx(numpy.median(loss[40:80]) - numpy.median(loss[160:]))
    unknown = msgspec.structs.replace(TEN, function="logged")
    assert norm_growth(training(tmp_path / "b", facts=unknown)).base == pytest.approx(numpy.median(NORMS[:40]))


def test_skipped_and_unknown_steps_have_no_norm(tmp_path):
    norms = NORMS.copy()
    norms[[5, 6, 7]] = numpy.nan, numpy.inf, 0.0
    skipped = numpy.arange(200) == 8
    usable = usable_norms(training(tmp_path, steps={"gradient_norm": norms, "skipped": skipped}))
    assert numpy.flatnonzero(numpy.isnan(usable)).tolist() == [5, 6, 7, 8]


def test_a_norm_of_which_a_fifth_is_unknown_is_not_known(tmp_path):
    norms = numpy.where(numpy.arange(200) < 150, NORMS, numpy.nan)
    assert not norm_growth(training(tmp_path, steps={"gradient_norm": norms})).known


def test_the_weights_that_grow_most_come_first(tmp_path):
    gradient = numpy.ones((200, 8))
    for column, times in ((0, 3.0), (2, 9.0), (3, 50.0), (4, 5.0), (6, 1.5)):  # 3 is a bias
        gradient[:, column] = numpy.geomspace(1, times, 200)
    one = training(tmp_path, stats={"gradient_norm": gradient})
    assert fastest_growing(one, 1.2) == ("layers.1.weight", "layers.2.weight", "layers.0.weight")
    assert fastest_growing(one, 3.0) == ("layers.1.weight",)
