import msgspec
import pytest

from gradaudit.diagnosers.scrambled_axes import (
    AxesInOrder,
    BatchSoftmax,
    MixedView,
    OtherAxis,
    ScannedExamples,
    SingleSoftmax,
    scrambled_axes,
)
from gradaudit.findings import Severity
from gradaudit.schema import OperationFacts, SoftmaxFacts, ViewFacts
from tests.build import build_run
from tests.diagnosers.graphs import ATTENTION, ONE, graph_of
from tests.diagnosers.runs import falling
from tests.diagnosers.sick_data import sources
from tests.diagnosers.sick_graphs import mixed_up, of_graph
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_skipped, judged


def softmax_before(kind, sizes, axis, before="Addmm", after=("NllLoss",)):
    """A term whose loss follows a softmax."""
    softmax = OperationFacts(kind=kind, sizes=sizes, axis=axis)
    operations = [*(OperationFacts(kind=one) for one in after), softmax, OperationFacts(kind=before, sizes=sizes)]
    return msgspec.structs.replace(ONE, operations=operations)


def test_a_healthy_graph_is_quiet(tmp_path):
    run = of_graph(tmp_path / "a")
    assert judged(scrambled_axes, run, AxesInOrder) == AxesInOrder(2, 13)
    assert_clean(scrambled_axes, run)


@pytest.mark.parametrize(
    "softmax",
    [
        {"sizes": [32, 1, 1], "axis": 2, "scores": True, "summed": 2},  # a sequence of one token
        {"sizes": [1, 1], "axis": 1},  # one number in all
        {"sizes": [32, 5, 5], "axis": 1, "scores": True, "summed": None},  # slot attention
        {"sizes": [32, 5, 5], "axis": 1, "scores": False, "summed": 2},  # no scores: pooling by clusters
        {"sizes": [32, 7], "axis": 0},  # not before a loss: attention over the times of one sequence
    ],
)
def test_softmaxes_that_are_meant_are_quiet(tmp_path, softmax):
    assert_clean(scrambled_axes, of_graph(tmp_path / "a", softmaxes=[SoftmaxFacts(**softmax)]))


def test_a_length_that_varies_is_quiet(tmp_path):
    several = [SoftmaxFacts(sizes=[32, size], axis=1) for size in (1, 4)]
    assert_clean(scrambled_axes, of_graph(tmp_path / "a", softmaxes=several))


@pytest.mark.parametrize(
    "term",
    [
        softmax_before("LogSoftmax", [32, 32], 0, "Mm"),  # a contrastive loss, from either side
        softmax_before("LogSoftmax", [10, 32], 0, "T", ("Mean", "Neg", "Gather")),  # classes first, by a transpose
        softmax_before("Softmax", [32, 10], 0, "Addmm", ("Mean", "Mul")),  # weights of a sum over the batch
        softmax_before("LogSoftmax", [32, 10], 1),
    ],
)
def test_softmaxes_over_the_first_axis_that_are_meant_are_quiet(tmp_path, term):
    assert_clean(scrambled_axes, of_graph(tmp_path / "a", terms=[term]))


def test_without_a_graph_or_its_shapes_nothing_is_known(tmp_path):
    assert_skipped(scrambled_axes, build_run(tmp_path / "a", loss=falling()))
    assert "shapes" in assert_skipped(scrambled_axes, of_graph(tmp_path / "b", shapes=False))


def test_positions_read_as_classes_are_critical(tmp_path):
    run = mixed_up(tmp_path / "a")
    assert judged(scrambled_axes, run, MixedView).view.after == [800, 3]
    finding = assert_finds(scrambled_axes, run, Severity.CRITICAL)
    assert finding.headline == "A view reads (2, 3, 20, 20), of a convolution layer, as (800, 3) without a permute"
    assert finding.actions[0].code == "out = out.permute(0, 2, 3, 1).reshape(-1, 3)"


def test_axes_that_a_view_swaps(tmp_path):
    swapped = {"before": [7, 3, 5], "after": [3, 7, 5], "source": "recurrent", "fault": "axes", "before_loss": False}
    finding = assert_finds(scrambled_axes, mixed_up(tmp_path / "a", **swapped), Severity.CRITICAL)
    assert finding.actions[0].code == "out = out.transpose(0, 1).reshape(-1, 7, 5)"
    heads = {"before": [2, 5, 12], "after": [2, 3, 5, 4], "source": "linear", "fault": "heads", "before_loss": False}
    finding = assert_finds(scrambled_axes, mixed_up(tmp_path / "b", **heads), Severity.WARNING)
    assert finding.actions[0].code == "q = q.view(2, 5, 3, 4).transpose(1, 2)"


def test_a_softmax_over_the_batch_is_critical(tmp_path):
    run = of_graph(tmp_path / "a", terms=[softmax_before("LogSoftmax", [32, 10], 0)])
    assert judged(scrambled_axes, run, BatchSoftmax).sizes == (32, 10)
    assert (
        "over the 32 examples of a batch, not the 10 classes"
        in assert_finds(scrambled_axes, run, Severity.CRITICAL).headline
    )


@pytest.mark.parametrize(("last", "severity"), [(True, Severity.CRITICAL), (False, Severity.WARNING)])
def test_a_softmax_over_one_number(tmp_path, last, severity):
    run = of_graph(tmp_path / "a", softmaxes=[SoftmaxFacts(sizes=[32, 1], axis=1, last=last)])
    assert judged(scrambled_axes, run, SingleSoftmax).softmax.last is last
    assert_finds(scrambled_axes, run, severity)


def test_attention_over_the_queries_is_a_warning(tmp_path):
    run = of_graph(tmp_path / "a", softmaxes=[msgspec.structs.replace(ATTENTION, axis=1)])
    assert judged(scrambled_axes, run, OtherAxis).summed == 2
    finding = assert_finds(scrambled_axes, run, Severity.WARNING)
    assert finding.actions[0].code == "weights = scores.softmax(dim=-1)"


def scanning(folder, sizes=(32, 20, 16), **training):
    facts = ViewFacts(before=list(sizes), after=list(sizes), source="recurrent", fault="scan")
    drawn = {"sampler": "RandomSampler", "batch_size": 32, **training}
    return sources(folder, drawn, graph=graph_of(views=[facts]))


def test_recurrent_layers_along_time_are_quiet(tmp_path):
    quiet = [
        {"sizes": (20, 32, 16)},  # (time, examples)
        {"sizes": (32, 320, 16)},  # of the words of ten sentences of each of 32 texts
        {"sizes": (32, 32, 16)},
        {"sampler": "SequentialSampler"},  # a text that is cut along time
        {"batch_size": 20},
    ]
    for number, one in enumerate(quiet):
        assert_clean(scrambled_axes, scanning(tmp_path / str(number), **one))


def test_a_recurrent_layer_along_the_examples_is_critical(tmp_path):
    run = scanning(tmp_path / "a")
    assert judged(scrambled_axes, run, ScannedExamples).sizes == (32, 20, 16)
    finding = assert_finds(scrambled_axes, run, Severity.CRITICAL)
    assert finding.headline == "The recurrent layer runs along the 32 examples of a batch, not the 20 ids of each"
    assert "batch_first=True" in finding.actions[0].text
