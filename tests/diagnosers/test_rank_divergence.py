import msgspec
import numpy
import pytest

from gradaudit.chart_data import Lines
from gradaudit.diagnosers.rank_divergence import Agreement, TooFewChecksums, rank_divergence
from gradaudit.findings import Finding, Severity
from gradaudit.signals.ranks.gradients_apart import GradientsApart
from gradaudit.signals.ranks.skew import Skew
from gradaudit.signals.ranks.weights_apart import WeightsApart
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import falling, parameters
from tests.diagnosers.sick_replicas import own_gradients, replicas, skewed, sums
from tests.diagnosers.verbs import (
    assert_clean,
    assert_finds,
    assert_not_applicable,
    assert_skipped,
    judged,
)


def test_equal_weights_are_quiet(tmp_path):
    run = replicas(tmp_path / "a", [{}, {}, {}])
    assert judged(rank_divergence, run, Agreement) == Agreement(ranks=4, compared=4, gradients=0)
    assert assert_clean(rank_divergence, run) == "the weights of 4 ranks are bit for bit the same at 4 steps"


def test_losses_that_scatter_around_each_other_are_quiet(tmp_path):
    assert_clean(rank_divergence, replicas(tmp_path / "a", [{"mean_loss": falling(noise=0.3)}, {}]))


def test_a_shard_that_is_a_little_harder_is_quiet(tmp_path):
    assert_clean(rank_divergence, skewed(tmp_path / "a", times=1.2))


def test_equal_weights_outweigh_gradient_norms(tmp_path):
    """Norms of what each rank clips before it is averaged differ, and the weights do not."""
    run = replicas(tmp_path / "a", [{"gradient_norm": numpy.where(numpy.arange(200) % 5, 1.0, 1.4)}])
    assert_clean(rank_divergence, run)
    run = replicas(tmp_path / "b", [{"gradient_norm": 1.4}], columns={"gradient_norm": 1.0})
    assert_clean(rank_divergence, run)


def test_rounding_between_ranks_is_quiet(tmp_path):
    assert_clean(rank_divergence, own_gradients(tmp_path / "a", difference=1e-5))


def test_a_few_steps_with_other_norms_are_quiet(tmp_path):
    assert_clean(rank_divergence, own_gradients(tmp_path / "a", share=0.3))


def test_one_process_has_nothing_to_compare(tmp_path):
    reason = assert_not_applicable(rank_divergence, build_run(tmp_path / "a", loss=falling()))
    assert reason == "the run has one process"


def test_ranks_that_hold_parts_of_a_model_are_not_compared(tmp_path):
    part = [msgspec.structs.replace(tensor, name=f"stage1.{tensor.name}") for tensor in linear_stack()]
    run = replicas(tmp_path / "a", [{"tensors": part, "weight_checksum": sums(0)}])
    assert "parts of one model" in assert_not_applicable(rank_divergence, run)
    sharded = [msgspec.structs.replace(tensor, placements=["Shard(0)"], share=512) for tensor in parameters(4)]
    assert_not_applicable(rank_divergence, replicas(tmp_path / "b", tensors=sharded))


def test_a_short_run_cannot_be_judged(tmp_path):
    run = replicas(tmp_path / "a", [{}], steps=60)
    assert judged(rank_divergence, run, TooFewChecksums).compared == 1
    assert_skipped(rank_divergence, run)


def test_weights_that_part_are_a_certain_warning(tmp_path):
    run = replicas(tmp_path / "a", [{"weight_checksum": sums(100)}])
    apart = judged(rank_divergence, run, WeightsApart)
    assert (apart.equal_at, apart.step, apart.earliest, apart.last) == (64, 128, 65, 192)
    assert not apart.periodic
    finding = assert_finds(rank_divergence, run, Severity.WARNING)
    assert finding.title == "Ranks diverged by step 128"
    assert finding.headline == "The weights of 2 ranks are equal at step 64 and differ at step 128"
    assert finding.confidence == "certain"
    assert finding.span.first == 65
    assert any("not model.module" in action.text for action in finding.actions)


def test_weights_that_were_never_equal_point_at_the_wrapping(tmp_path):
    run = replicas(tmp_path / "a", [{"weight_checksum": sums(0)}])
    apart = judged(rank_divergence, run, WeightsApart)
    assert (apart.equal_at, apart.step, len(apart.sums.ranks)) == (None, 0, 2)
    finding = assert_finds(rank_divergence, run, Severity.WARNING)
    assert finding.title == "Ranks start with different weights"
    assert finding.headline == "The weights of 2 ranks differ from step 0 on"
    assert "DistributedDataParallel" in finding.actions[0].code


def test_the_rank_that_stands_alone_is_named(tmp_path):
    run = replicas(tmp_path / "a", [{}, {"weight_checksum": sums(64)}, {}])
    assert judged(rank_divergence, run, WeightsApart).minority == [2]
    assert "Rank 2 differs from the majority." in assert_finds(rank_divergence, run).explanation


def lines(finding: Finding) -> dict[str, Lines]:
    return {evidence.title: evidence for evidence in finding.evidence if isinstance(evidence, Lines)}


def test_of_many_ranks_the_chart_names_the_one_that_drifts_and_from_which_step(tmp_path):
    drifting = falling(noise=0.02) + numpy.where(numpy.arange(200) < 70, 0.0, 0.5)
    others = [{"mean_loss": falling(noise=0.02)} for _ in range(14)]
    run = replicas(tmp_path / "a", [{}, {"weight_checksum": sums(64), "mean_loss": drifting}, *others])
    charts = lines(assert_finds(rank_divergence, run))
    alone, rest = charts["Ranks with other weights"].series
    assert (alone.name, alone.role, alone.x, alone.y) == ("rank 2", "flagged", [0, 64, 128, 192], [0, 16, 16, 16])
    assert (rest.name, rest.y) == ("other 16", [0, 1, 1, 1])
    assert charts["Ranks with other weights"].marks[0].x == 64
    named, band = charts["Loss of each rank against the others"].series
    assert (named.name, band.name) == ("rank 2", "other 16")
    away = [value for value in named.y if value is not None]
    assert abs(away[30]) < 0.1
    assert away[-1] == pytest.approx(0.5, abs=0.1)
    assert max(value for value in band.high[100:] if value is not None) < 0.1


def test_two_ranks_are_one_line_of_how_far_their_losses_are_apart(tmp_path):
    run = replicas(tmp_path / "a", [{"weight_checksum": sums(64), "mean_loss": falling() + 0.25}])
    charts = lines(assert_finds(rank_divergence, run))
    assert list(charts) == ["Loss of rank 1 against rank 0"]
    (chart,) = charts.values()
    assert [series.name for series in chart.series] == ["rank 1"]
    assert chart.series[0].y[100] == pytest.approx(0.25, abs=0.01)
    assert [mark.x for mark in chart.marks] == [None, 64]


def test_weights_that_part_without_losses_are_drawn_by_their_sums(tmp_path):
    silent = {"mean_loss": numpy.nan}
    run = replicas(tmp_path / "a", [{"weight_checksum": sums(64), **silent}], columns=silent)
    charts = lines(assert_finds(rank_divergence, run))
    assert [series.name for series in charts["Ranks with other weights"].series] == ["both ranks"]


def test_when_ranks_take_turns_the_one_most_alone_is_drawn(tmp_path):
    turns = [{"weight_checksum": sums(64 * turn, 64 * turn + 64)} for turn in range(4)]
    (series,) = lines(assert_finds(rank_divergence, replicas(tmp_path / "a", turns)))["Ranks with other weights"].series
    assert series.name == "the rank that stands most alone"
    assert series.y == [4, 4, 4, 4]


def test_gradients_apart_are_drawn_against_what_is_judged(tmp_path):
    chart = lines(assert_finds(rank_divergence, own_gradients(tmp_path / "a")))["The ranks' gradient norms apart"]
    assert chart.marks[0].y == 1e-3
    assert chart.series[0].y[100] == pytest.approx(0.2 / 1.2, rel=1e-3)


def test_averaging_every_so_many_steps_is_a_note(tmp_path):
    run = replicas(tmp_path / "a", [{"weight_checksum": sums(64, 128)}])
    apart = judged(rank_divergence, run, WeightsApart)
    assert (apart.step, apart.last, apart.periodic) == (64, 192, True)
    finding = assert_finds(rank_divergence, run, Severity.NOTE)
    assert finding.title == "Weights averaged only periodically"
    assert finding.headline.endswith(", and are equal again at step 192")


def test_a_rank_that_stopped_early_is_compared_as_far_as_it_came(tmp_path):
    stopped = numpy.where(numpy.arange(200) < 100, sums(10_000), 0)
    assert_clean(rank_divergence, replicas(tmp_path / "a", [{"weight_checksum": stopped}]))


def test_gradients_that_are_not_averaged_are_a_warning(tmp_path):
    run = own_gradients(tmp_path / "a")
    apart = judged(rank_divergence, run, GradientsApart)
    assert (apart.share, apart.steps, len(apart.norms.ranks)) == (1, 200, 2)
    assert apart.difference == apart.typical == pytest.approx(0.2 / 1.2, rel=1e-3)
    finding = assert_finds(rank_divergence, run, Severity.WARNING)
    assert finding.title == "Gradients not averaged across ranks"
    assert [measure.value for measure in finding.measures] == [apart.share, apart.difference]


def test_a_rank_whose_loss_stays_far_above_is_a_note(tmp_path):
    run = skewed(tmp_path / "a")
    found = judged(rank_divergence, run, Skew)
    assert (found.rank, found.first, found.last) == (1, 100, 199)
    assert found.own == pytest.approx(3 * found.others, rel=0.05)
    finding = assert_finds(rank_divergence, run, Severity.NOTE)
    assert finding.title == "Different data on one rank"
    apart, losses = lines(finding).values()
    assert [series.role for series in apart.series] == ["flagged", "main", "main"]
    assert apart.series[0].name == losses.series[0].name == "rank 1"


def test_weights_summed_once_before_training_are_no_witness_of_what_came_after(tmp_path):
    once = numpy.where(numpy.arange(200) == 0, 1_000_003, 0)
    loss = {"mean_loss": 3 * falling(noise=0.02), "weight_checksum": once}
    run = replicas(tmp_path / "a", [loss, {"weight_checksum": once}], columns={"weight_checksum": once})
    assert judged(rank_divergence, run, TooFewChecksums).compared == 1
    assert "at 1 step, and it needs 2" in assert_skipped(rank_divergence, run)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_the_scale_of_the_loss_does_not_matter(tmp_path, scale):
    loss = scale * falling()
    columns = {"mean_loss": loss, "objective": loss}
    run = replicas(tmp_path / "a", [{"mean_loss": 3 * loss}, {"mean_loss": loss}], columns=columns)
    assert_finds(rank_divergence, run, Severity.NOTE)
    same = replicas(tmp_path / "b", [{"mean_loss": 1.01 * loss}], columns=columns)
    assert_clean(rank_divergence, same)
