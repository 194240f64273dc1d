"""Sick runs of the rules about modes, buffers and copies."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradaudit.reading.run import Run
from gradaudit.schema import ActiveFacts, CopyFacts, LoadFacts, ModeFacts, ModelStateFacts, NormFacts
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling


def with_state(path: Path, **facts: Any) -> Run:
    """A training that is healthy but for its modes, buffers or copies."""
    state = ModelStateFacts(looked=True, **facts)
    return build_run(path, loss=falling(), facts=TEN, model_state=state)


def place(**changes: Any) -> ActiveFacts:
    """Dropout by a function without a flag, at each of 40 evaluated losses."""
    facts: dict[str, Any] = {
        "function": "dropout", "kind": "functional", "module": "body", "module_class": "Net", "caller": "Net.forward",
        "line": 12, "probability": 0.5, "calls": 40, "losses": 40, "repeats": 1.0, "last": 180,
    }  # fmt: skip
    return ActiveFacts(**{**facts, **changes})


def active(path: Path, *places: ActiveFacts, evaluations: int = 40, dropouts: tuple[int, int] = (0, 2)) -> Run:
    """Dropout that acts in evaluation mode."""
    look = ModeFacts(
        moment="evaluation", after_step=20, training=False, dropouts=list(dropouts), norms=[0, 1], others=[0, 4]
    )
    return with_state(path, evaluations=evaluations, active=list(places or [place()]), modes=[look])


def norm(momentum: float | None = 0.1, mean: float = 2.0, steps: int = 199, **changes: Any) -> NormFacts:
    """Running statistics that began at 0 and 1; `mean` is where the mean is at the end."""
    share = 0.1 if momentum is None else momentum
    first = [0.0, 1.0, share * mean, share * mean]
    last = [float(steps), float(steps + 1), mean, mean]
    facts = {"name": "norm", "momentum": momentum, "first": first, "last": last, "moved": first[2:] != last[2:]}
    return NormFacts(**{**facts, **changes})


def norms(path: Path, *given: NormFacts) -> Run:
    """A model with these BatchNorm modules."""
    return with_state(path, norms=list(given))


def twin(**changes: Any) -> CopyFacts:
    """A target network that began as a copy of an untrained one and never changes, over 1,000 steps."""
    facts: dict[str, Any] = {
        "name": "target", "of": "online", "tensors": 4, "elements": 706, "first": 0, "last": 1000, "looks": 40,
        "equal": 1, "equal_at_first": True, "distances": [[0.0, 0.0], [1000.0, 0.8]], "bound": 0.999, "spread": 0.4,
        "watched": 16, "called": 16, "without_grad": 16, "compared": 16,
    }  # fmt: skip
    return CopyFacts(**{**facts, **changes})


def lagging(**changes: Any) -> CopyFacts:
    """An average that is updated eight times in 320 steps, and is evaluated alone."""
    distances = [[float(step), 0.3 * (step / 320) ** 0.5] for step in range(0, 321, 20)]
    facts = {"last": 320, "changed": 8, "writes": 8, "called": 1, "compared": 1, "bound": 3.2, "spread": 0.7}
    return twin(**{**facts, "distances": distances, **changes})


def copies(path: Path, *given: CopyFacts) -> Run:
    """A training with these copies."""
    return with_state(path, copies=list(given or [twin()]))


def load(**changes: Any) -> LoadFacts:
    """A checkpoint of twelve keys, each with a prefix that the model has not."""
    facts: dict[str, Any] = {
        "name": "net", "module_class": "Net", "step": 0, "keys": 12, "missing": 12, "renamed": 12, "prefix": "module.",
        "trained": True,
    }  # fmt: skip
    return LoadFacts(**{**facts, **changes})


def loads(path: Path, *given: LoadFacts) -> Run:
    """A training of a model that was loaded so."""
    return with_state(path, loaded=len(given or [1]), loads=list(given or [load()]))


Build = Callable[[Path], Run]

STATE: dict[str, dict[str, tuple[Build, float]]] = {
    "unloaded_checkpoint": {
        "": (loads, 0),
        "least": (loads, 1e9),
        "filled": (lambda path: loads(path, load(written=3)), 0.0),
    },
    "stochastic_evaluation": {
        "": (active, 0),
        "share": (lambda path: active(path, place(losses=4, calls=4)), 0.05),
        "repeats": (lambda path: active(path, place(calls=400, repeats=10.0)), 100.0),
    },
    "frozen_statistics": {
        "": (lambda path: norms(path, norm(0.0, 0.0)), 0),
        "least": (lambda path: norms(path, norm(0.0, 0.0)), 1e9),
        "initial": (lambda path: norms(path, norm(0.001, 0.4)), 0.99),
        "last_batch": (lambda path: norms(path, norm(0.95)), 1.1),
    },
    "stale_copy": {
        "": (copies, 0),
        "writes": (lambda path: copies(path, twin(writes=20)), 1e9),
        "least": (copies, 1e9),
        "seldom": (lambda path: copies(path, lagging()), 1e9),
        "near": (lambda path: copies(path, lagging()), 1.1),
        "far": (lambda path: copies(path, lagging()), 1.0),
    },
}
