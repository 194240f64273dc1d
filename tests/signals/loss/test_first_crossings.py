import msgspec
import numpy
import pytest

from gradaudit.diagnosers.loss_spike import loss_spike
from gradaudit.evidence.words.spikes import order_in_words
from gradaudit.signals.loss.first_crossings import first_crossings
from gradaudit.signals.loss.spikes import Spikes
from gradaudit.signals.loss.training_loss import training_loss
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling
from tests.diagnosers.verbs import assert_finds

TENSORS = 8


def noisy(seed, level=1.0):
    return level * (1 + 0.03 * numpy.random.default_rng(seed).standard_normal(400))


def spike(path, *, loss=200, gradient=None, update=None, rates=None, recorded=None, **changes):
    """A loss that jumps at step `loss`, a gradient and updates that triple at theirs, for eight steps each."""
    losses, gradients, updates = falling(400), noisy(1), noisy(2, 1e-3)
    losses[loss : loss + 8] += 2.0
    for values, at in ((gradients, gradient), (updates, update)):
        if at is not None:
            values[at : at + 8] *= 3
    rates = numpy.full(400, 1e-3) if rates is None else rates
    kept = numpy.arange(400) if recorded is None else numpy.asarray(recorded)
    steps = {"learning_rate": rates[:, None].tolist(), "gradient_norm": gradients}
    per_tensor = numpy.broadcast_to(updates[kept, None], (len(kept), TENSORS)) / TENSORS**0.5
    stats = {"update_norm": per_tensor * rates[kept, None] / 1e-3}
    return build_run(path, loss=losses, facts=TEN, steps=steps, stats=stats, recorded=recorded, **changes)


def test_updates_that_grow_first_are_those_of_stale_moments(tmp_path):
    finding = assert_finds(loss_spike, spike(tmp_path / "a", update=197, gradient=202))
    assert (
        "The updates left their usual size first, at step 197, before the loss at step 200 and the gradient at step "
        "202: the moments of AdamW were stale."
    ) in finding.explanation
    assert "beta2 to 0.95" in finding.actions[0].text


def test_a_gradient_that_never_follows_makes_no_difference(tmp_path):
    assert (
        "before the loss at step 200 and the gradient at no step"
        in assert_finds(loss_spike, spike(tmp_path / "a", update=197)).explanation
    )


def test_momentum_is_no_stale_moment_of_adam(tmp_path):
    seen = assert_finds(loss_spike, spike(tmp_path / "a", update=197, gradient=202, optimizer="SGD")).explanation
    assert "momentum had built up" in seen


def test_a_gradient_that_rises_with_the_loss_is_the_batchs(tmp_path):
    finding = assert_finds(loss_spike, spike(tmp_path / "a", gradient=200, update=200))
    assert "Gradient and loss left their usual size together at step 200" in finding.explanation
    assert finding.actions[0].text.startswith("Look at the batches of step 200")


def test_a_gradient_that_rises_first_is_told(tmp_path):
    seen = assert_finds(loss_spike, spike(tmp_path / "a", gradient=198, update=198)).explanation
    assert "The gradient left its usual size first, at step 198, and the loss followed at step 200" in seen


def test_a_loss_that_rises_alone_is_told(tmp_path):
    assert (
        "at step 200, before the gradient and the updates"
        in assert_finds(loss_spike, spike(tmp_path / "a")).explanation
    )
    # The update of a step comes after its loss.
    finding = assert_finds(loss_spike, spike(tmp_path / "b", update=200))
    assert "at step 200, before the gradient and the updates" in finding.explanation


def test_losses_that_scatter_more_than_the_spike_is_high_say_nothing(tmp_path):
    run = spike(tmp_path / "a", update=197, gradient=202)
    losses = falling(400) * numpy.where(numpy.arange(400) % 2, 10.0, 1.0)
    loss = msgspec.structs.replace(training_loss(run.trainings[0]), values=losses)
    order = first_crossings(run.trainings[0], loss, Spikes(first=200, last=207, top=201, steps=numpy.arange(200, 208)))
    assert (order.first, order.update, order.gradient, order.loss) == ("unclear", 197, 202, None)
    assert "No single loss around it is far outside" in order_in_words(run.trainings[0], loss, order)


def test_what_rose_long_before_has_nothing_to_do_with_it(tmp_path):
    assert "updates left" not in assert_finds(loss_spike, spike(tmp_path / "a", update=150, gradient=200)).explanation


def test_a_step_that_the_schedule_makes_longer_is_no_surprise(tmp_path):
    rates = numpy.where(numpy.arange(400) < 198, 1e-3, 2e-3)
    seen = assert_finds(loss_spike, spike(tmp_path / "a", gradient=200, update=200, rates=rates)).explanation
    assert "together at step 200" in seen


@pytest.mark.parametrize("recorded", [range(0, 400, 4), [*range(100), *range(195, 400)]])
def test_what_was_not_recorded_is_not_known(tmp_path, recorded):
    seen = assert_finds(loss_spike, spike(tmp_path / "a", update=197, gradient=202, recorded=recorded)).explanation
    assert "statistics were not recorded at every step around it" in seen
