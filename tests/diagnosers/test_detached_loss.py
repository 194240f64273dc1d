import msgspec
import pytest
import torch
from torch import nn
from torch.nn import functional

from gradaudit.audit.runner import analyze
from gradaudit.diagnosers.detached_loss import Attached, Detached, WithoutGraph, detached_loss
from gradaudit.findings import Confidence, Severity
from gradaudit.schema import ConstantFacts, ConstantSourceFacts, GraphFacts
from tests.build import build_run
from tests.diagnosers.graphs import graph_of
from tests.diagnosers.runs import falling
from tests.diagnosers.sick_graphs import detached, of_graph
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged
from tests.record.training import recorded, run_of


def test_terms_that_reach_the_optimizer_are_quiet(tmp_path):
    run = of_graph(tmp_path / "a")
    assert judged(detached_loss, run, Attached) == Attached(1, 13)
    assert_clean(detached_loss, run)


@pytest.mark.parametrize(
    "changes",
    [
        {"used": 1},  # another optimizer uses it now and then
        {"apart": 1},  # a backward of its own, whose gradients may be used later
        {"opaque": True},  # a checkpoint hides what it reaches
        {"unknown": 1},  # it reaches what the run does not know, as an image that is attacked
        {"tensors": [4]},  # a penalty on one tensor
        {"count": 1},
    ],
)
def test_terms_that_may_train_something_are_quiet(tmp_path, changes):
    assert_clean(detached_loss, detached(tmp_path / "a", **changes))


def test_without_a_graph_nothing_is_known(tmp_path):
    assert "not recorded" in assert_skipped(detached_loss, build_run(tmp_path / "a", loss=falling()))


def test_shards_are_not_compared(tmp_path):
    run = detached(tmp_path / "a")
    tensors = [msgspec.structs.replace(one, placements=["Shard(0)"]) for one in run.meta.tensors]
    run = build_run(tmp_path / "b", loss=falling(), tensors=tensors, graph=graph_of())
    assert_not_applicable(detached_loss, run)


def test_a_term_that_reaches_the_critic_alone_is_critical(tmp_path):
    run = detached(tmp_path / "a")
    found = judged(detached_loss, run, Detached)
    assert (found.whole, found.looks, found.owned, found.owners) == (False, 13, 4, ("optimizer_d",))
    finding = assert_finds(detached_loss, run, Severity.CRITICAL)
    assert finding.title == "Detached loss term"
    assert finding.headline == (
        "The mse_loss in the objective reaches 4 tensors, and none of the 4 that optimizer_g steps"
    )


def test_an_auxiliary_head_in_no_optimizer_is_a_warning(tmp_path):
    assert_finds(detached_loss, detached(tmp_path / "a", owner=-1), Severity.WARNING)


def test_an_objective_of_another_network_is_critical(tmp_path):
    run = detached(tmp_path / "a", owner=-1, beside=0, alone=9)
    assert judged(detached_loss, run, Detached).whole
    assert assert_finds(detached_loss, run, Severity.CRITICAL).title == "Detached loss"


def test_one_root_without_a_graph_is_quiet(tmp_path):
    assert_skipped(detached_loss, build_run(tmp_path / "a", loss=falling(), graph=GraphFacts(leaf_roots=1)))
    facts = msgspec.structs.replace(graph_of(), leaf_roots=5)  # others train
    assert_clean(detached_loss, build_run(tmp_path / "b", loss=falling(), graph=facts))


def test_a_loss_without_a_graph_is_critical(tmp_path):
    run = build_run(tmp_path / "a", loss=falling(), graph=GraphFacts(leaf_roots=13))
    assert judged(detached_loss, run, WithoutGraph).looks == 13
    finding = assert_finds(detached_loss, run, Severity.CRITICAL)
    assert "requires_grad_()" in finding.actions[0].text


def test_a_loss_that_was_told_to_require_a_gradient(tmp_path):
    model = nn.Linear(3, 1)
    x, y = torch.randn(8, 3), torch.ones(8, 1)

    def objective():
        return functional.mse_loss((model(x) > 0).float(), y).requires_grad_()

    with recorded(tmp_path / "run"):
        optimizer = torch.optim.Adam(model.parameters())
        functional.mse_loss(model(x), y).backward()  # a look at the loss before the real training
        optimizer.step()
        for _ in range(10):
            objective().backward()
            optimizer.step()
    graph = run_of(tmp_path / "run").meta.graph
    assert (len(graph.looks), graph.leaf_roots) == (1, 10)


@pytest.mark.parametrize(
    ("source", "rest", "confidence"),
    [
        ({"loss": 0, "function": "kl_div"}, [1.0, 0.5, 0.75], Confidence.CERTAIN),
        ({"variable": "gp"}, [None] * 3, Confidence.HIGH),
    ],
)
def test_a_term_without_any_graph_is_a_warning(tmp_path, source, rest, confidence):
    made = ConstantSourceFacts(values=[2.0, 1.0, 1.5], **source)
    site = ConstantFacts(terms=[0], last=5, looks=3, derived=3, rest=rest, size=[2.0] * 3, sources=[made])
    run = of_graph(tmp_path / "a", constants=[site])
    finding = assert_finds(detached_loss, run, Severity.WARNING)
    assert (finding.confidence, finding.title) == (confidence, "Constant term of the objective")
    assert (source.get("function") or source["variable"]) in finding.headline
    assert_clean(detached_loss, of_graph(tmp_path / "b", constants=[msgspec.structs.replace(site, looks=1, derived=1)]))


def steps_of(folder, optimizers, objectives, steps=10):
    """Train with each objective in turn, and with its optimizer; what the rule says of it."""
    torch.manual_seed(0)
    with recorded(folder):
        for _ in range(steps):
            for optimizer, objective in zip(optimizers, objectives, strict=True):
                optimizer.zero_grad()
                objective().backward()
                optimizer.step()
    run = run_of(folder)
    assert run.meta.graph != GraphFacts()
    return run


def adam(module):
    return torch.optim.Adam(module.parameters(), 1e-3)


@pytest.mark.parametrize("cut", [False, True])
def test_the_steps_of_a_gan(tmp_path, cut):
    generator, critic = nn.Linear(3, 2), nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))

    def of_generator():
        fake = generator(torch.randn(16, 3))
        judged = critic(fake.detach() if cut else fake)
        return functional.softplus(-judged).mean() + 0.1 * fake.square().mean()

    def of_critic():
        fake = generator(torch.randn(16, 3)).detach()
        return functional.softplus(critic(fake)).mean() + functional.softplus(-critic(torch.randn(16, 2))).mean()

    run = steps_of(tmp_path / "run", [adam(generator), adam(critic)], [of_generator, of_critic])
    if cut:
        finding = assert_finds(detached_loss, run, Severity.CRITICAL)
        assert all(name.startswith(("critic", "0.", "2.")) or "." in name for name in finding.tensors)
        assert analyze(run).ranked[0].diagnoser == "detached_loss"
    else:
        assert_clean(detached_loss, run)


def of_both_sides(encoder, predictor):
    """As SimSiam: the gradient is stopped on one side of each term."""
    x = torch.randn(16, 4)
    one, other = encoder(x), encoder(x + 0.1 * torch.randn(16, 4))
    terms = [-functional.cosine_similarity(predictor(a), b.detach()).mean() for a, b in ((one, other), (other, one))]
    return terms[0] / 2 + terms[1] / 2


def quantised(encoder, codes):
    """As VQ: one term for the codes, one for the encoder, and a straight-through copy."""
    hidden = encoder(torch.randn(16, 4))
    chosen = codes.weight[(hidden.detach()[:, None] - codes.weight.detach()).square().sum(2).argmin(1)]
    through = hidden + (chosen - hidden).detach()
    return (
        functional.mse_loss(through, torch.randn(16, 4))
        + functional.mse_loss(chosen, hidden.detach())
        + 0.25 * functional.mse_loss(hidden, chosen.detach())
    )


@pytest.mark.parametrize("objective", [of_both_sides, quantised])
def test_gradients_that_are_stopped_by_design_are_quiet(tmp_path, objective):
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    optimizer = adam(nn.ModuleList([first, second]))
    assert_clean(detached_loss, steps_of(tmp_path / "run", [optimizer], [lambda: objective(first, second)]))


def test_one_objective_and_two_optimizers_that_take_turns_are_quiet(tmp_path):
    one, other = nn.Linear(4, 2), nn.Linear(4, 2)

    def both():
        x = torch.randn(16, 4)
        return one(x).square().mean() + other(x).exp().mean()

    assert_clean(detached_loss, steps_of(tmp_path / "run", [adam(one), adam(other)], [both, both]))


def test_an_attack_on_the_input_before_each_step_is_quiet(tmp_path):
    model = nn.Linear(4, 3)
    optimizer = adam(model)
    torch.manual_seed(0)
    with recorded(tmp_path / "run"):
        for _ in range(10):
            x, y = torch.randn(16, 4), torch.randint(3, (16,))
            noise = torch.zeros(16, 4, requires_grad=True)
            model.requires_grad_(False)
            functional.cross_entropy(model(x + noise), y).backward()
            model.requires_grad_(True)
            optimizer.zero_grad()
            functional.cross_entropy(model(x + noise.grad.sign()), y).backward()
            optimizer.step()
    assert_clean(detached_loss, run_of(tmp_path / "run"))
