"""Trainings of two ranks that hold shards, recorded: one seed for all, a norm not reduced, clipping rank by rank."""

import sys
from pathlib import Path

import pytest

from gradaudit import analyze
from gradaudit.diagnosers.rank_divergence import rank_divergence
from gradaudit.findings import Severity
from gradaudit.reading.run import load
from gradaudit.signals.ranks.shards_apart import shards_apart
from tests.diagnosers.verbs import assert_clean, assert_finds
from tests.record.training import run, script

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
ROOT = str(Path(__file__).parents[2])
TENSOR_PARALLEL = """
    import sys
    import torch, torch.distributed as dist
    from torch import nn
    try:
        from torch.distributed.tensor import DTensor, Replicate, Shard
    except ImportError:  # torch 2.4
        from torch.distributed._tensor import DTensor, Replicate, Shard
    from torch.distributed.fsdp import FullyShardedDataParallel
    try:
        from torch.distributed.fsdp import fully_shard
    except ImportError:  # torch 2.4 and 2.5
        from torch.distributed._composable.fsdp import fully_shard
    from torch.nn import functional
    from tests.record.training import recorded

    STEPS = 20

    class Block(nn.Module):
        def __init__(self, mesh, rank, kind):
            super().__init__()
            torch.manual_seed(0 if kind == "one_seed" else rank)
            up = DTensor.from_local(torch.randn(16, 8) / 3, mesh, [Shard(0)], run_check=False)
            down = DTensor.from_local(torch.randn(8, 16) / 6, mesh, [Shard(1)], run_check=False)
            self.up, self.down = nn.Linear(8, 32, bias=False), nn.Linear(32, 8, bias=False)
            self.up.weight, self.down.weight = nn.Parameter(up), nn.Parameter(down)
            self.norm = nn.LayerNorm(8, bias=False)
            self.norm.weight = nn.Parameter(DTensor.from_local(torch.ones(8), mesh, [Replicate()], run_check=False))

        def forward(self, x):
            # What each rank computes of its own, summed by hand: the mathematics of tensor parallelism.
            hidden = torch.relu(functional.linear(x, self.up.weight.to_local()))
            part = functional.linear(hidden, self.down.weight.to_local())
            whole = part.detach().clone()
            dist.all_reduce(whole)
            return functional.layer_norm(part + (whole - part.detach()), (8,), self.norm.weight.to_local())

    dist.init_process_group("gloo")
    rank = dist.get_rank()
    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (2,))
    for kind in ("apart", "one_seed", "unreduced"):
        with recorded(f"{sys.argv[1]}/{kind}"):
            model = Block(mesh, rank, kind)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
            torch.manual_seed(7)
            for step in range(STEPS):
                x, y = torch.randn(16, 8), torch.randn(16, 8)
                optimizer.zero_grad()
                functional.mse_loss(model(x), y).backward()
                if kind == "unreduced" and rank:
                    model.norm.weight.grad.mul_(2)
                optimizer.step()
    for kind in ("of a shard", "of the whole", "of DTensors"):
        with recorded(f"{sys.argv[1]}/{kind}"):
            torch.manual_seed(0)
            model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 8))
            if kind == "of DTensors":
                fully_shard(model, mesh=mesh)
            else:
                model = FullyShardedDataParallel(model, use_orig_params=True, device_id=torch.device("cpu"))
            optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
            for step in range(STEPS):
                x, y = torch.randn(16, 8), torch.randn(16, 8)
                optimizer.zero_grad()
                functional.mse_loss(model(x), y).backward()
                if kind != "of the whole":
                    nn.utils.clip_grad_norm_(model.parameters(), 0.05)
                else:
                    model.clip_grad_norm_(0.05)
                optimizer.step()
    dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tensor parallel")
    script(folder, TENSOR_PARALLEL)
    done = run(folder, *TORCHRUN, "train.py", str(folder), OMP_NUM_THREADS="1", PYTHONPATH=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_shards_of_seeds_of_their_own_and_equal_copies_are_quiet(trained):
    found = shards_apart(load(trained / "apart"))
    assert (found.ranks, found.judged, found.twins, found.copies, found.differ) == (2, 2, (), 1, ())
    assert_clean(rank_divergence, load(trained / "apart"))


def test_one_seed_for_all_ranks_makes_one_model_twice(trained):
    finding = assert_finds(rank_divergence, load(trained / "one_seed"), Severity.NOTE)
    assert finding.headline == "Ranks 0 and 1 start with identical shards of 2 of 2 weights"
    assert "At step 19 they still are" in finding.explanation


def test_a_replicated_weight_that_the_ranks_train_apart_is_a_note(trained):
    finding = assert_finds(rank_divergence, load(trained / "unreduced"), Severity.NOTE)
    assert finding.tensors == ["norm.weight"]


def test_clipping_a_shard_by_its_own_norm_is_a_note(trained):
    finding = assert_finds(rank_divergence, load(trained / "of a shard"), Severity.NOTE)
    assert finding.title == "Clipped by the norm of one shard"
    assert finding.measures[0].value == pytest.approx(2**0.5, rel=0.01)


@pytest.mark.parametrize("kind", ["of the whole", "of DTensors"])
def test_clipping_by_the_norm_of_all_shards_is_quiet(trained, kind):
    assert rank_divergence.name not in {ranked.diagnoser for ranked in analyze(trained / kind).ranked}
