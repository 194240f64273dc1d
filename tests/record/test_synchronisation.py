"""The training thread never waits for a device: shown on the meta device, whose values cannot be read at all.

Every operation of the recorder passes a dispatch mode that knows what makes the host wait. What a
copy or a launch does below that is for tests/gpu to see.
"""

import contextlib
import math
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradaudit.record import hooks, install, session
from gradaudit.record.measure.rows import RowCounter
from gradaudit.record.observe import between
from gradaudit.record.observe.activations import EVERY
from gradaudit.record.observe.loss import losses
from gradaudit.record.patches.optimizer import arm
from gradaudit.record.settings import Settings
from tests.record.synchronisations import Synchronisations
from tests.thin import thin

META = torch.device("meta")
STEPS = 3  # the first of them with row facts and histograms


@pytest.fixture(autouse=True)
def with_values(monkeypatch):
    """Have the losses on the meta device looked at as if they were on another one."""
    monkeypatch.setattr(losses, "has_value", lambda tensor: True)


@pytest.fixture(autouse=True)
def nothing_compiled(monkeypatch):
    """Forget what the tests before these compiled: activations are not looked at in a process that compiles."""
    if compiler := sys.modules.get("torch._dynamo.convert_frame"):
        monkeypatch.setattr(compiler, "FRAME_COUNTER", 0)


class Unwritten:
    """In the place of files: takes what is handed over and never reads it."""

    def __init__(self):
        self.writer, self.begun, self.error, self.spent, self.rank, self.directory = self, True, None, 0.0, 1, None
        self.steps = []

    def put(self, batch, wait=False):
        self.steps += batch.steps
        return True

    def close(self, state):
        pass


@contextlib.contextmanager
def watched():
    """Record what is trained inside, look at every operation, and yield the operations and the steps."""
    install.install(activations=True)
    recording = session.start(Settings(directory="unwritten", every=1, quiet=True, activations=True))
    recording.files = Unwritten()
    arm()
    # The recorder's own operations are hidden from modes, and here they are what is looked at.
    hidden, session.unseen = session.unseen, contextlib.nullcontext
    try:
        with Synchronisations() as waits:
            yield waits, recording.files.steps
            assert session.current() is not None, f"the recording gave up: {waits.found}"
            assert not recording.observers.disabled, f"an observer gave up: {waits.found}"
            recording.flush()
    finally:
        session.unseen = hidden
        session.stop("finished")
        install.uninstall()


def images(count=8):
    return torch.empty(count, 3, 8, 8, device=META)


def labels(count=8, classes=5):
    return torch.zeros(count, dtype=torch.long, device=META)


def convolutional():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5), nn.LayerNorm(5)
    ).to(META)


def losses_of(out, y):
    """Every kind of loss that the patches know how to read."""
    weight = torch.ones(5, device=META)
    yield functional.cross_entropy(out, y)
    yield functional.cross_entropy(out, y, weight=weight, ignore_index=0, reduction="sum")
    yield functional.cross_entropy(out, y, label_smoothing=0.1, reduction="none").mean()
    yield functional.cross_entropy(out, out.softmax(1))
    yield functional.nll_loss(out.log_softmax(1), y, weight=weight, reduction="sum")
    yield functional.binary_cross_entropy_with_logits(out, out.sigmoid().detach())
    yield functional.mse_loss(out, torch.zeros_like(out))
    yield functional.kl_div(out.log_softmax(1), out.softmax(1), reduction="batchmean")


def test_every_loss_and_kind_of_layer():
    model = convolutional()
    optimizer = torch.optim.AdamW(model.parameters())
    with watched() as (waits, steps):
        for _ in range(STEPS):
            optimizer.zero_grad()
            sum(losses_of(model(images()), labels())).backward()
            functional.cross_entropy(model(images()), labels()).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            with torch.no_grad():
                functional.cross_entropy(model(images()), labels(), ignore_index=-100)
    assert waits.found == []
    assert waits.seen > 100
    assert [step.tensors.gradients.shape for step in steps] == [(8, 8)] * STEPS
    assert len(steps[0].tensors.snapshots) == 2
    assert [histogram.kind for histogram in steps[0].tensors.histograms] == ["gradient", "parameter"]
    assert any(call.sample for call in steps[0].calls)
    assert all("update_norm" in step.tensors.probed for step in steps)
    assert steps[-1].row.clip_kind == 1


def test_activations():
    model = nn.Sequential(nn.Linear(4, 6), nn.Sigmoid(), nn.Linear(6, 3), nn.ReLU()).to(META)
    with watched() as (waits, steps):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(EVERY + 1):
            functional.mse_loss(model(torch.empty(8, 4, device=META)), torch.empty(8, 3, device=META)).backward()
            optimizer.step()
    assert waits.found == []
    assert [sample.kind for _, sample in steps[-1].samples] == ["input", "output", "output"]


@pytest.mark.parametrize("sparse", [False, True])
def test_embeddings_tied_weights_and_gradients_that_are_missing(sparse):
    table = nn.Embedding(50, 6, sparse=sparse, device=META)
    head, unused = nn.Linear(6, 50, device=META), nn.Linear(2, 2, device=META)
    if not sparse:
        head.weight = table.weight
    parameters = [*table.parameters(), *unused.parameters()]
    optimizer = torch.optim.SGD([{"params": parameters}, {"params": [head.bias], "weight_decay": 0.1}], lr=0.1)
    with watched() as (waits, steps):
        for _ in range(STEPS):
            functional.cross_entropy(head(table(labels())), labels()).backward()
            nn.utils.clip_grad_value_(head.parameters(), 1.0)
            # SGD itself would coalesce; the hooks are what is looked at.
            session.guarded(hooks.before_step, optimizer, None)
            session.guarded(hooks.after_step, optimizer)
    assert waits.found == []
    assert len(steps) == STEPS
    assert {tensor for step in steps for tensor, _ in step.tensors.snapshots}


def test_masks_of_attention_and_the_last_step_of_a_recurrent_layer():
    table, cell = nn.Embedding(50, 8, device=META), nn.RNN(8, 8, batch_first=True, device=META)
    attention = nn.MultiheadAttention(8, 2, batch_first=True, device=META)
    head = nn.Linear(8, 5, device=META)
    model = nn.ModuleList([table, cell, attention, head])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ids = torch.zeros(8, 12, dtype=torch.long, device=META)
    with watched() as (waits, steps):
        for _ in range(STEPS):
            x = table(ids)
            hidden = attention(x, x, x, key_padding_mask=ids == 0)[0]
            hidden = (
                hidden
                + functional.scaled_dot_product_attention(
                    x[:, None], x[:, None], x[:, None], attn_mask=(ids != 0)[:, None, None]
                )[:, 0]
            )
            loss = functional.cross_entropy(head(cell(x + hidden)[0][:, -1]), labels())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        (source,) = session.current().gathered.batches.sources
        assert source.attended[0].masks == 2 * STEPS
        assert source.last_step.numbers is not None
    assert waits.found == []
    assert len(steps) == STEPS


def test_stale_gradients_logged_losses_and_scaled_ones():
    model = nn.Linear(4, 3, device=META)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    optimizer.param_groups[0]["lr"] = torch.tensor(0.1, device=META)
    optimizer.grad_scale, optimizer.found_inf = torch.ones((), device=META), torch.zeros((), device=META)
    with watched() as (waits, steps):
        for _ in range(3):
            loss = functional.cross_entropy(model(torch.empty(8, 4, device=META)), labels())
            session.guarded(hooks.on_logged_loss, loss, None, 1)
            session.guarded(hooks.on_logged_loss, loss, "validation", 1)
            loss.backward()
            session.guarded(hooks.before_step, optimizer, None)
            session.guarded(hooks.after_step, optimizer)
    assert waits.found == []
    assert isinstance(steps[-1].cleared, torch.Tensor)
    assert steps[-1].found_inf is not None
    assert math.isnan(steps[-1].row.learning_rate[0])


@pytest.mark.parametrize(
    "plant",
    thin(
        3,
        [
            lambda tensor: tensor.sum().item(),
            lambda tensor: bool((tensor > 0).any()),
            lambda tensor: tensor.cpu(),
            lambda tensor: tensor[tensor > 0],
            lambda tensor: torch.nonzero(tensor),
            lambda tensor: torch.where(tensor > 0, tensor, torch.tensor(1.0)),
            lambda tensor: tensor + torch.tensor([1.0]).to(META),
            lambda tensor: torch.unique(tensor),
        ],
    ),
    ids=["item", "bool", "cpu", "mask", "nonzero", "where", "to", "unique"],
)
@pytest.mark.parametrize(
    ("place", "hook"), [(between, "look_for_stale"), (between, "look_for_cleared"), (RowCounter, "observe")]
)
def test_one_that_is_planted_is_found(plant, place, hook, monkeypatch):
    original = getattr(place, hook)

    def planted(self, *arguments):
        with contextlib.suppress(NotImplementedError, RuntimeError):
            plant(torch.empty(3, device=META))
        return original(self, *arguments)

    monkeypatch.setattr(place, hook, planted)
    table = nn.Embedding(5, 3, device=META)
    optimizer = torch.optim.SGD(table.parameters(), lr=0.1)
    with watched() as (waits, _):
        functional.cross_entropy(table(labels()), labels()).backward()
        optimizer.step()
    assert waits.found
