import numpy
import pytest

from gradaudit.chart_data import Ridges
from gradaudit.diagnosers.fp16_underflow import NotHalf, Representable, Underflow, Unreadable, fp16_underflow
from gradaudit.evidence.words.wording import percent
from gradaudit.findings import Confidence, Severity
from gradaudit.signals.gradients.half_precision import NORMAL
from gradaudit.signals.gradients.half_precision import gradients as seen
from tests.build import build_run
from tests.diagnosers.runs import falling
from tests.diagnosers.sick_precision import STEPS, gradients, histogram, in_half, in_half_well
from tests.diagnosers.verbs import (
    assert_clean,
    assert_finds,
    assert_not_applicable,
    assert_skipped,
    judged,
)


def test_large_gradients_in_half_precision_are_quiet(tmp_path):
    run = in_half(tmp_path / "a", 1e-3, dtype="float16")
    assert judged(fp16_underflow, run, Representable).seen.scale == 1
    assert_clean(fp16_underflow, run)


def test_a_working_grad_scaler_is_quiet(tmp_path):
    assert "at a scale of 65536" in assert_clean(fp16_underflow, in_half(tmp_path / "a", scale=65536.0))


@pytest.mark.parametrize("typical", [1e-2, 1e-5, 1e-8])
def test_single_precision_is_not_looked_at_however_small_its_gradients(tmp_path, typical):
    run = in_half(tmp_path / "a", typical, scale=0.0)
    lost = judged(fp16_underflow, run, NotHalf).lost
    assert lost == pytest.approx((gradients(typical, scale=0.0) < 2.0**-24).mean(), abs=0.01)
    assert "would become zero without" in assert_not_applicable(fp16_underflow, run)


def test_bfloat16_is_not_looked_at(tmp_path):
    assert_not_applicable(fp16_underflow, in_half(tmp_path / "a", 1e-8, scale=0.0, dtype="bfloat16"))


def test_without_histograms_it_cannot_look_or_need_not(tmp_path):
    assert_not_applicable(fp16_underflow, build_run(tmp_path / "a", loss=falling()))
    run = build_run(tmp_path / "b", loss=falling(), steps={"amp_scale": 1024.0})
    assert_skipped(fp16_underflow, run)


def test_gradients_that_are_all_zero_cannot_be_judged(tmp_path):
    rows = [{**histogram([1.0], 64, 0, zeros=100), "positive": [], "negative": []}]
    assert_skipped(fp16_underflow, in_half(tmp_path / "a", dtype="float16", histograms=rows))


def test_torn_histograms_are_left_out_and_it_says_so(tmp_path):
    """A file that something else wrote: the two sides of zero have different numbers of bins."""
    whole = [histogram(gradients(1e-6, scale=1.0), step, tensor) for step in STEPS for tensor in range(4)]
    torn = {**whole[-1], "positive": [*whole[-1]["positive"], 7]}
    run = in_half(tmp_path / "a", dtype="float16", histograms=[*whole[:-1], torn])
    assert judged(fp16_underflow, run, Underflow).seen.torn == 1
    assert "without 1 histogram that cannot be read" in assert_finds(fp16_underflow, run).explanation
    run = in_half(tmp_path / "b", dtype="float16", histograms=[torn])
    assert judged(fp16_underflow, run, Unreadable).torn == 1
    assert_skipped(fp16_underflow, run)
    large = [histogram(gradients(1.0, scale=1.0), step, tensor) for step in STEPS for tensor in range(4)]
    large[-1] = {**large[-1], "negative": large[-1]["negative"][1:]}
    run = in_half(tmp_path / "c", dtype="float16", histograms=large)
    assert judged(fp16_underflow, run, Representable).seen.torn == 1
    assert "without 1 histogram that cannot be read" in assert_clean(fp16_underflow, run)


def test_histograms_of_weights_are_not_taken_for_gradients(tmp_path):
    rows = [{**histogram(gradients(1e-6, scale=1.0), 64, 0), "kind": "parameter"}]
    assert_not_applicable(fp16_underflow, in_half(tmp_path / "a", histograms=rows))


def test_half_precision_without_a_scale_is_known_by_its_steps(tmp_path):
    run = in_half(tmp_path / "a")
    assert seen(run.trainings[0]).rounded
    half = judged(fp16_underflow, run, Underflow).half
    assert (half.sign, half.proven, half.scaler) == ("multiples of 2**-24", True, False)
    finding = assert_finds(fp16_underflow, run, Severity.NOTE)
    sizes = finding.evidence[0]
    assert isinstance(sizes, Ridges)
    assert [ridge.label for ridge in sizes.ridges] == [f"layers.{layer}" for layer in range(4)]
    for ridge in sizes.ridges:
        assert sum(ridge.shares) == pytest.approx(1, abs=0.01)
        assert sum(ridge.shares[: int(-24 - sizes.first)]) == 0, "float16 has nothing below 2**-24"
        small = sum(ridge.shares[: int(-14 - sizes.first)])
        assert small > 0.5
        assert ridge.flagged
        assert ridge.remark == f"{percent(small)} below 2^-14"
    assert [(zone.start, zone.end) for zone in sizes.zones] == [(None, -24), (-24, -14)]
    assert "GradScaler" in finding.actions[0].code


def test_weights_in_half_precision_say_so_themselves(tmp_path):
    run = in_half(tmp_path / "a", dtype="float16")
    found = judged(fp16_underflow, run, Underflow)
    assert (found.half.sign, len(found.half.parameters), found.passed) == ("parameters", 4, "coarse")
    assert found.small > 0.5 > found.few_bits
    finding = assert_finds(fp16_underflow, run, Severity.NOTE)
    assert finding.title == "Gradients lose precision in float16"
    assert [measure.value for measure in finding.measures] == [found.small, found.few_bits, found.lost]


def test_a_gradient_of_which_three_bits_are_left_is_a_warning(tmp_path):
    run = in_half(tmp_path / "a", 1e-7)
    found = judged(fp16_underflow, run, Underflow)
    assert (found.passed, found.grave) == ("crushed", True)
    assert found.few_bits > 0.5
    finding = assert_finds(fp16_underflow, run, Severity.WARNING)
    assert finding.title == "Gradient underflow in float16"
    assert finding.headline.startswith("Float16 keeps 3 bits or fewer of")


def test_a_grad_scaler_alone_proves_no_float16_and_is_a_note(tmp_path):
    """One left on under bfloat16: its gradients reach below 2**-24, and between the multiples of it."""
    rows = [histogram(gradients(1e-9), step, tensor) for step in STEPS for tensor in range(4)]
    run = in_half(tmp_path / "a", scale=8.0, histograms=rows)
    assert not seen(run.trainings[0]).rounded
    found = judged(fp16_underflow, run, Underflow)
    assert (found.half.sign, found.half.proven, found.passed) == ("GradScaler", False, "crushed")
    finding = assert_finds(fp16_underflow, run, Severity.NOTE)
    assert finding.headline.startswith("Float16 would keep 3 bits or fewer of")
    assert finding.confidence is Confidence.LOW
    rounded = in_half(tmp_path / "b", 1e-7 / 8, scale=8.0)
    half = judged(fp16_underflow, rounded, Underflow).half
    assert (half.sign, half.scaler) == ("multiples of 2**-24", True)
    assert_finds(fp16_underflow, rounded, Severity.WARNING)


def test_it_reaches_back_to_the_first_record_where_that_was_as_small(tmp_path):
    rows = [histogram(gradients(1e-5, scale=1.0), step, 0) for step in (0, 64, 128, 192)]
    assert assert_finds(fp16_underflow, in_half(tmp_path / "a", histograms=rows)).span.first == 0
    rows[0] = histogram(gradients(1e-2, scale=1.0), 0, 0)
    assert assert_finds(fp16_underflow, in_half(tmp_path / "b", histograms=rows)).span.first == 128


def test_elements_below_the_smallest_number_are_a_note(tmp_path):
    """Seen where the gradient was divided after the backward pass, as by clipping."""
    run = in_half_well(tmp_path / "a")
    assert judged(fp16_underflow, run, Representable).lost == pytest.approx(0.038, abs=1e-3)
    assert_clean(fp16_underflow, run)
    found = judged(fp16_underflow, run, Underflow, lost=0.03)
    assert (found.passed, found.lost) == ("lost", pytest.approx(0.038, abs=1e-3))
    finding = assert_finds(fp16_underflow, run, Severity.NOTE, lost=0.03)
    assert finding.headline.startswith("Float16 rounds 3.8 % of the gradient elements to zero")


def test_a_scale_that_collapsed_is_a_note(tmp_path):
    run = in_half(tmp_path / "a", 1e-6, scale=4.0)
    found = judged(fp16_underflow, run, Underflow)
    assert found.seen.scale == 4
    assert found.seen.share_below(NORMAL - 4 * found.doublings) <= 0.01 < found.small
    assert "from 4" in assert_finds(fp16_underflow, run, Severity.NOTE).actions[0].text


@pytest.mark.parametrize("scale", [2.0**k for k in range(0, 17, 4)])
def test_the_scale_moves_the_limits(tmp_path, scale):
    """Of gradients around 1e-5, about 2**-17, half lie below 2**-14 up to a scale of 8."""
    run = in_half(tmp_path / "a", scale=scale, dtype="float16")
    share = numpy.nanmean(seen(run.trainings[0]).below(-56))
    expected = (gradients(1e-5, scale=scale) * scale < 2.0**-14).mean()
    assert share == pytest.approx(expected, abs=0.01)


def test_only_the_later_histograms_count(tmp_path):
    values = {0: 1e-1, 10: 1e-1, 64: 1e-5, 128: 1e-5, 192: 1e-5}
    rows = [histogram(gradients(v, scale=1.0), step, tensor) for step, v in values.items() for tensor in range(4)]
    finding = assert_finds(fp16_underflow, in_half(tmp_path / "a", histograms=rows))
    assert finding.span.first == 64


def test_a_scaler_that_skipped_steps_speaks_for_float16_though_its_scale_is_unknown(tmp_path):
    skipped = numpy.arange(200) % 50 == 0
    run = in_half(tmp_path / "a", 1e-3, scale=0.0, steps={"skipped": skipped})
    assert "a GradScaler skipped steps" in assert_skipped(fp16_underflow, run)
