"""What is said of a plateau scheduler that waits for its metric in the wrong direction."""

from gradaudit.evidence.words.scheduler_units import Words
from gradaudit.evidence.words.wording import count, number, percent
from gradaudit.findings import Action, Measure
from gradaudit.signals.updates.plateau_metric import MetricCourse

_AGREES = 0.9  # of the pairs of calls, as the signal asks


def metric_words(found: MetricCourse) -> Words:
    """The words of such a course."""
    waits, went, right = ("fall", "rose", "max") if found.mode == "min" else ("rise", "fell", "min")
    course = f"from {number(found.first)} to {number(found.last)}"
    return Words(
        "Plateau scheduler in the wrong mode",
        f"ReduceLROnPlateau waits for its metric to {waits}: it {went} {course}, and the learning rate was cut",
        f"{_told(found)} With mode={found.mode!r} it counts as worse than the first one at nearly every of "
        f"{count(found.calls)} calls. At the end the learning rate is {percent(found.reached)} of that at the first "
        "call.",
        [
            Action(
                text=f"Make the scheduler with mode={right!r}: the metric {went} {course} while the model got better",
                code=f"torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode={right!r})",
            )
        ],
    )


def _told(found: MetricCourse) -> str:
    if found.told == "counts":
        return f"The metric is an accuracy: its values are whole counts out of {count(found.examples)} examples."
    if found.told == "loss":
        return "The metric is a loss that was recorded."
    other = "falls while it rises" if found.mode == "min" else "falls with it"
    return f"The loss of the same evaluations {other}."


def metric_measures(found: MetricCourse, errors: float) -> list[Measure]:
    """The numbers that decided."""
    fell = Measure(quantity="learning rate at the end / at the first call", value=found.reached, comparison="<",
                   threshold=1.0)  # fmt: skip
    if found.told == "counts":
        rose = Measure(quantity="change of the accuracy, in standard errors", value=found.errors, comparison=">=",
                       threshold=errors, option="errors")  # fmt: skip
        return [rose, fell]
    if found.told == "losses":
        with_loss = Measure(quantity="agreement with the evaluation loss", value=abs(found.agreement), comparison=">=",
                            threshold=_AGREES, unit="fraction")  # fmt: skip
        return [with_loss, fell]
    return [fell]
