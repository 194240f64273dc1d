import pytest

from gradaudit.diagnosers.input_shift import Alike, Shifted, input_shift
from gradaudit.findings import Severity
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling
from tests.diagnosers.sick_data import IMAGES, OWN, TRAINING, changed, scaled_inputs, sources
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_equal_inputs_are_quiet(tmp_path):
    run = sources(tmp_path / "a")
    assert judged(input_shift, run, Alike).scale == 1
    assert_clean(input_shift, run)


def test_augmentation_is_quiet(tmp_path):
    """Crops, flips, colours and erased parts: other moments, another form."""
    assert_clean(input_shift, scaled_inputs(tmp_path / "a", scale=1.3, shift=0.3))
    assert_clean(input_shift, scaled_inputs(tmp_path / "b", scale=2.0, shift=0.8, kurtosis=3.2))


def test_a_small_evaluation_differs_by_chance(tmp_path):
    assert_clean(input_shift, scaled_inputs(tmp_path / "a", scale=1.7, shift=0.6, examples=8))


def test_targets_that_drift_from_batch_to_batch_are_quiet(tmp_path):
    assert_clean(input_shift, scaled_inputs(tmp_path / "a", scale=1.0, shift=0.9, mean_scatter=0.6))


def test_a_constant_input_is_not_judged(tmp_path):
    assert_not_applicable(input_shift, scaled_inputs(tmp_path / "a", scale=0.0))


def test_nothing_to_compare(tmp_path):
    alone = build_run(tmp_path / "a", loss=falling(), facts=TEN, loaders=[TRAINING])
    assert_not_applicable(input_shift, alone)
    assert_not_applicable(input_shift, build_run(tmp_path / "b", loss=falling(), facts=TEN, loaders=[OWN]))
    assert_skipped(input_shift, build_run(tmp_path / "c", loss=falling(), facts=TEN))


def test_another_normalisation_is_a_warning(tmp_path):
    run = scaled_inputs(tmp_path / "a")
    found = judged(input_shift, run, Shifted)
    assert (found.scale, found.shift, found.pair.same_form) == (0.36, 0.06, True)
    finding = assert_finds(input_shift, run, Severity.WARNING)
    assert finding.is_measurement_issue
    assert finding.headline == ("Inputs have mean 0 and std 1.0 in training, and mean -0.06 and std 0.36 in evaluation")


def test_a_shift_alone_is_a_warning(tmp_path):
    assert_finds(input_shift, scaled_inputs(tmp_path / "a", scale=1.0, shift=0.9), Severity.WARNING)


def test_a_missing_division_by_255_is_a_warning(tmp_path):
    assert_finds(input_shift, scaled_inputs(tmp_path / "a", scale=255.0, shift=120.0), Severity.WARNING)


def test_another_form_is_a_note(tmp_path):
    finding = assert_finds(input_shift, scaled_inputs(tmp_path / "a", scale=5.0, kurtosis=9.0), Severity.NOTE)
    assert finding.confidence == "medium"


@pytest.mark.parametrize("place", ["pixel_values", "a_name_that_is_far_too_long_for_it"])
def test_the_input_is_named(tmp_path, place):
    ours, theirs = changed(IMAGES, place=place), changed(IMAGES, place=place, std=0.2)
    finding = assert_finds(input_shift, sources(tmp_path / "a", {"inputs": [ours]}, {"inputs": [theirs]}))
    assert ("Inputs have" if len(place) > 20 else place) in finding.headline
