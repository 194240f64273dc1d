"""What is measured of the tensors at one step: the gradients and the weights before it, and the weights after it."""

from typing import Any

from gradaudit.record.cadence import in_last_tenth
from gradaudit.record.measure import histograms
from gradaudit.record.observe.calls import CALLS
from gradaudit.record.observe.optimizers import OptimizerLike
from gradaudit.record.observe.parameter_set import ParameterSet
from gradaudit.record.observers import EMBEDDING_ROWS, GRADIENT_STATISTICS, HISTOGRAM_COUNTS, WEIGHT_STATISTICS
from gradaudit.record.storage.step_record import TensorStatistics

_CROWDED = "threads train the same tensors at once; statistics of such steps are left out"
ROWS_EVERY = 10  # recorded steps between two looks at embedding rows


def measure(recording: Any, optimizer: OptimizerLike, step: int) -> tuple[ParameterSet, TensorStatistics] | None:
    """Measure the gradients, and the weights before the step; None where that cannot be done."""
    call = recording.observers.call
    parameter_set: ParameterSet
    parameter_set, parameters = recording.table.parameter_set(optimizer)
    if not recording.between.alone(parameter_set):
        # Whoever reads gradients that another thread is writing may read freed memory.
        recording.event("threads", _CROWDED, once=True)
        return None
    given = getattr(optimizer, "gradients_of", None)  # of a framework's optimizer, which is not torch's
    gradients = given(parameters) if given else [parameter.grad for parameter in parameters]
    found = call(GRADIENT_STATISTICS, parameter_set.measure, gradients)
    if found is None:
        return None
    measured = TensorStatistics(parameter_set.identifiers, parameter_set.owned, found, recording.table.sharded())
    if parameter_set.statistics is not None and (fault := parameter_set.statistics.take_fault()):
        recording.event("fallback", f"Triton cannot be used here ({fault}); torch's own operations take its place")
    call(EMBEDDING_ROWS, parameter_set.count_rows, found, gradients)
    call(CALLS, recording.calls.look, parameter_set, parameters, gradients)
    call(WEIGHT_STATISTICS, parameter_set.sample_before_step, found, gradients, parameters)
    closely = recording.close_look.due(recording.global_step - 1)
    measured.rows_due = closely or in_last_tenth(step, recording.settings.every)
    if closely or histograms.due(step, recording.settings.every):
        sampled = call(
            HISTOGRAM_COUNTS, histograms.of_step, parameter_set.identifiers, gradients, parameters, default=[]
        )
        measured.histograms = sampled
    return parameter_set, measured


def measure_update(recording: Any, parameter_set: ParameterSet, measured: TensorStatistics) -> None:
    """Look at the weights after a step that was measured before it."""
    parameters = parameter_set.parameters()
    if parameters is None:
        return
    call = recording.observers.call
    measured.probed = call(
        WEIGHT_STATISTICS, parameter_set.sample_after_step, measured.gradients, parameters, default={}
    )
    if parameter_set.recorded % ROWS_EVERY == 0 or measured.rows_due:
        measured.snapshots = call(EMBEDDING_ROWS, parameter_set.snapshots, parameters, default=[])
    parameter_set.recorded += 1
