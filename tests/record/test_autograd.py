"""Trainings whose gradients come about in unusual ways: one right row for each step, whatever the way."""

import math

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from tests.record.training import batch, classifier, record, recorded, run_of, script


def norm_of(model):
    return math.sqrt(sum(float(p.grad.double().norm()) ** 2 for p in model.parameters() if p.grad is not None))


def test_functorch_is_left_alone_and_its_gradients_are_recorded(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = batch()
        names = [name for name, _ in model.named_parameters()]

        def loss_of(values, x, y):
            return functional.cross_entropy(
                torch.func.functional_call(model, dict(zip(names, values, strict=True)), x), y
            )

        for _ in range(2):
            values = [p.detach() for p in model.parameters()]
            each = torch.func.vmap(torch.func.grad(loss_of), (None, 0, 0))(values, x[:, None], y[:, None])
            for parameter, gradient in zip(model.parameters(), each, strict=True):
                parameter.grad = gradient.mean(0)
            known = norm_of(model)
            optimizer.step()
    run = run_of(tmp_path / "run")
    assert run.steps["gradient_norm"].tolist()[-1] == pytest.approx(known, rel=1e-5)
    assert run.steps["mean_loss"].isna().all()
    assert len(run.evaluations) == 0


def test_double_backward(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        known = []
        for _ in range(3):
            x, y = batch()
            x.requires_grad_()
            loss = functional.cross_entropy(model(x), y)
            (slope,) = torch.autograd.grad(loss, x, create_graph=True)
            whole = loss + slope.square().sum()
            optimizer.zero_grad()
            whole.backward()
            known.append((whole.item(), loss.item(), norm_of(model)))
            optimizer.step()
    steps = run_of(tmp_path / "run").steps
    assert steps[["objective", "mean_loss", "gradient_norm"]].to_numpy() == pytest.approx(numpy.array(known), rel=1e-5)
    assert steps["micro_steps"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.filterwarnings("ignore:.*amp.autocast:FutureWarning")  # of torch 2.4, about itself
def test_gradient_checkpointing(tmp_path, reentrant):
    def train():
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        known = []
        for _ in range(3):
            x, y = batch()
            x.requires_grad_()
            loss = functional.cross_entropy(model[3](checkpoint(model[:3], x, use_reentrant=reentrant)), y)
            optimizer.zero_grad()
            loss.backward()
            known.append((loss.item(), loss.item(), norm_of(model)))
            optimizer.step()
        return known

    with recorded(tmp_path / "run"):
        known = train()
    assert known == train()
    steps = run_of(tmp_path / "run").steps
    assert steps[["objective", "mean_loss", "gradient_norm"]].to_numpy() == pytest.approx(numpy.array(known), rel=1e-5)
    assert steps["micro_steps"].tolist() == [1, 1, 1]


def test_an_optimizer_for_each_parameter_that_steps_inside_the_backward(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizers = {p: torch.optim.SGD([p], lr=0.1) for p in model.parameters()}
        norms = []

        def step(parameter):
            norms.append(float(parameter.grad.norm()))
            optimizers[parameter].step()
            optimizers[parameter].zero_grad()

        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(step)
        losses = []
        for _ in range(3):
            x, y = batch()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            losses.append(loss.item())
    run = run_of(tmp_path / "run")
    assert len(run.trainings) == 4
    for number in range(len(run.trainings)):
        steps = run.training(number).steps
        assert steps["mean_loss"].tolist() == pytest.approx(losses)
        assert steps["step"].tolist() == [0, 1, 2]
        (tensor,) = run.training(number).tensors
        assert tensor.optimizer == number
        assert run.training(number).matrix("has_grad").all()
    assert sorted(run.steps["gradient_norm"]) == pytest.approx(sorted(norms), rel=1e-5)


def test_one_backward_for_two_optimizers(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        body, head = torch.optim.SGD(model[0].parameters(), lr=0.1), torch.optim.AdamW(model[3].parameters(), lr=0.01)
        losses = []
        for _ in range(3):
            x, y = batch()
            loss = functional.cross_entropy(model(x), y)
            body.zero_grad()
            head.zero_grad()
            loss.backward()
            losses.append(loss.item())
            body.step()
            head.step()
    run = run_of(tmp_path / "run")
    assert [facts.label for facts in run.meta.optimizers][1] == "head"
    for number in (0, 1):
        assert run.training(number).steps["mean_loss"].tolist() == pytest.approx(losses)
        assert run.training(number).steps["stale"].tolist() == [-1, 0, 0]
    assert [[t.name for t in run.training(n).tensors] for n in (0, 1)] == [
        ["0.weight", "0.bias"],
        ["3.weight", "3.bias"],
    ]


def test_a_gan_in_a_function_is_labelled_by_its_variables(tmp_path):
    def main():
        torch.manual_seed(0)
        generator = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))
        critic = nn.Linear(4, 1)
        critic_optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3)
        generator_optimizer = torch.optim.Adam(generator.parameters(), lr=1e-4)
        known = []
        for _ in range(3):
            fake = generator(torch.randn(6, 4))
            critic_optimizer.zero_grad()
            ones, zeros = torch.ones(6, 1), torch.zeros(6, 1)
            real_loss = functional.binary_cross_entropy_with_logits(critic(torch.randn(6, 4)), ones)
            fake_loss = functional.binary_cross_entropy_with_logits(critic(fake.detach()), zeros)
            (real_loss + fake_loss).backward()
            critic_optimizer.step()
            generator_optimizer.zero_grad()
            loss = functional.binary_cross_entropy_with_logits(critic(fake), ones)
            loss.backward()
            generator_optimizer.step()
            known.append(((real_loss + fake_loss).item(), loss.item()))
        return known

    with recorded(tmp_path / "run"):
        known = main()
    run = run_of(tmp_path / "run")
    assert [facts.label for facts in run.meta.optimizers] == ["critic_optimizer", "generator_optimizer"]
    assert [tensor.name for tensor in run.training(0).tensors] == ["critic.weight", "critic.bias"]
    names = [f"generator.{name}" for name in ("0.weight", "0.bias", "2.weight", "2.bias")]
    assert [tensor.name for tensor in run.training(1).tensors] == names
    for number in (0, 1):
        assert run.training(number).steps["objective"].tolist() == pytest.approx([pair[number] for pair in known])


def test_frozen_and_then_unfrozen(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        model[0].requires_grad_(False)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(4):
            if step == 2:
                model[0].requires_grad_(True)
            optimizer.zero_grad()
            x, y = batch()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    run = run_of(tmp_path / "run")
    has_grad, moved = run.training(0).matrix("has_grad"), run.training(0).matrix("update_norm") > 0
    for seen in (has_grad == 1, moved):
        assert seen[:, 0].tolist() == [False, False, True, True]
        assert seen[:, 2].all()
    assert all(tensor.requires_grad for tensor in run.meta.tensors), "the facts are those of the end"


@pytest.mark.parametrize("sparse", [False, True])
def test_embedding_bags(tmp_path, sparse):
    with recorded(tmp_path / "run"):
        torch.manual_seed(0)
        model = nn.Sequential(nn.EmbeddingBag(20, 4, sparse=sparse), nn.Linear(4, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            functional.cross_entropy(model(torch.tensor([[1, 2, 2], [2, 3, 3]])), torch.tensor([0, 1])).backward()
            known = float((model[0].weight.grad.to_dense() if sparse else model[0].weight.grad).norm())
            optimizer.step()
    run = run_of(tmp_path / "run")
    assert run.training(0).matrix("gradient_norm")[-1, 0] == pytest.approx(known, rel=1e-5)
    assert (run.rows.iloc[0]["hit"], run.rows.iloc[0]["rows"]) == (3, 20)
    assert run.training(0).tensors[0].role == "embedding"


def test_bfloat16_autocast(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        known = []
        for _ in range(3):
            x, y = batch()
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = functional.cross_entropy(model(x), y)
            loss.backward()
            known.append((loss.item(), norm_of(model)))
            optimizer.step()
    steps = run_of(tmp_path / "run").steps
    assert steps[["mean_loss", "gradient_norm"]].to_numpy() == pytest.approx(numpy.array(known), rel=1e-5)


def test_bfloat16_weights(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier().bfloat16()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = batch()
        loss = functional.cross_entropy(model(x.bfloat16()), y)
        loss.backward()
        known = norm_of(model)
        optimizer.step()
    run = run_of(tmp_path / "run")
    assert run.steps["mean_loss"][0] == pytest.approx(loss.item(), rel=1e-2)
    assert run.steps["gradient_norm"][0] == pytest.approx(known, rel=1e-5)
    assert run.meta.tensors[0].dtype == "bfloat16"


def test_parameters_that_no_module_holds(tmp_path):
    with recorded(tmp_path / "run"):
        first, second = nn.Parameter(torch.ones(3)), nn.Parameter(torch.full((2, 2), 2.0))
        optimizer = torch.optim.SGD([first, second], lr=0.1)
        (first.sum() + second.square().sum()).backward()
        optimizer.step()
    run = run_of(tmp_path / "run")
    assert [tensor.shape for tensor in run.training(0).tensors] == [[3], [2, 2]]
    assert run.training(0).matrix("gradient_norm")[0].tolist() == pytest.approx([3**0.5, 8.0])


def test_a_script_that_is_one_of_many_ways_to_write_it(tmp_path):
    """Relative imports with -m, a config run by exec, a loss imported by name, a dataclass of options."""
    script(tmp_path, "", "project/__init__.py")
    script(tmp_path, "learning_rate = 0.5\nsteps = 3\n", "project/config.txt")
    script(tmp_path, "from torch import nn\nclass Net(nn.Linear): pass\n", "project/net.py")
    script(
        tmp_path,
        """
        from pathlib import Path
        import torch
        from torch.nn.functional import cross_entropy
        from .net import Net

        exec(Path(__file__).with_name("config.txt").read_text())
        model = Net(10, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
        for _ in range(steps):
            loss = cross_entropy(model(torch.ones(4, 10)), torch.zeros(4, dtype=torch.long))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(__name__, __package__, __spec__.name, globals()["learning_rate"])
        """,
        "project/train.py",
    )
    watched = record(tmp_path, "-o", "run", "-m", "project.train")
    assert watched.stdout == "__main__ project project.train 0.5\n", watched.stderr
    run = run_of(tmp_path / "run")
    assert run.steps["mean_loss"].notna().all()
    assert run.meta.tensors[0].module_class == "Net"
    assert [list(rates) for rates in run.steps["learning_rate"]] == [[0.5]] * 3
