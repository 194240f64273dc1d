import math
from dataclasses import replace

import numpy
import pytest

from gradaudit.diagnosers.exploding_gradient import exploding_gradient
from gradaudit.diagnosers.vanishing_gradient import vanishing_gradient
from gradaudit.signals.gradients.depth_slope import explodes, growth_exponent, is_steep, slopes, vanishes
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, parameters
from tests.diagnosers.verbs import assert_finds


def chain(path, factor, depth):
    """Layers each of which multiplies the gradient by `factor` on its way back."""
    norms = factor ** numpy.arange(depth)[::-1]
    return build_run(path, loss=falling(), tensors=parameters(depth), stats={"gradient_norm": norms}, facts=TEN)


@pytest.mark.parametrize("depth", [8, 30])
@pytest.mark.parametrize("factor", [0.3, 1.0, 1.2, 3.0])
def test_it_is_the_logarithm_of_the_factor_whatever_the_depth(tmp_path, factor, depth):
    (whole,) = slopes(chain(tmp_path / "a", factor, depth).trainings[0])
    # Norms are kept as float32.
    assert growth_exponent(whole) == pytest.approx(math.log(factor), abs=1e-6)


def test_one_layer_that_differs_counts_by_its_share_of_the_depth(tmp_path):
    norms = numpy.asarray([4.0, 4.0, 4.0, 1.0, 1.0, 1.0])
    run = build_run(tmp_path / "a", loss=falling(), tensors=parameters(6), stats={"gradient_norm": norms}, facts=TEN)
    assert growth_exponent(slopes(run.trainings[0])[0]) == pytest.approx(math.log(4) / 4, rel=1e-6)


@pytest.mark.parametrize(("factor", "told"), [(0.1, (True, False)), (10.0, (False, True)), (1.0, (False, False))])
def test_which_profiles_are_steep(tmp_path, factor, told):
    """Of ten layers the gradient at one end is eight powers of ten that at the other, by the means of two."""
    run = chain(tmp_path / "a", factor, 10)
    (whole,) = slopes(run.trainings[0])
    assert (vanishes(run.trainings[0], whole), explodes(run.trainings[0], whole)) == told
    assert is_steep(whole, 7.99, 0.99) is any(told)
    assert not is_steep(whole, 8.01, 0.99)
    assert not is_steep(whole, 7.99, 1.01)
    tolerant = replace(run, thresholds={"vanishing_gradient.decades": 8.01, "exploding_gradient.order": 1.01})
    assert not vanishes(tolerant.trainings[0], whole)
    assert not explodes(tolerant.trainings[0], whole)


def test_findings_along_the_depth_tell_it(tmp_path):
    fading = assert_finds(vanishing_gradient, chain(tmp_path / "a", 0.2, 10))
    assert "each layer multiplies it by about 0.2 (growth exponent -1.6)" in fading.explanation
    growing = assert_finds(exploding_gradient, chain(tmp_path / "b", 5.0, 10))
    assert "each layer multiplies it by about 5.0 (growth exponent 1.6)" in growing.explanation
