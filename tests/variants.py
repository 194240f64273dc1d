"""Recorded runs made again in another way that says the same: for tests of what a verdict must not depend on."""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy
import pandas
import pyarrow.parquet

from gradaudit.reading.run import Run, load
from gradaudit.schema import Meta
from gradaudit.signals.updates.learning_rates import is_adaptive
from tests.build import write_table

Change = Callable[[pandas.DataFrame], pandas.DataFrame]

GRADIENTS = ("gradient_norm", "gradient_mean", "gradient_std", "gradient_max_abs")


def rewritten(sample: Path, path: Path, meta: Callable[[Meta], Meta] = lambda facts: facts, **tables: Change) -> Run:
    """A copy of the recorded run under `sample` at `path`, its facts and tables changed by these functions."""
    shutil.copytree(sample, path)
    for file in path.rglob("*.json"):
        if file.name in ("run.json", "rank.json"):
            file.write_bytes(msgspec.json.encode(meta(msgspec.json.decode(file.read_bytes(), type=Meta))))
    for name, change in tables.items():
        for file in sorted(path.glob(f"rank*/{name}-*.parquet")):
            frame = change(pyarrow.parquet.read_table(file).to_pandas())
            file.unlink()
            write_table(file.parent, name, frame, segment=int(file.stem.rpartition("-")[2]))
    return load(path)


def scaled(sample: Path, path: Path, times: float) -> Run:
    """The loss multiplied by `times` before the backward pass, and what follows from that.

    What the loss function returned stays. SGD's learning rate and weight decay and Adam's eps are adapted, so that the
    updates stay.
    """
    before = load(sample)
    free = {training.id for training in before.trainings if is_adaptive(training)}

    def facts(meta: Meta) -> Meta:
        optimizers = [
            msgspec.structs.replace(o, defaults={k: v * times if k == "eps" else v for k, v in o.defaults.items()})
            for o in meta.optimizers
        ]
        return msgspec.structs.replace(meta, optimizers=optimizers)

    def steps(frame: pandas.DataFrame) -> pandas.DataFrame:
        for name in ("objective", "gradient_norm", "clip_threshold"):
            frame[name] = frame[name] * times
        rates = zip(frame["optimizer"], frame["learning_rate"], strict=True)
        frame["learning_rate"] = [values if o in free else values / numpy.float32(times) for o, values in rates]
        decays = zip(frame["optimizer"], frame["weight_decay"], strict=True)
        frame["weight_decay"] = [values if o in free else values * numpy.float32(times) for o, values in decays]
        return frame

    def tensors(frame: pandas.DataFrame) -> pandas.DataFrame:
        for name in GRADIENTS:
            frame[name] = frame[name] * numpy.float32(times)
        return frame

    return rewritten(sample, path, facts, steps=steps, tensors=tensors)


def renumbered(sample: Path, path: Path) -> Run:
    """The tensors with other identifiers, and the rows of every table in another order."""
    random = numpy.random.default_rng(0)
    known = [tensor.id for tensor in load(sample).meta.tensors]
    other = dict(zip(known, random.permutation(numpy.arange(len(known)) * 3).tolist(), strict=True))

    def facts(meta: Meta) -> Meta:
        tensors = [msgspec.structs.replace(tensor, id=other[tensor.id]) for tensor in meta.tensors]
        return msgspec.structs.replace(meta, tensors=[tensors[i] for i in random.permutation(len(tensors))])

    def shuffle(frame: pandas.DataFrame) -> pandas.DataFrame:
        if "tensor" in frame:
            frame["tensor"] = frame["tensor"].map(other)
        return frame.sample(frac=1.0, random_state=0)

    return rewritten(sample, path, facts, steps=shuffle, tensors=shuffle, rows=shuffle, histograms=shuffle)


def on_two_ranks(sample: Path, path: Path) -> Run:
    """The same run, data parallel: a second rank recorded the same losses and weights."""

    def facts(meta: Meta) -> Meta:
        return msgspec.structs.replace(meta, world_size=2)

    def steps(frame: pandas.DataFrame) -> pandas.DataFrame:
        grid = frame["step"] % 64 == 0
        return frame.assign(weight_checksum=numpy.where(grid, 1_000_003 + frame["global_step"], 0))

    rewritten(sample, path, facts, steps=steps)
    other = path / "rank00001"
    other.mkdir(exist_ok=True)
    for file in (path / "rank00000").glob("steps-*.parquet"):
        shutil.copy(file, other / file.name)
    meta = msgspec.json.decode((path / "run.json").read_bytes(), type=Meta)
    (other / "rank.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(meta, rank=1)))
    return load(path)


def sparse(sample: Path, path: Path, every: int = 10) -> Run:
    """Statistics of every tenth step only; losses and learning rates of all."""

    def tensors(frame: pandas.DataFrame) -> pandas.DataFrame:
        return frame[frame["step"] % every == 0]

    def steps(frame: pandas.DataFrame) -> pandas.DataFrame:
        return frame.assign(recorded=frame["recorded"] & (frame["step"] % every == 0))

    return rewritten(sample, path, steps=steps, tensors=tensors)


def told_otherwise(sample: Path, path: Path) -> Run:
    """All at once: another scale of the loss, other numbers and another order of tensors, and a second rank."""
    scaled(sample, path.parent / "scaled", 2.0**-13)
    renumbered(path.parent / "scaled", path.parent / "renumbered")
    return on_two_ranks(path.parent / "renumbered", path)
