"""What was recorded and how, as pairs of a name and words."""

import numpy

from gradaudit.evidence.words.run_numbers import noise_scales, spike_scores, update_sizes
from gradaudit.evidence.words.wording import percent, setting
from gradaudit.reading.run import Run
from gradaudit.schema import LossFacts, Meta, OptimizerFacts
from gradaudit.signals.loss.minor_term import minor_share
from gradaudit.signals.loss.progress import MOST_BATCHES
from gradaudit.signals.order_statistics import Floats
from gradaudit.training import Training


def run_facts(run: Run) -> list[tuple[str, str]]:
    """What was recorded, in words. The private facts are in `Meta.private`, never here."""
    meta = run.meta
    elements = sum(tensor.elements for tensor in meta.tensors)
    trained = sum(tensor.elements for tensor in meta.tensors if tensor.optimizer >= 0 and tensor.requires_grad)
    root = next((module.module_class for module in meta.modules if module.name == ""), "")
    shares = [share for training in run.trainings if (share := minor_share(training)) is not None]
    called = [loss_words(facts) for facts in meta.losses]
    losses = "; ".join(
        [*called, *(f"about {percent(share)} of the objective, which is shown instead" for share in shares)]
    )
    data = [f"batch size {meta.data.batch_size:,}"] if meta.data.batch_size else []
    batches = meta.data.batches_per_epoch
    data += [f"{batches:,} batches per epoch"] if 0 < batches < MOST_BATCHES else []
    period = " to ".join(
        time.replace("T", " ").replace("Z", " UTC").replace("+00:00", " UTC")
        for time in (meta.started, meta.ended)
        if time
    )
    versions = (("torch", meta.torch_version), ("Python", meta.python_version), ("gradaudit", meta.gradaudit_version))
    facts = [
        ("Run", meta.name),
        ("State", f"{run.state}, exit code {run.exit_code}" if run.exit_code else run.state),
        ("Period", period),
        ("Model", f"{root + ', ' if root else ''}{len(meta.tensors):,} tensors, {elements:,} elements"),
        ("Trained", f"{trained:,} elements" if trained != elements else "all parameters"),
        ("Optimizer", "; ".join(_optimizer_words(run, facts) for facts in meta.optimizers)),
        ("Loss", losses),
        ("Data", ", ".join(data)),
        ("Device", meta.device),
        ("Processes", f"{meta.world_size}, this is rank {meta.rank}" if meta.world_size > 1 else "1"),
        ("Software", ", ".join(f"{name} {version}" for name, version in versions if version)),
        ("Statistics", _cadence_words(run)),
        ("Update size", update_sizes(run)),
        ("Gradient noise scale", noise_scales(run)),
        ("Spike score", spike_scores(run)),
        ("Restarts", str(meta.attempt) if meta.attempt else ""),
    ]
    return [(name, value) for name, value in facts if value]


def optimizer_name(training: Training) -> str:
    """What tells one of several optimizers apart: its variable in the script and its class, o2 (SGD)."""
    facts = training.optimizer
    if facts is None:
        return f"optimizer {training.id}"
    return f"{facts.label} ({facts.optimizer_class})" if facts.label else f"{facts.optimizer_class} {training.id}"


def loss_words(facts: LossFacts) -> str:
    """A loss function and what is not usual about it."""
    words = [facts.function]
    words += [f"{facts.classes:,} classes"] if facts.classes else []
    words += [f"reduction {facts.reduction}"] if facts.reduction != "mean" else []
    words += [f"label smoothing {facts.label_smoothing:g}"] if facts.label_smoothing else []
    words += ["class weights"] if facts.weighted else []
    usual = (None, -100)  # torch's own
    words += [f"ignore_index {facts.ignore_index}"] if facts.ignore_index not in usual else []
    return ", ".join(words)


def loss_identity(meta: Meta) -> str:
    """The loss functions of a run as far as they set the scale of its losses: only equal ones can be compared."""
    words = []
    for facts in meta.losses:
        same = LossFacts(
            id=0,
            function=facts.function,
            classes=facts.classes,
            label_smoothing=facts.label_smoothing,
            weighted=facts.weighted,
        )
        words.append(loss_words(same))
    return "; ".join(dict.fromkeys(words))


def _cadence_words(run: Run) -> str:
    """At how many of the steps tensor statistics exist; the cadence may change with the budget."""
    recorded, total = int(run.steps["recorded"].sum()), len(run.steps)
    return "every step" if recorded == total else f"at {recorded:,} of {total:,} steps"


def _optimizer_words(run: Run, facts: OptimizerFacts) -> str:
    training = run.training(facts.id)
    words = [optimizer_name(training) if len(run.meta.optimizers) > 1 else facts.optimizer_class]
    # What the groups had: an optimizer's defaults need not be what any group uses.
    for column, label in (("learning_rate", "learning rate"), ("weight_decay", "weight decay")):
        words += [f"{label} {said}"] if (said := _over_the_run(training.of_groups(column))) else []
    for key in ("momentum", "betas", "eps"):
        value = facts.defaults.get(key)
        if isinstance(value, list):
            words.append(f"{key} {' / '.join(map(setting, value))}")
        elif value and not isinstance(value, bool):
            words.append(f"{key} {setting(value)}")
    return ", ".join(words)


def _over_the_run(rows: Floats) -> str:
    """What the groups had at the first step and, where a schedule changed it, at most and at the last step."""
    highest = float(rows.max(initial=0.0, where=numpy.isfinite(rows)))
    if not highest:
        return ""

    def said(row: Floats) -> str:
        return " / ".join(dict.fromkeys(setting(value) for value in row[~numpy.isnan(row)].tolist()))

    first, last = said(rows[0]), said(rows[-1])
    if numpy.array_equal(rows, numpy.broadcast_to(rows[0], rows.shape), equal_nan=True):
        return first
    most = [f"{setting(highest)} at most"] if setting(highest) not in (first, last) else []
    return ", ".join([f"{first} at the first step", *most, f"{last} at the last"])
