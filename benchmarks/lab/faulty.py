"""The faulty trainings: edits of healthy configurations, each in a dose series down to the weakest that still hurts.

What an injection costs was measured before any diagnoser saw a run: trainings without a recorder, `losses.cost`, one
column a seed in fault_costs.csv. An injection that costs less than a tenth of the attainable loss reduction in any
measured seed is no fault and left out, unless what it harms is not the loss; one that was not measured is left out too.
"""

import csv
from pathlib import Path

from benchmarks.lab.configuration import Fault
from benchmarks.lab.faults_data import DATA
from benchmarks.lab.faults_layers import LAYERS
from benchmarks.lab.faults_numbers import NUMBERS
from benchmarks.lab.faults_rate import RATE
from benchmarks.lab.faults_scale import SCALE
from benchmarks.lab.faults_wiring import WIRING

COSTS = Path(__file__).with_name("fault_costs.csv")
HARMFUL = 0.10
INJECTED: tuple[Fault, ...] = (*WIRING, *NUMBERS, *SCALE, *LAYERS, *RATE, *DATA)


def measured_costs() -> dict[str, list[float]]:
    """Share of the attainable loss reduction that each injection has cost, one number a measured seed."""
    with COSTS.open(newline="") as file:
        return {name: [float(cost) for cost in costs if cost] for name, *costs in list(csv.reader(file))[1:]}


def harmful(fault: Fault, costs: dict[str, list[float]]) -> bool:
    """Whether this injection is a fault: it hurts in every measured seed, or harms something else than the loss."""
    return fault.harm != "loss" or min(costs.get(fault.name, [0.0])) >= HARMFUL


_COSTS = measured_costs()
FAULTY: tuple[Fault, ...] = tuple(fault for fault in INJECTED if harmful(fault, _COSTS))
