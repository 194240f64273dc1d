"""Why a diagnoser is skipped: what it needs is not there, and how a user gets it recorded."""

from gradaudit.reading.run import Run
from gradaudit.schema import TABLES
from gradaudit.signals.loss.training_loss import inside_compiled

# What the tables of a run hold, in the words of one who has never seen them.
_RECORDED = {
    "steps": "training steps",
    "evaluations": "validation losses",
    "tensors": "statistics of gradients and weights",
    "histograms": "histograms of gradients and weights",
    "rows": "statistics of single rows and outputs",
    "modules": "samples of inputs and activations",
    "events": "events",
}


def unmet(run: Run, need: str) -> tuple[str, str]:
    """Why "table" or "table.column" is not to be had from this run, and what to do about it."""
    name, _, column = need.partition(".")
    table, what = TABLES[name], _RECORDED[name]
    lost = [problem.message for problem in run.problems if problem.table == name]
    if lost:
        return f"the {what} could not be read", f"fix what was left out: {lost[0]}"
    if column and run.has(name):
        # The rows are there, and every value is NaN: of the losses, that they are not finite.
        return (
            f"{what} were recorded, but none with a finite value of {column} ({table.column(column).doc})",
            "fix what non_finite reports, or train with a loss that the recorder can see"
            if name in ("steps", "evaluations")
            else table.enable,
        )
    told = inside_compiled(run) if name == "evaluations" else ""
    return f"no {what} were recorded" + (f": {told}" if told else ""), table.enable
