"""What a verdict must not depend on: the scale of the loss, the order of tensors, the number of ranks, the cadence."""

from functools import cache
from pathlib import Path

import pytest

from gradaudit.audit.result import Outcome
from gradaudit.audit.runner import examine
from gradaudit.diagnosers import all_diagnosers
from gradaudit.reading.run import Run, load
from tests import samples, variants
from tests.diagnosers.sick import sick_run
from tests.thin import thin

DIAGNOSERS = all_diagnosers()
RUNS = samples.recorded()
each_sample = pytest.mark.parametrize("sample", RUNS, ids=lambda folder: folder.name)
# Every tenth in each round of tests, all of them among the long ones.
some_samples = pytest.mark.parametrize("sample", thin(10, RUNS), ids=lambda folder: folder.name)


def outcomes(run: Run) -> dict[str, Outcome]:
    return {item.name: examine(item, run) for item in DIAGNOSERS}


@cache
def as_recorded(sample: Path) -> dict[str, Outcome]:
    return outcomes(load(sample / "run"))


def verdict(outcome: Outcome) -> tuple[str, list[str]]:
    """The status, and how bad what was found is."""
    if outcome.diagnoser == "epsilon_dominates":
        return outcome.status, []  # whether eps is torch's default decides how bad, and scaling makes another of it
    return outcome.status, [finding.severity.value for finding in outcome.findings]


def changed(before: dict[str, Outcome], after: dict[str, Outcome]) -> dict[str, tuple[object, object]]:
    failed = [outcome.result for outcome in after.values() if outcome.status == "failed"]
    assert not failed, failed[0]
    return {
        name: (verdict(before[name]), verdict(after[name]))
        for name in before
        if verdict(before[name]) != verdict(after[name])
    }


@some_samples
def test_the_same_run_told_otherwise_gets_the_same_verdicts(sample, tmp_path):
    """What is wrong when this fails, the long tests below say: they change one thing at a time."""
    one_rank = load(sample / "run").meta.world_size == 1
    change = variants.told_otherwise if one_rank else variants.renumbered
    before, after = as_recorded(sample), outcomes(change(sample / "run", tmp_path / "run"))
    ranks = after.pop("rank_divergence")
    assert ranks.status != "found" or not one_rank
    assert changed({name: before[name] for name in after}, after) == {}


@pytest.mark.long
@each_sample
@pytest.mark.parametrize("times", [2.0**-13, 2.0**13], ids=["down", "up"])
def test_the_scale_of_the_loss_changes_no_verdict(sample, times, tmp_path):
    """Powers of two near 1e-4 and 1e4, so that nothing is rounded."""
    run = variants.scaled(sample / "run", tmp_path / "run", times)
    assert changed(as_recorded(sample), outcomes(run)) == {}


@pytest.mark.long
@each_sample
def test_the_numbers_and_the_order_of_tensors_change_nothing(sample, tmp_path):
    run = variants.renumbered(sample / "run", tmp_path / "run")
    before, after = as_recorded(sample), outcomes(run)
    assert changed(before, after) == {}
    said = {name: [finding.headline for finding in outcome.findings] for name, outcome in before.items()}
    assert {name: [finding.headline for finding in outcome.findings] for name, outcome in after.items()} == said


@pytest.mark.long
@each_sample
def test_a_second_rank_with_the_same_weights_changes_no_verdict(sample, tmp_path):
    if load(sample / "run").meta.world_size > 1:
        pytest.skip("recorded on two ranks")
    run = variants.on_two_ranks(sample / "run", tmp_path / "run")
    after = outcomes(run)
    expected = "clean" if len(run.steps) > 64 else "skipped"
    assert after.pop("rank_divergence").status == expected
    assert changed({name: as_recorded(sample)[name] for name in after}, after) == {}


@some_samples
def test_fewer_statistics_never_turn_a_verdict_around(sample, tmp_path):
    """It may become "skipped", and what was found may weigh more or less."""
    run = variants.sparse(sample / "run", tmp_path / "run")
    turned = {
        name: statuses
        for name, (*statuses,) in changed(as_recorded(sample), outcomes(run)).items()
        if statuses[1][0] != "skipped" and statuses[0][0] != statuses[1][0]
    }
    assert turned == {}


VARIANTS = {
    "down": lambda folder, path: variants.scaled(folder, path, 2.0**-13),
    "up": lambda folder, path: variants.scaled(folder, path, 2.0**13),
    "renumbered": variants.renumbered,
    "sparse": variants.sparse,
}


@pytest.mark.parametrize(
    "variant", ["down", "sparse", *(pytest.param(name, marks=pytest.mark.long) for name in ("up", "renumbered"))]
)
@pytest.mark.parametrize("diagnoser", thin(2, DIAGNOSERS), ids=lambda item: item.name)
def test_each_diagnoser_says_the_same_of_its_sick_run(diagnoser, variant, tmp_path):
    sick_run(diagnoser.name, tmp_path)
    before = examine(diagnoser, load(tmp_path / "run"))
    after = examine(diagnoser, VARIANTS[variant](tmp_path / "run", tmp_path / "other"))
    assert before.status == "found"
    if variant == "sparse":
        assert after.status in ("found", "skipped"), after.result
    else:
        assert verdict(after) == verdict(before), after.result
