"""A few trainings of the laboratory in two minutes: recorded once, analyzed, and each verdict said."""

import sys

import click

from benchmarks.lab.analyze import analysis_key, analyze
from benchmarks.lab.experiments import Experiment, chosen
from benchmarks.lab.figures import ALARMS, false_alarm, found, load_trial
from benchmarks.lab.record import folder_of, record_all

# Of the development half, cheap, and as different as they come.
HEALTHY = ("mlp_regression", "lstm_language_model", "recommender", "vae", "gcn", "deep_tanh", "text_bag")
FAULTY = (
    "mlp_regression-no_zero_grad-all",
    "huber_regression-dead_units--10",
    "gcn-eval_in_training-all",
    "recommender-rate_high-100",
    "text_bag-activation_before_loss-all",
    "deep_tanh-large_gain-10",
    "mlp_regression-missing_group-hidden",
)


def verdict(experiment: Experiment, seed: int = 0) -> tuple[bool, str]:
    """Whether a recorded and analyzed run is judged as it should be, and what was said of it."""
    trial = load_trial(experiment, seed)
    if experiment.fault is None:
        return not false_alarm(trial), ", ".join(sorted(trial.fired(ALARMS))) or "no warning"
    said = ", ".join(sorted(trial.fired((*ALARMS, "note")))) or "nothing"
    return found(trial), f"{said}; one of {', '.join(experiment.fault.accepted)} is right"


@click.command()
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True)
def main(jobs: int) -> None:
    """Record and analyze a few trainings; exit code 1 when one of them is judged wrongly."""
    experiments = chosen(names=(*HEALTHY, *FAULTY))
    record_all(experiments, 1, jobs)
    wrong = 0
    for experiment in experiments:
        trouble = analyze(folder_of(experiment.name, 0), analysis_key())
        right, said = (False, trouble) if trouble else verdict(experiment)
        wrong += not right
        click.echo(f"{'right' if right else 'WRONG'}  {experiment.name}: {said}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
