"""What the configurations of several runs do not have in common."""

from collections.abc import Iterator, Sequence

from gradaudit.audit import Audit
from gradaudit.derived.run_facts import loss_words
from gradaudit.derived.wording import count, setting
from gradaudit.findings import Series, Value
from gradaudit.schema import Meta, OptimizerFacts

MOST_SHAPES = 20


class Change(Value, frozen=True, kw_only=True):
    """A setting that is not the same in all runs; one value a run, "" where it has none."""

    setting: str
    values: list[str]


def changes(audits: Sequence[Audit]) -> Iterator[Change]:
    """The settings that differ, in the order in which a person would ask for them."""
    settings = [dict(_settings(audit)) for audit in audits]
    for key in dict.fromkeys(key for one in settings for key in one):
        values = [one.get(key, "") for one in settings]
        if len(set(values)) > 1:
            yield Change(setting=key, values=values)
    yield from _shapes([audit.meta for audit in audits])


def _settings(audit: Audit) -> Iterator[tuple[str, str]]:
    meta, overview = audit.meta, audit.overview
    yield "command", " ".join(meta.private.command)  # empty unless private facts are shown
    yield "directory", meta.private.directory
    yield "host", meta.private.host
    for facts in meta.optimizers:
        yield from _optimizer(facts, len(meta.optimizers))
    for series in overview.learning_rate:
        yield f"{series.name} over the run", _course(series)
    yield "loss", "; ".join(loss_words(facts) for facts in meta.losses)
    yield "gradient clipping", f"norm {setting(overview.clip_threshold)}" if overview.clip_threshold else "none"
    yield "batch size", count(meta.data.batch_size) if meta.data.batch_size else ""
    yield "batches per epoch", count(meta.data.batches_per_epoch) if meta.data.batches_per_epoch else ""
    yield "steps", count(overview.steps)
    yield "model", next((module.module_class for module in meta.modules if module.name == ""), "")
    yield "parameters", count(overview.parameters)
    yield "trained parameters", count(sum(t.elements for t in meta.tensors if t.optimizer >= 0 and t.requires_grad))
    for module in meta.modules:
        if module.dropout is not None:
            yield f"dropout of {module.name}", setting(module.dropout)
    yield "parameter type", ", ".join(sorted({tensor.dtype for tensor in meta.tensors}))
    yield "device", meta.device
    yield "processes", count(meta.world_size)
    yield "torch", meta.torch_version
    yield "Python", meta.python_version
    yield "recorded by gradaudit", meta.gradaudit_version
    yield "statistics", "every step" if meta.every == 1 else f"every {meta.every} steps"


def _optimizer(facts: OptimizerFacts, several: int) -> Iterator[tuple[str, str]]:
    name = "optimizer" if several == 1 else f"optimizer {facts.label or facts.id}"
    yield name, facts.optimizer_class
    yield f"{name}: parameter groups", count(facts.groups)
    for key, value in sorted(facts.defaults.items()):
        words = " / ".join(setting(one) for one in value) if isinstance(value, list) else str(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            words = setting(value)
        yield f"{name}: {key}", words


def _course(series: Series) -> str:
    """A learning rate over the run: where it starts, its highest value, where it ends; one number if it is constant."""
    values = [y for y in series.y if y is not None]
    if not values:
        return ""
    turns = list(dict.fromkeys((values[0], max(values), values[-1])))
    return " → ".join(setting(value) for value in turns)


def _shapes(metas: Sequence[Meta]) -> Iterator[Change]:
    """Tensors whose shape differs or that a run lacks, the first `MOST_SHAPES` of them."""
    shapes = [{tensor.name: " x ".join(map(str, tensor.shape)) or "1" for tensor in meta.tensors} for meta in metas]
    shown = 0
    every = dict.fromkeys(name for one in shapes for name in one)
    different = [name for name in every if len({one.get(name) for one in shapes}) > 1]
    for name in different[:MOST_SHAPES]:
        shown += 1
        yield Change(setting=f"shape of {name}", values=[one.get(name, "") for one in shapes])
    if len(different) > shown:
        yield Change(setting=f"shapes of {len(different) - shown:,} more tensors", values=["" for _ in metas])
