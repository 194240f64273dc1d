"""Two ranks under torchrun: what they recorded, merged, is what one process computes on the whole batch."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy
import pyarrow.parquet
import pytest

from gradaudit.reading.run import load
from gradaudit.signals.ranks.shards_apart import shards_apart
from tests.record.training import record, run, script

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
ROOT = str(Path(__file__).parents[2])
KINDS = ("ddp", "compiled", "accumulated", "fully_shard", "fsdp1", "clipped")

# Every kind is a recording of its own in the same two processes: starting a process costs more than training.
KINDS_OF_WRAPPING = """
    import json, sys
    import torch, torch.distributed as dist
    from torch import nn
    from torch.distributed.fsdp import FullyShardedDataParallel
    try:
        from torch.distributed.fsdp import fully_shard
    except ImportError:  # torch 2.4 and 2.5
        from torch.distributed._composable.fsdp import fully_shard
    from torch.nn import functional
    from tests.record.training import recorded

    STEPS = 3

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(10, 37), nn.LayerNorm(37), nn.ReLU())
            self.head = nn.Linear(37, 3, bias=True)

        def forward(self, x):
            return self.head(self.body(x))

    def network():
        torch.manual_seed(0)
        return Net()

    def batch():
        generator = torch.Generator().manual_seed(1)
        return torch.randn(8, 10, generator=generator), torch.randint(0, 3, (8,), generator=generator)

    def wrap(kind, model):
        if kind == "fsdp1":
            return FullyShardedDataParallel(model, use_orig_params=True, device_id=torch.device("cpu"))
        if kind in ("fully_shard", "clipped", "alone"):
            mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (2,))
            fully_shard(model.body, mesh=mesh)
            return fully_shard(model, mesh=mesh)
        wrapped = nn.parallel.DistributedDataParallel(model)
        return torch.compile(wrapped, backend="eager") if kind == "compiled" else wrapped

    def train(kind, rank, model):
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        x, y = batch()
        for _ in range(STEPS):
            optimizer.zero_grad()
            mine = slice(4 * rank, 4 * rank + 4)
            if kind == "accumulated":
                with model.no_sync():
                    (functional.cross_entropy(model(x[mine][:2]), y[mine][:2]) / 2).backward()
                (functional.cross_entropy(model(x[mine][2:]), y[mine][2:]) / 2).backward()
            else:
                functional.cross_entropy(model(x[mine]), y[mine]).backward()
            if kind == "clipped":
                nn.utils.clip_grad_norm_(model.parameters(), 0.01)
            optimizer.step()
        if kind == "alone" and rank == 0:
            # The other rank never makes these steps: whoever asked it for something would wait for ever.
            optimizer.step()
            optimizer.step()

    def truth(clip):
        model = network()
        start = [p.detach().clone() for p in model.parameters()]
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        x, y = batch()
        known = {"names": [name for name, _ in model.named_parameters()], "whole": []}
        for name in ("norm", "mean", "std", "max_abs", "weight", "update", "drift"):
            known[name] = []
        for _ in range(STEPS):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            known["whole"].append(float(sum(p.grad.double().square().sum() for p in model.parameters()).sqrt()))
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            grads = [p.grad.double() for p in model.parameters()]
            before = [p.detach().clone() for p in model.parameters()]
            optimizer.step()
            after = list(model.parameters())
            known["norm"].append([float(g.norm()) for g in grads])
            known["mean"].append([float(g.mean()) for g in grads])
            known["std"].append([float(g.std(correction=0)) for g in grads])
            known["max_abs"].append([float(g.abs().max()) for g in grads])
            known["weight"].append([float(p.double().norm()) for p in before])
            known["update"].append([float((a - b).detach().double().norm()) for a, b in zip(after, before)])
            known["drift"].append([float((a - b).detach().double().norm()) for a, b in zip(after, start)])
        return known

    def train_copies(rank):
        model = network()
        ddp = nn.parallel.DistributedDataParallel(model)
        optimizer = torch.optim.SGD(ddp.parameters(), lr=1e-2)
        x, y = batch()
        for step in range(130):
            optimizer.zero_grad()
            functional.cross_entropy(ddp(x[4 * rank : 4 * rank + 4]), y[4 * rank : 4 * rank + 4]).backward()
            optimizer.step()
            if rank and step == 100:
                with torch.no_grad():
                    model.head.weight[0, 0] = torch.nextafter(model.head.weight[0, 0], torch.tensor(9.0))

    dist.init_process_group("gloo")
    rank = dist.get_rank()
    with recorded(f"{sys.argv[1]}/copies", every=50):
        train_copies(rank)
    for kind in sys.argv[2:]:
        with recorded(f"{sys.argv[1]}/{kind}"):
            train(kind, rank, wrap(kind, network()))
    if rank == 0:
        with open(f"{sys.argv[1]}/truth.json", "w") as file:
            json.dump({"plain": truth(None), "clipped": truth(0.01)}, file)
    dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed")
    script(folder, KINDS_OF_WRAPPING)
    done = run(folder, *TORCHRUN, "train.py", str(folder), *KINDS, "alone", OMP_NUM_THREADS="1", PYTHONPATH=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, json.loads((folder / "truth.json").read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_merged_statistics_are_those_of_one_process(trained, kind):
    folder, truths = trained
    truth = truths["clipped" if kind == "clipped" else "plain"]
    recorded = load(folder / kind)
    assert recorded.problems == ()
    tensors = recorded.training(0).tensors
    assert [tensor.name for tensor in tensors] == truth["names"]
    assert [tensor.module_class for tensor in tensors] == ["Linear"] * 2 + ["LayerNorm"] * 2 + ["Linear"] * 2
    assert [tensor.shape for tensor in tensors] == [[37, 10], [37], [37], [37], [3, 37], [3]]
    assert [tensor.role for tensor in tensors] == ["weight", "bias", "norm", "norm", "weight", "bias"]
    assert recorded.training(0).recorded.tolist() == [0, 1, 2]
    for name in ("norm", "mean", "std", "max_abs"):
        # Gradients of a softmax sum to zero over the classes, up to rounding.
        assert recorded.training(0).matrix(f"gradient_{name}") == pytest.approx(
            numpy.array(truth[name]), rel=1e-5, abs=1e-7
        )
    for name in ("weight", "update", "drift"):
        # The optimizer divides by the gradient's root of squares, which magnifies the rounding of sums.
        close = pytest.approx(numpy.array(truth[name]), rel=1e-5 if name == "weight" else 1e-3, abs=1e-8)
        assert recorded.training(0).matrix(f"{name}_norm") == close
    assert recorded.training(0).matrix("has_grad").all()
    assert recorded.steps["gradient_norm"].tolist() == pytest.approx(truth["whole"], rel=1e-5)
    assert recorded.steps["micro_steps"].tolist() == [2 if kind == "accumulated" else 1] * 3
    assert recorded.steps["stale"].tolist() == [-1, 0, 0]


def test_no_rank_waits_for_another_because_of_us(trained):
    alone = load(trained[0] / "alone")
    assert len(alone.steps) == 5
    assert alone.training(0).recorded.tolist() == [0, 1, 2], "a step that one rank lacks cannot be merged"


def test_the_recorder_knows_no_collective():
    """What waits for other ranks; `full_tensor` and `redistribute` do so for a distributed tensor."""
    collective = re.compile(
        r"\.(all_\w+|reduce\w*_tensor|reduce_scatter\w*|barrier|broadcast\w*|gather_object|scatter_object\w*|send|recv|"
        r"full_tensor|redistribute|summon_full_params|monitored_barrier|new_group)\("
    )
    files = list((Path(ROOT) / "gradaudit" / "record").rglob("*.py"))
    assert len(files) > 20
    found = {file.name: names for file in files if (names := collective.findall(file.read_text(encoding="utf-8")))}
    assert found == {}


def test_every_rank_keeps_its_own_losses(trained):
    folder = trained[0] / "ddp"
    losses = [
        pyarrow.parquet.read_table(folder / f"rank0000{rank}" / "steps-000000.parquet")["mean_loss"].to_pylist()
        for rank in (0, 1)
    ]
    assert load(folder).steps["mean_loss"].tolist() == losses[0]
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)
    assert not list((folder / "rank00001").glob("tensors*")), "a copy of rank 0's tensors is not written"


def test_copies_that_drift_apart_have_other_checksums(trained):
    run = load(trained[0] / "copies")
    assert run.problems == ()
    replicas = run.replicas
    assert replicas["rank"].tolist() == [0] * 130 + [1] * 130
    assert replicas["global_step"].tolist() == [*range(130)] * 2
    sums = replicas.pivot(index="global_step", columns="rank", values="weight_checksum")
    assert sums.index[(sums != 0).any(axis=1)].tolist() == [0, 64, 128]
    assert (sums[0] == sums[1]).to_numpy()[[0, 64, 128]].tolist() == [True, True, False]
    assert sums.loc[0, 0] != sums.loc[64, 0]
    assert replicas["mean_loss"][:130].tolist() == run.steps["mean_loss"].tolist()
    assert replicas["mean_loss"][130] != pytest.approx(replicas["mean_loss"][0], rel=1e-3)
    assert replicas["gradient_norm"][130:].isna().all()


def test_shards_are_no_copies(trained):
    run = load(trained[0] / "fully_shard")
    assert len(run.replicas) == 0
    assert list(run.replicas) == list(load(trained[0] / "copies").replicas)
    assert not run.steps["weight_checksum"].any()
    shards = [shards_apart(load(trained[0] / kind)) for kind in ("fully_shard", "fsdp1")]
    assert [(one.judged, one.twins) for one in shards] == [
        (2, ()),
        (1, ()),
    ]  # fsdp1 cuts the flat model: one rank has all of the head


def test_ranks_whose_files_are_missing_are_named(trained, tmp_path):
    shutil.copytree(trained[0] / "fully_shard", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "rank00001")
    (problem,) = load(tmp_path / "run").problems
    assert "files of 1 of 2 ranks are missing" in problem.message
    assert "body.0.weight" in problem.message


@pytest.mark.long
def test_a_restarted_training_goes_on_where_it_ended(tmp_path):
    script(
        tmp_path,
        """
        import os, sys, time, torch, torch.distributed as dist
        from torch.nn.functional import cross_entropy
        attempt, rank = int(os.environ["TORCHELASTIC_RESTART_COUNT"]), int(os.environ["RANK"])
        # A meeting place for each attempt: gloo finds the addresses of the dead processes in torchrun's own.
        dist.init_process_group("gloo", f"file://{os.path.abspath('meet')}{attempt}", rank=rank, world_size=2)
        torch.manual_seed(0)
        model = torch.nn.Linear(10, 3)
        ddp = torch.nn.parallel.DistributedDataParallel(model)
        optimizer = torch.optim.SGD(ddp.parameters(), lr=0.1)
        x, y = torch.randn(8, 10), torch.randint(0, 3, (8,))
        for step in range(5 if attempt else 3):
            optimizer.zero_grad()
            loss = cross_entropy(ddp(x), y)
            loss.backward()
            optimizer.step()
            if rank == 0:
                print("LOSS", loss.item(), flush=True)
            time.sleep(0.0 if attempt else 0.7)  # hand-overs are a second apart
        with torch.no_grad():
            val_loss = cross_entropy(model(x), y)
        optimizer.step()
        if not attempt and rank == 1:
            dist.barrier()
            sys.exit(7)
        if not attempt:
            dist.barrier()
            time.sleep(60)
        dist.destroy_process_group()
        """,
    )
    watched = record(tmp_path, "-o", "run", "--", *TORCHRUN, "--max-restarts", "1", "train.py", OMP_NUM_THREADS="1")
    assert watched.returncode == 0, watched.stderr
    assert watched.stderr.count("gradaudit: recorded 6 steps of 2 tensors") == 1
    run = load(tmp_path / "run")
    assert sorted(path.name for path in run.path.glob("rank*")) == [
        "rank00000",
        "rank00000.1",
        "rank00001",
        "rank00001.1",
    ]
    assert run.problems == ()
    assert (run.state, run.meta.restarts, run.meta.world_size) == ("finished", 1, 2)
    # The last hand-over of a killed process is lost with it.
    begin = run.attempts[1]
    assert 1 <= begin <= 4
    printed = [float(value) for value in re.findall(r"LOSS (\S+)", watched.stdout)]
    steps = run.steps
    assert steps["step"].tolist() == steps["global_step"].tolist() == list(range(begin + 6))
    assert steps["mean_loss"][begin : begin + 5].tolist() == pytest.approx(printed[-5:])
    assert steps["mean_loss"][: min(begin, 3)].tolist() == pytest.approx(printed[: min(begin, 3)])
    assert steps["time"].is_monotonic_increasing
    assert run.training(0).recorded.tolist() == list(range(begin + 6))
    assert run.evaluations["after_step"].tolist()[-1] == begin + 4
    assert [facts.function for facts in run.meta.losses] == ["cross_entropy"]
    copies = run.replicas.groupby("rank")["global_step"]
    assert copies.apply(list)[0] == steps["global_step"].tolist()
    assert copies.apply(list)[1][-6:] == steps["global_step"].tolist()[-6:]
    assert copies.apply(lambda values: values.is_unique).all()


def test_spawned_ranks_and_forked_children(tmp_path):
    script(
        tmp_path,
        """
        import os, torch, torch.distributed as dist, torch.multiprocessing as mp
        from torch.nn.functional import cross_entropy

        def train(steps):
            torch.manual_seed(0)
            model = torch.nn.Linear(10, 3)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            for _ in range(steps):
                optimizer.zero_grad()
                cross_entropy(model(torch.ones(4, 10)), torch.zeros(4, dtype=torch.long)).backward()
                optimizer.step()

        def worker(rank):
            dist.init_process_group("gloo", init_method="file://" + os.path.abspath("meet"), rank=rank, world_size=2)
            train(3 + rank)
            if rank == 0:
                child = mp.get_context("fork").Process(target=train, args=(2,))
                child.start()
                child.join()
                print("child", child.exitcode)

        if __name__ == "__main__":
            mp.spawn(worker, nprocs=2)
        """,
    )
    watched = record(tmp_path, "-o", "run", "train.py", OMP_NUM_THREADS="1")
    assert watched.returncode == 0, watched.stderr
    assert watched.stdout == "child 0\n"
    run = load(tmp_path / "run")
    assert sorted(path.name for path in run.path.glob("rank*")) == ["rank00000", "rank00000.1", "rank00001"]
    assert len(run.steps) == 3
    assert run.meta.world_size == 2
    (problem,) = run.problems
    assert problem.message.startswith("rank00000.1 was written by another process and was not merged")
    beside = pyarrow.parquet.read_table(run.path / "rank00001" / "steps-000000.parquet")
    assert len(beside) == 4
