import msgspec
import numpy
import pytest

from gradaudit.chart_data import Dots
from gradaudit.diagnosers.layer_imbalance import Even, NonFinite, SlowGroup, Uneven, layer_imbalance
from gradaudit.findings import Severity
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import TEN, falling, healthy, parameters
from tests.diagnosers.sick import two_rates, uneven
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_even_layers_are_quiet(tmp_path):
    run = healthy(tmp_path)
    spreads = judged(layer_imbalance, run, Even).spreads
    assert (spreads.layers, spreads.updates, spreads.gradients) == (4, 0.0, 0.0)
    assert assert_clean(layer_imbalance, run) == (
        "of 4 layers the largest update-to-weight ratio is 1.0 times the smallest, "
        "the largest gradient-to-weight ratio 1.0 times"
    )


def test_the_healthy_extremes_are_quiet(tmp_path):
    assert_clean(layer_imbalance, uneven(tmp_path / "a", update=0.9))
    assert_clean(layer_imbalance, uneven(tmp_path / "b", gradient=1.7))


def _spread(path, decades, **changes):
    """Eight layers whose gradients are so many decades below the first one's."""
    stats = {"gradient_norm": 0.1 * 10**-decades, "update_norm": numpy.full(8, 1e-3)}
    return build_run(path, tensors=parameters(8), stats=stats, loss=falling(), **changes)


def test_gradients_that_spread_without_a_gap_are_quiet_where_the_updates_are_even(tmp_path):
    """Queries and keys at one end, the last layer at the other, and all others between them."""
    # Not in the order of the depth, which would be a vanishing gradient.
    decades = 0.4 * numpy.array([3, 0, 5, 2, 7, 6, 1, 4])
    run = _spread(tmp_path / "adam", decades)
    spreads = judged(layer_imbalance, run, Even).spreads
    assert (spreads.gradients, spreads.gap.both) == (pytest.approx(2.8), pytest.approx(0.4))
    assert_clean(layer_imbalance, run)
    assert_finds(layer_imbalance, _spread(tmp_path / "sgd", decades, optimizer="SGD"), Severity.WARNING)
    decades[4:6] += 0.3  # two layers stand apart
    assert_finds(layer_imbalance, _spread(tmp_path / "apart", decades), Severity.WARNING)


def test_biases_and_embeddings_may_differ_as_they_like(tmp_path):
    factors = numpy.where([tensor.role == "weight" for tensor in linear_stack(embedding=50)], 1.0, 1e-5)
    stats = {"update_norm": 1e-3 * factors, "gradient_norm": 0.1 * factors}
    assert_clean(layer_imbalance, healthy(tmp_path, stats=stats))


def test_a_layer_that_starts_at_zero_is_left_out(tmp_path):
    weight = numpy.ones((200, 6))
    weight[0, 2], weight[1:, 2] = 0.0, 1e-4
    run = build_run(tmp_path / "run", loss=falling(), tensors=parameters(6), stats={"weight_norm": weight})
    assert_clean(layer_imbalance, run)


def test_an_expert_that_is_rarely_used_is_left_out(tmp_path):
    gradient = numpy.full((200, 6), 0.1)
    gradient[:, 2] = numpy.where(numpy.arange(200) % 3 == 0, 1e-6, 0.0)
    run = build_run(tmp_path / "run", loss=falling(), tensors=parameters(6), stats={"gradient_norm": gradient})
    assert judged(layer_imbalance, run, Even).spreads.layers == 5


def test_a_layer_that_mends_itself_is_quiet(tmp_path):
    update = numpy.full((200, 6), 1e-3)
    update[:40, 2] = 1e-5
    update[40:100, 2] = 1e-4
    run = build_run(tmp_path / "run", loss=falling(), tensors=parameters(6), stats={"update_norm": update})
    assert_clean(layer_imbalance, run)


def test_a_smaller_learning_rate_for_a_group_explains_its_smaller_updates(tmp_path):
    tensors = [msgspec.structs.replace(tensor, group=int(tensor.id > 2)) for tensor in parameters(6)]
    update = numpy.where(numpy.arange(6) > 2, 1.5e-5, 1e-3)
    steps = {"learning_rate": [[1e-3, 1.5e-5]] * 200}
    run = build_run(tmp_path / "run", loss=falling(), tensors=tensors, stats={"update_norm": update}, steps=steps)
    assert_clean(layer_imbalance, run)


def test_a_hundred_steps_and_two_layers_are_needed(tmp_path):
    assert_skipped(layer_imbalance, build_run(tmp_path / "a", loss=falling(99)))
    assert_not_applicable(layer_imbalance, build_run(tmp_path / "b", loss=falling(), tensors=parameters(1)))


def test_statistics_of_the_end_only_cannot_tell(tmp_path):
    run = build_run(tmp_path / "a", loss=falling(), recorded=[150, 199])
    assert_skipped(layer_imbalance, run)


def test_layers_of_a_run_that_broke_down_cannot_be_compared(tmp_path):
    loss = falling()
    loss[30:] = float("nan")
    update = numpy.array([1e-3, 1e-3, 1e-6, 1e-3, 1e-3, 1e-3])
    run = build_run(tmp_path / "a", loss=loss, tensors=parameters(6), stats={"update_norm": update})
    assert judged(layer_imbalance, run, NonFinite) == NonFinite(step=30)
    assert "from step 30 on" in assert_skipped(layer_imbalance, run)


def test_one_decade_of_updates_is_a_note_and_one_and_a_half_a_warning(tmp_path):
    assert_finds(layer_imbalance, uneven(tmp_path / "a", update=1.2), Severity.NOTE)
    run = uneven(tmp_path / "b", update=2.0)
    found = judged(layer_imbalance, run, Uneven)
    assert found.decades == pytest.approx(2.0)
    out = found.outliers
    assert (out.quantity, out.layers, out.is_slower) == ("update", ("layers.2.weight",), True)
    assert out.times == pytest.approx(100)
    finding = assert_finds(layer_imbalance, run, Severity.WARNING)
    assert finding.title == "Uneven updates across layers"
    assert finding.headline == (
        "Updates differ up to 100 times: layers.2.weight changes 100 times slower than the median"
    )
    assert finding.tensors == ["layers.2.weight"]
    dots = finding.evidence[0]
    assert isinstance(dots, Dots)
    assert [dot.label for dot in dots.dots] == [f"layers.{i}.weight" for i in range(6)]
    assert [dot.flagged for dot in dots.dots] == [False, False, True, False, False, False]
    assert dots.dots[2].value == pytest.approx(1e-5)


def test_a_cliff_in_the_gradients_shows_what_adam_hides(tmp_path):
    run = uneven(tmp_path / "run", gradient=2.3)
    out = judged(layer_imbalance, run, Uneven).outliers
    assert (out.quantity, out.times, out.is_slower) == ("gradient", pytest.approx(10**2.3), True)
    assert out.is_adaptive
    finding = assert_finds(layer_imbalance, run, Severity.WARNING)
    assert finding.title == "Uneven gradients across layers"
    assert "has 200 times less than" in finding.headline


def test_even_updates_that_solve_the_task_do_no_harm(tmp_path):
    """98 % of the first loss is gone: a warning only where the optimizer passes the gradients on as they are."""
    solved = {"loss": falling(last=0.05), "facts": TEN}
    assert_finds(layer_imbalance, uneven(tmp_path / "a", gradient=2.3, **solved), Severity.NOTE)
    assert_finds(layer_imbalance, uneven(tmp_path / "b", update=1.6, **solved), Severity.WARNING)
    assert_finds(layer_imbalance, uneven(tmp_path / "c", gradient=2.3, optimizer="SGD", **solved), Severity.WARNING)
    left = {"loss": falling(last=0.15), "facts": TEN}
    assert_finds(layer_imbalance, uneven(tmp_path / "d", gradient=2.3, **left), Severity.WARNING)


def _cliff_until(path, last, late=0.0, other=0.0):
    """Six layers: the third has a thousandth of the gradient up to step `last`, and `late` decades less after it."""
    gradient = numpy.full((200, 6), 0.1)
    gradient[:last, 2] *= 1e-3
    gradient[last:, 2] *= 10**-late
    gradient[:, 4] *= 10**-other
    return build_run(path, loss=falling(), tensors=parameters(6), stats={"gradient_norm": gradient})


def test_a_cliff_that_closes_is_no_finding(tmp_path):
    """A head whose loss is weak for the first hundred steps only."""
    run = _cliff_until(tmp_path / "a", 100)
    found = judged(layer_imbalance, run, Even)
    assert (found.gap_closed, found.spreads.gap.early, found.spreads.gap.late) == (True, pytest.approx(3.0), 0.0)
    assert assert_clean(layer_imbalance, run).endswith(
        "a gap of 1,000 times between their gradients at steps 10 to 60 has closed to 1.0 times in the last half"
    )
    assert_clean(layer_imbalance, _cliff_until(tmp_path / "b", 100, late=2.1))
    assert_clean(layer_imbalance, _cliff_until(tmp_path / "c", 100, late=-2.4))  # it is above the others now


def test_a_cliff_is_told_by_what_is_left_of_it(tmp_path):
    run = _cliff_until(tmp_path / "a", 100, late=2.3)
    assert judged(layer_imbalance, run, Uneven).outliers.times == pytest.approx(10**2.3)
    finding = assert_finds(layer_imbalance, run, Severity.WARNING)
    assert "This holds at steps 10 to 60 and over the last half" in finding.explanation
    dots = finding.evidence[0]
    assert isinstance(dots, Dots)
    assert dots.dots[2].value == pytest.approx(dots.dots[0].value * 10**-2.3, rel=1e-3)


def test_a_cliff_that_lasts_beside_one_that_closes_is_found(tmp_path):
    run = _cliff_until(tmp_path / "a", 100, other=6.0)
    assert assert_finds(layer_imbalance, run, Severity.WARNING).tensors == ["layers.4.weight"]


def test_a_slope_of_gradients_without_a_cliff_is_found(tmp_path):
    gradient = numpy.geomspace(1e-4, 1e-1, 6)
    run = build_run(tmp_path / "run", loss=falling(), tensors=parameters(6), stats={"gradient_norm": gradient})
    found = judged(layer_imbalance, run, Uneven)
    assert (found.outliers.quantity, found.decades, found.severity) == (
        "gradient",
        pytest.approx(3.0),
        Severity.WARNING,
    )


def test_a_group_with_a_forgotten_multiplier_is_named(tmp_path):
    run = two_rates(tmp_path / "run")
    found = judged(layer_imbalance, run, SlowGroup)
    assert (found.group, found.peak_rate, found.largest_rate) == (1, pytest.approx(1e-7), pytest.approx(1e-3))
    finding = assert_finds(layer_imbalance, run, Severity.WARNING)
    assert finding.title == "Group learning rate too low"
    assert finding.headline == "Parameter group 1 has a learning rate of 1e-7, 10,000 times below the largest"


def test_very_deep_models_are_drawn_with_few_dots(tmp_path):
    update = numpy.full(900, 1e-3)
    update[777] = 1e-6
    run = build_run(
        tmp_path / "run", loss=falling(120), tensors=parameters(900), stats={"update_norm": update},
        recorded=range(0, 120, 10),
    )  # fmt: skip
    dots = assert_finds(layer_imbalance, run).evidence[0]
    assert isinstance(dots, Dots)
    assert len(dots.dots) <= 201
    assert [dot.label for dot in dots.dots if dot.flagged] == ["layers.777.weight"]


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_scaling_loss_and_gradients_changes_nothing(tmp_path, scale):
    stats = {"gradient_norm": scale * numpy.geomspace(1e-4, 1e-1, 6)}
    run = build_run(tmp_path / "run", loss=scale * falling(), tensors=parameters(6), stats=stats)
    found = judged(layer_imbalance, run, Uneven)
    assert (found.outliers.quantity, found.decades, found.severity) == (
        "gradient",
        pytest.approx(3.0),
        Severity.WARNING,
    )


def test_the_order_of_tensors_does_not_matter(tmp_path):
    turned = [msgspec.structs.replace(tensor, depth=5 - tensor.depth) for tensor in parameters(6)]
    update = numpy.array([1e-3, 1e-3, 1e-5, 1e-3, 1e-3, 1e-3])
    run = build_run(tmp_path / "run", loss=falling(), tensors=turned, stats={"update_norm": update})
    finding = assert_finds(layer_imbalance, run, Severity.WARNING)
    assert finding.headline == assert_finds(layer_imbalance, uneven(tmp_path / "b", update=2.0)).headline


def test_the_layer_that_starts_otherwise_is_the_one_to_initialise(tmp_path):
    odd = numpy.full((200, 6), 32**0.5 * 3**-0.5)
    odd[:, 2] *= 20
    run = uneven(tmp_path / "a", update=2.0, weight=odd)
    sizes = judged(layer_imbalance, run, Uneven).outliers.initial
    assert (sizes.own, sizes.others, sizes.own_is_odd) == (pytest.approx(20), pytest.approx(1), True)
    assert assert_finds(layer_imbalance, run).actions[0].text == (
        "Initialise layers.2.weight like its neighbours: it starts at 20 times torch.nn's default, they at 1.0 times"
    )
    usual = numpy.full((200, 6), 20 * 32**0.5 * 3**-0.5)
    usual[:, 2] /= 20
    run = uneven(tmp_path / "b", update=-1.8, weight=usual)
    sizes = judged(layer_imbalance, run, Uneven).outliers.initial
    assert (sizes.own, sizes.others, sizes.own_is_odd) == (pytest.approx(1), pytest.approx(20), False)
    text = assert_finds(layer_imbalance, run).actions[0].text
    assert text.startswith("Initialise the other layers like layers.2.weight: they start at 20 times")


def test_a_layer_that_lags_is_not_given_a_reckless_rate(tmp_path):
    run = uneven(tmp_path / "a", update=1.6, optimizer="SGD")
    assert judged(layer_imbalance, run, Uneven).outliers.initial is None
    actions = assert_finds(layer_imbalance, run).actions
    assert not any("nitialise" in action.text for action in actions)
    assert actions[0].text.startswith("Check whether a scale, a multiplier")
    assert "its own learning rate, 0.003 instead of 0.001, and more only if the loss bears it" in actions[-1].text


def _two_heads(path, terms, **stats):
    """Three layers of a policy and three of a value, with a hundredth of the gradient; `terms` reach them."""
    tensors = [
        msgspec.structs.replace(tensor, name=f"{branch}.{tensor.id % 3}.weight", module=f"{branch}.{tensor.id % 3}",
                                terms=terms[branch])
        for tensor in parameters(6)
        for branch in [["policy", "value"][tensor.id // 3]]
    ]  # fmt: skip
    gradient = numpy.where(numpy.arange(6) < 3, 1e-1, 1e-4)
    return build_run(path, loss=falling(), tensors=tensors, stats={"gradient_norm": gradient, **stats})


def test_heads_of_different_terms_are_not_held_against_each_other(tmp_path):
    assert_clean(layer_imbalance, _two_heads(tmp_path / "a", {"policy": [0, 1], "value": [2]}))
    shared = _two_heads(tmp_path / "b", {"policy": [0, 1], "value": [1]})
    assert judged(layer_imbalance, shared, Uneven).outliers.times == pytest.approx(1000)
    assert_finds(layer_imbalance, shared, Severity.WARNING)
    unknown = _two_heads(tmp_path / "c", {"policy": [], "value": []})
    assert_finds(layer_imbalance, unknown, Severity.WARNING)


def test_an_imbalance_within_one_term_is_still_found(tmp_path):
    update = numpy.where(numpy.arange(6) == 4, 1e-5, 1e-3)
    run = _two_heads(tmp_path / "a", {"policy": [0], "value": [1]}, update_norm=update)
    assert assert_finds(layer_imbalance, run, Severity.WARNING).tensors == ["value.1.weight"]


def test_a_last_layer_that_starts_with_a_gain_of_a_hundredth_is_left_out(tmp_path):
    """The layers behind it have a hundredth of its gradient until it has grown: so policies are initialised."""
    default = 32 / numpy.sqrt(3 * 32)
    weight = numpy.where(numpy.arange(6) == 5, 0.01 * default, default)
    gradient = numpy.where(numpy.arange(6) == 5, 1.0, 5e-3)
    stats = {"gradient_norm": gradient, "weight_norm": weight}
    assert_clean(layer_imbalance, build_run(tmp_path / "a", loss=falling(), tensors=parameters(6), stats=stats))
    stats["weight_norm"] = default
    run = build_run(tmp_path / "b", loss=falling(), tensors=parameters(6), stats=stats)
    assert_finds(layer_imbalance, run, Severity.WARNING)
