"""What is measured of the tensors at one step: the gradients and the weights before it, and the weights after it."""

from typing import Any

from gradaudit.record.cadence import in_last_tenth
from gradaudit.record.measure import histograms
from gradaudit.record.observe.calls import CALLS
from gradaudit.record.observe.groups import OptimizerLike
from gradaudit.record.observe.tensors import ROWS_OF_TENSORS, Plan
from gradaudit.record.storage.steps import StepRecord

ROWS_EVERY = 10  # recorded steps between two looks at embedding rows
_GRADIENTS, _UPDATES, _HISTOGRAMS = "gradient statistics", "weight and update statistics", "histograms"  # observers


def measure(recording: Any, optimizer: OptimizerLike, record: StepRecord, step: int) -> Plan | None:
    """Measure the gradients, and the weights before the step; None where that cannot be done."""
    call = recording.observers.call
    plan: Plan
    plan, parameters = recording.table.plan_for(optimizer)
    if not recording.between.alone(plan):
        recording.note_crowd()
        return None
    given = getattr(optimizer, "gradients_of", None)  # of a framework's optimizer, which is not torch's
    gradients = given(parameters) if given else [parameter.grad for parameter in parameters]
    record.identifiers, record.owned = plan.identifiers, plan.owned
    record.gradients, record.sharded = call(_GRADIENTS, plan.measure, gradients), recording.table.sharded()
    if record.gradients is None:
        return None
    if plan.statistics is not None and (fault := plan.statistics.take_fault()):
        recording.event("fallback", f"Triton cannot be used here ({fault}); torch's own operations take its place")
    call(ROWS_OF_TENSORS, plan.count_rows, record.gradients, gradients)
    call(CALLS, recording.calls.look, plan, parameters, gradients)
    call(_UPDATES, plan.look_before, record.gradients, gradients, parameters)
    record.rows_due = in_last_tenth(step, recording.settings.every)
    if histograms.due(step, recording.settings.every):
        found = call(_HISTOGRAMS, histograms.of_step, plan.identifiers, gradients, parameters, default=[])
        record.histograms = found
    return plan


def measure_update(recording: Any, plan: Plan, record: StepRecord) -> None:
    """Look at the weights after a step that was measured before it."""
    parameters = plan.parameters()
    if parameters is None:
        return
    record.probed = recording.observers.call(_UPDATES, plan.look_after, record.gradients, parameters, default={})
    if plan.recorded % ROWS_EVERY == 0 or record.rows_due:
        record.snapshots = recording.observers.call(ROWS_OF_TENSORS, plan.snapshots, parameters, default=[])
    plan.recorded += 1
