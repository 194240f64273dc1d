import math

import msgspec
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradaudit.chart_data import Lines
from gradaudit.diagnosers.initial_loss_mismatch import (
    NoNumber,
    OffScale,
    OnScale,
    UnknownStart,
    initial_loss_mismatch,
)
from gradaudit.findings import Severity
from gradaudit.schema import GraphFacts, LossFacts, ModuleFacts, TensorFacts, TermFacts
from gradaudit.signals.loss.first_likelihood import (
    BelowChance,
    NearUniform,
    NegativeLikelihood,
    NotAveraged,
    Overconfident,
    UnusedOutputs,
)
from gradaudit.signals.loss.first_loss import ObjectiveFactor
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import TEN, falling, healthy, loss_input
from tests.diagnosers.sick import loud_and_stuck, loud_start, raw_target, soon_over, wide_output
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def start_at(path, first, facts=TEN, **changes):
    return build_run(path / "run", loss=falling(first=first, last=min(0.1, first / 2)), facts=facts, **changes)


def test_a_start_at_ln_n_is_quiet(tmp_path):
    assert (
        assert_clean(initial_loss_mismatch, healthy(tmp_path))
        == "the first loss is 2.31, that of a uniform prediction is ln 10 = 2.30"
    )


@pytest.mark.parametrize("first", [0.75 * math.log(10), 1.18 * math.log(10)])
def test_the_extremes_of_healthy_starts_are_quiet(tmp_path, first):
    assert_clean(initial_loss_mismatch, start_at(tmp_path, first))


def test_two_classes_may_start_a_third_of_a_nat_above(tmp_path):
    facts = LossFacts(id=0, function="cross_entropy", classes=2)
    assert_clean(initial_loss_mismatch, start_at(tmp_path, math.log(2) + 0.33, facts))


@pytest.mark.parametrize(("share", "first", "quiet"), [(0.97, 0.62, True), (0.97, 0.75, False), (0.5, 0.5, False)])
def test_uneven_labels_are_given_room(tmp_path, share, first, quiet):
    counts = [round(1000 * share), round(1000 * (1 - share))]
    facts = LossFacts(id=0, function="cross_entropy", classes=2, label_counts=counts, label_entropy=0.13)
    run = start_at(tmp_path, math.log(2) + first, facts)
    (assert_clean if quiet else assert_finds)(initial_loss_mismatch, run)


@pytest.mark.parametrize(("targets", "quiet"), [(1, True), (4, True), (64, False)])
def test_a_first_batch_of_a_few_targets_scatters_and_is_given_room(tmp_path, targets, quiet):
    facts = LossFacts(id=0, function="cross_entropy", classes=2)
    run = start_at(tmp_path, math.log(2) + 0.6, facts, steps={"targets": targets})
    (assert_clean if quiet else assert_finds)(initial_loss_mismatch, run)


def later_optimizer(path, tensors, terms=(), modules=("",)):
    """A second optimizer begins at step 100, on another task: its first loss is 10.9."""
    steps = {"optimizer": [0] * 100 + [1] * 100, "step": [*range(100), *range(100)]}
    loss = [*falling()[:100], *falling(first=10.9)[:100]]
    named = [ModuleFacts(id=index, name=name, module_class="Net") for index, name in enumerate(modules)]
    graph = GraphFacts(terms=list(terms))
    return build_run(
        path / "run", loss=loss, steps=steps, tensors=tensors, facts=TEN, modules=named, graph=graph, recorded=[]
    )


def owned(*names):
    """Tensors of the first optimizer, and of the second one where the name ends in +."""
    owners = [int(name.endswith("+")) for name in names]
    return [
        TensorFacts(id=index, name=name.rstrip("+"), shape=[8, 8], optimizer=owner, recorded_with=owner)
        for index, (name, owner) in enumerate(zip(names, owners, strict=True))
    ]


def is_judged(run):
    return isinstance(next(initial_loss_mismatch.judge(run.trainings[-1])), Overconfident)


def test_a_model_that_an_earlier_optimizer_trained_is_not_judged_by_its_first_loss(tmp_path):
    """Adapters, or the same weights again, on another task; not the model of the next fold, or another model."""
    adapters, fold = owned("body.weight", "head.weight", "up+", "down+"), owned("0.weight", "0.weight+")
    assert not is_judged(later_optimizer(tmp_path / "a", adapters))
    assert not is_judged(later_optimizer(tmp_path / "b", owned("body.weight", "head.weight")))
    assert is_judged(later_optimizer(tmp_path / "c", fold))
    two = owned("large.0.weight", "small.0.weight+")
    assert is_judged(later_optimizer(tmp_path / "d", two, modules=("large", "small")))


def test_what_the_later_loss_reaches_tells_whether_the_model_is_new(tmp_path):
    tensors = owned("0.weight", "1.weight+")
    for reaches, quiet in (([0, 1], True), ([1], False)):
        term = TermFacts(id=1, first=100, optimizers=[1], tensors=reaches)
        assert is_judged(later_optimizer(tmp_path / str(quiet), tensors, [term])) is not quiet


def test_a_loss_made_by_hand_could_not_be_looked_at(tmp_path):
    run = build_run(tmp_path / "run", loss=falling(), steps={"loss": -1, "mean_loss": math.nan})
    assert_skipped(initial_loss_mismatch, run)


def test_label_smoothing_and_averaged_class_weights_do_not_move_the_start(tmp_path):
    facts = LossFacts(
        id=0, function="cross_entropy", classes=3, label_smoothing=0.1, weighted=True, class_weights=[1.0, 5.0, 20.0]
    )
    assert_clean(initial_loss_mismatch, start_at(tmp_path, math.log(3), facts))


def test_summed_class_weights_move_the_start_by_their_mean(tmp_path):
    facts = LossFacts(
        id=0, function="cross_entropy", classes=2, reduction="none", weighted=True, class_weights=[1.0, 9.0],
        label_counts=[50, 50],
    )  # fmt: skip
    run = start_at(tmp_path, 5 * math.log(2), facts)
    expected = judged(initial_loss_mismatch, run, NearUniform).expected
    assert (expected.weighted, expected.uniform) == (True, pytest.approx(5 * math.log(2)))
    assert "weighted ln 2 = 3.47" in assert_clean(initial_loss_mismatch, run)


def test_unknown_weights_leave_nothing_to_compare_with(tmp_path):
    facts = LossFacts(id=0, function="binary_cross_entropy_with_logits", weighted=True)
    run = start_at(tmp_path, 9.0, facts)
    found = judged(initial_loss_mismatch, run, UnknownStart)
    assert found == UnknownStart("binary_cross_entropy_with_logits", "weights")
    assert_not_applicable(initial_loss_mismatch, run)


def test_a_bias_at_the_class_frequencies_starts_at_the_label_entropy(tmp_path):
    facts = msgspec.structs.replace(TEN, label_counts=[910] + [10] * 9, label_entropy=0.48)
    assert_clean(initial_loss_mismatch, start_at(tmp_path, 0.5, facts))


def test_contrastive_losses_are_not_judged(tmp_path):
    facts = LossFacts(id=0, function="cross_entropy", classes=32, label_counts=[200] * 32)
    assert "contrastive" in assert_not_applicable(initial_loss_mismatch, start_at(tmp_path, 20.0, facts))


def test_policy_gradients_are_not_judged(tmp_path):
    objective = numpy.where(numpy.arange(200) % 2, -1.0, 1.0)
    run = start_at(tmp_path, 20.0, steps={"objective": objective})
    assert "policy gradients" in assert_not_applicable(initial_loss_mismatch, run)


@pytest.mark.parametrize("function", ["logged", "huber_loss"])
def test_losses_without_a_known_start_are_not_judged(tmp_path, function):
    assert_not_applicable(initial_loss_mismatch, start_at(tmp_path, 50.0, LossFacts(id=0, function=function)))


def test_a_nan_start_is_left_to_non_finite(tmp_path):
    run = build_run(tmp_path / "run", loss=[float("nan"), 2.0], facts=TEN)
    assert math.isnan(judged(initial_loss_mismatch, run, NoNumber).first)
    assert_skipped(initial_loss_mismatch, run)


def test_a_high_start_is_a_warning(tmp_path):
    run = loud_start(tmp_path / "run")
    found = judged(initial_loss_mismatch, run, Overconfident)
    assert (found.loss.first, found.expected.uniform) == (6.0, math.log(10))
    assert found.layer is None
    finding = assert_finds(initial_loss_mismatch, run, Severity.WARNING)
    assert finding.title == "Overconfident initial predictions"
    assert finding.headline == "The first loss is 6.00, 2.6 times that of a uniform prediction, ln 10 = 2.30"
    (chart,) = finding.evidence
    assert isinstance(chart, Lines)
    assert [(mark.role, mark.y) for mark in chart.marks] == [("reference", math.log(10))]


def test_a_start_a_little_high_that_is_soon_over_is_a_note(tmp_path):
    """As of makemore's smallest models: torch.nn's default initialisation, 3.50 and more where ln 27 is 3.30."""
    run = soon_over(tmp_path / "a")
    found = judged(initial_loss_mismatch, run, Overconfident)
    assert (found.mild, found.below_from, found.spent) == (True, 6, 6 / 400)
    finding = assert_finds(initial_loss_mismatch, run, Severity.NOTE)
    assert "By step 6 the loss is below that for good: the start cost little." in finding.explanation


@pytest.mark.parametrize("more", [{"first": 3.5}, {"steps": 60}, {"count": 50}])
def test_a_start_that_is_much_too_high_or_costs_more_of_the_run_is_a_warning(tmp_path, more):
    assert_finds(initial_loss_mismatch, soon_over(tmp_path / "a", **more), Severity.WARNING)


def test_a_start_a_little_high_before_a_loss_that_goes_up_again_is_no_note(tmp_path):
    loss = falling(400, first=2.2)
    loss[:4] = 3.3
    loss[300:] = 40
    run = build_run(tmp_path / "a", loss=loss, facts=TEN)
    found = judged(initial_loss_mismatch, run, Overconfident)
    assert (found.mild, found.below_from, found.spent, found.outcome.kind) == (False, None, 1, "diverged")
    assert_finds(initial_loss_mismatch, run, Severity.WARNING)


def test_a_large_output_layer_is_named(tmp_path):
    weight = numpy.ones(8)
    weight[6] = 32.0  # 32 x 32 elements of RMS 1
    run = loud_start(tmp_path / "run", stats={"weight_norm": weight})
    layer = judged(initial_loss_mismatch, run, Overconfident).layer
    assert layer is not None
    assert (layer.rms, layer.inputs) == (1.0, 32)
    assert layer.rms / layer.usual == pytest.approx(math.sqrt(3 * 32))
    finding = assert_finds(initial_loss_mismatch, run)
    assert finding.title == "Output layer initialised too large"
    assert finding.tensors == ["layers.3.weight"]
    assert finding.actions[0].code == "nn.init.normal_(model.layers[3].weight, std=0.1)"


def test_a_high_start_that_ends_badly_is_critical(tmp_path):
    run = loud_and_stuck(tmp_path / "run")
    found = judged(initial_loss_mismatch, run, Overconfident)
    assert found.severe
    assert found.outcome is not None
    assert_finds(initial_loss_mismatch, run, Severity.CRITICAL)


def test_a_sum_over_the_batch_is_recognised(tmp_path):
    run = start_at(tmp_path, 2.31, steps={"objective": 32 * falling(first=2.31, last=0.1)}, optimizer="SGD")
    found = judged(initial_loss_mismatch, run, NotAveraged)
    assert (found.factor, found.adaptive) == (ObjectiveFactor(32, 32, "targets"), False)
    finding = assert_finds(initial_loss_mismatch, run, Severity.WARNING)
    assert finding.title == "Loss summed over the batch"
    assert finding.measures[0].value == pytest.approx(73.9, abs=0.1)


def test_a_sum_is_a_note_for_an_optimizer_that_divides_it_out(tmp_path):
    run = start_at(tmp_path, 2.31, steps={"objective": 32 * falling(first=2.31, last=0.1)}, optimizer="Adam")
    assert judged(initial_loss_mismatch, run, NotAveraged).adaptive
    assert_finds(initial_loss_mismatch, run, Severity.NOTE)


def test_undivided_accumulation_is_recognised(tmp_path):
    steps = {"objective": 8 * falling(first=2.31, last=0.1), "micro_steps": 8, "targets": 256, "batch_size": 256}
    run = start_at(tmp_path, 2.31, steps=steps)
    assert judged(initial_loss_mismatch, run, NotAveraged).factor == ObjectiveFactor(8, 8, "micro_steps")
    finding = assert_finds(initial_loss_mismatch, run)
    assert finding.title == "Accumulated loss not divided"
    assert finding.actions[0].code == "(loss / 8).backward()"


def test_a_penalty_on_top_of_the_loss_is_no_sum(tmp_path):
    assert_clean(initial_loss_mismatch, start_at(tmp_path, 2.31, steps={"objective": 5.0 + falling()}))


def test_a_negative_likelihood_is_critical(tmp_path):
    facts = LossFacts(id=0, function="nll_loss", classes=10)
    run = build_run(tmp_path / "run", loss=numpy.linspace(-0.1, -0.9, 100), facts=facts)
    assert judged(initial_loss_mismatch, run, NegativeLikelihood).loss.first == pytest.approx(-0.1)
    finding = assert_finds(initial_loss_mismatch, run, Severity.CRITICAL)
    assert finding.title == "Negative likelihood loss"
    assert finding.measures[0].value == pytest.approx(-0.1)


def test_more_outputs_than_classes_are_recognised(tmp_path):
    run = wide_output(tmp_path / "run")
    found = judged(initial_loss_mismatch, run, UnusedOutputs)
    assert (found.used, found.expected.classes) == (3, 20)
    finding = assert_finds(initial_loss_mismatch, run, Severity.WARNING)
    assert finding.title == "More outputs than classes"
    assert "the labels have only 3 classes (ln 3 = 1.10)" in finding.headline


def test_a_vocabulary_with_unused_entries_is_quiet(tmp_path):
    facts = LossFacts(id=0, function="cross_entropy", classes=256, label_counts=[9] * 60 + [0] * 196)
    assert_clean(initial_loss_mismatch, start_at(tmp_path, math.log(256), facts))


def test_a_low_start_is_a_note_unless_the_run_was_resumed(tmp_path):
    run = start_at(tmp_path / "a", 0.9)
    assert judged(initial_loss_mismatch, run, BelowChance).expected.low == pytest.approx(0.5 * math.log(10))
    finding = assert_finds(initial_loss_mismatch, run, Severity.NOTE)
    assert finding.title == "Initial loss below chance level"
    assert_clean(initial_loss_mismatch, start_at(tmp_path / "b", 0.9, attempt=1))


def test_binary_losses_are_held_against_ln_2(tmp_path):
    facts = LossFacts(id=0, function="binary_cross_entropy_with_logits")
    assert_clean(initial_loss_mismatch, start_at(tmp_path / "a", 1.26 * math.log(2), facts))
    run = start_at(tmp_path / "b", 1.3, facts)
    expected = judged(initial_loss_mismatch, run, Overconfident).expected
    assert (expected.classes, expected.uniform, expected.option) == (2, math.log(2), "binary_excess")
    finding = assert_finds(initial_loss_mismatch, run, Severity.WARNING)
    assert "1.9 times that of a uniform prediction, ln 2 = 0.693" in finding.headline


def test_a_standardised_target_is_quiet(tmp_path):
    facts = LossFacts(id=0, function="mse_loss", target_mean=0.0, target_variance=1.0)
    run = start_at(tmp_path, 1.1, facts)
    assert judged(initial_loss_mismatch, run, OnScale) == OnScale(1.1, 1.1, 1.0)
    assert_clean(initial_loss_mismatch, run)


def test_a_raw_target_that_training_copes_with_is_a_note(tmp_path):
    run = raw_target(tmp_path / "run", last=600.0)
    assert not judged(initial_loss_mismatch, run, OffScale).stuck
    assert_finds(initial_loss_mismatch, run, Severity.NOTE)


def test_a_raw_target_that_training_does_not_cope_with_is_a_warning(tmp_path):
    run = raw_target(tmp_path / "run")
    found = judged(initial_loss_mismatch, run, OffScale)
    assert (found.cause.raw, found.cause.mean, found.cause.deviation) == (True, 150, 80)
    assert found.stuck or found.outcome is not None
    finding = assert_finds(initial_loss_mismatch, run, Severity.WARNING)
    assert finding.title == "Targets not standardised"
    assert [measure.value for measure in finding.measures[:2]] == pytest.approx([4.69, 80], abs=0.01)
    assert "the raw target: 170 (root mean square), of which its mean accounts for 150." in finding.explanation
    assert finding.actions[0].code == "y = (y - 150) / 80"
    assert finding.actions[1].code == "nn.init.constant_(model.layers[3].bias, 150)"


def test_a_centred_target_needs_no_bias(tmp_path):
    facts = LossFacts(id=0, function="mse_loss", target_mean=1.2e-4, target_variance=0.003)
    finding = assert_finds(initial_loss_mismatch, start_at(tmp_path / "a", 0.1, facts))
    assert not any("bias" in action.text for action in finding.actions)


def _regression(path, first, mean, variance, outputs, inputs=None, **changes):
    """A squared error whose untrained outputs have this mean and standard deviation, and the inputs such a size."""
    sample = {**loss_input(0), "mean": outputs[0], "std": outputs[1]}
    given = {**sample, "kind": "input", "module": 0, "loss": -1, "mean": 0.0, "std": inputs}
    facts = LossFacts(id=0, function="mse_loss", target_mean=mean, target_variance=variance)
    samples = [sample] + ([given] if inputs else [])
    # A single output tells nothing of the size of its inputs.
    weight = TensorFacts(id=0, name="head.weight", role="weight", module="head", shape=[1, 4], optimizer=0, group=0)
    bias = TensorFacts(id=1, name="head.bias", role="bias", module="head", shape=[1], depth=1, optimizer=0, group=0)
    return start_at(path, first, facts, samples=samples, tensors=[weight, bias], **changes)


def _advice(path, *numbers, **more):
    finding = assert_finds(initial_loss_mismatch, _regression(path, *numbers, **more))
    return finding.explanation, [action.text for action in finding.actions]


def test_outputs_that_are_too_large_are_told_from_a_target_that_is_not_standardised(tmp_path):
    """The figures of a linear regression of 15 points whose inputs lie between 2.2 and 10.8."""
    seen, told = _advice(tmp_path / "a", 92.1, 2.32, 0.543, (-6.80, 2.34))
    assert "outputs have a root mean square of 7.19 and the target one of 2.43: the outputs are too large" in seen
    assert told[0] == "Standardise the inputs, if that is not done: large inputs make outputs as large as 7.19"
    assert told[1] == (
        "Or scale down the initial weights of head.weight 9.8 times, to outputs of 0.737, the standard deviation of "
        "the target"
    )
    # With inputs that are standardised the target's offset is the larger part.
    seen, told = _advice(tmp_path / "b", 12.4, 2.32, 0.543, (-0.79, 0.99))
    assert "too large" not in seen
    assert told[0] == "Standardise the target: subtract 2.32 and divide by 0.737; undo it when predicting"
    assert not any("outputs" in text for text in told)


def test_what_is_done_already_is_not_advised(tmp_path):
    _, told = _advice(tmp_path / "a", 56.6, -2.8e-7, 1.0, (-6.80, 2.34))
    assert not any("tandardise the target" in text for text in told)
    _, told = _advice(tmp_path / "b", 56.6, -2.8e-7, 1.0, (-6.80, 2.34), inputs=1.0)
    assert [text[:10] for text in told] == ["Scale down"]
    _, told = _advice(tmp_path / "c", 6500.0, 0.0, 6400.0, (0.0, 1.0))
    assert told == ["Standardise the target: divide by 80; undo it when predicting"]
    _, told = _advice(tmp_path / "d", 56.6, -2.8e-7, 1.0, (-6.80, 2.34), inputs=6.0)
    assert told[0].startswith("Standardise the inputs, whose root mean square is 6.0: ")


def test_a_target_that_is_small_beside_outputs_of_order_one_is_to_be_standardised(tmp_path):
    seen, told = _advice(tmp_path / "a", 1.01, 0.0, 0.01, (0.0, 1.0))
    assert "the target is too small for outputs of order 1" in seen
    assert told == ["Standardise the target: divide by 0.1; undo it when predicting"]


def test_a_bias_that_starts_beside_the_mean_of_the_target_is_the_one_to_set(tmp_path):
    """Weights that are scaled down leave outputs of 200 where they are."""
    run = _regression(tmp_path, 7590.0, 121.0, 1037.0, (200.0, 1.2), stats={"weight_norm": [[0.5, 200.0]]})
    finding = assert_finds(initial_loss_mismatch, run)
    assert finding.actions[0].text == "Start head.bias at the mean of the target, 121"
    assert not any("Scale down" in action.text for action in finding.actions)


def test_without_a_sample_of_the_outputs_the_loss_tells_their_share(tmp_path):
    facts = LossFacts(id=0, function="mse_loss", target_mean=0.0, target_variance=1.0)
    run = start_at(tmp_path / "a", 50.0, facts)
    cause = judged(initial_loss_mismatch, run, OffScale).cause
    assert (cause.outputs, cause.target, cause.too_large) == (49, 1, True)
    finding = assert_finds(initial_loss_mismatch, run)
    assert finding.title == "Untrained outputs too large"
    assert "The untrained outputs have a root mean square of 7.00 and the target one of 1.00" in finding.explanation


def test_an_unknown_spread_of_the_target_could_not_be_looked_at(tmp_path):
    run = start_at(tmp_path, 9.0, LossFacts(id=0, function="mse_loss"))
    assert "variance" in assert_skipped(initial_loss_mismatch, run)


@settings(max_examples=15, deadline=None)
@given(scale=st.floats(1e-4, 1e4), relative=st.floats(0.1, 2.4))
def test_a_regression_is_judged_relative_to_its_target(tmp_path_factory, scale, relative):
    facts = LossFacts(id=0, function="mse_loss", target_mean=0.0, target_variance=scale)
    path = tmp_path_factory.mktemp("scaled")
    run = build_run(path / "run", loss=scale * falling(first=relative, last=0.05), facts=facts)
    assert_clean(initial_loss_mismatch, run, spread=1e9)


def test_the_order_of_tensors_does_not_matter(tmp_path):
    tensors = linear_stack()[::-1]
    tensors = [msgspec.structs.replace(tensor, id=index) for index, tensor in enumerate(tensors)]
    first = assert_finds(initial_loss_mismatch, loud_start(tmp_path / "a"))
    second = assert_finds(initial_loss_mismatch, loud_start(tmp_path / "b", tensors=tensors))
    assert first == second


def test_a_sum_that_other_terms_are_weighed_against_is_meant(tmp_path):
    """The likelihood of a variational autoencoder, summed over the batch beside a divergence that is summed, too."""
    loss = falling(first=2.31, last=0.5)
    elbo = build_run(tmp_path / "a", loss=loss, facts=TEN, steps={"objective": 32 * loss + numpy.linspace(0.1, 4, 200)})
    assert_clean(initial_loss_mismatch, elbo)
    alone = build_run(tmp_path / "b", loss=loss, facts=TEN, steps={"objective": 32 * loss}, optimizer="SGD")
    assert_finds(initial_loss_mismatch, alone, Severity.WARNING)


def test_a_sum_beside_a_term_that_is_next_to_nothing_is_meant(tmp_path):
    """A variational autoencoder whose second term fades in from zero, or whose posterior is the prior's."""
    loss = falling(first=2.31, last=0.5)
    tensors = [msgspec.structs.replace(tensor, terms=[0, 1] if tensor.id < 4 else [0]) for tensor in linear_stack()]
    run = build_run(tmp_path / "a", loss=loss, facts=TEN, steps={"objective": 32 * loss}, tensors=tensors)
    assert_clean(initial_loss_mismatch, run)


def test_a_few_steps_show_a_sum_only_where_it_is_exact(tmp_path):
    loss = numpy.linspace(2.31, 2.2, 6)
    exact = build_run(tmp_path / "a", loss=loss, facts=TEN, steps={"objective": 32 * loss})
    assert_finds(initial_loss_mismatch, exact)
    assert_clean(
        initial_loss_mismatch, build_run(tmp_path / "b", loss=loss, facts=TEN, steps={"objective": 32.5 * loss})
    )


def test_a_regression_that_is_stuck_because_its_rate_is_gone_is_a_note(tmp_path):
    rates = [[1e-3 if step < 60 else 1e-9] for step in range(200)]
    facts = LossFacts(id=0, function="mse_loss", target_mean=150.0, target_variance=6400.0)
    loss = falling(200, first=30_000.0, last=25_000.0)
    run = build_run(tmp_path / "run", loss=loss, facts=facts, optimizer="SGD", steps={"learning_rate": rates})
    found = judged(initial_loss_mismatch, run, OffScale)
    assert (found.stuck, found.harmed) == (True, False)
    assert_finds(initial_loss_mismatch, run, Severity.NOTE)
