"""A sick run for each diagnoser, and for each threshold a run on which an extreme value of it matters."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy

from gradaudit.reading.run import Run
from gradaudit.schema import DataFacts, LossFacts, ModuleFacts
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import TEN, embedding_rows, falling, flat, parameters
from tests.diagnosers.sick_data import DATA
from tests.diagnosers.sick_facts import FACTS
from tests.diagnosers.sick_gradients import GRADIENTS
from tests.diagnosers.sick_graphs import GRAPHS
from tests.diagnosers.sick_layers import LAYERS, silent_prediction
from tests.diagnosers.sick_outputs import OUTPUTS
from tests.diagnosers.sick_precision import PRECISION
from tests.diagnosers.sick_replicas import REPLICAS
from tests.diagnosers.sick_schedules import SCHEDULES
from tests.diagnosers.sick_state import STATE
from tests.diagnosers.sick_weights import WEIGHTS
from tests.diagnosers.sick_wiring import IN_ORDER, WIRING, calls

Build = Callable[[Path], Run]
NAN = float("nan")


def _then_nan(steps: int, start: int, values: Any) -> Any:
    loss = numpy.asarray(values, dtype=float)[:steps].copy()
    loss[start:] = NAN
    return loss


def diverged_before(path: Path, update_ratio: float = 2.0, height: float = 50.0) -> Run:
    """The loss climbs over ten steps to `height` and is NaN from step 50 on."""
    loss = flat(100)
    loss[40:50] = numpy.geomspace(2.3, height, 10)
    loss = _then_nan(100, 50, loss)
    update = numpy.full((100, 8), 1e-3)
    update[40:50] = update_ratio
    gradient = numpy.zeros((100, 8))
    gradient[50:] = 5
    return build_run(path, loss=loss, stats={"update_norm": update, "gradient_nan": gradient})


def loud_start(path: Path, first: float = 6.0, **changes: Any) -> Run:
    """The first loss is far above ln 10 and falls."""
    return build_run(path, loss=falling(200, first=first), **{"facts": TEN, **changes})


def soon_over(path: Path, first: float = 3.3, steps: int = 4, count: int = 400) -> Run:
    """The first loss is above ln 10, and the loss below it from step `steps` on."""
    loss = falling(count, first=2.2)
    loss[:steps] = numpy.linspace(first, 2.4, steps)
    return build_run(path, loss=loss, facts=TEN)


def loud_and_stuck(path: Path) -> Run:
    """The first loss is far above ln 10, and the loss then diverges."""
    loss = falling(200, first=6.0)
    loss[100:] = 40
    return build_run(path, loss=loss, facts=TEN)


def binary(path: Path, first: float = 2.5, *, stuck: bool = False) -> Run:
    loss = falling(200, first=first)
    if stuck:
        loss[100:] = 40
    facts = LossFacts(id=0, function="binary_cross_entropy_with_logits", target_mean=0.5, binary_entropy=0.693)
    return build_run(path, loss=loss, facts=facts)


def two_classes(path: Path) -> Run:
    facts = LossFacts(id=0, function="cross_entropy", classes=2, label_counts=[99, 101], label_entropy=0.693)
    return build_run(path, loss=falling(200, first=1.2), facts=facts)


def uneven_start(path: Path) -> Run:
    """Two classes, one of them with 97 % of the labels, and a start half a nat above ln 2."""
    facts = LossFacts(id=0, function="cross_entropy", classes=2, label_counts=[970, 30], label_entropy=0.135)
    return build_run(path, loss=falling(200, first=1.2, last=0.1), facts=facts)


def wide_output(path: Path) -> Run:
    """Twenty outputs for three classes."""
    facts = LossFacts(id=0, function="cross_entropy", classes=20, label_counts=[50, 60, 70] + [0] * 17)
    return build_run(path, loss=falling(200, first=float(numpy.log(20))), facts=facts)


def raw_target(path: Path, last: float = 25_000.0, first: float = 30_000.0, variance: float = 6400.0) -> Run:
    """A squared error on a target of mean 150 and standard deviation 80."""
    facts = LossFacts(id=0, function="mse_loss", target_mean=150.0, target_variance=variance)
    return build_run(path, loss=falling(200, first=first, last=last), facts=facts, optimizer="SGD")


def fast(path: Path, update_ratio: float = 0.9, loss: Any = None, **changes: Any) -> Run:
    """The first steps change the weights by `update_ratio` of their size."""
    loss = falling(300) if loss is None else loss
    update = numpy.full((len(loss), 1), 1e-3)
    update[:5] = update_ratio
    return build_run(path, loss=loss, stats={"update_norm": update}, **{"facts": TEN, **changes})


def blown_up(path: Path, by: float = 3.0, update_ratio: float = 0.3, last: float = 2.0, **changes: Any) -> Run:
    """A warmup of thirty steps takes the weights to `by` times their size within the first ten of them."""
    update, weight = numpy.full((300, 1), 1e-3), numpy.full((300, 1), by)
    weight[:11] = numpy.geomspace(1, by, 11)[:, None]
    update[:11] = update_ratio * weight[:11] * (1 - 0.01 * numpy.arange(11)[:, None])
    rates = [[1e-2 * min(1.0, (step + 1) / 30)] for step in range(300)]
    settings: dict[str, Any] = {"facts": TEN, "steps": {"learning_rate": rates}, **changes}
    return build_run(
        path, loss=falling(300, last=last), stats={"update_norm": update, "weight_norm": weight}, **settings
    )


def overshooting(path: Path, by: float) -> Run:
    loss = falling(300)
    loss[1:6] = by * loss[0]
    return fast(path, update_ratio=0.6, loss=loss)


def jumping(path: Path) -> Run:
    loss = falling(300)
    loss[7] = 20.0
    return fast(path, update_ratio=0.6, loss=loss)


def stuck_for(path: Path, steps: int, epochs: int = 0) -> Run:
    data = DataFacts(batch_size=32, batches_per_epoch=steps // epochs if epochs else 0)
    return fast(path, update_ratio=0.3, loss=flat(steps), data=data)


def crawling(path: Path, update_ratio: float = 1e-5, last: float = 2.25, first: float = 2.31, steps: int = 200) -> Run:
    """The weights hardly move and neither does the loss."""
    return build_run(path, loss=falling(steps, first, last, noise=1e-3), stats={"update_norm": update_ratio}, facts=TEN)


def uneven(path: Path, *, update: float = 0.0, gradient: float = 0.0, weight: Any = None, **changes: Any) -> Run:
    """Six layers of which the third differs from the others by so many decades."""
    updates, gradients = numpy.full((200, 6), 1e-3), numpy.full((200, 6), 1e-1)
    updates[:, 2] *= 10**-update
    gradients[:, 2] *= 10**-gradient
    stats = {"update_norm": updates, "gradient_norm": gradients}
    if weight is not None:
        stats["weight_norm"] = weight
    return build_run(path, tensors=parameters(6), stats=stats, **{"loss": falling(), **changes})


def gradually_uneven(path: Path, **changes: Any) -> Run:
    """Eight layers whose gradients span 2.8 decades, the next larger one 0.4 away; not in the order of the depth."""
    decades = 0.4 * numpy.array([3, 0, 5, 2, 7, 6, 1, 4])
    stats = {"gradient_norm": 0.1 * 10**-decades, "update_norm": numpy.full(8, 1e-3)}
    return build_run(path, tensors=parameters(8), stats=stats, loss=falling(), **changes)


def two_rates(path: Path) -> Run:
    import msgspec

    tensors = [msgspec.structs.replace(tensor, group=int(tensor.id > 2)) for tensor in parameters(6)]
    rates = [[1e-3, 1e-7]] * 200
    updates = numpy.where(numpy.arange(6) > 2, 1e-7, 1e-3)
    return build_run(
        path, loss=falling(), tensors=tensors, stats={"update_norm": updates}, steps={"learning_rate": rates}
    )


def dead_table(path: Path) -> Run:
    """A table behind torch.no_grad(): it never has a gradient and never moves."""
    tensors = linear_stack(embedding=50)
    has_grad, update, drift = (numpy.ones((200, 9)) for _ in range(3))
    has_grad[:, 0] = 0
    update[:, 0] = drift[:, 0] = NAN
    rows = embedding_rows(200, tensor=0, rows=50, hit=0)
    rows = [
        {**row, "ever_hit": 0, "moved": 0, "checksum": 7, "hits_histogram": [50], "movement": [0.0]} for row in rows
    ]
    stats = {"has_grad": has_grad > 0, "update_norm": 1e-3 * update, "drift_norm": drift}
    watched = calls({"embedding": 1, **{name: place + 1 for name, place in IN_ORDER.items()}}, without_gradient=True)
    return build_run(path, loss=falling(), tensors=tensors, stats=stats, rows=rows, modules=watched)


def slow_table(path: Path, relative: float = 0.01, steps: int = 200) -> Run:
    """A table that moves at `relative` of the layers' update-to-weight ratio; a step hits every row."""
    update = numpy.full((steps, 9), 1e-3)
    update[:, 0] *= relative
    rows = embedding_rows(steps, tensor=0, rows=50, hit=50)
    return build_run(
        path, loss=falling(steps), tensors=linear_stack(embedding=50), stats={"update_norm": update}, rows=rows
    )


def two_tables(path: Path, relative: float = 0.03, other: float = 1.0) -> Run:
    """A table that moves at `relative` of the layers' update-to-weight ratio, and one at `other`."""
    first, *layers = linear_stack(embedding=50)
    second = msgspec.structs.replace(first, id=9, depth=9, name="items.weight", module="items")
    update = numpy.full((200, 10), 1e-3)
    update[:, 0] *= relative
    update[:, 9] *= other
    rows = [row for table in (0, 9) for row in embedding_rows(200, tensor=table, rows=50, hit=50)]
    stats = {"update_norm": update}
    return build_run(path, loss=falling(), tensors=[first, *layers, second], stats=stats, rows=rows)


def rare_rows(path: Path, steps: dict[str, Any] | None = None, **last: Any) -> Run:
    rows = embedding_rows(200, tensor=0, rows=2000, hit=200, **last)
    return build_run(path, loss=falling(), tensors=linear_stack(embedding=2000), rows=rows, steps=steps)


def overfit(path: Path, rise: float = 0.5, fall: float = 0.5, **changes: Any) -> Run:
    """The validation loss is best at step 200 of 400 and then rises by `rise`, while training goes on falling."""
    loss = numpy.concatenate([numpy.linspace(2.3, 1.0, 200), numpy.linspace(1.0, 1.0 - fall, 200)])
    held_out = numpy.concatenate([numpy.linspace(2.3, 1.1, 10), numpy.linspace(1.1, 1.1 + rise, 11)[1:]])
    evaluations = [(20 * (i + 1), "validation", float(value)) for i, value in enumerate(held_out[:20])]
    return build_run(path, loss=loss, facts=TEN, evaluations=evaluations, **changes)


def overfit_at_once(path: Path) -> Run:
    """Three evaluations, each worse than the one before by a tenth, while the training loss halves thrice."""
    evaluations = [(99, "validation", 3.5), (199, "validation", 3.9), (299, "validation", 4.2)]
    return build_run(path, loss=numpy.geomspace(3.3, 0.4, 300), facts=TEN, evaluations=evaluations)


def overfit_noisy(path: Path) -> Run:
    """A rise that is no larger than the jumps between the evaluations, while training falls by a quarter."""
    loss = numpy.linspace(2.0, 1.0, 400)
    held_out = [1.5 - 0.07 * min(i, 9) + 0.05 * max(0, i - 9) + 0.08 * (-1) ** i for i in range(20)]
    evaluations = [(20 * i, "validation", value) for i, value in enumerate(held_out)]
    return build_run(path, loss=loss, facts=TEN, evaluations=evaluations)


def overfit_bumpy(path: Path) -> Run:
    """Overfitting whose best evaluation comes after a bump of four evaluations."""
    loss = numpy.linspace(2.3, 0.2, 400)
    held_out = [2.3, 1.8, 1.5, 1.6, 1.6, 1.6, 1.6, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0, 2.1, 2.2, 2.2, 2.2]
    evaluations = [(20 * i, "validation", value) for i, value in enumerate(held_out)]
    return build_run(path, loss=loss, facts=TEN, evaluations=evaluations)


def apart(path: Path) -> Run:
    """The validation loss levels off far above the training loss; the model has no dropout."""
    loss = numpy.linspace(2.3, 0.1, 400)
    evaluations = [(20 * i, "validation", float(max(1.2, 2.3 - 0.1 * i))) for i in range(20)]
    modules = [ModuleFacts(id=0, name="", module_class="Net")]
    return build_run(path, loss=loss, facts=TEN, evaluations=evaluations, modules=modules)


def divided_twice(path: Path, last: int = 2, factor: float = 1.0, **changes: Any) -> Run:
    """A mean loss that is divided by the batch size, of which every tenth is `last` instead of 50, once more."""
    sizes = numpy.where(numpy.arange(200) % 10 == 9, last, 50)
    loss = changes.pop("loss", falling())
    steps = {"batch_size": sizes, "targets": sizes, "objective": factor * loss / sizes, **changes.pop("steps", {})}
    return build_run(path, loss=loss, steps=steps, **{"facts": TEN, "optimizer": "SGD", **changes})


# For each diagnoser the run that shows it (under ""), and for each threshold a run and an extreme value.
SICK: dict[str, dict[str, tuple[Build, float]]] = {
    "non_finite": {
        "": (diverged_before, 0),
        "rise": (lambda path: diverged_before(path, update_ratio=1e-3), 1e9),
        "fast": (lambda path: diverged_before(path, height=2.3), 1e9),
    },
    "initial_loss_mismatch": {
        "": (loud_start, 0),
        "excess": (loud_start, 1e9),
        "floor": (two_classes, 1e9),
        "severe": (loud_and_stuck, 1e9),
        "uneven": (uneven_start, 0.0),
        "few": (loud_start, 1e9),
        "mild": (lambda path: soon_over(path, first=4.0), 1e9),
        "soon": (lambda path: soon_over(path, steps=60), 1.0),
        "low": (lambda path: loud_start(path, first=1.0), 0.0),
        "binary_excess": (binary, 1e9),
        "binary_severe": (lambda path: binary(path, stuck=True), 1e9),
        "vocabulary": (wide_output, 0),
        "variance": (lambda path: raw_target(path, first=4.0, last=3.9, variance=1.0), 1e9),
        "spread": (lambda path: raw_target(path, first=7000.0, last=6900.0), 1e9),
        "learned": (lambda path: raw_target(path, last=600.0), 0.0),
    },
    "learning_rate_too_high": {
        "": (fast, 0),
        "alone": (lambda path: fast(path, loss=falling(300, last=2.2)), 1e9),
        "kept": (lambda path: fast(path, loss=falling(300, last=2.2)), 1.0),
        "grown": (lambda path: blown_up(path, by=3.0), 1e9),
        "note": (lambda path: fast(path, update_ratio=0.6), 1e9),
        "with_symptom": (lambda path: stuck_for(path, 300), 1e9),
        "overshoot": (lambda path: overshooting(path, 2.0), 1e9),
        "jump": (jumping, 1e9),
        "epochs": (lambda path: stuck_for(path, 300, epochs=6), 1e9),
        "steps": (lambda path: stuck_for(path, 300), 1e9),
    },
    "learning_rate_too_low": {
        "": (crawling, 0),
        "slow": (lambda path: crawling(path, update_ratio=1e-4, last=2.0, steps=90), 0.0),
        "still": (crawling, 0.0),
        "hardly": (lambda path: crawling(path, last=2.0, steps=90), 0.0),
        "slower_than_usual": (lambda path: crawling(path, update_ratio=5e-4), 0.0),
        "little": (lambda path: crawling(path, update_ratio=5e-4, first=1.9, last=1.85), 0.0),
        "scratch": (lambda path: crawling(path, update_ratio=3.4e-4, last=1.8), 0.0),
        "pretrained": (crawling, 1e9),
    },
    "layer_imbalance": {
        "gradual": (gradually_uneven, 0.1),
        "": (lambda path: uneven(path, update=2.0, gradient=2.0), 0),
        "update_spread": (lambda path: uneven(path, update=2.0), 1e9),
        "notable": (lambda path: uneven(path, update=1.2), 1e9),
        "gradient_spread": (lambda path: uneven(path, gradient=2.1), 0.0),
        "gradient_gap": (lambda path: uneven(path, gradient=2.3), 1e9),
        "left": (lambda path: uneven(path, gradient=2.3, loss=falling(last=0.05), facts=TEN), 0.0),
        "rate": (two_rates, 0.0),
    },
    "dead_embedding": {
        "": (dead_table, 0),
        "slow": (slow_table, 0.0),
        "apart": (two_tables, 0.0),
        "far": (lambda path: slow_table(path, relative=0.001), 0.0),
        "least_steps": (slow_table, 1e9),
        "never_hit": (lambda path: rare_rows(path, ever_hit=400), 1.0),
        "large": (lambda path: rare_rows(path, ever_hit=400), 1e9),
        "stopped": (lambda path: rare_rows(path, ever_hit=1900, stopped=300), 1.0),
        "stopped_rows": (lambda path: rare_rows(path, ever_hit=1900, stopped=300), 1e9),
    },
    "overfitting": {
        "": (overfit, 0),
        "rise": (overfit, 1e9),
        "share": (overfit, 1e9),
        "scatter": (overfit_noisy, 0.0),
        "fell_far": (overfit_noisy, 0.1),
        "fell": (overfit, 1e9),
        "later": (overfit, 1e9),
        "gap": (apart, 1e9),
        "patience": (overfit, 6),
        "few": (overfit_at_once, 0.2),
    },
    "twice_averaged_loss": {
        "": (divided_twice, 0),
        "uneven": (divided_twice, 1e9),
    },
    **WIRING,
    **GRAPHS,
    **OUTPUTS,
    **GRADIENTS,
    **FACTS,
    **LAYERS,
    **WEIGHTS,
    **REPLICAS,
    **PRECISION,
    **SCHEDULES,
    **STATE,
    **DATA,
}
SICK["no_learning"]["spread"] = (silent_prediction, 0.0)


def sick_run(name: str, path: Path) -> Run:
    """The run that shows what the diagnoser `name` looks for."""
    build, _ = SICK[name][""]
    return build(path / "run")
