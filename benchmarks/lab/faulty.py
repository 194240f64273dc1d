"""The faulty trainings: edits of healthy configurations, of every kind two or three in each half.

What an injection costs was measured before any diagnoser saw a run: trainings without a recorder, `losses.cost`, one
column a seed in fault_costs.csv (so far of seed 0). An injection that costs less than a tenth of the attainable loss
reduction is no fault, unless what it harms is not the loss. Of the others faulty.txt names those that the laboratory
runs, chosen by cost alone: of each kind and half two models at the weakest measured dose that hurts clearly, a stronger
dose where there is one, and further reasons for frozen parameters.
"""

import csv
from pathlib import Path

from benchmarks.lab.configuration import Fault
from benchmarks.lab.faults_data import DATA
from benchmarks.lab.faults_families import FAMILIES
from benchmarks.lab.faults_layers import LAYERS
from benchmarks.lab.faults_numbers import NUMBERS
from benchmarks.lab.faults_ranks import RANKS
from benchmarks.lab.faults_rate import RATE
from benchmarks.lab.faults_recipe import RECIPE
from benchmarks.lab.faults_scale import SCALE
from benchmarks.lab.faults_wiring import WIRING

HARMFUL = 0.10  # share of the attainable loss reduction
INJECTED: tuple[Fault, ...] = (*WIRING, *NUMBERS, *SCALE, *LAYERS, *RATE, *DATA, *RANKS, *FAMILIES, *RECIPE)

_HERE = Path(__file__).parent
COSTS = _HERE / "fault_costs.csv"
_CHOSEN = frozenset((_HERE / "faulty.txt").read_text(encoding="utf-8").split())
FAULTY: tuple[Fault, ...] = tuple(fault for fault in INJECTED if fault.name in _CHOSEN)


def measured_costs() -> dict[str, list[float]]:
    """Share of the attainable loss reduction that each injection has cost, one number a measured seed."""
    with COSTS.open(newline="", encoding="utf-8") as file:
        return {name: [float(cost) for cost in costs if cost] for name, *costs in list(csv.reader(file))[1:]}


def harmful(fault: Fault, costs: dict[str, list[float]]) -> bool:
    """Whether this injection is a fault: it hurts in every measured seed, or harms something else than the loss."""
    return fault.harm != "loss" or min(costs.get(fault.name, [0.0])) >= HARMFUL
