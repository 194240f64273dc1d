"""Modes, buffers and copies: what a run says of them, and that nothing changes by looking."""

import copy
import gc
import itertools
import sys
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, update_bn

from gradaudit.record.observe import model_state
from gradaudit.record.observe.model_state import looks, usage
from tests.record.training import batch, classifier, recorded, run_of


@pytest.fixture(autouse=True)
def nothing_compiled(monkeypatch):
    """Forget what the tests before these compiled: calls are not watched in a process that compiles."""
    if compiler := sys.modules.get("torch._dynamo.convert_frame"):
        monkeypatch.setattr(compiler, "FRAME_COUNTER", 0)


def facts_of(folder):
    run = run_of(folder)
    assert run.meta.disabled == []
    return run.meta.model_state


class Net(nn.Module):
    """A classifier whose features may be dropped in one way or another."""

    def __init__(self, drop=None):
        super().__init__()
        self.body, self.norm, self.head = nn.Linear(10, 16), nn.BatchNorm1d(16), nn.Linear(16, 3)
        self.inner = nn.Dropout(0.3)
        self.drop = drop or (lambda net, x: net.inner(x))

    def forward(self, x):
        return self.head(self.drop(self, self.norm(self.body(x)).relu()))


def train(model, steps=12, evaluate=True, mode=None, step=None):
    """Train, and evaluate after every fourth step."""
    x, y = batch(32)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen = []
    for index in range(steps):
        model.train()
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
        if step is not None:
            step(model, index)
        if evaluate and index % 4 == 3:
            model.eval()
            if mode is not None:
                mode(model)
            with torch.no_grad():
                seen += [functional.cross_entropy(model(part), target).item() for part, target in ((x, y), (x, y))]
    return seen, torch.rand(1).item()


def recorded_facts(folder, make, **options):
    """The facts of a training that is the same bit for bit without them."""
    torch.manual_seed(0)
    bare = train(make(), **options)
    torch.manual_seed(0)
    model = make()
    with recorded(folder):
        assert train(model, **options) == bare
    return facts_of(folder)


def test_a_model_in_evaluation_mode_has_nothing_active(tmp_path):
    found = recorded_facts(tmp_path / "run", Net)
    assert found.active == []
    assert found.evaluations == 6
    step, evaluation = found.modes
    assert (step.moment, step.training, step.apart, step.dropouts, step.norms) == ("step", True, [], [1, 1], [1, 1])
    assert (evaluation.training, evaluation.dropouts, evaluation.norms) == (False, [0, 1], [0, 1])
    assert evaluation.after_step == 3
    assert found.copies == []


INLINE = {
    "functional": lambda net, x: functional.dropout(x, 0.25),
    "made": lambda net, x: nn.Dropout(0.25)(x),
    "said": lambda net, x: functional.dropout(x, 0.25, training=True),
    "attention": lambda net, x: functional.scaled_dot_product_attention(
        x[:, None], x[:, None], x[:, None], dropout_p=0.25
    )[:, 0],
}


@pytest.mark.parametrize("way", INLINE)
def test_what_is_active_in_evaluations_is_counted_with_its_place(tmp_path, way):
    (found,) = recorded_facts(tmp_path / "run", lambda: Net(INLINE[way])).active
    assert (found.calls, found.losses, found.repeats, found.probability) == (6, 6, 1.0, 0.25)
    assert found.kind == ("unregistered" if way == "made" else "functional")
    assert found.said is (way == "said")
    assert found.caller.endswith("<lambda>")
    assert found.line > 0
    assert found.function == ("scaled_dot_product_attention" if way == "attention" else "dropout")


def test_a_child_left_in_training_mode_is_named(tmp_path):
    def mode(model):
        model.inner.train()
        model.norm.train()

    found = recorded_facts(tmp_path / "run", Net, mode=mode)
    assert {(one.function, one.kind, one.module, one.calls) for one in found.active} == {
        ("dropout", "child", "inner", 6), ("batch_norm", "child", "norm", 6),
    }  # fmt: skip
    assert set(found.modes[1].apart) == {"inner", "norm"}
    assert found.modes[1].dropouts == [1, 1]


def test_a_model_evaluated_in_training_mode_is_another_matter(tmp_path):
    found = recorded_facts(tmp_path / "run", Net, mode=lambda model: model.train())
    assert found.active == []
    assert found.evaluations == 0


def test_statistics_of_the_batch_are_meant_where_there_are_no_others(tmp_path):
    def make():
        model = Net()
        model.norm = nn.BatchNorm1d(16, track_running_stats=False)
        return model

    found = recorded_facts(tmp_path / "run", make)
    assert found.active == []
    assert found.norms == []


@pytest.mark.parametrize("momentum", [0.0, 0.1, None])
def test_running_statistics_are_followed(tmp_path, momentum):
    def make():
        model = Net()
        model.norm = nn.BatchNorm1d(16, momentum=momentum)
        return model

    (found,) = recorded_facts(tmp_path / "run", make).norms
    assert (found.name, found.momentum, found.training) == ("norm", momentum, True)
    assert found.first[:2] == [0, 1]
    assert found.last[:2] == [12, 12]
    assert found.moved is (momentum != 0)
    assert (found.last[2] == 0) is (momentum == 0)


def follow(folder, update, make_copy=copy.deepcopy, steps=40, other=None):
    """A copy of the trained model that a target is taken from at each step."""
    x, _ = batch(32)

    def run():
        torch.manual_seed(0)
        model = classifier()
        target = make_copy(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for index in range(steps):
            with torch.no_grad():
                aim = target(x + 1 if other is None else other(x)).softmax(1)
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), aim)
            loss.backward()
            optimizer.step()
            update(target, model, index)
        return [parameter.sum().item() for parameter in model.parameters()]

    bare = run()
    with recorded(folder):
        assert run() == bare
    return facts_of(folder).copies


def average(target, model, index):
    with torch.no_grad():
        for mine, its in zip(target.parameters(), model.parameters(), strict=True):
            mine.lerp_(its, 0.1)


def test_an_average_moves_with_what_it_averages(tmp_path):
    (found,) = follow(tmp_path / "run", average)
    assert (found.name, found.of, found.tensors) == ("target", "model", 4)
    assert found.equal_at_first
    assert found.equal == 1
    assert found.changed == found.looks - 1
    assert found.distances[-1][1] > 0


class Ema:
    """An average by hand, of weights alone or of statistics, too."""

    def __init__(self, model, whole):
        self.module, self.whole = copy.deepcopy(model), whole

    def update_parameters(self, model):
        average(self.module, model, 0)
        if self.whole:
            for mine, its in zip(self.module.buffers(), model.buffers(), strict=True):
                mine.data.copy_(its)


@pytest.mark.parametrize(
    ("make", "fill", "told"),
    [
        (AveragedModel, False, (True, False, True)),
        (AveragedModel, True, (True, True, True)),
        (lambda model: AveragedModel(model, use_buffers=True), False, (False, False, True)),
        (lambda model: Ema(model, whole=False), False, (False, False, False)),
        (lambda model: Ema(model, whole=True), False, (False, False, True)),
    ],
)
def test_an_average_evaluates_with_statistics_of_its_own_or_not(tmp_path, make, fill, told):
    x, y = batch(32)

    def run():
        torch.manual_seed(0)
        model = Net()
        averaged = make(model)
        optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.1), []
        for _ in range(40):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            averaged.update_parameters(model)
            if fill:
                update_bn([x], averaged)
            averaged.module.eval()
            with torch.no_grad():
                losses.append(functional.cross_entropy(averaged.module(x), y).item())
        return losses

    bare = run()
    with recorded(tmp_path / "run"):
        assert run() == bare
    (found,) = facts_of(tmp_path / "run").copies
    assert (found.plain_average, found.statistics_filled, found.statistics_moved) == told
    assert fill or found.evaluated >= 38


def test_a_copy_that_is_never_updated(tmp_path):
    (found,) = follow(tmp_path / "run", lambda *_: None)
    assert found.equal_at_first
    assert (found.changed, found.writes, found.has_grad) == (0, 0, False)
    assert found.trained_moved
    assert found.bound <= 1
    assert (found.watched, found.called, found.without_grad, found.same_input) == (15, 15, 15, 0)
    assert (found.first, found.last) == (0, 32)  # the model is gone before the end


def test_a_reference_is_given_what_the_trained_model_is_given(tmp_path):
    (found,) = follow(tmp_path / "run", lambda *_: None, other=lambda x: x)
    assert found.same_input == found.called == 15


def test_a_copy_that_is_written_to_and_stays(tmp_path):
    (found,) = follow(
        tmp_path / "run", lambda target, model, index: target.load_state_dict(target.state_dict()),
        make_copy=lambda model: classifier().apply(lambda part: getattr(part, "reset_parameters", int)()),
    )  # fmt: skip
    assert not found.equal_at_first
    assert (found.changed, found.writes) == (0, 32)


def test_a_module_that_its_own_optimizer_takes_later_is_no_copy(tmp_path):
    x, y = batch(32)
    with recorded(tmp_path / "run"):
        first, second = classifier(), classifier()
        optimizers = [torch.optim.SGD(model.parameters(), lr=0.1) for model in (first, second)]
        for index in range(20):
            for model, optimizer in zip((first, second), optimizers, strict=True):
                if model is first or index > 3:
                    optimizer.zero_grad()
                    functional.cross_entropy(model(x), y).backward()
                    optimizer.step()
    assert facts_of(tmp_path / "run").copies == []


def test_targets_are_paired_with_their_own_original_before_it_steps(tmp_path):
    x, _ = batch(32)
    with recorded(tmp_path / "run"):
        actor, critic = (nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, out)) for out in (3, 1))
        actor_target, critic_target = copy.deepcopy(actor), copy.deepcopy(critic)
        optimizers = [torch.optim.SGD(model.parameters(), lr=0.1) for model in (critic, actor)]
        for _ in range(6):
            for model, optimizer in zip((critic, actor), optimizers, strict=True):
                optimizer.zero_grad()
                model(x).square().mean().backward()
                optimizer.step()
    found = facts_of(tmp_path / "run").copies
    assert sorted((one.name, one.of) for one in found) == [("actor_target", "actor"), ("critic_target", "critic")]
    del actor_target, critic_target


def test_a_copy_found_later_takes_the_place_of_its_parts(tmp_path):
    x, _ = batch(32)
    with recorded(tmp_path / "run"):
        first = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 1))
        target = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 3))
        later, optimizers = copy.deepcopy(target), [torch.optim.SGD(first.parameters(), lr=0.1)]
        for index in range(80):
            optimizers += [torch.optim.SGD(later.parameters(), lr=0.1)] if index == 10 else []
            for model, optimizer in zip((first, later), optimizers, strict=False):
                optimizer.zero_grad()
                model(x).square().mean().backward()
                optimizer.step()
    assert [(one.name, one.of) for one in facts_of(tmp_path / "run").copies] == [("target", "later")]


def test_frozen_blocks_of_a_stack_are_no_copies_of_the_others(tmp_path):
    x, y = batch(32)
    with recorded(tmp_path / "run"):
        blocks = [nn.Sequential(nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 10)) for _ in range(4)]
        model = nn.Sequential(*blocks, nn.Linear(10, 3))
        optimizer = torch.optim.SGD([*model[2:].parameters()], lr=0.1)
        for _ in range(10):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    assert facts_of(tmp_path / "run").copies == []


def test_looks_are_seldom_and_reach_the_end():
    steps, step = [], 0
    while step < 100_000:
        steps.append(step)
        step = looks.after(step)
    assert len(steps) < 100
    assert all(later <= 1.26 * earlier for earlier, later in itertools.pairwise(steps) if earlier > 64)
    assert all(later <= 1.11 * earlier for earlier, later in itertools.pairwise(steps) if earlier >= looks.LONG)


def test_copies_are_watched_for_some_steps_and_then_no_more(tmp_path):
    before = len(nn.modules.module._global_forward_pre_hooks)
    follow(tmp_path / "run", average)
    assert len(nn.modules.module._global_forward_pre_hooks) == before
    assert usage.STEPS < 40


@pytest.mark.parametrize("place", ["flags", "on_active", "on_evaluation", "on_backward", "on_step", "facts", "end"])
def test_a_fault_costs_this_observer_alone(tmp_path, monkeypatch, place):
    def fault(*_, **__):
        raise RuntimeError("fault of ours")

    bare = train_seeded()
    monkeypatch.setattr(model_state if place == "flags" else model_state.ModelState, place, fault)
    with recorded(tmp_path / "run"):
        assert train_seeded() == bare
    run = run_of(tmp_path / "run")
    assert [one.observer for one in run.meta.disabled] == [model_state.MODEL_STATE]
    assert len(run.steps) == 12


def train_seeded():
    torch.manual_seed(0)
    return train(Net(INLINE["functional"]), step=predict)


def predict(model, _):
    """An evaluation without a loss."""
    model.eval()
    with torch.no_grad():
        model(batch(32)[0])
    model.train()


def test_a_compiled_model_has_no_graph_break_more(tmp_path):
    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.drop = nn.Linear(10, 3), nn.Dropout(0.2)

        def forward(self, x):
            return functional.dropout(self.drop(self.body(x)), 0.1, self.training)

    with recorded(tmp_path / "run"):
        model = Whole()
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        x, y = batch(32)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            functional.cross_entropy(compiled(x), y).backward()
            optimizer.step()
        compiled.eval()
        with torch.no_grad():
            functional.cross_entropy(compiled(x), y)


def test_scripted_functions_stay_scriptable(tmp_path):
    def forward(x: torch.Tensor) -> torch.Tensor:
        x = functional.scaled_dot_product_attention(x, x, x, dropout_p=0.1)
        return functional.alpha_dropout(functional.dropout(x, 0.1, False), 0.1, False)

    with recorded(tmp_path / "run"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(forward)(torch.ones(2, 3, 4))
        torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.1)))(torch.ones(2, 4))


def test_statistics_gathered_anew_for_an_average_are_no_evaluation(tmp_path):
    x, _ = batch(32)

    def make():
        torch.manual_seed(0)
        model = Net()
        average = torch.optim.swa_utils.AveragedModel(model)
        train(model, step=lambda model, index: average.update_parameters(model))
        model.eval()
        torch.optim.swa_utils.update_bn([x], average)

    with recorded(tmp_path / "run"):
        make()
    assert facts_of(tmp_path / "run").active == []


def test_an_average_that_the_model_holds_gathers_its_statistics_anew(tmp_path):
    """In evaluation mode, and with statistics of its own that no loss follows."""
    x, _ = batch(32)
    model = Net()
    model.average = torch.optim.swa_utils.AveragedModel(Net())
    with recorded(tmp_path / "run"):
        train(model, step=lambda model, index: model.average(x))
        model.eval()
        torch.optim.swa_utils.update_bn([x], model.average)
    assert facts_of(tmp_path / "run").active == []


def test_the_attention_that_scripted_code_knows_by_its_address_is_kept(tmp_path):
    seen = []
    for name in "ab":
        with recorded(tmp_path / name):
            seen.append(id(functional.scaled_dot_product_attention))
        gc.collect()
    assert seen[0] == seen[1] != id(functional.scaled_dot_product_attention)
