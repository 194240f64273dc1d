from gradaudit.diagnosers.stale_copy import Follows, Lags, Stale, stale_copy
from gradaudit.findings import Severity
from gradaudit.schema import ModelStateFacts
from tests.build import build_run
from tests.diagnosers.runs import falling
from tests.diagnosers.sick_state import copies, lagging, twin, with_state
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged

CRITICAL, NOTE, WARNING = Severity.CRITICAL, Severity.NOTE, Severity.WARNING
LEARNED = {"bound": 3.2, "spread": 0.7}  # weights that are no initialisation's


def test_copies_that_change_are_quiet(tmp_path):
    """Target networks by copy, averages, momentum encoders: whatever else is known of them."""
    run = copies(tmp_path / "a", twin(changed=4, writes=4), twin(changed=39, equal_at_first=False))
    assert judged(stale_copy, run, Follows).follow == 2
    assert_clean(stale_copy, run)


def test_runs_without_copies_are_not_judged(tmp_path):
    assert_not_applicable(stale_copy, with_state(tmp_path / "a"))
    assert_skipped(stale_copy, build_run(tmp_path / "b", loss=falling(), model_state=ModelStateFacts()))
    assert_skipped(stale_copy, with_state(tmp_path / "c", copies_unknown="there are too many modules"))


def test_what_rests_on_purpose_is_quiet(tmp_path):
    quiet = {
        "reference": twin(same_input=16, **LEARNED),
        "random target": twin(equal_at_first=False, same_input=16),
        "pretrained teacher": twin(equal_at_first=False, equal=0, **LEARNED),
        "snapshot": twin(called=0, without_grad=0, compared=0),
        "inputs unknown": twin(compared=0),
        "not yet": twin(last=200),
        "trained by somebody": twin(has_grad=True),
        "original rests": twin(trained_moved=False),
        "branch": twin(same_model=True, without_grad=0),
    }
    for number, (name, facts) in enumerate(quiet.items()):
        outcome = list(stale_copy.judge(copies(tmp_path / str(number), facts)))
        assert not [one for one in outcome if isinstance(one, Stale)], name


def test_a_reference_on_other_inputs_that_was_trained_is_a_note(tmp_path):
    """As in RLHF, where the reference sees the batch before it is cut up."""
    run = copies(tmp_path / "a", twin(**LEARNED))
    assert judged(stale_copy, run, Stale).meant
    assert_finds(stale_copy, run, NOTE)


def test_a_target_that_is_never_updated_is_a_warning(tmp_path):
    untrained = {"copy": twin(), "other": twin(equal_at_first=False), "zeros": twin(bound=2.0, spread=0.0)}
    for name, facts in untrained.items():
        run = copies(tmp_path / name, facts)
        found = judged(stale_copy, run, Stale)
        assert (found.written, found.untrained, found.meant, found.steps) == (False, True, False, 1000)
        finding = assert_finds(stale_copy, run, WARNING)
        assert finding.headline == "The copy target is used and never updated in 1,000 steps, while its original trains"


def test_copies_with_one_fault_are_one_finding(tmp_path):
    run = copies(tmp_path / "a", twin(writes=20, name="actor_target"), twin(writes=20, elements=9000), twin(**LEARNED))
    found = [one for one in stale_copy.judge(run) if isinstance(one, Stale)]
    assert sorted((one.written, one.facts.elements, one.others) for one in found) == [
        (False, 706, ()),
        (True, 9000, ("actor_target",)),
    ]


def test_a_target_copied_from_itself_is_critical(tmp_path):
    run = copies(tmp_path / "a", twin(writes=20, last=200))
    assert judged(stale_copy, run, Stale).written
    finding = assert_finds(stale_copy, run, CRITICAL)
    assert finding.headline == "The copy target is written to 20 times and never changes in 200 steps"
    assert finding.actions[0].code == "target.load_state_dict(online.state_dict())"
    assert_finds(stale_copy, copies(tmp_path / "b", twin(writes=20, **LEARNED)), WARNING)


def test_averages_that_follow_are_quiet(tmp_path):
    falls = [[float(step), 0.3 - step / 2000] for step in range(0, 321, 20)]
    quiet = {
        "at each step": lagging(writes=320, changed=15),
        "a teacher": lagging(called=16),
        "copied at times": lagging(equal=4),
        "comes closer": lagging(distances=falls),
        "hardly trained": lagging(distances=[[step, gap / 10] for step, gap in lagging().distances]),
        "loaded once": lagging(writes=1, changed=1),
    }
    for number, (name, facts) in enumerate(quiet.items()):
        outcome = list(stale_copy.judge(copies(tmp_path / str(number), facts)))
        assert not [one for one in outcome if isinstance(one, Lags)], name


def test_an_average_that_is_updated_once_an_epoch_is_a_warning(tmp_path):
    run = copies(tmp_path / "a", lagging())
    found = judged(stale_copy, run, Lags)
    assert (found.steps, found.of_largest) == (320, 1.0)
    finding = assert_finds(stale_copy, run, WARNING)
    assert finding.headline == "Average target is updated 8 times in 320 steps, and stays 30 % away"
