"""What was recorded and how, as pairs of a name and words."""

from gradaudit.run import Run
from gradaudit.schema import LossFacts


def run_facts(run: Run) -> list[tuple[str, str]]:
    """What was recorded, in words. The private facts are in `Meta.private`, never here."""
    meta = run.meta
    elements = sum(tensor.elements for tensor in meta.tensors)
    trained = sum(tensor.elements for tensor in meta.tensors if tensor.optimizer >= 0 and tensor.requires_grad)
    root = next((module.module_class for module in meta.modules if module.name == ""), "")
    losses = "; ".join(loss_words(facts) for facts in meta.losses)
    data = [f"batch size {meta.data.batch_size:,}"] if meta.data.batch_size else []
    data += [f"{meta.data.batches_per_epoch:,} batches per epoch"] if meta.data.batches_per_epoch else []
    period = " to ".join(time.replace("T", " ").replace("Z", " UTC") for time in (meta.started, meta.ended) if time)
    versions = (("torch", meta.torch_version), ("Python", meta.python_version), ("gradaudit", meta.gradaudit_version))
    facts = [
        ("Run", meta.name),
        ("State", run.state),
        ("Period", period),
        ("Model", f"{root + ', ' if root else ''}{len(meta.tensors):,} tensors, {elements:,} elements"),
        ("Trained", f"{trained:,} elements" if trained != elements else "all parameters"),
        ("Optimizer", "; ".join(_optimizer_words(facts.optimizer_class, facts.defaults) for facts in meta.optimizers)),
        ("Loss", losses),
        ("Data", ", ".join(data)),
        ("Device", meta.device),
        ("Processes", f"{meta.world_size}, this is rank {meta.rank}" if meta.world_size > 1 else "1"),
        ("Software", ", ".join(f"{name} {version}" for name, version in versions if version)),
        ("Statistics", "every step" if meta.every == 1 else f"every {meta.every} steps"),
        ("Restarts", str(meta.attempt) if meta.attempt else ""),
    ]
    return [(name, value) for name, value in facts if value]


def loss_words(facts: LossFacts) -> str:
    """A loss function and what is not usual about it."""
    words = [facts.function]
    words += [f"{facts.classes:,} classes"] if facts.classes else []
    words += [f"reduction {facts.reduction}"] if facts.reduction != "mean" else []
    words += [f"label smoothing {facts.label_smoothing:g}"] if facts.label_smoothing else []
    words += ["class weights"] if facts.weighted else []
    words += [f"ignore_index {facts.ignore_index}"] if facts.ignore_index is not None else []
    return ", ".join(words)


def _optimizer_words(name: str, defaults: dict[str, float | bool | list[float] | None]) -> str:
    shown = {
        "lr": "learning rate",
        "weight_decay": "weight decay",
        "momentum": "momentum",
        "betas": "betas",
        "eps": "eps",
    }
    words = [name]
    for key, label in shown.items():
        value = defaults.get(key)
        if isinstance(value, list):
            words.append(f"{label} {' / '.join(f'{item:g}' for item in value)}")
        elif value and not isinstance(value, bool):
            words.append(f"{label} {value:g}")
    return ", ".join(words)
