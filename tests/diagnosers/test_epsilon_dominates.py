import numpy
import pytest

from gradaudit.chart_data import Dots
from gradaudit.diagnosers.epsilon_dominates import AboveEps, BelowEps, epsilon_dominates
from gradaudit.findings import Severity
from tests.build import build_run
from tests.diagnosers.runs import HEALTHY_WITH, TEN, falling, flat, healthy, parameters
from tests.diagnosers.sick_gradients import below_eps, fading_into_eps
from tests.diagnosers.test_gradient_growth import UNKNOWN
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, judged

ADAM = {"eps": 1e-8, "betas": [0.9, 0.999]}


def test_gradients_far_above_eps_are_quiet(tmp_path):
    # A norm of 0.1 over 1,024 elements is 3.1e-3 per element.
    run = healthy(tmp_path, **HEALTHY_WITH["epsilon_dominates"])
    found = judged(epsilon_dominates, run, AboveEps)
    assert (found.typical, found.layers) == (pytest.approx(0.1 / 32 / 1e-8, rel=1e-3), 4)
    assert found.solved_at is None
    assert "313,000 times its eps" in assert_clean(epsilon_dominates, run)


def test_gradients_ten_times_eps_are_quiet(tmp_path):
    assert_clean(epsilon_dominates, below_eps(tmp_path / "a", 10.0))


def test_two_quiet_layers_of_six_are_quiet(tmp_path):
    assert_clean(epsilon_dominates, fading_into_eps(tmp_path / "a", layers=2))
    assert_finds(epsilon_dominates, fading_into_eps(tmp_path / "b", layers=3))


def test_a_minority_of_the_steps_is_quiet(tmp_path):
    assert_clean(epsilon_dominates, fading_into_eps(tmp_path / "a", from_step=120))
    assert_finds(epsilon_dominates, fading_into_eps(tmp_path / "b", from_step=60))


def test_the_small_gradients_of_a_solved_task_are_quiet(tmp_path):
    run = fading_into_eps(tmp_path / "a", from_step=60, loss=numpy.geomspace(2.3, 1e-3, 200))
    assert judged(epsilon_dominates, run, AboveEps).solved_at < 0.01 * 2.3
    assert "and the loss is down to" in assert_clean(epsilon_dominates, run)


def test_of_an_unknown_loss_gradients_that_fade_late_are_quiet(tmp_path):
    assert_clean(epsilon_dominates, fading_into_eps(tmp_path / "a", from_step=60, facts=UNKNOWN))
    assert_finds(epsilon_dominates, fading_into_eps(tmp_path / "b", from_step=20, facts=UNKNOWN))


def test_what_adam_still_remembers_counts_and_not_the_gradient_of_the_step(tmp_path):
    """A hundred steps after gradients of 1,000 eps the root of their mean is still hundreds of eps."""
    norms = numpy.where(numpy.arange(200) < 60, 1000.0, 0.01)[:, None] * 1e-8 * 32
    run = build_run(tmp_path / "a", loss=falling(), tensors=parameters(6), stats={"gradient_norm": norms},
                    defaults=ADAM, facts=TEN)  # fmt: skip
    assert_clean(epsilon_dominates, run)


def test_what_clipping_makes_so_small_is_not_blamed_on_eps(tmp_path):
    steps = {"clip_kind": 1, "clip_threshold": 1e-10 * 32 * 6**0.5, "gradient_norm": 1.0}
    assert_clean(epsilon_dominates, below_eps(tmp_path / "a", steps=steps))


@pytest.mark.parametrize(("optimizer", "defaults"), [("SGD", {}), ("AdamW", {}), ("Adagrad", {"eps": 1e-10})])
def test_without_such_an_eps_there_is_nothing_to_judge(tmp_path, optimizer, defaults):
    run = build_run(tmp_path / "a", loss=falling(), optimizer=optimizer, defaults=defaults)
    assert optimizer in assert_not_applicable(epsilon_dominates, run)


def test_every_gradient_below_the_eps_of_torch_is_a_warning(tmp_path):
    run = below_eps(tmp_path / "a")
    found = judged(epsilon_dominates, run, BelowEps)
    assert (found.every_gradient, found.is_too_large, found.is_chosen) == (True, True, False)
    assert (found.eps, found.suggested_eps) == (1e-8, 1e-12)
    assert found.largest_gradient * found.eps == pytest.approx(1e-10, rel=1e-3)
    assert found.typical == pytest.approx(0.01, rel=1e-3)
    assert found.update_rms == pytest.approx(2e-3, rel=0.01)
    assert found.updates_are_small
    finding = assert_finds(epsilon_dominates, run, Severity.WARNING)
    assert finding.title == "Gradients below the optimizer's eps"
    assert finding.headline == "Every gradient is below the eps of AdamW: at most 1e-10 per element, and eps is 1e-8"
    assert [measure.value for measure in finding.measures] == pytest.approx([1, 1, 0.01], rel=1e-3)
    assert finding.actions[0].text == "Set eps from 1e-8 to 1e-12"
    dots = finding.evidence[0]
    assert isinstance(dots, Dots)
    assert [dot.flagged for dot in dots.dots] == [True] * 6
    assert dots.dots[0].value == pytest.approx(1e-10, rel=1e-3)


def test_an_eps_that_somebody_chose_is_a_note_while_the_model_learns(tmp_path):
    chosen = below_eps(tmp_path / "a", eps=1e-3)
    assert judged(epsilon_dominates, chosen, BelowEps).is_chosen
    finding = assert_finds(epsilon_dominates, chosen, Severity.NOTE)
    assert "search the learning rate again" in finding.actions[-1].text
    assert "learning_rate_too_low" in finding.caused
    stuck = below_eps(tmp_path / "b", eps=1e-3, loss=flat())
    assert judged(epsilon_dominates, stuck, BelowEps).learned_nothing
    assert_finds(epsilon_dominates, stuck, Severity.WARNING)


def test_the_eps_of_rmsprop_counts_too(tmp_path):
    run = below_eps(tmp_path / "a", optimizer="RMSprop", defaults={"eps": 1e-8, "alpha": 0.99})
    assert "eps of RMSprop" in assert_finds(epsilon_dominates, run, Severity.WARNING).headline


def test_layers_that_sink_below_it_are_a_note_and_named(tmp_path):
    run = fading_into_eps(tmp_path / "a", layers=4)
    found = judged(epsilon_dominates, run, BelowEps)
    assert (len(found.below), len(found.columns), found.every_gradient) == (4, 6, False)
    finding = assert_finds(epsilon_dominates, run, Severity.NOTE)
    assert finding.title == "Gradients below the optimizer's eps"
    assert finding.headline == "The gradients of 4 of 6 weight layers are below the eps of AdamW, 1e-8"
    assert finding.tensors == [f"layers.{layer}.weight" for layer in range(4)]
    # 4 * 0.9**k + 0.25 * (1 - 0.9**k) is below 1 from k = 16 on; step 80 is k = 1.
    assert finding.span.first == 95


def test_a_sparse_record_is_enough(tmp_path):
    run = below_eps(tmp_path / "a", recorded=[*range(10), *range(16, 200, 16)])
    assert_finds(epsilon_dominates, run, Severity.WARNING)


def test_steps_without_a_gradient_leave_the_memory_as_it_is(tmp_path):
    norms = numpy.full((200, 6), 1e-10 * 32)
    norms[1::2] = numpy.nan
    run = below_eps(tmp_path / "a", stats={"gradient_norm": norms, "has_grad": numpy.isfinite(norms)})
    found = judged(epsilon_dominates, run, BelowEps)
    assert found.typical == pytest.approx(0.01, rel=1e-3)
    assert found.layers_below == 1.0
