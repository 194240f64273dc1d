from gradaudit.diagnosers.data_leakage import Leaked, OfTraining, Separate, data_leakage
from gradaudit.findings import Severity
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling
from tests.diagnosers.sick_data import EVALUATION, TRAINING, changed, leaking, sources
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_separate_data_is_quiet(tmp_path):
    run = sources(tmp_path / "a")
    assert judged(data_leakage, run, Separate).examples == 400
    assert_clean(data_leakage, run)


def test_an_evaluation_of_the_trainings_data_set_is_meant(tmp_path):
    run = sources(tmp_path / "a", None, {"dataset": 0, "compared_with": -1})
    assert judged(data_leakage, run, OfTraining).evaluations == 1
    assert_not_applicable(data_leakage, run)


def test_a_copy_of_all_of_it_is_meant(tmp_path):
    assert_clean(data_leakage, leaking(tmp_path / "a", 400, examples=1400))


def test_a_part_of_it_beside_other_data_is_meant(tmp_path):
    of_training = changed(EVALUATION, id=2, dataset=2, shared=400)
    run = build_run(tmp_path / "a", loss=falling(), facts=TEN, loaders=[TRAINING, EVALUATION, of_training])
    assert judged(data_leakage, run, Separate).of_training
    assert_clean(data_leakage, run)


def test_repetitive_data_is_quiet(tmp_path):
    """As short sentences and discrete tables are: a tenth of the training has an equal in it."""
    assert_clean(data_leakage, sources(tmp_path / "a", {"repeated": 140}, {"shared": 60}))


def test_single_duplicates_are_quiet(tmp_path):
    assert_clean(data_leakage, leaking(tmp_path / "a", 4))
    assert_clean(data_leakage, leaking(tmp_path / "b", 2, hashed=20))


def test_no_evaluation_and_no_record(tmp_path):
    assert_not_applicable(data_leakage, build_run(tmp_path / "a", loss=falling(), facts=TEN, loaders=[TRAINING]))
    assert_skipped(data_leakage, build_run(tmp_path / "b", loss=falling(), facts=TEN))
    assert_skipped(data_leakage, sources(tmp_path / "c", None, {"hashed": 0}))


def test_shared_examples_are_a_warning(tmp_path):
    run = leaking(tmp_path / "a")
    assert judged(data_leakage, run, Leaked).found.share == 0.25
    finding = assert_finds(data_leakage, run, Severity.WARNING)
    assert finding.is_measurement_issue
    assert finding.headline == "Of the evaluation's examples 25 % are in the training data"


def test_an_evaluation_inside_the_training_alone_is_a_warning(tmp_path):
    """Trained on all, evaluated on a part."""
    run = leaking(tmp_path / "a", 0, shared_indices=400)
    assert judged(data_leakage, run, Leaked).found.exact
    assert assert_finds(data_leakage, run, Severity.WARNING).headline.startswith("Of the evaluation's examples 100 %")


def test_of_a_large_training_set_a_part_is_compared(tmp_path):
    run = sources(tmp_path / "a", {"examples": 60_000, "hashed": 4096}, {"shared": 27})
    assert judged(data_leakage, run, Leaked).found.share > 0.9
