"""Every private attribute that the recorder reads is in the table, and the absence of one costs what its line says."""

import ast
import inspect
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim.lr_scheduler import ConstantLR, SequentialLR
from torch.utils.data import DataLoader, TensorDataset

from gradaudit.record import internals, recording
from gradaudit.record.internals import FRAMEWORKS, INTERNALS, TORCH
from tests.record.training import batch, classifier, recorded, run_of
from tests.thin import thin

ROOM = Path(internals.__file__).parent
NAMES = {internal.name for internal in INTERNALS}
# Of Python: named tuples, imports, and the end of a process.
PYTHONS = {"_fields", "_replace", "_LazyModule", "_bootstrap", "_initializing", "_loader", "_exit", "_get_running_loop"}
# Made by a process group or by torch.jit: test_distributed.py and test_compilation.py see whether they work.
ELSEWHERE = {
    "_handle", "_params", "_shapes", "_fsdp_wrapped_module", "__original_fn", "__script_if_tracing_wrapper",
}  # fmt: skip
STEPS = 4


def is_private(name):
    special = name == "_" or (name.startswith("__") and name.endswith("__"))
    return name.startswith("_") and name.isidentifier() and not special


OWN = {
    node.attr
    for file in ROOM.rglob("*.py")
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self"
}


def reads(file):
    """What a file reads of others: (name, line, through `private` or in a text) for each."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in OWN | PYTHONS:
            module = ast.unparse(node.value).partition(".")[0]
            if module not in ("self", "cls", *sys.stdlib_module_names) and ast.unparse(node) != "torch._C":
                yield node.attr, node.lineno, False
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("torch", "keras", "fastai")):
            parts = [*node.module.split("."), *(alias.name for alias in node.names)]
            yield from ((part, node.lineno, False) for part in parts if is_private(part))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "private":
            if isinstance(node.args[1], ast.Constant):
                yield node.args[1].value, node.lineno, True
        elif (
            file.name != "internals.py"
            and isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and is_private(node.value)
            and node.value not in PYTHONS
        ):
            yield node.value, node.lineno, True


READS = [(name, file.relative_to(ROOM).as_posix(), line, mediated)
         for file in sorted(ROOM.rglob("*.py")) for name, line, mediated in reads(file)]  # fmt: skip


def test_private_attributes_are_read_through_one_function():
    direct = [f"{file}:{line} reads {name}" for name, file, line, mediated in READS if not mediated]
    assert not direct, "use gradaudit.record.internals.private, and name in its table what is lost without it"


def test_every_private_attribute_is_in_the_table():
    missing = [f"{file}:{line} reads {name}" for name, file, line, _ in READS if name not in NAMES]
    assert not missing, "add it to the table in gradaudit/record/internals.py"
    assert len(NAMES) == len(INTERNALS)


@pytest.mark.parametrize("internal", INTERNALS, ids=lambda internal: internal.name)
def test_the_table_says_where_each_is_read(internal):
    found = {file for name, file, _, _ in READS if name == internal.name}
    assert found == set(internal.where)


def holder(name):
    """Something that has the attribute."""
    sparse = torch.eye(2).to_sparse()
    optimizer = torch.optim.SGD([torch.ones(1)])
    sequence = SequentialLR(optimizer, [ConstantLR(optimizer), ConstantLR(optimizer)], milestones=[1])
    query = torch.ones(1, 1, 4, 8, requires_grad=True)
    attended = torch.nn.functional.scaled_dot_product_attention(query, query, query, is_causal=True)
    if name == "_checkpoint_wrapped_module":
        from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import CheckpointWrapper

        return CheckpointWrapper(nn.Linear(1, 1))
    if name == "example_value":
        seen = []
        torch.compile(lambda x: x + 1, backend=lambda graph, _: seen.append(graph) or graph.forward)(torch.ones(1))
        return next(node for node in seen[0].graph.nodes if node.op == "call_function").meta
    if name == "call_user_compiler":
        return import_module("torch._dynamo.output_graph").OutputGraph
    if name == "_orig_mod":
        return torch.compile(nn.Linear(1, 1))
    return {
        "_scale": torch.amp.GradScaler("cpu"),
        "_get_dispatch_stack_at": torch._C,
        "_len_torch_function_stack": torch._C,
        "_pop_mode": import_module("torch.utils._python_dispatch"),
        "_push_mode": import_module("torch.utils._python_dispatch"),
        "_current_autograd_node": torch._C,
        "_autograd": torch._C,
        "_get_sequence_nr": torch._C._autograd,
        "_sequence_nr": torch.ones(1, requires_grad=True).exp().grad_fn,
        "_input_metadata": torch.ones(1, requires_grad=True).exp().grad_fn,
        "_saved_dim": torch.ones(1, requires_grad=True).log_softmax(0).grad_fn,
        "_saved_self_sym_sizes": torch.ones(1, requires_grad=True).exp().view(1, 1).grad_fn,
        "_saved_dim0": torch.ones(1, 1, requires_grad=True).exp().transpose(0, 1).grad_fn,
        "_saved_dim1": torch.ones(1, 1, requires_grad=True).exp().transpose(0, 1).grad_fn,
        "_saved_dims": torch.ones(1, 1, requires_grad=True).exp().permute(1, 0).grad_fn,
        "_saved_end": torch.ones(2, requires_grad=True)[:1].grad_fn,
        "_base": torch.ones(1, 1).view(-1),
        "_saved_alpha": (1 - torch.ones(1, requires_grad=True) - torch.ones(1)).grad_fn,
        "_are_functorch_transforms_active": torch._C,
        "_current_graph_task_id": torch._C,
        "_len_torch_dispatch_stack": torch._C,
        "_pop_mode_temporarily": import_module("torch.utils._python_dispatch"),
        "_IterableDataset_len_called": DataLoader([1]),
        "_schedulers": sequence,
        "_milestones": sequence,
        "_foreach_copy_": torch,
        "_indices": sparse,
        "_values": sparse,
        "_version": torch.ones(1),
        "_saved_mat2": nn.Linear(2, 2)(torch.ones(1, 2, requires_grad=True)).grad_fn,
        "_saved_weight": nn.Conv1d(1, 1, 1)(torch.ones(1, 1, 2, requires_grad=True)).grad_fn,
        "_saved_other": (torch.ones(1, requires_grad=True) * torch.ones(1)).grad_fn,
        "_raw_saved_other": (torch.ones(1, requires_grad=True) * 2).grad_fn,
        "_raw_saved_self": (torch.ones(1) * torch.ones(1, requires_grad=True)).grad_fn,
        "_raw_saved_mat1": nn.Linear(2, 2)(torch.ones(1, 2)).grad_fn,
        "_saved_self": (torch.ones(1) * torch.ones(1, requires_grad=True)).grad_fn,
        "_functorch": torch._C,
        "_pytree": torch.utils,
        "_register_builtin": torch.jit._builtins,
        "_modules": nn.Module(),
        "_parameters": nn.Module(),
        "_compiled_call_impl": nn.Module(),
        "set_code_exec_strategy": torch._C._dynamo.eval_frame,
        "_FrameAction": torch._C._dynamo.eval_frame,
        "_FrameExecStrategy": torch._C._dynamo.eval_frame,
        "FRAME_COUNTER": import_module("torch._dynamo.convert_frame"),
        "_BaseDataLoaderIter": torch.utils.data.dataloader,
        "_saved_start": torch.ones(3, requires_grad=True)[1:].grad_fn,
        "_saved_index": torch.ones(3, requires_grad=True)[-1].grad_fn,
        "_saved_is_causal": attended.grad_fn,
        "_frames_up": dict(inspect.signature(torch.jit.script).parameters),
    }[name]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, about itself
@pytest.mark.parametrize(
    "internal", [one for one in TORCH if one.name not in ELSEWHERE], ids=lambda internal: internal.name
)
def test_the_table_says_which_versions_have_it(internal):
    installed = tuple(int(part) for part in torch.__version__.split(".")[:2])
    missing = object()
    there = internals.private(holder(internal.name), internal.name, missing) is not missing
    since = tuple(int(part) for part in internal.since.split("."))
    assert there or installed < since, f"torch {torch.__version__} has no {internal.of}.{internal.name} any more"
    assert not there or installed >= since, f"torch {torch.__version__} has it already: say so in the table"


class Tied(nn.Module):
    """Embeddings with sparse gradients, a head that shares a weight, and a module under two names."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(7, 4, sparse=True)
        self.body = nn.Linear(4, 4)
        self.again = self.body
        self.head = nn.Linear(4, 7)

    def forward(self, words):
        return self.head(torch.relu(self.again(self.words(words))))


def train():
    """A training that touches whatever the recorder reads in plain code; its losses."""
    torch.manual_seed(0)
    model = Tied()
    words = torch.randint(0, 7, (STEPS * 8,), generator=torch.Generator().manual_seed(1))
    sparse = torch.optim.SGD(model.words.parameters(), lr=0.1)
    dense = torch.optim.SGD([*model.body.parameters(), *model.head.parameters()], lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    losses = []
    for (x,) in DataLoader(TensorDataset(words), batch_size=8):
        loss = functional.cross_entropy(model(x), x)
        metric = functional.mse_loss(model(x).mean(), torch.zeros(()))  # with a gradient that nobody asks for
        scaler.scale(loss).backward()
        scaler.step(dense)
        with torch.no_grad():
            for parameter in model.words.parameters():
                parameter.grad = parameter.grad / scaler.get_scale()
        sparse.step()
        scaler.update()
        dense.zero_grad()
        sparse.zero_grad()
        losses.append(loss.item())
        del metric
    return losses


@pytest.mark.parametrize("name", thin(3, [None, *(internal.name for internal in INTERNALS)]))
def test_without_one_of_them_every_step_and_loss_is_recorded(tmp_path, monkeypatch, name):
    monkeypatch.setattr(internals, "hidden", {name})
    with recorded(tmp_path / "run", activations=True):
        known = train()
    assert known == train()
    run = run_of(tmp_path / "run")
    assert len(run.steps) == 2 * STEPS
    first = run.steps[run.steps["optimizer"] == 0]
    assert first["mean_loss"].tolist() == pytest.approx(known)
    factor = 4.0 if name == "_scale" else 1.0  # the objective keeps a scale that nobody knows
    assert first["objective"].tolist() == pytest.approx([factor * loss for loss in known])
    assert first["amp_scale"].isna().all() == (name == "_scale")
    assert run.meta.data.batches_per_epoch == STEPS
    assert {tensor.name for tensor in run.meta.tensors} == {
        "words.weight", "body.weight", "body.bias", "head.weight", "head.bias",
    }  # fmt: skip
    aliases = {alias for tensor in run.meta.tensors for alias in tensor.aliases}
    assert aliases == (set() if name == "_modules" else {"again.weight", "again.bias"})
    assert run.training(1).matrix("gradient_norm").shape == (STEPS, 1)
    assert not [kind for kind in run.events["kind"] if kind == "disabled"]
    trained = run.rows[(run.rows["optimizer"] == 1) & (run.rows["step"] == 0)]
    assert trained["hit"].tolist() == [5], "rows of the embedding in the first batch"


def test_without_the_name_of_a_steps_frame_every_step_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "wrapper_frame", lambda: None)
    with recorded(tmp_path / "run"):
        known = train()
    assert run_of(tmp_path / "run").steps["mean_loss"].tolist()[::2] == pytest.approx(known)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    "name", ["call_user_compiler", "example_value", "_orig_mod", "set_code_exec_strategy", "_compiled_call_impl"]
)
def test_without_one_of_the_compilers_every_step_is_recorded(tmp_path, monkeypatch, name):
    torch._dynamo.reset()
    monkeypatch.setattr(internals, "hidden", {name})
    x, y = batch()
    with recorded(tmp_path / "run"):
        model = classifier()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        compiled = torch.compile(lambda: functional.cross_entropy(model(x), y), backend="aot_eager")
        known = []
        for _ in range(2):
            optimizer.zero_grad()
            loss = compiled()
            loss.backward()
            optimizer.step()
            known.append(loss.item())
    torch._dynamo.reset()
    run = run_of(tmp_path / "run")
    assert run.steps["objective"].tolist() == pytest.approx(known)
    assert run.steps["mean_loss"].isna().all() == (name in ("call_user_compiler", "example_value"))
    assert set(run.events["kind"]) == ({"compiled"} if name == "example_value" else set())


def test_a_scaler_that_is_switched_off(tmp_path):
    x, y = batch()
    model = classifier()
    with recorded(tmp_path / "run"):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cuda", enabled=False)
        for _ in range(STEPS):
            scaler.scale(functional.cross_entropy(model(x), y)).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
    run = run_of(tmp_path / "run")
    assert len(run.steps) == STEPS
    assert run.steps["mean_loss"].tolist() == pytest.approx(run.steps["objective"].tolist())
    assert run.steps["amp_scale"].isna().all()
    assert not run.steps["skipped"].any()


def test_every_framework_is_one_that_the_tests_install():
    assert {internal.where[0] for internal in FRAMEWORKS} == {"frameworks/fastai.py", "frameworks/keras.py"}
