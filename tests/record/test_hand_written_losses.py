"""A cross entropy that a script writes out itself is one in the record; what only looks like one is not."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradaudit.audit.runner import analyze
from gradaudit.record import internals
from gradaudit.record.observe.loss import seen
from gradaudit.record.observe.loss.hand_written import likelihood
from tests.record.training import recorded, run_of
from tests.thin import thin

WORDS, LENGTH, SIZE, STEPS = 11, 6, 16, 40
PRIVATE = ("_input_metadata", "_saved_dim", "_saved_alpha")
told = pytest.mark.skipif(
    not hasattr(torch.ones(1, requires_grad=True).exp().grad_fn, "_input_metadata"), reason="torch has it since 2.5"
)


class Language(nn.Module):
    """Logits [size, length, words] of the next word; `head` scales the weights of the output layer."""

    def __init__(self, head=1.0):
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(WORDS, 16)
        self.body = nn.Linear(16, 32)
        self.head = nn.Linear(32, WORDS)
        with torch.no_grad():
            self.head.weight *= head

    def forward(self, words):
        return self.head(torch.relu(self.body(self.words(words))))


def of(logarithms, y):
    return logarithms.gather(-1, y[..., None]).squeeze(-1)


def row_by_row(logits, y):
    return torch.stack([of(row.log_softmax(-1), target) for row, target in zip(logits, y, strict=True)])


def in_chunks(logits, y):
    parts = zip(logits.chunk(4), y.chunk(4), strict=True)
    return torch.cat([part.logsumexp(-1) - of(part, target) for part, target in parts])


def indexed(values, y):
    return values.flatten(0, 1)[torch.arange(y.numel()), y.flatten()]


def quotient(logits):
    powers = logits.exp()
    return powers / powers.sum(-1, keepdim=True)


WRITTEN = {
    "log_softmax": lambda logits, y: -of(logits.log_softmax(-1), y).mean(),
    "Categorical": lambda logits, y: -torch.distributions.Categorical(logits=logits).log_prob(y).mean(),
    "logsumexp": lambda logits, y: (torch.logsumexp(logits, -1) - logits.gather(-1, y[..., None]).squeeze(-1)).mean(),
    "log of softmax": lambda logits, y: -of(logits.softmax(-1), y).log().mean(),
    "index": lambda logits, y: -indexed(logits.log_softmax(-1), y).mean(),
    "quotient": lambda logits, y: -indexed(quotient(logits), y).log().mean(),
    "selective, low precision": lambda logits, y: -row_by_row(logits, y).mean(),
    "selective": lambda logits, y: (torch.stack([row.logsumexp(-1) for row in logits]) - of(logits, y)).mean(),
    "chunks": lambda logits, y: in_chunks(logits, y).mean(),
    "mean of means": lambda logits, y: -of(logits.log_softmax(-1), y).mean(1).mean(),
    "shifted": lambda logits, y: -of(logits[:, :-1].log_softmax(-1), y[:, :-1]).mean(),
    "only words": lambda logits, y: -of(logits.log_softmax(-1), y)[y > 0].mean(),
    "double": lambda logits, y: -of(logits.double().log_softmax(-1), y).mean(),
    "sum": lambda logits, y: -of(logits.log_softmax(-1), y).sum(),
}


def known_loss(logits, y):
    return functional.cross_entropy(logits.flatten(0, 1), y.flatten())


def advantages(y):
    return torch.randn(y.shape, generator=torch.Generator().manual_seed(int(y.sum())))


def reinforce(logits, y):
    return -(of(logits.log_softmax(-1), y) * advantages(y)).mean()


def ppo(logits, y):
    now = of(logits.log_softmax(-1), y)
    ratio = (now - now.detach()).exp()
    return -torch.min(ratio * advantages(y), ratio.clamp(0.8, 1.2) * advantages(y)).mean()


def dpo(logits, y):
    chosen, rejected = of(logits.log_softmax(-1), y).sum(-1), of(logits.log_softmax(-1), y.flip(-1)).sum(-1)
    return -functional.logsigmoid(0.1 * (chosen - rejected)).mean()


def smoothed(logits, y):
    logarithms = logits.log_softmax(-1)
    return (-0.9 * of(logarithms, y) - 0.1 * logarithms.mean(-1)).mean()


def mixture(logits, y):
    weights = torch.log_softmax(torch.zeros(WORDS), -1)
    return -torch.logsumexp(weights + logits.log_softmax(-1), -1).mean() + 0 * y.sum()


def hardest(logits, y):
    losses = -of(logits.log_softmax(-1), y).flatten()
    return losses[losses >= losses.detach().topk(8).values[-1]].mean()


def pairs_of_a_batch(logits, y):
    features = functional.normalize(logits.flatten(1), dim=-1)
    alike = features @ features.roll(1, 0).T / 0.07
    return -alike.log_softmax(-1).gather(1, torch.arange(len(y))[:, None]).mean()


def all_pairs(logits, y):
    logits, y = logits[:, 0], y[:, 0]
    return (logits.logsumexp(-1) - logits.gather(1, y[:, None])).mean()


UNKNOWN = {
    "REINFORCE": reinforce,
    "PPO": ppo,
    "DPO": dpo,
    "smoothed labels": smoothed,
    "mixture": mixture,
    "the hardest": hardest,
    "pairs of a batch": pairs_of_a_batch,
    "all pairs": all_pairs,
    "one reward": lambda logits, y: -of(logits.log_softmax(-1), y).mean() * 3.0,
    "entropy bonus": lambda logits, y: -of(logits.log_softmax(-1), y).mean() + 0.1 * (
        logits.softmax(-1) * logits.log_softmax(-1)
    ).sum(-1).mean(),
    "ratio to a reference": lambda logits, y: -(
        of(logits.log_softmax(-1), y) - of(logits.detach().log_softmax(-1), y)
    ).mean(),
    "focal": lambda logits, y: -((1 - of(logits.softmax(-1), y)) ** 2 * of(logits.log_softmax(-1), y)).mean(),
    "temperature": lambda logits, y: -of((logits / 0.07).log_softmax(-1), y).mean(),
    "masked actions": lambda logits, y: -of(
        logits.masked_fill(torch.arange(WORDS) > y[..., None], -1e9).log_softmax(-1), y
    ).mean(),
    "two heads in one": lambda logits, y: -of(logits[..., :10].unflatten(-1, (2, 5)).log_softmax(-1)[..., 0, :], y % 5)
    .mean(),
    "wrong dimension": lambda logits, y: -of(logits.log_softmax(0), y).mean(),
    "likelihood of sequences": lambda logits, y: -of(logits.log_softmax(-1), y).sum(-1).mean(),
    "unlikelihood": lambda logits, y: of(logits.log_softmax(-1), y).mean(),
}  # fmt: skip


def texts(steps):
    generator = torch.Generator().manual_seed(7)
    for _ in range(steps):
        x = torch.randint(0, WORDS, (SIZE, LENGTH), generator=generator)
        yield x, (x * 3 + 1) % WORDS


def train(loss_of, steps=STEPS, head=1.0, rate=0.5, micro_steps=1):
    """The losses that were differentiated, and the model."""
    model = Language(head)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    losses = []
    for number, (x, y) in enumerate(texts(steps * micro_steps)):
        loss = loss_of(model(x), y)
        loss.backward()
        losses.append(loss.item())
        if number % micro_steps == micro_steps - 1:
            optimizer.step()
            optimizer.zero_grad()
    return losses, model


def outcomes(run):
    return {outcome.diagnoser: outcome for outcome in analyze(run).outcomes}


@told
@pytest.mark.parametrize("name", thin(2, WRITTEN))
def test_a_cross_entropy_that_is_written_out_is_recorded_as_one(tmp_path, name):
    rate = 0.005 if name == "sum" else 0.5
    with recorded(tmp_path / "run"):
        losses, model = train(WRITTEN[name], rate=rate)
    again, same = train(WRITTEN[name], rate=rate)
    assert losses == again
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), same.parameters(), strict=True))
    run = run_of(tmp_path / "run")
    assert not run.meta.disabled
    facts = run.meta.losses[0]
    assert (len(run.meta.losses), facts.function, facts.classes) == (1, "log_softmax", WORDS)
    assert facts.reduction == ("sum" if name == "sum" else "mean")
    first = next(texts(1))[1]
    targets = {"shifted": SIZE * (LENGTH - 1), "only words": int((first > 0).sum())}.get(name, SIZE * LENGTH)
    assert run.steps["targets"].iloc[0] == targets
    assert run.steps["objective"].tolist() == pytest.approx(losses)
    parts = targets if name == "sum" else 1
    assert run.steps["mean_loss"].tolist() == pytest.approx([loss / parts for loss in losses])
    assert run.steps["mean_loss"].iloc[0] == pytest.approx(math.log(WORDS), rel=0.1)
    found = outcomes(run)["initial_loss_mismatch"]
    assert found.status == ("found" if name == "sum" else "clean"), found


@told
@pytest.mark.parametrize("rate", [1e-6, 0.5, 30.0])
def test_the_findings_are_among_those_of_torchs_own(tmp_path, rate):
    found = []
    for name in ("log_softmax", "own"):
        with recorded(tmp_path / name):
            train(WRITTEN.get(name, known_loss), steps=150, rate=rate)
        found.append({name for name, outcome in outcomes(run_of(tmp_path / name)).items() if outcome.findings})
    # The labels are not seen, and with them goes what the best guess without the input would score.
    assert found[1] - {"no_learning"} <= found[0] <= found[1]
    assert bool(found[0]) == (rate != 0.5)


@told
def test_a_bad_start_is_found(tmp_path):
    with recorded(tmp_path / "run"):
        losses, _ = train(WRITTEN["log_softmax"], head=40.0, rate=1e-4)
    assert losses[0] > 2 * math.log(WORDS)
    (finding,) = outcomes(run_of(tmp_path / "run"))["initial_loss_mismatch"].findings
    assert f"ln {WORDS}" in finding.headline
    assert "head.weight" in " ".join([finding.explanation, *finding.tensors])


@told
def test_micro_steps_that_are_added_up_are_found(tmp_path):
    with recorded(tmp_path / "run"):
        losses, _ = train(WRITTEN["logsumexp"], micro_steps=4, rate=0.1)
    run = run_of(tmp_path / "run")
    assert run.steps["mean_loss"].iloc[0] == pytest.approx(sum(losses[:4]) / 4)
    assert run.steps["objective"].iloc[0] == pytest.approx(sum(losses[:4]))
    (finding,) = outcomes(run)["initial_loss_mismatch"].findings
    assert "accumulated micro-steps" in finding.explanation


@pytest.mark.parametrize("name", thin(2, UNKNOWN))
def test_what_only_looks_like_one_has_no_classes(tmp_path, name):
    rate = 1e-3 if name in ("likelihood of sequences", "unlikelihood") else 0.05
    with recorded(tmp_path / "run"):
        losses, _ = train(UNKNOWN[name], rate=rate)
    run = run_of(tmp_path / "run")
    assert not run.meta.disabled
    assert run.meta.losses == []
    assert run.steps["objective"].tolist() == pytest.approx(losses)
    assert run.steps["mean_loss"].isna().all()
    found = outcomes(run)
    assert not found["initial_loss_mismatch"].findings
    assert found["initial_loss_mismatch"].status == "skipped"


@told
def test_a_scaled_loss_is_recorded_without_its_scale(tmp_path):
    with recorded(tmp_path / "run"):
        model = Language()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
        losses = []
        for x, y in texts(STEPS):
            loss = WRITTEN["log_softmax"](model(x), y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            losses.append(loss.item())
    run = run_of(tmp_path / "run")
    assert run.steps["mean_loss"].tolist() == pytest.approx(losses)
    assert run.steps["amp_scale"].tolist() == [64.0] * STEPS


@pytest.mark.parametrize("scaled", [False, True])
def test_a_weight_is_not_taken_for_the_scale(scaled):
    x, y = next(texts(1))
    loss = WRITTEN["log_softmax"](Language()(x), y)
    assert likelihood(loss * 3.0 * 64.0 if scaled else loss * 3.0, scaled) is None


@told
@pytest.mark.parametrize("kind", ["no bias", "by hand", "tied", "image"])
def test_the_layer_behind_the_logits_is_found(kind):
    torch.manual_seed(0)
    x, y = torch.randn(SIZE, 4), torch.randint(0, WORDS, (SIZE,))
    weight, bias = (torch.randn(shape, requires_grad=True) for shape in ((4, WORDS), (WORDS,)))
    logits = {
        "no bias": lambda: nn.Linear(4, WORDS, bias=False)(x),
        "by hand": lambda: x @ weight + bias,
        "tied": lambda: x @ nn.Embedding(WORDS, 4).weight.T,
        "image": lambda: nn.Conv2d(4, WORDS, 1)(x[:, :, None, None]).flatten(1),
    }[kind]()
    found = likelihood(-logits.log_softmax(1).gather(1, y[:, None]).mean(), False)
    assert found == (WORDS, SIZE, "mean", SIZE)


def test_logits_of_no_layer_are_nobodys_classes():
    features = torch.randn(SIZE, 4, requires_grad=True)
    frozen = features @ torch.randn(4, WORDS)
    y = torch.zeros(SIZE, 1, dtype=torch.long)
    assert likelihood(-frozen.log_softmax(1).gather(1, y).mean(), False) is None
    assert likelihood(-features.log_softmax(1).gather(1, y).mean(), False) is None


def test_a_graph_is_looked_at_within_bounds():
    logits, y = nn.Linear(4, WORDS)(torch.randn(2000, 4)), torch.zeros(2000, 1, dtype=torch.long)
    rows = [row.log_softmax(-1).gather(-1, target) for row, target in zip(logits, y, strict=True)]
    assert likelihood(-torch.stack(rows).mean(), False) is None
    deep = logits
    for _ in range(5000):
        deep = -deep
    assert likelihood(deep.mean(), False) is None


class Looks:
    """Counts the graphs that are looked at."""

    def __init__(self, monkeypatch):
        self.taken = 0
        monkeypatch.setattr(seen, "likelihood", self)

    def __call__(self, root, scaled):
        self.taken += 1
        return likelihood(root, scaled)


def test_no_graph_is_looked_at_where_the_loss_is_known(tmp_path, monkeypatch):
    looks = Looks(monkeypatch)
    with recorded(tmp_path / "run"):
        train(known_loss)
    assert looks.taken == 0


def test_few_graphs_are_looked_at_where_it_is_another(tmp_path, monkeypatch):
    looks = Looks(monkeypatch)
    with recorded(tmp_path / "run"):
        train(reinforce)
    assert looks.taken == 8


@pytest.mark.parametrize("name", PRIVATE)
def test_without_an_attribute_of_autograds_only_the_classes_are_lost(tmp_path, monkeypatch, name):
    monkeypatch.setattr(internals, "hidden", {name})
    with recorded(tmp_path / "run"):
        losses, _ = train(WRITTEN["logsumexp"])
    run = run_of(tmp_path / "run")
    assert not run.meta.disabled
    assert run.steps["objective"].tolist() == pytest.approx(losses)
    assert run.meta.losses == []
