import pytest

from gradaudit.diagnosers.input_shift import Alike, Shifted, Swapped, input_shift
from gradaudit.findings import Severity
from gradaudit.schema.loaders import ChannelFacts
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


def test_an_evaluation_is_held_against_the_training_just_before_it(tmp_path):
    other = changed(IMAGES, mean=5.0, std=3.0)
    stages = [changed(TRAINING, id=0, inputs=[other]), changed(TRAINING, id=1)]
    for name, after, limit in (("a", [1], assert_clean), ("b", [0], assert_finds), ("c", [7], assert_finds)):
        evaluated = changed(TRAINING, id=2, role="evaluation", after=after)
        run = build_run(tmp_path / name, loss=falling(), facts=TEN, loaders=[*stages, evaluated])
        limit(input_shift, run)


def coloured(tmp_path, ours, theirs, **more):
    """Images whose channels have these means, standard deviations, skewnesses and kurtoses."""
    sides = [[ChannelFacts(mean=m, std=s, skewness=w, kurtosis=k, mean_scatter=0.01, std_scatter=0.01)
              for m, s, w, k in side] for side in (ours, theirs)]  # fmt: skip
    facts = [changed(IMAGES, channels=side, **({} if number == 0 else more)) for number, side in enumerate(sides)]
    return sources(tmp_path, {"inputs": facts[:1]}, {"inputs": facts[1:]})


RED, GREEN, BLUE = (0.6, 0.3, -0.4, 6.6), (0.4, 0.2, -0.7, 6.3), (0.1, 0.2, -1.1, 4.9)


def test_channels_that_fit_as_they_are_are_quiet(tmp_path):
    near = (0.55, 0.28, -0.5, 6.0), (0.38, 0.22, -0.6, 6.6), (0.15, 0.2, -1.0, 5.2)
    grey = ((0.4, 0.2, -0.5, 4.0),) * 3
    dark = tuple((0.5 * m, 0.9 * s, w, k) for m, s, w, k in grey)
    other = (0.0, 0.3, 0.9, 3.0), (0.4, 0.6, 1.8, 5.0), (0.1, 0.4, 0.2, 9.0)
    for name, ours, theirs in (
        ("augmented", (RED, GREEN, BLUE), near), ("grey", grey, grey), ("other data", (RED, GREEN, BLUE), other),
        ("nearly alike", (RED, RED, RED), (near[0], RED, near[0])),
    ):  # fmt: skip
        assert_clean(input_shift, coloured(tmp_path / name, ours, theirs))
    assert judged(input_shift, coloured(tmp_path / "dark", grey, dark), Alike)


def test_swapped_channels_are_a_warning(tmp_path):
    run = coloured(tmp_path / "a", (RED, GREEN, BLUE), (BLUE, GREEN, RED))
    found = judged(input_shift, run, Swapped)
    assert (found.swap.order, found.swap.by_form, found.swap.left) == ((2, 1, 0), False, 0.0)
    finding = assert_finds(input_shift, run, Severity.WARNING)
    assert (
        finding.headline
        == "The evaluation's channels are the training's in the order 2, 1, 0: 0 apart so, 2.50 as they are"
    )


def test_channels_swapped_before_the_normalisation_are_a_warning(tmp_path):
    ours = (0.1, 0.5, -0.4, 6.6), (0.0, 0.6, -0.7, 6.3), (-0.1, 0.5, -1.0, 4.9)
    theirs = (-0.9, 0.4, -1.1, 5.0), (0.0, 0.6, -0.5, 6.4), (1.2, 0.6, -0.3, 6.6)
    run = coloured(tmp_path / "a", ours, theirs, std=1.9, kurtosis=4.0)
    assert judged(input_shift, run, Swapped).swap.by_form
    assert_finds(input_shift, run, Severity.WARNING)


def test_channels_that_are_normalised_otherwise_are_a_warning(tmp_path):
    theirs = tuple((m - 0.5, s / (1 + n), w, k) for n, (m, s, w, k) in enumerate((RED, GREEN, BLUE)))
    run = coloured(tmp_path / "a", (RED, GREEN, BLUE), theirs, std=1.2, kurtosis=4.0)
    found = judged(input_shift, run, Shifted)
    assert (found.pair.training.place, round(found.shift, 2)) == ("channel 1 of input 0", 2.5)
    assert_finds(input_shift, run, Severity.WARNING)


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
