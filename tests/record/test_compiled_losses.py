"""Losses and evaluations inside compiled graphs: recorded as without the compiler, from the same graphs."""

import shutil

import pytest
import torch
import torch._dynamo.testing
from torch import nn
from torch.nn import functional

from gradaudit.record import hooks
from gradaudit.record.frameworks import compiler
from tests.record.training import batch, classifier, recorded, run_of
from tests.thin import thin

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
WORDS, LENGTH = 11, 6
SEEDS = {"train": (7, 8), "val": (9,)}


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Language(nn.Module):
    """As small language models are written: the loss is computed in forward, and returned with the logits."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(WORDS, 8)
        self.head = nn.Linear(8, WORDS)

    def forward(self, words, targets=None):
        logits = self.head(self.words(words))
        if targets is None:
            return logits, None
        return logits, functional.cross_entropy(logits.view(-1, WORDS), targets.view(-1), ignore_index=-1)


def texts(seed, size=4):
    words = torch.randint(0, WORDS, (size, LENGTH), generator=torch.Generator().manual_seed(seed))
    targets = words.roll(-1, dims=1)
    targets[0, -1] = -1
    return words, targets


class Graphs:
    """A backend that counts the graphs that it is given and hands them to another one."""

    def __init__(self, name):
        self.count, self.operations = 0, 0
        self.inner = torch._dynamo.lookup_backend(name)

    def __call__(self, graph, inputs):
        self.count += 1
        self.operations += len(graph.graph.nodes)
        return self.inner(graph, inputs)


def evaluated(model):
    @torch.no_grad()
    def estimate_loss():
        model.eval()
        found = {}
        for split in ("train", "val"):
            losses = []
            for seed in SEEDS[split]:
                losses.append(model(*texts(seed))[1].item())
            found[split] = sum(losses) / len(losses)
        model.train()
        return found

    return estimate_loss()


def language(compile):
    torch.manual_seed(0)
    model = compile(Language())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    losses, evaluations = [], []
    for step in range(3):
        evaluations.append(evaluated(model))
        optimizer.zero_grad()
        for micro in range(2):
            _, loss = model(*texts(2 * step + micro))
            (loss / 2).backward()
            losses.append(loss.item())
        optimizer.step()
    return losses, evaluations, [parameter.tolist() for parameter in model.parameters()]


def in_place(module, backend):
    module.compile(backend=backend)
    return module


WAYS = {
    "torch.compile(model)": lambda module, backend: torch.compile(module, backend=backend),
    "fullgraph": lambda module, backend: torch.compile(module, backend=backend, fullgraph=True),
    "model.compile()": in_place,
    "dynamic": lambda module, backend: torch.compile(module, backend=backend, dynamic=True),
}


@pytest.mark.parametrize(("way", "backend"), [("fullgraph", "eager"), *((way, "aot_eager") for way in WAYS)])
def test_a_model_that_computes_its_own_loss(tmp_path, way, backend):
    bare, watched = Graphs(backend), Graphs(backend)
    known = language(lambda module: WAYS[way](module, bare))
    torch._dynamo.reset()
    with recorded(tmp_path / "run"):
        found = language(lambda module: WAYS[way](module, watched))
    assert found == known, "the same losses and weights, bit for bit"
    assert (watched.count, watched.operations) == (bare.count, bare.operations)
    losses, evaluations, _ = known
    run = run_of(tmp_path / "run")
    means = [(losses[2 * step] + losses[2 * step + 1]) / 2 for step in range(3)]
    assert run.steps["mean_loss"].tolist() == pytest.approx(means)
    assert run.steps["objective"].tolist() == pytest.approx(means)
    assert run.steps["targets"].tolist() == [2 * (4 * LENGTH - 1)] * 3
    assert run.steps["ignored_targets"].tolist() == [2] * 3
    (facts,) = run.meta.losses
    assert (facts.function, facts.classes, facts.ignore_index, facts.reduction) == ("cross_entropy", WORDS, -1, "mean")
    assert sum(facts.label_counts) == 6 * (4 * LENGTH - 1), "of the training alone"
    assert run.evaluations["split"].tolist() == ["train", "validation"] * 3
    flat = [value for found in evaluations for value in (found["train"], found["val"])]
    assert run.evaluations["mean_loss"].tolist() == pytest.approx(flat)
    assert run.evaluations["targets"].tolist() == [2 * (4 * LENGTH - 1), 4 * LENGTH - 1] * 3
    assert len(run.samples[run.samples["kind"] == "loss_input"]) == 3, "the logits are an output, and were sampled"
    assert not len(run.events)


def one_step(loss_of, count=2, model=None):
    """Train with what `loss_of(model)` returns; the losses."""
    model = classifier() if model is None else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    known = []
    for _ in range(count):
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        optimizer.step()
        known.append(loss.item())
    return known


X, Y = batch()
WEIGHT = torch.tensor([1.0, 2.0, 3.0])
ODD = torch.linspace(-1, 1, 8)

# The loss in the graph, and the mean loss per valid target as eager code would have it seen.
KINDS = {
    "a module of a loss": lambda out, y: nn.CrossEntropyLoss()(out, y),
    "label smoothing": lambda out, y: functional.cross_entropy(out, y, label_smoothing=0.1),
    "class weights": lambda out, y: functional.cross_entropy(out, y, weight=WEIGHT),
    "a sum of weighted ones": lambda out, y: functional.cross_entropy(out, y, weight=WEIGHT, reduction="sum"),
    "a sum": lambda out, y: functional.cross_entropy(out, y, reduction="sum"),
    "a sum, divided": lambda out, y: functional.cross_entropy(out, y, reduction="sum") / 4,
    "none, then the mean": lambda out, y: functional.cross_entropy(out, y, reduction="none").mean(),
    "the older flags": lambda out, y: functional.cross_entropy(out, y, size_average=False),
    "scaled and cast": lambda out, y: (0.5 * functional.cross_entropy(out, y) * 3.0).double(),
    "log_softmax": lambda out, y: functional.nll_loss(functional.log_softmax(out, dim=1), y),
    "soft targets": lambda out, y: functional.cross_entropy(out, functional.one_hot(y, 3).float()),
    "binary": lambda out, y: functional.binary_cross_entropy_with_logits(out[:, 0], (y > 0).float()),
    "regression": lambda out, y: functional.mse_loss(out[:, 0], ODD),
    "targets made inside": lambda out, y: functional.mse_loss(out[:, 0], torch.ones_like(out[:, 0])),
    "targets moved": lambda out, y: functional.cross_entropy(out[:-1], y[1:].contiguous().view(-1)),
    "targets padded": lambda out, y: functional.cross_entropy(out, functional.pad(y[1:], (0, 1), value=-100)),
}


@pytest.mark.parametrize("kind", thin(2, KINDS))
def test_a_loss_in_a_graph_is_that_of_eager_code(tmp_path, kind):
    def plain(model, x, y):
        return KINDS[kind](model(x), y)

    runs = []
    for name, loss_of in (("eager", plain), ("compiled", torch.compile(plain, backend="aot_eager", fullgraph=True))):
        with recorded(tmp_path / name):
            one_step(lambda model: loss_of(model, X, Y))  # noqa: B023
        runs.append(run_of(tmp_path / name))
    eager, compiled = runs
    assert not len(compiled.events)
    for column in ("mean_loss", "objective", "targets", "ignored_targets", "batch_size"):
        assert compiled.steps[column].tolist() == pytest.approx(eager.steps[column].tolist(), rel=1e-6), column
    (theirs,), (ours,) = eager.meta.losses, compiled.meta.losses
    for field in ("function", "classes", "reduction", "label_smoothing", "weighted", "ignore_index", "soft_targets"):
        assert getattr(ours, field) == getattr(theirs, field), field
    assert ours.class_weights == theirs.class_weights
    if ours.label_counts:
        assert ours.label_counts == theirs.label_counts


def test_regression_whose_shapes_broadcast(tmp_path):
    with recorded(tmp_path / "run"):
        one_step(torch.compile(lambda model: functional.mse_loss(model(X)[:, :1], ODD), backend="aot_eager"))
    (facts,) = run_of(tmp_path / "run").meta.losses
    assert (facts.function, facts.broadcast) == ("mse_loss", [[8, 1], [8]])


def test_a_compiled_loss_function(tmp_path):
    with recorded(tmp_path / "run"):
        loss = torch.compile(functional.cross_entropy, backend="aot_eager")
        known = one_step(lambda model: loss(model(X), Y))
    run = run_of(tmp_path / "run")
    assert run.steps["mean_loss"].tolist() == pytest.approx(known)
    assert [(facts.function, facts.classes) for facts in run.meta.losses] == [("cross_entropy", 3)]


def test_a_loss_in_eager_code_is_seen_once(tmp_path):
    with recorded(tmp_path / "run"):
        model = torch.compile(classifier(), backend="eager")
        known = one_step(lambda model: functional.cross_entropy(model(X), Y), model=model)
    run = run_of(tmp_path / "run")
    assert run.steps["mean_loss"].tolist() == pytest.approx(known)
    assert run.steps["targets"].tolist() == [8, 8]


def test_a_whole_step_that_returns_its_loss(tmp_path):
    model = classifier()
    with recorded(tmp_path / "run"):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        @torch.compile(backend="aot_eager")
        def step():
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(X), Y)
            loss.backward()
            optimizer.step()
            return loss

        known = [step().item() for _ in range(3)]
    run = run_of(tmp_path / "run")
    assert run.steps["mean_loss"].tolist() == pytest.approx(known)
    assert run.meta.losses[0].classes == 3


HIDDEN = {
    "the compiled function does not return it": lambda model: (
        functional.cross_entropy(model(X), Y) + model[0].bias.norm()
    ),
    "its targets are computed inside": lambda model: functional.cross_entropy(
        model(X), model(X).argmax(1), reduction="sum", weight=WEIGHT
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", HIDDEN)
def test_what_cannot_be_seen_is_said(tmp_path, reason):
    with recorded(tmp_path / "run"):
        known = one_step(torch.compile(HIDDEN[reason], backend="aot_eager"))
    run = run_of(tmp_path / "run")
    assert run.steps["objective"].tolist() == pytest.approx(known)
    assert run.steps["mean_loss"].isna().all()
    assert set(run.events["kind"]) == {"compiled"}
    message = run.events["message"].iloc[0]
    assert message.startswith("cross_entropy at test_compiled_losses.py:")
    assert reason in message


def test_targets_that_are_made_inside_are_not_counted(tmp_path):
    with recorded(tmp_path / "run"):
        known = one_step(torch.compile(
            lambda model: functional.cross_entropy(model(X), model(X).argmax(1), ignore_index=0), backend="aot_eager"
        ))  # fmt: skip
    run = run_of(tmp_path / "run")
    assert run.steps["mean_loss"].tolist() == pytest.approx(known)
    (facts,) = run.meta.losses
    assert (facts.classes, facts.label_counts, facts.label_entropy) == (3, [], None)


def test_targets_that_the_graph_changes_are_not_read_again(tmp_path):
    def loss_of(model, y):
        y[0] = -100
        return functional.cross_entropy(model(X), y)

    with recorded(tmp_path / "run"):
        compiled = torch.compile(loss_of, backend="aot_eager")
        known = one_step(lambda model: compiled(model, Y.clone()), count=1)
    run = run_of(tmp_path / "run")
    assert run.steps["mean_loss"].tolist() == pytest.approx(known)
    assert run.meta.losses[0].label_counts == []


def test_what_is_compiled_keeps_working_after_the_recording(tmp_path):
    with recorded(tmp_path / "run"):
        loss_of = torch.compile(lambda model: functional.cross_entropy(model(X), Y), backend="aot_eager")
        one_step(loss_of)
    with recorded(tmp_path / "again"):
        known = one_step(loss_of)
    assert one_step(loss_of) == known
    assert run_of(tmp_path / "again").steps["mean_loss"].tolist() == pytest.approx(known)


@pytest.mark.parametrize(("owner", "name"), [(compiler, "losses_of"), (hooks, "readings")])
def test_a_fault_costs_the_compiled_losses_alone(tmp_path, monkeypatch, owner, name):
    def fails(*_):
        raise RuntimeError("no such graph")

    monkeypatch.setattr(owner, name, fails)
    with recorded(tmp_path / "run"):
        known = one_step(torch.compile(lambda model: functional.cross_entropy(model(X), Y), backend="aot_eager"))
    run = run_of(tmp_path / "run")
    assert run.steps["objective"].tolist() == pytest.approx(known)
    assert [fault.observer for fault in run.meta.disabled] == ["losses inside compiled regions"]


def test_an_exported_program_holds_nothing_of_ours(tmp_path):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = classifier()

        def forward(self, x, y):
            return functional.cross_entropy(self.inner(x), y)

    with recorded(tmp_path / "run"):
        model = Model()
        one_step(lambda model: model(X, Y), count=1, model=model)
        program = torch.export.export(model, (X, Y))
    assert "gradaudit" not in str(program)
    assert len(run_of(tmp_path / "run").meta.losses) == 1


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler (g++)")
def test_inductor(tmp_path):
    known = language(torch.compile)
    torch._dynamo.reset()
    with recorded(tmp_path / "run"):
        found = language(torch.compile)
    assert found == known
    run = run_of(tmp_path / "run")
    losses = known[0]
    assert run.steps["mean_loss"].tolist() == pytest.approx([sum(losses[i : i + 2]) / 2 for i in (0, 2, 4)])
    assert run.evaluations["split"].tolist() == ["train", "validation"] * 3
