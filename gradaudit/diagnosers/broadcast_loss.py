"""The loss broadcasts predictions and targets: it compares every prediction with every target.

## What it looks for

The shapes with which mse_loss, l1_loss, smooth_l1_loss, huber_loss, poisson_nll_loss and gaussian_nll_loss were called.
Prediction and target hold as many numbers in a different number of dimensions, such as (32, 1) and (32), and torch
broadcast them to 32 x 32 differences. In a training loss it is a warning, and critical when the model learns no more
than the mean of the targets. In a validation loss alone it is a warning: that number says nothing about the model. It
is a note where all pairs may be meant: with reduction "none", and where several optimizers take turns.

## Why it matters

Each prediction is pulled towards all targets of its batch, and the best answer to all of them is their mean. The loss
falls to the variance of the targets and stays there, whatever the model, the data or the learning rate.

## What to try

Give both the same shape: squeeze the prediction, or unsqueeze the target. For the first four losses torch
warns once about the two sizes, on standard error; turn that warning into an error.

## When it is wrong

Where all targets of a call are equal, such as the ones or zeros of a least-squares GAN, broadcasting changes nothing
and the loss is right; targets that are only zeros and ones are never critical. Shapes with the same number of
dimensions, such as (N, 1) and (1, M), are taken as meant. A loss that is written out, such as
((prediction - target) ** 2).mean(), is not seen.
"""

import math
from collections.abc import Iterator

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.words.wording import count, names, number
from gradaudit.findings import (
    Action,
    AnyEvidence,
    Clean,
    Confidence,
    Finding,
    Mark,
    Measure,
    NotApplicable,
    Numbers,
    Severity,
    Skipped,
    Span,
    Verdict,
)
from gradaudit.reading.run import Run
from gradaudit.schema import LossFacts
from gradaudit.signals.loss.progress import not_learning
from gradaudit.signals.loss.training_loss import adversarial, training_loss

_WARNED = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")  # of these torch says so itself
_MOST_DIMENSIONS, _LARGEST = 16, 2**40  # of a shape that a record may hold
_LONGEST = 30  # characters of two shapes in a headline; the explanation has them all
_VERBS = {"mean": "averaged", "sum": "summed", "none": "computed"}
_MEASURED = ["no_signal", "overfitting", "validation_better_than_train"]  # what a validation loss can bring about
_WATCHED = (*_WARNED, "poisson_nll_loss", "gaussian_nll_loss")


@diagnoser(
    worst=Severity.CRITICAL,
    needs=("steps",),
    explains=(
        "no_learning",
        "no_signal",
        "premature_plateau",
        "learning_rate_too_low",
        "layer_imbalance",
        "overfitting",
        "validation_better_than_train",
    ),
)
def broadcast_loss(run: Run) -> Iterator[Verdict]:
    """Look at the shapes that torch broadcast."""
    losses = [facts for facts in run.meta.losses if facts.function in _WATCHED]
    if not losses:
        yield NotApplicable(reason=f"no loss was seen that broadcasts shapes: {names(list(_WATCHED), 6)}")
        return
    broadcast = [facts for facts in losses if _shapes_of(facts.broadcast) or _shapes_of(facts.evaluation_broadcast)]
    for facts in broadcast:
        yield _finding(run, facts)
    if broadcast:
        return
    if all(facts.broadcast is None for facts in losses):
        yield Skipped(
            reason="the shapes of predictions and targets were not recorded", enable="record again with this version"
        )
        return
    seen = names([facts.function for facts in losses], 4)
    yield Clean(measured=f"{seen}: 0 calls broadcast the prediction or the target")


def _shapes_of(recorded: list[list[int]] | None) -> list[list[int]]:
    """The shapes of prediction and target; empty when torch broadcast none, and when the record is damaged."""
    if not recorded or len(recorded) != 2 or any(len(sizes) > _MOST_DIMENSIONS for sizes in recorded):
        return []
    alike = [size for size in recorded[0] if size != 1] == [size for size in recorded[1] if size != 1]
    sound = alike and all(0 < size < _LARGEST for sizes in recorded for size in sizes)
    more = sound and math.prod(_together(*recorded)) > math.prod(recorded[0])
    return recorded if more and len(recorded[0]) != len(recorded[1]) else []


def _finding(run: Run, facts: LossFacts) -> Finding:
    trained = bool(_shapes_of(facts.broadcast))
    prediction, target = _shapes_of(facts.broadcast) or _shapes_of(facts.evaluation_broadcast)
    training = next((one for one in run.trainings if training_loss(one).facts == facts), None)
    stuck = trained and training is not None and not_learning(training)
    severity, confidence = _weight(run, facts, stuck and not _zeros_and_ones(facts))
    compared = math.prod(_together(prediction, target))
    own = math.prod(prediction)
    where = "The training loss" if trained else "The validation loss"
    shapes = f"{_shape(prediction)} with {_shape(target)}"
    shapes = shapes if len(shapes) <= _LONGEST else "the prediction with the target"
    seen = [
        f"{facts.function} got a prediction of shape {_shape(prediction)} and a target of shape {_shape(target)}. "
        f"torch broadcasts them to {_shape(_together(prediction, target))}, so "
        f"{count(compared)} differences are {_VERBS.get(facts.reduction, 'computed')} where {count(own)} were meant."
    ]
    chart: list[AnyEvidence] = [_shapes(prediction, target)]
    if trained and training is not None:
        if stuck:
            seen.append("The loss ends at that of always predicting the mean: the model has learned nothing.")
        caption = "The training loss. Compared with all targets at once, the best prediction is their mean"
        marks = []
        if facts.function == "mse_loss" and facts.target_variance:
            caption += ", and the loss of that is their variance: the line"
            words = f"variance of the target = {number(facts.target_variance)}"
            marks = [Mark(label=words, y=facts.target_variance, role="reference")]
        chart.append(loss_chart(training, f"{caption}.", marks))
    steps = (training or run.trainings[0]).steps["global_step"]
    return Finding(
        severity=severity,
        confidence=confidence,
        is_measurement_issue=not trained,
        caused=[] if trained else _MEASURED,
        title="Broadcasting in the loss" if trained else "Broadcasting in the validation loss",
        headline=f"{where} broadcasts {shapes}: {count(compared)} differences instead of {count(own)}",
        explanation=" ".join(seen),
        span=Span(first=int(steps.iloc[0]), last=int(steps.iloc[-1])),
        evidence=chart,
        actions=[
            Action(text=f"Give both the same shape, {_shape(min(prediction, target, key=len))}",
                   code=_fixed_call(facts.function, prediction, target)),
            Action(text="Turn torch's warning of it into an error, so that it cannot come back",
                   code='warnings.filterwarnings("error", message="Using a target size")')
            if facts.function in _WARNED
            else Action(text="Check the shapes before the loss: torch does not warn of this one",
                        code="assert prediction.shape == target.shape"),
        ],
        measures=[
            Measure(quantity="differences that are averaged", value=compared, comparison=">", threshold=own,
                    unit="count"),
        ],
    )  # fmt: skip


def _weight(run: Run, facts: LossFacts, stuck: bool) -> tuple[Severity, Confidence]:
    """How bad it is, and how sure: all pairs may be meant, and where all targets are alike they change nothing."""
    if facts.reduction not in ("mean", "sum") or adversarial(run):
        return Severity.NOTE, Confidence.MEDIUM
    return Severity.CRITICAL if stuck else Severity.WARNING, Confidence.CERTAIN


def _zeros_and_ones(facts: LossFacts) -> bool:
    """Whether the targets can only be zeros and ones, as a least-squares GAN's, of which a batch may have one alone."""
    mean, variance = facts.target_mean, facts.target_variance
    return mean is not None and variance is not None and math.isclose(mean * (1 - mean), variance, rel_tol=0.01)


def _shape(sizes: list[int]) -> str:
    """A shape as torch prints it, without the trailing comma: (32, 1)."""
    return f"({', '.join(str(size) for size in sizes)})"


def _together(first: list[int], second: list[int]) -> list[int]:
    """What two shapes broadcast to: aligned at their ends, the larger size of each pair."""
    length = max(len(first), len(second))
    padded = ([1] * (length - len(sizes)) + sizes for sizes in (first, second))
    return [max(pair) for pair in zip(*padded, strict=True)]


def _fixed_call(function: str, prediction: list[int], target: list[int]) -> str:
    longer, shorter = (prediction, target) if len(prediction) > len(target) else (target, prediction)
    place = next((i for i in range(len(longer)) if longer[:i] + longer[i + 1 :] == shorter), None)
    squeeze = f".squeeze({place})" if place is not None else f".reshape{_shape(shorter)}"
    both = ("prediction" + squeeze, "target") if longer is prediction else ("prediction", "target" + squeeze)
    return f"loss = torch.nn.functional.{function}({', '.join(both)})"


def _shapes(prediction: list[int], target: list[int]) -> Numbers:
    together = _together(prediction, target)
    return Numbers(
        title="What the loss was given",
        caption="Shapes are aligned at their last dimension; a size of 1, or a missing one, is repeated.",
        columns=["", "shape", "numbers"],
        cells=[
            ["prediction", _shape(prediction), count(math.prod(prediction))],
            ["target", _shape(target), count(math.prod(target))],
            ["compared", _shape(together), count(math.prod(together))],
        ],
    )
