"""What the configurations of several runs do not have in common."""

from collections.abc import Iterator, Sequence

from gradaudit.audit.result import Audit
from gradaudit.chart_data import Series, Value
from gradaudit.evidence.words.run_facts import loss_identity, loss_words
from gradaudit.evidence.words.wording import count, names, plural, setting
from gradaudit.schema import Meta, OptimizerFacts
from gradaudit.signals.loss.progress import MOST_BATCHES

MOST_SHAPES = 20
COMMAND, OPTIMIZATION, DATA = "command line", "optimization", "data and length"
MODEL, MACHINE = "model", "machine and versions"
GROUPS = (COMMAND, OPTIMIZATION, DATA, MODEL, MACHINE)
# Of an optimizer's arguments those that people tune; the others are mostly defaults of its class.
_TUNED = ("lr", "weight_decay", "momentum", "betas", "alpha", "nesterov", "amsgrad", "maximize")
_OFF = frozenset(("", "0", "False"))  # a switch that is off and one that is not there are much the same
_SHAPE = "shape of "


class Change(Value, frozen=True, kw_only=True):
    """A setting that is not the same in all runs; one value a run, "" where it has none."""

    setting: str
    values: list[str]
    group: str = OPTIMIZATION  # one of `GROUPS`
    telling: bool = True  # whether a person would ask for it first; the others are details


def changes(audits: Sequence[Audit]) -> Iterator[Change]:
    """The settings that differ, by group, in the order in which a person would ask for them."""
    settings = [{key: (value, group, telling) for group, telling, key, value in _settings(audit)} for audit in audits]
    found = []
    for key in dict.fromkeys(key for one in settings for key in one):
        values = [one[key][0] if key in one else "" for one in settings]
        if len(set(values)) > 1:
            _, group, telling = next(one[key] for one in settings if key in one)
            telling = telling and not _OFF.issuperset(values)
            found.append(Change(setting=key, values=values, group=group, telling=telling))
    found += _shapes([audit.meta for audit in audits])
    yield from sorted(found, key=lambda change: (GROUPS.index(change.group), not change.telling))


def shown_loss(audit: Audit) -> str:
    """Which training losses can be compared: those of equal functions, unless one is an objective with more terms."""
    more = audit.overview.loss_name == "objective" and bool(audit.meta.losses)
    return loss_identity(audit.meta) + ("; objective" if more else "")


def one_task(base: Audit, other: Audit) -> bool:
    """Whether the runs minimise the same loss, or at least share parameters: else one says nothing of the other."""
    tensors = [{(tensor.name, *tensor.shape) for tensor in audit.meta.tensors} for audit in (base, other)]
    return loss_identity(base.meta) == loss_identity(other.meta) or bool(tensors[0] & tensors[1])


def _settings(audit: Audit) -> Iterator[tuple[str, bool, str, str]]:
    """Group, whether it is telling, name and value of every setting; "" for a value that is not known."""
    meta, overview = audit.meta, audit.overview
    yield COMMAND, True, "command", " ".join(meta.private.command)  # empty unless private facts are shown
    for facts in meta.optimizers:
        for key, value in _optimizer(facts, len(meta.optimizers)):
            argument = key.rpartition(": ")[2] if ": " in key else ""
            # What the groups had in effect says more than the defaults that the optimizer was made with.
            known = {"lr": overview.learning_rate, "weight_decay": overview.weight_decay}
            effective = bool(known.get(argument))
            yield OPTIMIZATION, not argument or (argument in _TUNED and not effective), key, value
    for series in overview.learning_rate:
        whose = "" if series.name == "learning rate" else f" of {series.name}"
        yield OPTIMIZATION, True, f"learning rate{whose} over the run", _course(series)
    yield OPTIMIZATION, True, "weight decay", " / ".join(map(setting, overview.weight_decay))
    yield OPTIMIZATION, True, "loss", "; ".join(dict.fromkeys(loss_words(facts) for facts in meta.losses))
    clip = f"norm {setting(overview.clip_threshold)}" if overview.clip_threshold else "none"
    yield OPTIMIZATION, True, "gradient clipping", clip
    batches = meta.data.batches_per_epoch
    yield DATA, True, "batch size", count(meta.data.batch_size) if meta.data.batch_size else ""
    yield DATA, True, "batches per epoch", count(batches) if 0 < batches < MOST_BATCHES else ""
    yield DATA, True, "steps", count(overview.steps)
    yield MODEL, True, "model", next((module.module_class for module in meta.modules if module.name == ""), "")
    yield MODEL, True, "parameters", count(overview.parameters)
    trained = sum(t.elements for t in meta.tensors if t.optimizer >= 0 and t.requires_grad)
    yield MODEL, trained != overview.parameters, "trained parameters", count(trained)
    for module in meta.modules:
        if module.dropout is not None:
            yield MODEL, True, f"dropout of {module.name}", setting(module.dropout)
    yield MODEL, True, "parameter type", ", ".join(sorted({tensor.dtype for tensor in meta.tensors}))
    yield MACHINE, True, "device", meta.device
    yield MACHINE, True, "processes", count(meta.world_size)
    yield MACHINE, True, "torch", meta.torch_version
    yield MACHINE, False, "Python", meta.python_version
    yield MACHINE, False, "recorded by gradaudit", meta.gradaudit_version
    yield MACHINE, False, "statistics", _cadence(meta.every)
    yield MACHINE, True, "directory", meta.private.directory
    yield MACHINE, True, "host", meta.private.host


def _cadence(every: int) -> str:
    """At which steps statistics are recorded, in words; 0 leaves it to the recorder's budget."""
    return "as the budget allows" if not every else "every step" if every == 1 else f"every {every} steps"


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
    """How the tensors differ in a row, then those whose shape differs or that a run lacks, the first `MOST_SHAPES`."""
    shapes = [{tensor.name: " x ".join(map(str, tensor.shape)) or "1" for tensor in meta.tensors} for meta in metas]
    every = dict.fromkeys(name for one in shapes for name in one)
    different = [name for name in every if len({one.get(name) for one in shapes}) > 1]
    if not different:
        return
    yield Change(setting="tensors", values=[_tensors(one, different) for one in shapes], group=MODEL)
    for name in different[:MOST_SHAPES]:
        values = [one.get(name, "") for one in shapes]
        yield Change(setting=f"{_SHAPE}{name}", values=values, group=MODEL, telling=False)
    more = len(different) - MOST_SHAPES
    if more > 0:
        words = [f"{sum(name in one for name in different[MOST_SHAPES:]):,} of them" for one in shapes]
        yield Change(setting=f"shapes of {more:,} more tensors", values=words, group=MODEL, telling=False)


def _tensors(shapes: dict[str, str], different: Sequence[str]) -> str:
    """How many tensors a run has, and of those that differ the first ones: 7 tensors: fc.weight 4 x 2 and 6 more."""
    own = [f"{name} {shapes[name]}" for name in different if name in shapes]
    return f"{plural(len(shapes), 'tensor')}{': ' if own else ''}{names(own, 2)}"
