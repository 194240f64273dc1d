"""What is recorded of trainings of every shape, against what the training itself computed."""

import math
import warnings

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional

from gradaudit.record import session
from tests.record.training import batch, classifier, recorded, run_of


def train(model, optimizer, steps=4, micro=1, divide=True, clip=None):
    """An ordinary loop; returns what it knows: losses, gradient norms, updates of the first tensor."""
    x, y = batch()
    known = {"loss": [], "norm": [], "update": []}
    first = next(model.parameters())
    for _ in range(steps):
        optimizer.zero_grad()
        total = 0.0
        for _ in range(micro):
            loss = functional.cross_entropy(model(x), y)
            total += loss.item()
            (loss / micro if divide else loss).backward()
        known["loss"].append(total / micro)
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        known["norm"].append(math.sqrt(sum(float(p.grad.double().norm()) ** 2 for p in model.parameters())))
        before = first.detach().clone()
        optimizer.step()
        known["update"].append(float((first.detach() - before).norm()))
    return known


def test_a_plain_loop(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        known = train(model, torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1, betas=(0.8, 0.9)))
    run = run_of(tmp_path / "run")
    steps = run.steps
    assert steps["mean_loss"].tolist() == pytest.approx(known["loss"])
    assert steps["objective"].tolist() == pytest.approx(known["loss"])
    assert steps["gradient_norm"].tolist() == pytest.approx(known["norm"], rel=1e-5)
    assert run.training(0).matrix("update_norm")[:, 0].tolist() == pytest.approx(known["update"], rel=1e-5)
    assert [list(value) for value in steps["learning_rate"]] == [pytest.approx([1e-2])] * 4
    assert [list(value) for value in steps["weight_decay"]] == [pytest.approx([0.1])] * 4
    assert [list(value) for value in steps["momentum"]] == [pytest.approx([0.8])] * 4
    assert steps["stale"].tolist() == [-1, 0, 0, 0]
    assert steps["training"].tolist() == [1] * 4
    assert steps["batch_size"].tolist() == [8] * 4
    assert [tensor.name for tensor in run.meta.tensors] == [name for name, _ in model.named_parameters()]
    facts = run.meta.losses[0]
    assert (facts.function, facts.classes, facts.reduction) == ("cross_entropy", 3, "mean")
    assert sum(facts.label_counts) == 32
    assert run.meta.optimizers[0].optimizer_class == "AdamW"


@pytest.mark.parametrize("divide", [True, False])
def test_gradient_accumulation(tmp_path, divide):
    with recorded(tmp_path / "run"):
        model = classifier()
        known = train(model, torch.optim.SGD(model.parameters(), lr=0.1), micro=4, divide=divide)
    steps = run_of(tmp_path / "run").steps
    factor = 1 if divide else 4
    assert steps["micro_steps"].tolist() == [4] * 4
    assert steps["mean_loss"].tolist() == pytest.approx(known["loss"])
    assert steps["objective"].tolist() == pytest.approx([loss * factor for loss in known["loss"]])
    assert steps["targets"].tolist() == [32] * 4


def test_norm_clipping_records_the_norm_before_and_the_threshold(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        known = train(model, torch.optim.SGD(model.parameters(), lr=0.1), clip=0.01)
    run = run_of(tmp_path / "run")
    assert run.steps["clip_kind"].tolist() == [1] * 4
    assert run.steps["clip_threshold"].tolist() == pytest.approx([0.01] * 4)
    assert (run.steps["gradient_norm"] > 0.05).all()
    at_step = numpy.sqrt((run.training(0).matrix("gradient_norm") ** 2).sum(axis=1))
    assert at_step.tolist() == pytest.approx(known["norm"], rel=1e-5)


def test_value_clipping_records_the_norm_before_and_the_share(tmp_path):
    known = []
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            x, y = batch()
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            gradient = torch.cat([p.grad.ravel() for p in model.parameters()])
            known.append((float(gradient.norm()), float((gradient.abs() > 0.03).double().mean())))
            torch.nn.utils.clip_grad_value_(model.parameters(), 0.03)
            optimizer.step()
        optimizer.step()
    run = run_of(tmp_path / "run")
    assert run.steps["clip_kind"].tolist() == [2, 2, 2, 0]
    assert run.steps["gradient_norm"].tolist()[:3] == pytest.approx([norm for norm, _ in known], rel=1e-5)
    assert 0 < known[0][1] < 1
    assert run.steps["clipped_fraction"].tolist() == pytest.approx(
        [*(share for _, share in known), math.nan], nan_ok=True
    )
    assert run.training(0).matrix("gradient_max_abs")[:3].max(axis=1).tolist() == pytest.approx([0.03] * 3)


def test_a_generator_given_to_clipping_is_not_used_up(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = batch()
        functional.cross_entropy(model(x), y).backward()
        torch.nn.utils.clip_grad_value_((p for p in model.parameters()), 1e-4)
        optimizer.step()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.nn.utils.clip_grad_norm_((p for p in ()), 1.0)
        # torch says it from 2.6 on, and must be able to see that the generator is one.
        said = any("empty generator" in str(warning.message) for warning in caught)
        assert said or torch.__version__ < "2.6"
    run = run_of(tmp_path / "run")
    assert run.steps["clip_kind"].tolist() == [2]
    assert run.training(0).matrix("gradient_max_abs").max() == pytest.approx(1e-4)


@pytest.mark.parametrize("fused", [False, True])
def test_amp_records_unscaled_gradients_and_skipped_steps(tmp_path, fused):
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        x, y = batch()
        true = []
        for step in range(4):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            scaler.scale(loss).backward()
            true.append(math.sqrt(sum(float(p.grad.norm()) ** 2 for p in model.parameters())) / scaler.get_scale())
            if step == 2:
                next(model.parameters()).grad[0, 0] = float("inf")
            scaler.step(optimizer)
            scaler.update()
    run = run_of(tmp_path / "run")
    assert run.steps["skipped"].tolist() == [False, False, True, False]
    assert run.steps["amp_scale"].tolist() == [1024.0, 1024.0, 1024.0, 512.0]
    assert run.steps["objective"][0] == pytest.approx(run.steps["mean_loss"][0], rel=1e-5)
    norms = run.steps["gradient_norm"].to_numpy()
    assert norms[[0, 1, 3]].tolist() == pytest.approx([true[0], true[1], true[3]], rel=1e-4)


def test_a_closure_is_measured_after_its_first_call(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)
        x, y = batch()

        def closure():
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            return loss

        first = functional.cross_entropy(model(x), y).item()
        optimizer.step(closure)
        optimizer.step(closure=closure)
    run = run_of(tmp_path / "run")
    assert len(run.steps) == 2
    assert run.training(0).matrix("has_grad").all()
    assert run.steps["mean_loss"][0] == pytest.approx(first)
    assert run.steps["micro_steps"].tolist() == [1, 1], "the line search's backwards are not the next step's"


def test_two_optimizers_get_their_own_losses_and_names(tmp_path):
    with recorded(tmp_path / "run"):
        torch.manual_seed(0)
        generator, critic = nn.Linear(4, 4), nn.Linear(4, 1)
        first = torch.optim.Adam(critic.parameters(), lr=1e-3)
        second = torch.optim.Adam(generator.parameters(), lr=1e-4)
        for _ in range(3):
            first.zero_grad()
            loss = functional.binary_cross_entropy_with_logits(
                critic(generator(torch.ones(2, 4)).detach()), torch.ones(2, 1)
            )
            loss.backward()
            first.step()
            second.zero_grad()
            (critic(generator(torch.ones(2, 4))).sum() * 0 + 7.0 + generator.weight.sum() * 0).backward()
            second.step()
    run = run_of(tmp_path / "run")
    assert [one.id for one in run.trainings] == [0, 1]
    assert run.training(1).steps["objective"].tolist() == pytest.approx([7.0] * 3)
    assert run.training(0).steps["objective"].tolist() != pytest.approx([7.0] * 3)
    assert sorted(len(one.tensors) for one in run.trainings) == [2, 2]
    names = {tensor.name for tensor in run.meta.tensors}
    assert len(names) == 4, names


def test_parameters_without_optimizer_frozen_tied_and_without_gradient(tmp_path):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(3, 10)
            self.body = nn.Linear(10, 10)
            self.unused = nn.Linear(10, 2)
            self.head = nn.Linear(10, 3, bias=False)
            self.head.weight = self.embedding.weight
            self.body.bias.requires_grad = False

        def forward(self, x):
            return self.head(self.body(x))

    with recorded(tmp_path / "run"):
        torch.manual_seed(0)
        model = Model()
        optimizer = torch.optim.SGD([model.embedding.weight, *model.unused.parameters(), model.body.bias], lr=0.1)
        x, y = batch()
        for _ in range(2):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    run = run_of(tmp_path / "run")
    tensors = {tensor.name: tensor for tensor in run.meta.tensors}
    assert tensors["embedding.weight"].aliases == ["head.weight"]
    assert tensors["embedding.weight"].role == "embedding"
    assert tensors["body.weight"].optimizer == -1
    assert tensors["body.bias"].requires_grad is False
    column = {tensor.name: index for index, tensor in enumerate(run.training(0).tensors)}
    has_grad = run.training(0).matrix("has_grad")[0]
    assert has_grad[column["body.weight"]] == 1, "a tensor outside the optimizer is still seen"
    assert has_grad[column["unused.weight"]] == 0
    assert numpy.isnan(run.training(0).matrix("gradient_norm")[0, column["unused.weight"]])
    assert run.training(0).matrix("update_norm")[0, column["unused.weight"]] == 0


def test_forgotten_zero_grad_is_seen_and_zeroing_in_place_is_not_mistaken_for_it(tmp_path):
    x, y = batch()
    for name, zero in (("forgotten", lambda optimizer: None), ("zeroed", lambda o: o.zero_grad(set_to_none=False))):
        with recorded(tmp_path / name):
            model = classifier()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            for _ in range(3):
                zero(optimizer)
                functional.cross_entropy(model(x), y).backward()
                optimizer.step()
    assert run_of(tmp_path / "forgotten").steps["stale"].tolist() == [-1, 1, 1]
    assert run_of(tmp_path / "zeroed").steps["stale"].tolist() == [-1, 0, 0]


def test_groups_added_later_are_recorded_from_then_on(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = torch.optim.SGD(model[0].parameters(), lr=0.1)
        train(model, optimizer, steps=2)
        optimizer.add_param_group({"params": model[3].parameters(), "lr": 0.5})
        train(model, optimizer, steps=2)
    run = run_of(tmp_path / "run")
    assert [list(value) for value in run.steps["learning_rate"]][-1] == pytest.approx([0.1, 0.5])
    moved = run.training(0).matrix("update_norm")[
        :, [tensor.name for tensor in run.training(0).tensors].index("3.weight")
    ]
    assert moved[:2].tolist() == [0, 0]
    assert (moved[2:] > 0).all()


def test_a_step_that_raises_does_not_stop_the_recording(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def explode():
            raise RuntimeError("data")

        with pytest.raises(RuntimeError, match="data"):
            optimizer.step(explode)
        train(model, optimizer, steps=2)
    assert len(run_of(tmp_path / "run").steps) == 2


def test_wrapping_optimizers_are_recorded_once(tmp_path):
    class Wrapper(torch.optim.Optimizer):
        def __init__(self, inner):
            super().__init__(inner.param_groups, {})
            self.inner = inner

        def step(self, closure=None):
            return self.inner.step(closure)

    with recorded(tmp_path / "run"):
        model = classifier()
        train(model, Wrapper(torch.optim.SGD(model.parameters(), lr=0.1)), steps=3)
    assert len(run_of(tmp_path / "run").steps) == 3


def test_a_step_that_calls_its_parents_step_is_recorded_once(tmp_path):
    class Sharper(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            return super().step(closure)

    with recorded(tmp_path / "run"):
        model = classifier()
        known = train(model, Sharper(model.parameters(), lr=0.1), steps=3)
    run = run_of(tmp_path / "run")
    assert len(run.steps) == 3
    assert run.training(0).matrix("update_norm")[:, 0].tolist() == pytest.approx(known["update"], rel=1e-5), (
        "of both steps"
    )


def test_data_parallel_leaves_the_names_as_they_are(tmp_path):
    with recorded(tmp_path / "run"):
        model = nn.DataParallel(nn.Sequential(nn.Linear(10, 4), nn.Linear(4, 3)))
        train(model, torch.optim.SGD(model.parameters(), lr=0.1), steps=2)
    run = run_of(tmp_path / "run")
    assert [tensor.name for tensor in run.meta.tensors] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert run.steps["training"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("reduction", "factor"), [("mean", 1.0), ("sum", 6.0), ("none", None)], ids=["mean", "sum", "none"]
)
def test_the_mean_per_valid_target_does_not_depend_on_the_reduction(tmp_path, reduction, factor):
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = batch()
        y[:2] = -100
        expected = functional.cross_entropy(model(x), y).item()
        loss = functional.cross_entropy(model(x), y, reduction=reduction)
        (loss.sum() if reduction == "none" else loss).backward()
        optimizer.step()
    run = run_of(tmp_path / "run")
    assert run.steps["mean_loss"][0] == pytest.approx(expected, rel=1e-5)
    assert (run.steps["targets"][0], run.steps["ignored_targets"][0]) == (6, 2)
    if factor:
        assert run.steps["objective"][0] == pytest.approx(expected * factor, rel=1e-5)


def test_facts_of_losses(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = batch()
        weights = torch.tensor([1.0, 2.0, 3.0])
        nn.CrossEntropyLoss(weight=weights, label_smoothing=0.1)(model(x), y).backward()
        optimizer.step()
        nn.NLLLoss()(model(x).log_softmax(dim=1), y).backward()
        optimizer.step()
        target = torch.tensor([0.0, 100.0, 200.0, 100.0, 0.0, 100.0, 200.0, 100.0])
        functional.mse_loss(model(x)[:, 0], target).backward()
        optimizer.step()
        functional.binary_cross_entropy_with_logits(model(x)[:, 0], (target > 50).float()).backward()
        optimizer.step()
    smoothed, nll, mse, binary = run_of(tmp_path / "run").meta.losses
    assert (smoothed.label_smoothing, smoothed.class_weights, smoothed.weighted) == (0.1, [1.0, 2.0, 3.0], True)
    assert (nll.function, nll.classes) == ("nll_loss", 3)
    assert mse.target_mean == pytest.approx(100.0)
    assert mse.target_variance == pytest.approx(5000.0)
    assert binary.binary_entropy == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))


def test_embedding_rows(tmp_path):
    with recorded(tmp_path / "run"):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(50, 8), nn.Flatten(), nn.Linear(16, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(11):
            optimizer.zero_grad()
            functional.cross_entropy(model(torch.tensor([[1, 2], [2, 3]])), torch.tensor([0, 1])).backward()
            optimizer.step()
    rows = run_of(tmp_path / "run").rows
    rows = rows[rows["tensor"] == 0]
    assert rows["step"].tolist() == list(range(11))
    last = rows.iloc[-1]
    assert (last["rows"], last["tracked"], last["hit"], last["ever_hit"], last["moved"]) == (50, 50, 3, 3, 3)
    assert list(last["hits_histogram"]) == [47, 0, 0, 0, 3]
    assert list(last["never_hit_rows"])[:3] == [0, 4, 5]
    assert rows["checksum"].nunique() == 11


def test_sparse_embeddings(tmp_path):
    with recorded(tmp_path / "run"):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(50, 8, sparse=True), nn.Flatten(), nn.Linear(16, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        functional.cross_entropy(model(torch.tensor([[1, 2], [2, 3]])), torch.tensor([0, 1])).backward()
        true = float(model[0].weight.grad.to_dense().norm())
        optimizer.step()
    run = run_of(tmp_path / "run")
    assert run.training(0).matrix("gradient_norm")[0, 0] == pytest.approx(true, rel=1e-5)
    assert run.rows.iloc[0]["hit"] == 3


def test_nan_is_recorded_and_never_dropped(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for scale in (1.0, float("nan"), 1.0):
            optimizer.zero_grad()
            x, y = batch()
            (functional.cross_entropy(model(x), y) * scale).backward()
            optimizer.step()
    run = run_of(tmp_path / "run")
    assert numpy.isnan(run.steps["objective"].to_numpy()).tolist() == [False, True, True]
    assert (run.training(0).matrix("gradient_nan")[1] > 0).all()
    assert numpy.isnan(run.training(0).matrix("weight_norm")[2]).all()


def test_statistics_thin_out_on_a_grid_and_losses_do_not(tmp_path):
    with recorded(tmp_path / "run", every=4):
        model = classifier()
        train(model, torch.optim.SGD(model.parameters(), lr=0.1), steps=10)
    run = run_of(tmp_path / "run")
    assert run.training(0).recorded.tolist() == [0, 4, 8]
    assert len(run.steps) == 10
    assert run.steps["mean_loss"].notna().all()


def test_compiled_models_are_recorded_without_a_graph_more(tmp_path):
    def graphs():
        torch._dynamo.reset()
        counter = torch._dynamo.testing.CompileCounter()
        model = classifier()
        x, y = batch()

        @torch.compile(backend=counter, fullgraph=True)
        def loss_of(x, y):
            return functional.cross_entropy(model(x), y)

        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        losses = []
        for _ in range(3):
            optimizer.zero_grad()
            loss = loss_of(x, y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses, counter.frame_count

    import torch._dynamo.testing

    bare = graphs()
    with recorded(tmp_path / "run"):
        watched = graphs()
    assert watched == bare
    assert run_of(tmp_path / "run").steps["objective"].tolist() == pytest.approx(bare[0])


def test_a_metric_that_is_never_differentiated_is_no_training_loss(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = batch()
        functional.mse_loss(model(x), torch.ones(8, 3))
        loss = functional.cross_entropy(model(x), y)
        functional.l1_loss(model(x), torch.ones(8, 3))
        loss.backward()
        optimizer.step()
    run = run_of(tmp_path / "run")
    assert run.loss_facts(int(run.steps["loss"][0])).function == "cross_entropy"
    assert run.steps["mean_loss"][0] == pytest.approx(loss.item())


def test_nothing_is_left_behind(tmp_path):
    before = (functional.cross_entropy, torch.autograd.backward, torch.nn.utils.clip_grad_norm_)
    with recorded(tmp_path / "run"):
        assert functional.cross_entropy is not before[0]
    assert (functional.cross_entropy, torch.autograd.backward, torch.nn.utils.clip_grad_norm_) == before
    assert session.current() is None
    assert not (tmp_path / "run").exists(), "no step, no files"


def test_weights_of_positives_are_weights(tmp_path):
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = batch()
        loss = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([19.0]))
        loss(model(x)[:, :1], (y[:, None] > 1).float()).backward()
        optimizer.step()
    assert run_of(tmp_path / "run").meta.losses[0].weighted


def test_tensors_outside_any_module_are_all_recorded(tmp_path):
    with recorded(tmp_path / "run"):
        first, second = torch.ones(3, requires_grad=True), torch.ones(2, 2, requires_grad=True)
        optimizer = torch.optim.SGD([first, second], lr=0.1)
        (first.sum() * second.sum()).backward()
        optimizer.step()
    run = run_of(tmp_path / "run")
    assert [tensor.shape for tensor in run.meta.tensors] == [[3], [2, 2]]
    assert run.training(0).matrix("has_grad").tolist() == [[1, 1]]
