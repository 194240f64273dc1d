"""Schedulers, scaling, optimizers made anew, replaced parameters and memory, as they are recorded."""

import contextlib
import copy
import functools
import gc

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler

from gradaudit.record.observe import schedules
from gradaudit.record.observe.schedules import memory, schedulers
from gradaudit.record.observe.schedules.schedulers import Metrics
from tests.record.training import batch, classifier, recorded, run_of


def train(model, optimizer, steps, after=lambda step: None, clip=None):
    x, y = batch()
    for step in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        if clip:
            clip()
        optimizer.step()
        after(step)


def adam(model, rate=1e-3):
    return torch.optim.Adam(model.parameters(), rate)


def facts(folder):
    return run_of(folder).meta.schedules


def test_a_scheduler_that_is_stepped_once_a_step(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = adam(model)
        scheduler = lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=20)
        train(model, optimizer, 20, lambda step: scheduler.step() if step < 19 else None)
    (found,) = facts(tmp_path / "run").schedulers
    assert (found.scheduler_class, found.optimizer, found.calls, found.steps) == ("OneCycleLR", 0, 19, 20)
    assert found.numbers["total_steps"] == 20
    assert (found.first_call, found.steps_before, found.after_one, found.repeated, found.after_more) == (1, 1, 18, 0, 0)


def test_a_scheduler_that_is_stepped_once_an_epoch_or_twice_a_step(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = adam(model)
        epochs = lr_scheduler.StepLR(optimizer, step_size=30)
        twice = lr_scheduler.ExponentialLR(optimizer, gamma=0.99)

        def after(step):
            twice.step()
            twice.step()
            if step % 5 == 4:
                epochs.step()

        train(model, optimizer, 20, after)
    found = {one.scheduler_class: one for one in facts(tmp_path / "run").schedulers}
    assert (found["StepLR"].calls, found["StepLR"].after_more, found["StepLR"].longest) == (4, 3, 5)
    assert (found["ExponentialLR"].calls, found["ExponentialLR"].repeated, found["ExponentialLR"].after_one) == (
        40,
        20,
        19,
    )


@pytest.mark.parametrize("kind", ["sequential", "chained"])
def test_parts_of_a_scheduler_are_not_called_by_the_script(tmp_path, kind):
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = adam(model)
        parts = [
            lr_scheduler.LinearLR(optimizer, 0.1, total_iters=4),
            lr_scheduler.CosineAnnealingLR(optimizer, T_max=6),
        ]
        scheduler = (
            lr_scheduler.SequentialLR(optimizer, parts, milestones=[4])
            if kind == "sequential"
            else lr_scheduler.ChainedScheduler(parts)
        )
        train(model, optimizer, 10, lambda _: scheduler.step())
    linear, cosine, whole = facts(tmp_path / "run").schedulers
    assert (linear.nested, linear.calls, cosine.nested, cosine.calls) == (True, 0, True, 0)
    assert (whole.nested, whole.calls, whole.parts, whole.optimizer) == (False, 10, [0, 1], 0)
    assert whole.lists.get("milestones") == ([4] if kind == "sequential" else None)


def test_a_class_of_the_script_is_counted_once_a_call(tmp_path):
    class Mine(lr_scheduler.StepLR):
        def step(self, epoch=None):
            super().step()

    original = Mine.step
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = adam(model)
        mine, plateau = Mine(optimizer, 5), lr_scheduler.ReduceLROnPlateau(optimizer, patience=3)
        train(model, optimizer, 6, lambda _: (mine.step(), plateau.step(1.0)))
    assert Mine.step is original
    one, two = facts(tmp_path / "run").schedulers
    assert (one.scheduler_class, one.calls) == ("Mine", 6)
    assert (two.scheduler_class, two.calls, two.numbers["patience"]) == ("ReduceLROnPlateau", 6, 3)


def test_the_numbers_of_a_function_are_known(tmp_path):
    warmup = 7

    def schedule(step, *, num_training_steps):
        return min(1, step / warmup) * (1 - step / num_training_steps)

    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = adam(model)
        scheduler = lr_scheduler.LambdaLR(optimizer, functools.partial(schedule, num_training_steps=90))
        train(model, optimizer, 3, lambda _: scheduler.step())
    (found,) = facts(tmp_path / "run").schedulers
    assert (found.numbers["num_training_steps"], found.numbers["warmup"]) == (90, 7)


def test_what_holds_no_number_json_knows_is_left_out():
    scheduler = lr_scheduler.StepLR(torch.optim.SGD(classifier().parameters(), 0.1), 3)
    scheduler.huge, scheduler.none, scheduler.odd = 1 << 80, float("nan"), [float("inf")]
    numbers, lists = schedulers.numbers_of(scheduler)
    assert numbers["huge"] is None
    assert numbers["none"] is None
    assert "odd" not in lists


@pytest.mark.filterwarnings("ignore:Detected call of")
def test_a_scheduler_of_an_optimizer_that_never_steps(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        old, new = adam(model), torch.optim.SGD(model.parameters(), 0.1)
        scheduler = lr_scheduler.StepLR(old, 5)
        train(model, new, 8, lambda _: scheduler.step())
    (found,) = facts(tmp_path / "run").schedulers
    assert (found.optimizer, found.steps, found.idle, found.shares_groups) == (-1, 0, 7, False)


def test_an_optimizer_made_anew_loses_its_state(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        for _ in range(4):
            train(model, adam(model), 5)
    (found,) = facts(tmp_path / "run").lives
    assert (found.made, found.lost, found.loaded, found.rewritten, found.alternating) == (4, 3, 0, 0, False)
    assert (found.stateful, found.at, found.lives) == (True, [5, 10, 15], [5, 5, 5])


def test_an_optimizer_without_state_has_none_to_lose(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        for _ in range(3):
            train(model, torch.optim.SGD(model.parameters(), 0.1), 4)
    (found,) = facts(tmp_path / "run").lives
    assert (found.made, found.stateful, found.loaded) == (3, False, 0)


def test_state_that_is_loaded_and_weights_that_are_reset_are_told(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        first = adam(model)
        start = copy.deepcopy(model.state_dict())
        train(model, first, 3)
        second = adam(model)
        second.load_state_dict(first.state_dict())
        train(model, second, 3)
        model.load_state_dict(start)
        train(model, adam(model), 3)
    (found,) = facts(tmp_path / "run").lives
    assert (found.made, found.lost, found.loaded, found.rewritten) == (3, 0, 1, 1)


def test_optimizers_that_take_turns_are_told(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        pair = [adam(model), adam(model, 1e-4)]
        for turn in range(4):
            train(model, pair[turn % 2], 2)
    assert facts(tmp_path / "run").lives[0].alternating


def test_a_head_that_was_replaced_after_the_optimizer_was_made(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = adam(model)
        model[3] = nn.Linear(16, 5)
        train(model, optimizer, 12)
    (found,) = facts(tmp_path / "run").replaced
    rows = zip(found.names, found.shapes, found.old_shapes, strict=True)
    assert sorted(rows) == [("3.bias", [5], [3]), ("3.weight", [5, 16], [3, 16])]
    assert (found.first_step, found.last_step, found.tensors, found.missing, found.without_gradient) == (
        0,
        11,
        4,
        2,
        False,
    )


def test_a_model_that_was_made_again_after_the_optimizer_was_made(tmp_path):
    with recorded(tmp_path / "run"):
        optimizer = adam(classifier())
        gc.collect()
        train(classifier(), optimizer, 2)
        other = copy.deepcopy(classifier())
        train(other, adam(copy.deepcopy(other)), 2)
    first, second = facts(tmp_path / "run").replaced
    assert (first.missing, first.matches, first.without_gradient) == (4, 4, True)
    assert (second.matches, second.without_gradient) == (4, True)


def test_a_second_training_is_looked_at_from_its_first_step(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        train(model, adam(model), 6)
        optimizer = adam(model)
        model[3] = nn.Linear(16, 3)
        train(model, optimizer, 6)
    (found,) = facts(tmp_path / "run").replaced
    assert (found.names, found.missing, found.first_step) == (["3.weight", "3.bias"], 2, 6)


def test_an_optimizer_that_is_made_at_each_step_is_looked_at_seldom(tmp_path, monkeypatch):
    looks = []
    monkeypatch.setattr(schedules.Replaced, "look", lambda _self, *given: looks.append(given[2]))
    with recorded(tmp_path / "run"):
        model = classifier()
        for _ in range(60):
            train(model, adam(model), 1)
    assert looks[:16] == [*range(16)]
    assert len(looks) < 20


def test_nothing_replaced_in_ordinary_trainings(tmp_path):
    gc.collect()  # models of other tests, with gradients
    with recorded(tmp_path / "run"):
        model = copy.deepcopy(classifier())
        teacher = copy.deepcopy(model)
        unused = nn.Linear(16, 3)
        loose = nn.Parameter(torch.ones(3))
        optimizer = torch.optim.Adam([*model.parameters(), *unused.parameters(), loose])
        train(model, optimizer, 12)
        del teacher
        for part in model[0].parameters():
            part.requires_grad_(False)
        train(model, adam(model[3]), 2)
    assert facts(tmp_path / "run").replaced == []


def scaled(folder, order, steps=4):
    """A training with a GradScaler that calls these in turn, after the backward."""
    with recorded(folder):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        x, y = batch()
        for _ in range(steps):
            optimizer.zero_grad()
            scaler.scale(functional.cross_entropy(model(x), y)).backward()
            for call in order:
                if call == "clip":
                    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                elif call == "unscale":
                    scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
    return facts(folder).scaling[0]


@pytest.mark.parametrize(
    ("order", "before", "after", "late"),
    [
        (["unscale", "clip"], 0, 4, 0),
        (["clip"], 4, 0, 0),
        (["clip", "unscale"], 4, 0, 4),
        (["unscale"], 0, 0, 0),
        ([], 0, 0, 0),
    ],
)
def test_clipping_against_unscaling(tmp_path, order, before, after, late):
    found = scaled(tmp_path / "run", order)
    assert (found.clipped_before, found.clipped_after, found.late_unscale) == (before, after, late)
    assert (found.steps, found.updates, found.unscaled, found.known) == (4, 4, 4 * ("unscale" in order), True)
    assert found.first_step == (0 if before else -1)


def test_two_optimizers_under_one_scaler_are_told_apart(tmp_path):
    with recorded(tmp_path / "run"):
        one, two = classifier(), classifier()
        optimizers = [adam(one), adam(two)]
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        x, y = batch()
        for _ in range(3):
            scaler.scale(functional.cross_entropy(one(x) + two(x), y)).backward()
            scaler.unscale_(optimizers[0])
            nn.utils.clip_grad_norm_(one.parameters(), 1.0)
            nn.utils.clip_grad_norm_(two.parameters(), 1.0)
            for optimizer in optimizers:
                scaler.step(optimizer)
            scaler.update()
    (found,) = facts(tmp_path / "run").scaling
    assert (found.clipped_before, found.clipped_after) == (3, 3)


def test_a_disabled_scaler_and_a_subclass_that_unscales_on_its_own(tmp_path):
    class Sharded(torch.amp.GradScaler):
        def unscale_(self, optimizer):
            super().unscale_(optimizer)

    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = adam(model)
        x, y = batch()
        for scaler in (torch.amp.GradScaler("cpu", enabled=False), Sharded("cpu", init_scale=8.0)):
            for _ in range(2):
                optimizer.zero_grad()
                scaler.scale(functional.cross_entropy(model(x), y)).backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                scaler.step(optimizer)
                scaler.update()
    (found,) = facts(tmp_path / "run").scaling
    assert found.known is False


def test_graphs_that_the_script_keeps_are_counted(tmp_path):
    with recorded(tmp_path / "kept"):
        model, total = classifier(), 0.0
        optimizer = adam(model)
        x, y = batch()
        for _ in range(40):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            total = total + loss
    with recorded(tmp_path / "let go"):
        train(model, adam(model), 40)
    kept, free = facts(tmp_path / "kept"), facts(tmp_path / "let go")
    assert kept.graphs.marked > 10
    assert kept.graphs.alive == kept.graphs.marked
    assert kept.graphs.steps >= 30
    assert (free.graphs.marked, free.graphs.alive) == (kept.graphs.marked, 0)
    assert [sample.step for sample in free.memory][:8] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert all(sample.host > 1e7 and sample.device == -1 for sample in free.memory)


def test_memory_samples_are_bounded(monkeypatch):
    monkeypatch.setattr(memory, "_SECONDS", 0.0)
    seen = memory.Memory()
    for step in range(1, 64 * 3000, 64):
        seen.before_step(step)
    assert len(seen.samples) <= 256


def test_graphs_that_are_marked_are_bounded(monkeypatch):
    monkeypatch.setattr(memory, "_MOST", 8)
    seen, losses = memory.Memory(), []
    for step in range(1, 100):
        seen.before_step(step)
        losses.append(torch.ones(1, requires_grad=True).sum())
        seen.on_evaluation(losses[-1])
    assert 2 < seen.evaluations.kept.marked < 8
    assert seen.evaluations.kept.alive == seen.evaluations.kept.marked


def evaluating(keep, no_grad=False, train_mode=False):
    """Ten rounds of five steps and an evaluation of three batches."""
    model, history = classifier(), []
    optimizer = adam(model)
    x, y = batch()
    for _ in range(10):
        model.train()
        train(model, optimizer, 5)
        model.train(train_mode)
        for _ in range(3):
            with torch.set_grad_enabled(not no_grad):
                loss = functional.cross_entropy(model(x), y)
            keep(history, loss)
    return history


def test_graphs_of_evaluation_losses_that_the_script_keeps_are_counted(tmp_path):
    with recorded(tmp_path / "kept"):
        history = evaluating(list.append)
    kept = facts(tmp_path / "kept")
    assert kept.evaluation_graphs.marked >= 7
    assert kept.evaluation_graphs.alive == kept.evaluation_graphs.marked
    assert kept.evaluation_graphs.steps >= 35
    assert kept.graphs.alive == 0
    assert all(loss.requires_grad for loss in history)


@pytest.mark.parametrize(
    "changes",
    [
        {"keep": lambda history, loss: history.append(loss.item())},
        {"keep": lambda history, loss: history.append(loss.detach())},
        {"keep": list.append, "no_grad": True},
        {"keep": lambda history, loss: history.__setitem__(slice(None), [loss])},
    ],
)
def test_graphs_of_evaluation_losses_that_are_let_go_are_not(tmp_path, changes):
    with recorded(tmp_path / "run"):
        evaluating(**changes)
    assert facts(tmp_path / "run").evaluation_graphs.alive == 0


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (schedulers.Schedulers, "on_metric"),
        (schedulers.Schedulers, "on_step"), (schedulers.Schedulers, "made"), (schedulers.Schedulers, "making"),
        (schedules.Schedules, "before_step"), (schedules.Schedules, "after_step"),
        (schedules.Schedules, "on_clip"), (schedules.Scaling, "on_scale"), (schedules.Scaling, "on_update"),
        (schedules.Scaling, "on_unscale"), (schedules.Scaling, "before_step"), (schedules.Scaling, "after_step"),
        (schedules.Memory, "on_backward"), (schedules.Memory, "on_evaluation"),
    ],
)  # fmt: skip
def test_a_fault_costs_these_facts_alone(tmp_path, monkeypatch, capsys, place, name):
    def fault(*_, **__):
        raise RuntimeError("fault of ours")

    monkeypatch.setattr(place, name, fault)
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = adam(model)
        scheduler = lr_scheduler.StepLR(optimizer, 3)
        scaler = torch.amp.GradScaler("cpu")
        x, y = batch()
        for _ in range(3):
            optimizer.zero_grad()
            scaler.scale(functional.cross_entropy(model(x), y)).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            scheduler.step()
            model.eval()
            functional.cross_entropy(model(x), y)
            model.train()
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "gradaudit: schedules are no longer recorded (RuntimeError: fault of ours); all else is"
    run = run_of(tmp_path / "run")
    assert [one.observer for one in run.meta.disabled] == ["schedules"]
    assert len(run.steps) == 3
    assert not run.meta.schedules.recorded


def trained():
    """What a training with everything that is watched comes to."""
    torch.manual_seed(3)
    model = classifier()
    optimizer = adam(model)
    scheduler = lr_scheduler.SequentialLR(
        optimizer,
        [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=4), lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 5)],
        milestones=[4],
    )
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=5)
    x, y = batch()
    rates = []
    for _ in range(30):
        optimizer.zero_grad()
        scaler.scale(functional.cross_entropy(model(x), y)).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        scaler.step(optimizer)
        scaler.update()
        scheduler.step()
        rates.append(scheduler.get_last_lr()[0])
    return [p.detach().clone() for p in model.parameters()], rates, torch.rand(3)


def test_a_training_is_the_same_to_the_bit(tmp_path):
    weights, rates, drawn = trained()
    with recorded(tmp_path / "run"):
        again, rates_again, drawn_again = trained()
    assert rates == rates_again
    assert all(torch.equal(a, b) for a, b in zip(weights, again, strict=True))
    assert torch.equal(drawn, drawn_again)


class Listed(nn.Module):
    """Layers in a plain container; `kept` makes it."""

    def __init__(self, kept):
        super().__init__()
        self.first = nn.Linear(10, 16)
        self.layers = kept([nn.Linear(16, 16), nn.Linear(16, 3)])

    def forward(self, x):
        layers = list(self.layers.values()) if isinstance(self.layers, (dict, nn.ModuleDict)) else list(self.layers)
        return layers[1](layers[0](self.first(x)).relu())


def test_layers_in_a_plain_list_are_told(tmp_path):
    with recorded(tmp_path / "run"):
        model = nn.Sequential(Listed(list))
        train(model, adam(model), 8)
    (found,) = facts(tmp_path / "run").unregistered
    assert (found.name, found.holder, found.container) == ("0.layers", "Listed", "list")
    assert (found.modules, found.tensors, found.elements, found.looks) == (2, 4, 16 * 17 + 17 * 3, 2)


def test_layers_that_somebody_trains_are_not_told(tmp_path):
    def by_hand(model):
        with torch.no_grad():
            for layer in model.layers:
                layer.weight -= 0.01 * layer.weight.grad
                layer.bias -= 0.01 * layer.bias.grad

    with recorded(tmp_path / "run"):
        registered = Listed(nn.ModuleList)
        train(registered, adam(registered), 8)
        given = Listed(tuple)
        train(given, torch.optim.Adam([*given.parameters(), *(p for one in given.layers for p in one.parameters())]), 8)
        updated = Listed(list)
        train(updated, adam(updated), 8, after=lambda step: by_hand(updated))
        frozen = Listed(lambda layers: {str(place): one.requires_grad_(False) for place, one in enumerate(layers)})
        train(frozen, adam(frozen), 8)
        # Its weights are in a list of its own, too.
        recurrent = nn.LSTM(10, 3)
        head = nn.Linear(3, 3)
        train(lambda x: head(recurrent(x)[0]), adam(head), 8)
    assert facts(tmp_path / "run").unregistered == []


def test_a_model_that_is_cut_down_in_the_middle_is_told(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = adam(model)
        train(model, optimizer, 20)
        model[0], model[3] = nn.Linear(10, 5), nn.Linear(5, 3)
        train(model, optimizer, 30)
    (found,) = facts(tmp_path / "run").replaced
    assert (found.matches, found.missing, found.without_gradient, found.first_step) == (4, 4, True, 23)


def test_metrics_of_a_plateau_scheduler_are_kept_with_its_mode(tmp_path):
    given = [0.5, torch.tensor(0.25), numpy.float32(0.125), 2, float("nan"), "none of it", torch.ones(2, device="meta")]
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, mode="max")
        for number, metric in enumerate(given):
            train(model, optimizer, 2)
            with contextlib.suppress(Exception):
                scheduler.step(metrics=metric) if number % 2 else scheduler.step(metric)
        other = lr_scheduler.ExponentialLR(optimizer, 0.9)
        train(model, optimizer, 1)
        other.step()
    one, another = facts(tmp_path / "run").schedulers
    assert one.mode == "max"
    assert one.metrics == [[2, 0.5], [4, 0.25], [6, 0.125], [8, 2.0], [10, None], [12, None], [14, None]]
    assert (another.mode, another.metrics) == ("", [])


def test_metrics_are_bounded_and_evenly_thinned():
    kept = Metrics()
    for step in range(1000):
        kept.add(step, step / 2)
    steps = [step for step, _ in kept.kept]
    assert len(steps) < 128
    assert set(numpy.diff(steps)) == {8}
