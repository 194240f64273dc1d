import msgspec
import numpy
import pytest

from gradaudit.diagnosers.rank_divergence import rank_divergence
from gradaudit.findings import Severity
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import falling, parameters
from tests.diagnosers.sick_replicas import own_gradients, replicas, skewed, sums
from tests.diagnosers.verbs import (
    assert_clean,
    assert_could_not_look,
    assert_finds,
    assert_not_applicable,
)


def test_equal_weights_are_quiet(tmp_path):
    measured = assert_clean(rank_divergence, replicas(tmp_path / "a", [{}, {}, {}]))
    assert measured == "the weights of 4 ranks are bit for bit the same at 4 steps"


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
    assert "compared at 1 step" in assert_could_not_look(rank_divergence, run)


def test_weights_that_part_are_a_certain_warning(tmp_path):
    finding = assert_finds(
        rank_divergence, replicas(tmp_path / "a", [{"weight_checksum": sums(100)}]), Severity.WARNING
    )
    assert finding.headline == "The weights of 2 ranks are equal at step 64 and different at step 128"
    assert finding.confidence == "certain"
    assert finding.span.first == 65


def test_weights_that_were_never_equal_point_at_the_wrapping(tmp_path):
    finding = assert_finds(rank_divergence, replicas(tmp_path / "a", [{"weight_checksum": sums(0)}]), Severity.WARNING)
    assert finding.headline == "The weights of 2 ranks differ from step 0 on"
    assert "DistributedDataParallel" in finding.actions[0].code


def test_the_rank_that_stands_alone_is_named(tmp_path):
    run = replicas(tmp_path / "a", [{}, {"weight_checksum": sums(64)}, {}])
    assert "Rank 2 has other weights." in assert_finds(rank_divergence, run).seen


def test_averaging_every_so_many_steps_is_a_note(tmp_path):
    run = replicas(tmp_path / "a", [{"weight_checksum": sums(64, 128)}])
    assert "equal again" in assert_finds(rank_divergence, run, Severity.NOTE).seen


def test_a_rank_that_stopped_early_is_compared_as_far_as_it_came(tmp_path):
    stopped = numpy.where(numpy.arange(200) < 100, sums(10_000), 0)
    assert_clean(rank_divergence, replicas(tmp_path / "a", [{"weight_checksum": stopped}]))


def test_gradients_that_are_not_averaged_are_a_warning(tmp_path):
    finding = assert_finds(rank_divergence, own_gradients(tmp_path / "a"), Severity.WARNING)
    assert "at 200 of 200 steps" in finding.headline


def test_a_rank_whose_loss_stays_far_above_is_a_note(tmp_path):
    finding = assert_finds(rank_divergence, skewed(tmp_path / "a"), Severity.NOTE)
    assert "loss of rank 1 is" in finding.headline


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_the_scale_of_the_loss_does_not_matter(tmp_path, scale):
    loss = scale * falling()
    columns = {"mean_loss": loss, "objective": loss}
    run = replicas(tmp_path / "a", [{"mean_loss": 3 * loss}, {"mean_loss": loss}], columns=columns)
    assert_finds(rank_divergence, run, Severity.NOTE)
    same = replicas(tmp_path / "b", [{"mean_loss": 1.01 * loss}], columns=columns)
    assert_clean(rank_divergence, same)
