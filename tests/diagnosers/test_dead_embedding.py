import msgspec
import numpy
import pandas
import pytest

from gradaudit.chart_data import Distribution, Lines
from gradaudit.diagnosers.dead_embedding import (
    DeadRows,
    Learning,
    MeantToStay,
    NoGradient,
    Slow,
    Unchanged,
    UnusedRows,
    dead_embedding,
)
from gradaudit.findings import Confidence, Severity
from gradaudit.reading.run import load
from gradaudit.schema import OptimizerFacts, TensorFacts
from tests.build import build_run, linear_stack, write_table
from tests.diagnosers.runs import embedding_rows, falling, healthy
from tests.diagnosers.sick import dead_table, rare_rows, slow_table, two_tables
from tests.diagnosers.sick_wiring import IN_ORDER, calls
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged

NAN = float("nan")


def unmoved(path, tensors=None, *, gradient=0.1, has_grad=True, ever_hit=50, **changes):
    """A table of 50 rows that never moves; `tensors` may change its facts."""
    still = numpy.ones((200, 9))
    still[:, 0] = 0
    gradients, have = numpy.full((200, 9), 0.1), numpy.full((200, 9), True)
    gradients[:, 0], have[:, 0] = gradient, has_grad
    rows = [
        {**row, "checksum": 7, "moved": 0, "ever_hit": ever_hit}
        for row in embedding_rows(200, tensor=0, rows=50, hit=30)
    ]
    stats = {"update_norm": 1e-3 * still, "drift_norm": still, "gradient_norm": gradients, "has_grad": have}
    tensors = tensors or linear_stack(embedding=50)
    return build_run(path, loss=falling(), tensors=tensors, stats=stats, rows=rows, **changes)


def with_table(**changes):
    first, *rest = linear_stack(embedding=50)
    return [msgspec.structs.replace(first, **changes), *rest]


@pytest.mark.parametrize(
    ("probed", "exact", "confidence"),
    [(50 * 32, True, Confidence.CERTAIN), (1500, False, Confidence.HIGH), (-1, False, Confidence.HIGH)],
)
def test_without_a_checksum_a_table_is_certain_where_every_element_was_looked_at(tmp_path, probed, exact, confidence):
    still = numpy.where(numpy.arange(9) == 0, 0.0, 1e-3)
    run = build_run(
        tmp_path / "run", loss=falling(), tensors=with_table(probed=probed),
        stats={"update_norm": still, "drift_norm": still},
    )  # fmt: skip
    assert assert_finds(dead_embedding, run, Severity.CRITICAL).confidence is confidence
    assert judged(dead_embedding, run, Unchanged).state.is_exact is exact


def test_a_table_that_learns_is_quiet(tmp_path):
    measured = assert_clean(dead_embedding, healthy(tmp_path))
    assert measured == "embedding.weight learns 1.3 times as fast as the other layers; 50 of 50 rows were used"


def test_a_model_without_a_table_is_not_judged(tmp_path):
    assert_not_applicable(dead_embedding, build_run(tmp_path / "run", loss=falling()))


def test_four_steps_are_too_few(tmp_path):
    run = build_run(tmp_path / "run", loss=falling(4), tensors=linear_stack(embedding=50))
    assert_skipped(dead_embedding, run)


def test_few_rows_hit_by_a_step_explain_a_small_update(tmp_path):
    """A step that hits one row in a hundred moves the table's norm by a tenth of the layers'."""
    update = numpy.full((200, 9), 1e-3)
    update[:, 0] = 1e-4 * 0.5
    rows = embedding_rows(200, tensor=0, rows=5000, hit=50, ever_hit=4000)
    run = build_run(
        tmp_path / "run", loss=falling(), tensors=linear_stack(embedding=5000), stats={"update_norm": update}, rows=rows
    )
    found = judged(dead_embedding, run, Learning)
    assert found.ratio.relative == pytest.approx(0.5, rel=1e-3)
    assert found.ratio.hit_share == pytest.approx(0.01)
    assert_clean(dead_embedding, run)


def test_the_slowest_healthy_table_is_quiet(tmp_path):
    assert_clean(dead_embedding, slow_table(tmp_path / "run", relative=0.038))


def test_an_update_that_the_sample_can_hardly_see_is_not_judged_by_its_median(tmp_path):
    """Of a million rows a step hits ten: most steps move none of the sampled elements."""
    update = numpy.full((200, 9), 1e-3)
    update[:, 0] = numpy.where(numpy.arange(200) % 25 == 0, 1e-3, 0.0)
    rows = embedding_rows(200, tensor=0, rows=1_000_000, hit=10, ever_hit=900_000)
    run = build_run(
        tmp_path / "run", loss=falling(), tensors=linear_stack(embedding=1_000_000), stats={"update_norm": update},
        rows=rows,
    )  # fmt: skip
    assert_clean(dead_embedding, run)


def test_a_byte_vocabulary_with_unused_rows_is_quiet(tmp_path):
    rows = embedding_rows(200, tensor=0, rows=256, hit=60, ever_hit=95)
    run = build_run(tmp_path / "run", loss=falling(), tensors=linear_stack(embedding=256), rows=rows)
    assert_clean(dead_embedding, run)


def test_a_table_behind_no_grad_is_critical_and_certain(tmp_path):
    run = dead_table(tmp_path / "run")
    found = judged(dead_embedding, run, Unchanged)
    assert (found.state.reason, found.state.is_exact, found.severity) == ("no gradient", True, Severity.CRITICAL)
    finding = assert_finds(dead_embedding, run, Severity.CRITICAL)
    assert finding.confidence is Confidence.CERTAIN
    assert finding.title == "Embedding never updated"
    assert finding.headline == "None of the 50 rows of embedding.weight changes in 200 steps"
    assert finding.measures[0].value == 0
    assert [evidence.title for evidence in finding.evidence] == ["Distance from the start"], (
        "no row has a story to tell"
    )


def test_a_table_that_is_hit_and_does_not_move_is_critical(tmp_path):
    run = unmoved(tmp_path / "run")
    found = judged(dead_embedding, run, Unchanged)
    assert (found.state.reason, found.history.ever_hit, found.history.tracked) == ("no effect", 50, 50)
    finding = assert_finds(dead_embedding, run, Severity.CRITICAL)
    reach = finding.evidence[1]
    assert isinstance(reach, Lines)
    assert [series.name for series in reach.series] == ["had a gradient", "moved"]
    assert [series.y[-1] for series in reach.series] == [1, 0]


def test_a_learning_rate_of_zero_is_critical_and_said(tmp_path):
    run = unmoved(tmp_path / "run", with_table(group=1), steps={"learning_rate": [[1e-3, 0.0]] * 200})
    finding = assert_finds(dead_embedding, run, Severity.CRITICAL)
    assert judged(dead_embedding, run, Unchanged).state.reason == "rate zero"
    assert finding.actions[0].code == "optimizer.param_groups[1]['lr'] = 1e-3"


def test_a_table_that_is_frozen_from_the_start_is_quiet_even_in_an_optimizer(tmp_path):
    """Positions made of sines, from_pretrained(table, freeze=True), given to the optimizer with model.parameters()."""
    run = unmoved(tmp_path / "run", with_table(requires_grad=False), has_grad=False, gradient=NAN, ever_hit=0)
    assert judged(dead_embedding, run, MeantToStay).state.reason == "frozen"
    assert assert_clean(dead_embedding, run) == (
        "none of the 50 rows of embedding.weight changes: it is frozen, with requires_grad=False at every step"
    )
    # One that was not frozen and never got a gradient either still is.
    run = unmoved(tmp_path / "b", with_table(), has_grad=False, gradient=NAN, ever_hit=0)
    assert_finds(dead_embedding, run, Severity.WARNING)


def test_a_table_outside_the_optimizer_is_a_warning_while_the_rest_trains(tmp_path):
    run = unmoved(tmp_path / "run", with_table(optimizer=-1, group=-1))
    state = judged(dead_embedding, run, Unchanged).state
    assert (state.reason, state.most_are_outside) == ("not owned", False)
    assert_finds(dead_embedding, run, Severity.WARNING)


def test_a_table_of_a_backbone_outside_the_optimizer_is_a_note(tmp_path):
    tensors = [
        msgspec.structs.replace(tensor, optimizer=-1 if tensor.id < 7 else 0) for tensor in linear_stack(embedding=50)
    ]
    run = unmoved(tmp_path / "run", tensors)
    assert judged(dead_embedding, run, Unchanged).state.most_are_outside
    assert_finds(dead_embedding, run, Severity.NOTE)


def without_gradient(path, **changes):
    """Two tables in front of the layers; the first never has a gradient."""
    other = TensorFacts(id=9, name="position.weight", role="embedding", shape=[50, 32], depth=1, optimizer=0, group=0)
    tensors = [*linear_stack(embedding=50), other]
    have = numpy.full((200, 10), True)
    have[:, 0] = False
    update = numpy.full((200, 10), 1e-3)
    update[:, 0] = NAN
    rows = [{**row, "checksum": 7, "moved": 0, "ever_hit": 0} for row in embedding_rows(200, tensor=0, rows=50, hit=0)]
    drift = numpy.where(have, 0.1, 0.0)
    stats = {"has_grad": have, "update_norm": update, "drift_norm": drift}
    return build_run(path, loss=falling(), tensors=tensors, stats=stats, rows=rows, **changes)


def test_a_table_without_a_gradient_whose_lookup_was_not_seen_is_a_warning(tmp_path):
    run = without_gradient(tmp_path / "run")
    state = judged(dead_embedding, run, Unchanged).state
    assert (state.reason, state.use) == ("no gradient", "unknown")
    finding = assert_finds(dead_embedding, run, Severity.WARNING)
    assert finding.explanation.endswith("by detach() or torch.no_grad(), or it is not used.")


def test_a_table_that_no_step_looks_up_is_a_note(tmp_path):
    run = without_gradient(tmp_path / "run", modules=calls({"embedding": -1, "position": 1, **IN_ORDER}))
    state = judged(dead_embedding, run, Unchanged).state
    assert (state.reason, state.use) == ("unused", "not called")
    assert_finds(dead_embedding, run, Severity.NOTE)


def test_a_second_table_that_is_looked_up_and_cut_off_is_a_warning(tmp_path):
    run = without_gradient(tmp_path / "run", modules=calls({**IN_ORDER, "embedding": 9}))
    assert_finds(dead_embedding, run, Severity.WARNING)


def test_a_table_that_is_frozen_and_in_no_optimizer_is_quiet(tmp_path):
    facts = with_table(requires_grad=False, optimizer=-1, group=-1)
    run = unmoved(tmp_path / "run", facts, has_grad=False, gradient=NAN, ever_hit=0)
    assert judged(dead_embedding, run, MeantToStay).state.reason == "fixed"
    assert_clean(dead_embedding, run)


def test_a_table_in_no_optimizer_that_gets_no_gradient_is_a_note(tmp_path):
    run = unmoved(tmp_path / "run", with_table(optimizer=-1, group=-1), has_grad=False, gradient=NAN, ever_hit=0)
    assert judged(dead_embedding, run, Unchanged).state.reason == "idle"
    assert_finds(dead_embedding, run, Severity.NOTE)


def test_a_table_that_moved_and_came_back_did_move(tmp_path):
    """The checksum at the ends is equal and the updates are not zero."""
    rows = [{**row, "checksum": 7, "moved": 0} for row in embedding_rows(200, tensor=0, rows=50, hit=30)]
    run = build_run(tmp_path / "run", loss=falling(), tensors=linear_stack(embedding=50), rows=rows)
    assert_clean(dead_embedding, run)


def test_tables_that_lag_a_little_behind_another_are_quiet(tmp_path):
    assert_clean(dead_embedding, two_tables(tmp_path / "a", relative=0.06))
    assert_clean(dead_embedding, two_tables(tmp_path / "b", relative=0.15, other=10.0))


def test_a_table_far_behind_another_is_a_warning(tmp_path):
    run = two_tables(tmp_path / "a")
    found = judged(dead_embedding, run, Slow)
    assert (found.state.table.name, found.behind_another) == ("embedding.weight", True)
    assert found.state.share_of_fastest == pytest.approx(0.03)
    finding = assert_finds(dead_embedding, run, Severity.WARNING)
    assert "Another table, measured in the same way, learns 33 times as fast." in finding.explanation
    assert finding.measures[0].option == "apart"


def test_a_table_that_started_larger_moves_no_less_under_adam(tmp_path):
    """Tokens at a standard deviation of 1, positions at 0.02, and all elements move alike."""
    assert_clean(dead_embedding, drawn_apart(tmp_path / "a"))
    assert_finds(dead_embedding, drawn_apart(tmp_path / "b", optimizer="SGD"), Severity.WARNING)
    behind = assert_finds(dead_embedding, drawn_apart(tmp_path / "c", token=0.05, update=0.04), Severity.WARNING)
    assert behind.measures[0].quantity == "update per element / fastest table's"
    assert behind.measures[0].value == pytest.approx(0.04)


def test_a_table_that_starts_at_zero_is_no_measure_for_another(tmp_path):
    assert_clean(dead_embedding, drawn_apart(tmp_path / "a", position=1e-9, optimizer="SGD"))


def drawn_apart(path, token=1.0, position=0.02, update=1.0, **changes):
    """Tables of tokens and positions; an element of the first moves by `update` of what all others move by."""
    first, *layers = linear_stack(embedding=50)
    second = msgspec.structs.replace(first, id=9, depth=9, name="position.weight", module="position", shape=[20, 32])
    tensors = [first, *layers, second]
    size = numpy.sqrt([t.elements for t in tensors])
    stats = {
        "weight_norm": numpy.array([token, *[0.05] * 8, position]) * size,
        "update_norm": 1e-3 * numpy.array([update, *[1.0] * 9]) * size,
    }
    rows = [
        row for table, count in ((0, 50), (9, 20)) for row in embedding_rows(200, tensor=table, rows=count, hit=count)
    ]
    return build_run(path, loss=falling(), tensors=tensors, stats=stats, rows=rows, **changes)


def test_a_slow_table_is_a_warning(tmp_path):
    run = slow_table(tmp_path / "run")
    found = judged(dead_embedding, run, Slow)
    assert (found.state.times, found.behind_another, found.is_far_behind) == (pytest.approx(100), False, False)
    finding = assert_finds(dead_embedding, run, Severity.WARNING)
    assert finding.title == "Embedding learns too slowly"
    assert finding.headline == "Rows of embedding.weight change 100 times less per update than the median layer"
    assert finding.measures[0].value == pytest.approx(0.01)
    assert finding.confidence is Confidence.MEDIUM
    slower = assert_finds(dead_embedding, slow_table(tmp_path / "slower", relative=1e-3))
    assert slower.confidence is Confidence.HIGH


def test_a_slow_table_with_an_optimizer_of_its_own_is_compared_with_the_layers_of_the_other(tmp_path):
    """SparseAdam for the table, Adam for the rest."""
    run = slow_table(tmp_path / "run")
    tables, layers = ([t for t in run.meta.tensors if (t.role == "embedding") is table] for table in (True, False))
    layers = [msgspec.structs.replace(tensor, optimizer=1, recorded_with=1) for tensor in layers]
    optimizers = [OptimizerFacts(id=0, optimizer_class="SparseAdam"), OptimizerFacts(id=1, optimizer_class="Adam")]
    meta = msgspec.structs.replace(run.meta, tensors=[*tables, *layers], optimizers=optimizers)
    (run.path / "run.json").write_bytes(msgspec.json.encode(meta))
    steps = pandas.concat([run.steps, run.steps.assign(optimizer=1)])
    steps["global_step"] = 2 * steps["step"] + steps["optimizer"]
    write_table(run.path / "rank00000", "steps", steps)
    statistics = pandas.read_parquet(run.path / "rank00000" / "tensors-000000.parquet")
    statistics["optimizer"] = (statistics["tensor"] > 0).astype(int)
    write_table(run.path / "rank00000", "tensors", statistics)
    finding = assert_finds(dead_embedding, load(run.path), Severity.WARNING)
    assert finding.measures[0].value == pytest.approx(0.01)


def test_a_slow_table_shows_how_far_its_rows_moved(tmp_path):
    movement = assert_finds(dead_embedding, slow_table(tmp_path / "run"), Severity.WARNING).evidence[1]
    assert isinstance(movement, Distribution)
    assert [bar.count for bar in movement.bins] == [0, 0, 0.1]


def test_the_update_ratio_needs_a_hundred_steps(tmp_path):
    assert_clean(dead_embedding, slow_table(tmp_path / "run", steps=90))


def test_rows_that_are_never_hit_in_a_large_table_are_a_note(tmp_path):
    run = rare_rows(tmp_path / "run", ever_hit=400, never_hit_rows=[3, 5, 8])
    history = judged(dead_embedding, run, UnusedRows).history
    assert (history.never_hit_share, history.never_hit_rows) == (0.8, [3, 5, 8])
    finding = assert_finds(dead_embedding, run, Severity.NOTE)
    assert finding.title == "Unused embedding rows"
    assert finding.headline == "No gradient ever reaches 80 % of the rows of embedding.weight"
    assert [measure.value for measure in finding.measures] == [0.8, 2000]
    assert "for example rows 3, 5, 8" in finding.explanation
    chart, reach = finding.evidence
    assert isinstance(reach, Lines)
    assert [series.y[-1] for series in reach.series] == [0.2, 0.195]
    assert isinstance(chart, Distribution)
    assert [(bar.label, bar.flagged) for bar in chart.bins] == [("0", True), ("1", False), ("2-3", False)]


def test_decay_is_told_from_hits(tmp_path):
    still = assert_finds(dead_embedding, rare_rows(tmp_path / "a", ever_hit=400, movement=[0.0, NAN, 0.2]))
    assert "They keep their initial values." in still.explanation
    changes = {"ever_hit": 400, "movement": [0.07, NAN, 0.2]}
    decayed = assert_finds(dead_embedding, rare_rows(tmp_path / "b", steps={"weight_decay": [[0.1]] * 200}, **changes))
    assert "Still they changed by 7 % of their norm (median): a weight decay of 0.1" in decayed.explanation
    other = assert_finds(dead_embedding, rare_rows(tmp_path / "c", **changes))
    assert "max_norm" in other.explanation


def test_a_table_that_only_decays_is_a_warning(tmp_path):
    rows = [
        {**row, "ever_hit": 0, "moved": 50, "checksum": row["step"], "movement": [0.05]}
        for row in embedding_rows(200, tensor=0, rows=50, hit=0)
    ]
    steps = {"weight_decay": [[0.01]] * 200}
    run = build_run(tmp_path / "a", loss=falling(), tensors=linear_stack(embedding=50), rows=rows, steps=steps)
    history = judged(dead_embedding, run, NoGradient).history
    assert (history.moved, history.tracked, history.movement) == (50, 50, pytest.approx([0.05]))
    finding = assert_finds(dead_embedding, run, Severity.WARNING)
    assert finding.title == "Embedding without a gradient"
    assert finding.headline == "None of the 50 rows of embedding.weight ever receives a gradient"
    assert "Still 50 rows changed, by 5 % of their norm (median): a weight decay of 0.01" in finding.explanation


def test_a_tied_table_is_quiet_and_said_to_be_tied(tmp_path):
    table, *rest = linear_stack(embedding=2000)
    tensors = [msgspec.structs.replace(table, aliases=["head.weight"]), *rest]
    rows = embedding_rows(200, tensor=0, rows=2000, hit=2000)
    run = build_run(tmp_path / "a", loss=falling(), tensors=tensors, rows=rows)
    assert assert_clean(dead_embedding, run).endswith("it is tied to head.weight, whose gradient reaches every row")


def test_rows_that_stop_are_a_note(tmp_path):
    run = rare_rows(tmp_path / "run", ever_hit=1900, stopped=300, stopped_rows=[7])
    history = judged(dead_embedding, run, DeadRows).history
    assert (history.stopped_share, history.stopped_rows) == (pytest.approx(300 / 1900), [7])
    finding = assert_finds(dead_embedding, run, Severity.NOTE)
    assert finding.title == "Dead embedding rows"
    assert finding.headline == "Gradients stop reaching 300 rows of embedding.weight, 16 % of those ever hit"
    assert finding.measures[1].value == 300
    assert "for example row 7" in finding.explanation


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_scaling_loss_and_gradients_changes_nothing(tmp_path, scale):
    run = unmoved(tmp_path / "sick", gradient=0.1 * scale)
    assert_finds(dead_embedding, run, Severity.CRITICAL)
    assert_clean(dead_embedding, healthy(tmp_path, loss=scale * falling(), stats={"gradient_norm": 0.1 * scale}))
