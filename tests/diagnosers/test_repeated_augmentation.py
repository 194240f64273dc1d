from gradaudit.diagnosers.repeated_augmentation import Copied, Different, Repeated, repeated_augmentation
from gradaudit.findings import Severity
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling
from tests.diagnosers.sick_data import repeating, sources
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_different_workers_are_quiet(tmp_path):
    run = repeating(tmp_path / "a", same_batches=0)
    assert judged(repeated_augmentation, run, Different).rounds == 8
    assert_clean(repeated_augmentation, run)


def test_a_round_that_is_equal_by_chance_is_quiet(tmp_path):
    assert_clean(repeated_augmentation, repeating(tmp_path / "a", same_batches=3))
    assert_clean(repeated_augmentation, repeating(tmp_path / "b", same_batches=7))


def test_generators_that_the_workers_make_anew_are_quiet(tmp_path):
    run = repeating(tmp_path / "a", iterable=False, same_batches=0, random_states=1, worker_init=True)
    assert_clean(repeated_augmentation, run)


def test_one_process_has_no_workers(tmp_path):
    assert_not_applicable(repeated_augmentation, sources(tmp_path / "a"))
    assert_not_applicable(repeated_augmentation, sources(tmp_path / "b", {"workers": 1, "random_states": 1}))


def test_what_was_not_recorded_is_skipped(tmp_path):
    assert_skipped(repeated_augmentation, build_run(tmp_path / "a", loss=falling(), facts=TEN))
    assert_skipped(repeated_augmentation, sources(tmp_path / "b", {"workers": 4}))


def test_copies_of_an_iterable_data_set_are_a_warning(tmp_path):
    run = repeating(tmp_path / "a")
    assert judged(repeated_augmentation, run, Repeated).source.workers == 4
    finding = assert_finds(repeated_augmentation, run, Severity.WARNING)
    assert finding.headline == "Each of the 4 workers of the DataLoader yields the same examples, in 8 of 8 rounds"
    assert "islice" in finding.actions[0].code


def test_a_round_that_differs_now_and_then_is_no_excuse(tmp_path):
    run = repeating(tmp_path / "a", rounds=51, same_batches=50)
    finding = assert_finds(repeated_augmentation, run, Severity.WARNING)
    assert finding.headline.endswith("the same examples, in 50 of 51 rounds")


def test_equal_random_examples_are_a_warning(tmp_path):
    finding = assert_finds(repeated_augmentation, repeating(tmp_path / "a", iterable=False), Severity.WARNING)
    assert "worker_init_fn" in finding.actions[0].code


def test_a_copied_generator_is_a_note(tmp_path):
    run = repeating(tmp_path / "a", iterable=False, same_batches=0, random_states=1)
    assert judged(repeated_augmentation, run, Copied).source.random_states == 1
    assert_finds(repeated_augmentation, run, Severity.NOTE)
    # Shuffled, or only one epoch was compared.
    for number, orders in enumerate([{"orders": 7, "same_order": 0}, {"orders": 1, "same_order": 1}]):
        run = repeating(tmp_path / f"b{number}", iterable=False, same_batches=0, random_states=1, **orders)
        assert_finds(repeated_augmentation, run, Severity.NOTE)


def test_a_copied_generator_whose_epochs_are_equal_is_a_warning(tmp_path):
    run = repeating(tmp_path / "a", iterable=False, same_batches=0, random_states=1, orders=7, same_order=7)
    finding = assert_finds(repeated_augmentation, run, Severity.WARNING)
    assert finding.headline == "All 7 epochs compared begin with equal examples: 4 workers copy one generator"
