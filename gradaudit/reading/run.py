"""A recorded run, read back: `load(path)` gives a `Run`, and says what it had to leave out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradaudit.reading.frames import frame
from gradaudit.reading.limits import Budget
from gradaudit.reading.matrices import Layout, layout, tensor_column, within_matrices
from gradaudit.reading.ranks import Replica, merge_processes, replica_columns
from gradaudit.reading.run_file import RunError, cleaned, exit_code_of, read_meta, state_of
from gradaudit.reading.segments import LazyPart, Problem, read
from gradaudit.schema import TABLES, LossFacts, Meta, TensorFacts
from gradaudit.training import Training

if TYPE_CHECKING:
    import numpy
    import pandas
    import pyarrow

    Floats = numpy.ndarray[Any, numpy.dtype[numpy.float64]]
    Integers = numpy.ndarray[Any, numpy.dtype[numpy.int64]]


@dataclass(frozen=True, eq=False)
class Run:
    """A recorded run. Frames are read when first asked for; `problems` names what was left out.

    >>> run = gradaudit.load("runs/x")
    >>> run.steps[["step", "mean_loss"]].head(2).round(2).values.tolist()
    [[0.0, 4.54], [1.0, 2.75]]
    >>> run.evaluations["split"].unique().tolist()
    ['validation']
    """

    path: Path
    meta: Meta
    state: str  # running | finished | failed | interrupted | killed
    problems: tuple[Problem, ...]
    parts: Mapping[str, tuple["pyarrow.Table | LazyPart", ...]]
    attempts: tuple[int, ...] = (0,)  # the global step at which each attempt of a restarted training begins
    expected_frozen: tuple[str, ...] = ()  # patterns (fnmatch) of the tensors that the user says stay as they are
    thresholds: Mapping[str, float] = field(default_factory=dict)  # "diagnoser.threshold": what the user changed
    ranks: tuple[Replica, ...] = ()  # of a data-parallel training
    exit_code: int | None = None  # of its process, where it is known

    @cached_property
    def steps(self) -> "pandas.DataFrame":
        """Table `steps`, one row a step, in global order."""
        return self._whole_norms(self._sorted("steps", ["global_step"]))

    def _whole_norms(self, steps: "pandas.DataFrame") -> "pandas.DataFrame":
        """`steps` with the gradient norms that no single rank knows: of tensors that are sharded."""
        import numpy

        if not any(tensor.placements for tensor in self.meta.tensors):
            return steps
        for training in map(self.training, self.layouts):
            mine = [tensor.optimizer == training.id for tensor in training.tensors]
            squares = training.matrix("gradient_norm")[:, mine] ** 2
            broken = training.matrix("gradient_nan")[:, mine] + training.matrix("gradient_inf")[:, mine]
            norms = numpy.where(broken.sum(axis=1) > 0, numpy.nan, numpy.sqrt(numpy.nansum(squares, axis=1)))
            known = dict(zip(training.recorded.tolist(), norms.tolist(), strict=True))
            gaps = (steps["optimizer"] == training.id) & steps["gradient_norm"].isna()
            steps.loc[gaps, "gradient_norm"] = steps.loc[gaps, "step"].map(known)
        return steps

    @cached_property
    def evaluations(self) -> "pandas.DataFrame":
        """Table `evaluations`, in order of passes; of a pass that was written several times, what it came to last."""
        found = self._sorted("evaluations", ["pass", "split"])
        taken_back = found["batches"] == 0  # a split that turned out to be another one
        return found[~taken_back].reset_index(drop=True) if taken_back.any() else found

    @cached_property
    def rows(self) -> "pandas.DataFrame":
        """Table `rows`: embedding rows."""
        return self._sorted("rows", ["optimizer", "step", "tensor"])

    @cached_property
    def histograms(self) -> "pandas.DataFrame":
        """Table `histograms`."""
        return self._sorted("histograms", ["optimizer", "step", "tensor", "kind"])

    @cached_property
    def samples(self) -> "pandas.DataFrame":
        """Table `modules`: samples of the loss's input and of activations, in order of steps."""
        return self._sorted("modules", ["step", "module", "loss", "kind"])

    @cached_property
    def operations(self) -> "pandas.DataFrame":
        """Table `operations` of a close look, in order."""
        return self._sorted("operations", ["step", "operation"])

    @cached_property
    def replicas(self) -> "pandas.DataFrame":
        """One row for each rank and step of a training that is data parallel, by rank and step; else empty.

        Columns `rank`, and of table `steps` global_step, mean_loss, objective, gradient_norm and
        weight_checksum; ranks but the first record no gradients, so their norm is NaN without clipping.
        """
        import pandas

        return pandas.DataFrame(replica_columns(self.ranks))

    @cached_property
    def events(self) -> "pandas.DataFrame":
        """Table `events`."""
        return self._frame("events")

    def has(self, need: str) -> bool:
        """Whether "table" or "table.column" was recorded: it has rows, and one value that is not NaN.

        >>> gradaudit.load("runs/x").has("steps.amp_scale")
        False
        """
        if need not in self._known_needs:
            self._known_needs[need] = self._look_for(need)
        return self._known_needs[need]

    @cached_property
    def _known_needs(self) -> dict[str, bool]:
        return {}

    def _look_for(self, need: str) -> bool:
        table, _, column = need.partition(".")
        if not column:
            return any(len(read(part, TABLES[table], [TABLES[table].key[0]])) for part in self.parts[table])
        for part in self.parts[table]:
            values = read(part, TABLES[table], [column]).column(column)
            if values.type in ("float", "double"):
                import pyarrow.compute as compute

                values = values.filter(compute.is_finite(values))
            if len(values) > values.null_count:
                return True
        return False

    @cached_property
    def trainings(self) -> tuple[Training, ...]:
        """What each optimizer did that made at least one step, by its identifier."""
        return tuple(map(self.training, sorted(self.steps["optimizer"].unique().tolist())))

    def training(self, number: int) -> Training:
        """What the optimizer with this identifier did; it may have made no step, and hold nothing."""
        if number not in self._trainings:
            self._trainings[number] = Training(self, number, self._tensors_by_optimizer.get(number, ()))
        return self._trainings[number]

    @cached_property
    def _trainings(self) -> dict[int, Training]:
        return {}

    def forget(self) -> None:
        """Let go of the trainings and of what was worked out of them and of the run.

        A training holds its run: without this the memory of both comes back only when Python looks for such circles.
        """
        for training in self._trainings.values():
            training.answers.clear()
        self.answers.clear()
        self._trainings.clear()
        self.__dict__.pop("trainings", None)

    @cached_property
    def answers(self) -> dict[Any, Any]:
        """What signals came to for this run as a whole."""
        return {}

    @cached_property
    def _tensors_by_optimizer(self) -> dict[int, tuple[TensorFacts, ...]]:
        found: dict[int, list[TensorFacts]] = {}
        for tensor in sorted(self.meta.tensors, key=lambda tensor: (tensor.depth, tensor.id)):
            found.setdefault(tensor.recorded_with, []).append(tensor)
        return {number: tuple(tensors) for number, tensors in found.items()}

    def frozen_on_purpose(self, tensor: TensorFacts) -> bool:
        """Whether the user says that this tensor is not trained.

        >>> run = gradaudit.load("runs/x")
        >>> run.frozen_on_purpose(run.meta.tensors[0])
        False
        """
        return any(fnmatchcase(name, p) for p in self.expected_frozen for name in (tensor.name, *tensor.aliases))

    def loss_facts(self, loss: int) -> LossFacts | None:
        """The loss function with this index, or None.

        >>> gradaudit.load("runs/x").loss_facts(0).classes
        3
        """
        return next((facts for facts in self.meta.losses if facts.id == loss), None)

    @cached_property
    def layouts(self) -> Mapping[int, Layout]:
        """For each optimizer of table `tensors`: its recorded steps, and where its rows go in a matrix."""
        import numpy

        owner, step, tensor = (tensor_column(self.parts["tensors"], name) for name in TABLES["tensors"].key)
        return {
            number: layout(owner, step, tensor, number, [t.id for t in self._tensors_by_optimizer.get(number, ())])
            for number in numpy.unique(owner).tolist()
        }

    def matrices(self, stat: str) -> "Mapping[int, numpy.ndarray[Any, Any]]":
        """For each optimizer of table `tensors` its [recorded steps, tensors] of one column, as wide as recorded.

        Raises KeyError when the schema has no such column.
        """
        TABLES["tensors"].column(stat)
        if stat not in self._matrices:
            column = tensor_column(self.parts["tensors"], stat)
            self._matrices[stat] = {number: layout.matrix(column) for number, layout in self.layouts.items()}
        return self._matrices[stat]

    @cached_property
    def _matrices(self) -> "dict[str, dict[int, numpy.ndarray[Any, Any]]]":
        """As wide as they were recorded: half the memory of what `Training.matrix` returns."""
        return {}

    def _sorted(self, name: str, order: list[str]) -> "pandas.DataFrame":
        """The frame of a table in this order. A later row supersedes the ones before it that have the same key."""
        import numpy

        table = TABLES[name]
        keys = self._frame(name, list(dict.fromkeys([*order, *table.key])))
        if len(order) == 1 and bool((keys[order[0]].diff().iloc[1:] > 0).all()):
            return self._frame(name)  # as recorded: no two rows have one key
        keys = keys[~keys.duplicated(list(table.key), keep="last")].sort_values(order, kind="stable")
        rows = keys.index.to_numpy(dtype=numpy.int64)
        del keys
        return self._frame(name, rows=rows)

    def _frame(self, name: str, names: list[str] | None = None, rows: "Integers | None" = None) -> "pandas.DataFrame":
        return frame(self.parts[name], name, names, rows)


def load(path: str | Path) -> Run:
    """Read a recorded run.

        >>> run = gradaudit.load("runs/x")
        >>> run.state, len(run.steps)
        ('finished', 300)

    Raises RunError when `path` is not a run, holds no step, or was written in a newer format.
    Parts that cannot be read are left out and named in `Run.problems`.
    """
    path = Path(path)
    problems: list[Problem] = []
    budget = Budget()
    processes = merge_processes(path, read_meta(path, budget), problems, budget)
    meta: Meta = cleaned(processes.meta)
    problems += [
        Problem(
            f"{fault.observer} are not recorded from step {fault.step:,} on: a fault of the recorder ({fault.reason})"
        )
        for fault in meta.disabled
    ]
    within_matrices(processes.parts, meta, problems, budget)
    run = Run(
        path, meta, state_of(path, meta), tuple(problems), processes.parts, processes.attempts,
        ranks=processes.replicas, exit_code=exit_code_of(path, meta),
    )  # fmt: skip
    if not run.has("steps") and not (path / f"rank{meta.rank:05d}").is_dir():
        raise RunError(f"{path}: the folder rank{meta.rank:05d} is missing, and it holds the recorded steps")
    if not run.has("steps"):
        said = "; ".join(problem.message for problem in problems[:5])
        if any(problem.table == "steps" for problem in problems):
            raise RunError(f"{path} holds no optimizer step that can be read: {said}")
        lost = f" ({said})" if problems else ""
        raise RunError(f"{path} holds no optimizer step{lost}: the script ended before its first step was written")
    return run
