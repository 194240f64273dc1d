"""The loss broadcasts predictions and targets: it compares every prediction with every target.

## What it looks for

The shapes with which mse_loss, l1_loss, smooth_l1_loss, huber_loss, poisson_nll_loss and gaussian_nll_loss were called.
Prediction and target hold as many numbers in a different number of dimensions, such as (32, 1) and (32), and torch
broadcast them to 32 x 32 differences. In a training loss it is a warning, and critical when the model learns no more
than the mean of the targets. In a validation loss alone it is a warning: that number says nothing about the model. It
is a note where all pairs may be meant: with reduction "none", and where several optimizers take turns.

A loss that a script writes out itself is looked at in the autograd graph: a mean or a sum over N x N numbers that
element-wise operations made of N numbers, which a layer gave as (N, 1) or which are of shape (N). That is critical. A
square that a matrix product made, as of a contrastive loss, or an axis that was added on purpose, is meant.

## Why it matters

Each prediction is pulled towards all targets of its batch, and the best answer to all of them is their mean. The loss
falls to the variance of the targets and stays there, whatever the model, the data or the learning rate.

## What to try

Give both the same shape: squeeze the prediction, or unsqueeze the target. For the first four losses torch
warns once about the two sizes, on standard error; turn that warning into an error.

## When it is wrong

Where all targets of a call are equal, such as the ones or zeros of a least-squares GAN, broadcasting changes nothing
and the loss is right; targets that are only zeros and ones are never critical. Shapes with the same number of
dimensions, such as (N, 1) and (1, M), are taken as meant. Of a loss that is written out inside a compiled region, or
with torch 2.4, which does not tell the shapes of operations, nothing is seen. N weights for N x N pairs that are
averaged whole would look the same.
"""

import math
from collections.abc import Iterator

from gradaudit.chart_data import Lines, Mark, Numbers
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.words.wording import count, names, number
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.schema import LossFacts, TermFacts
from gradaudit.signals.loss.broadcasting import Shapes, broadcast_shapes
from gradaudit.signals.loss.progress import not_learning
from gradaudit.signals.loss.training_loss import adversarial, training_loss
from gradaudit.training import Training

_WARNED = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")  # of these torch says so itself
_LONGEST = 30  # characters of two shapes in a headline; the explanation has them all
_VERBS = {"mean": "averaged", "sum": "summed", "none": "computed"}
_MEASURED = ["no_signal", "overfitting", "validation_better_than_train"]  # what a validation loss can bring about
_WATCHED = (*_WARNED, "poisson_nll_loss", "gaussian_nll_loss")


class Broadcast(Judged, frozen=True):
    """A loss compares every prediction with every target."""

    facts: LossFacts
    shapes: Shapes
    in_training: bool  # else in a validation loss alone
    training: Training | None  # that minimises this loss
    learns_the_mean: bool  # the training loss ends at that of always predicting the mean
    all_pairs_may_be_meant: bool
    critical: bool
    span: Span

    @property
    def severity(self) -> Severity:
        """A note where all pairs may be meant."""
        if self.all_pairs_may_be_meant:
            return Severity.NOTE
        return Severity.CRITICAL if self.critical else Severity.WARNING


class Square(Judged, frozen=True):
    """A loss that the script writes out averages N x N numbers that N were stretched to."""

    function: str  # mean, sum
    given: tuple[int, ...]  # the shape of the N
    size: int
    span: Span


class EqualShapes(Judged, frozen=True):
    """No call of these losses broadcast the prediction or the target."""

    functions: tuple[str, ...]


class NoSuchLoss(Judged, frozen=True):
    """No loss was seen that broadcasts shapes."""


@diagnoser(
    worst=Severity.CRITICAL,
    needs=("steps",),
    explains=(
        "no_learning",
        "no_signal",
        "premature_plateau",
        "learning_rate_too_low",
        "learning_rate_too_high",
        "layer_imbalance",
        "divergence",
        "unstable_loss",
        "gradient_growth",
        "vanishing_gradient",
        "noise_module",
        "overfitting",
        "validation_better_than_train",
    ),
)
def broadcast_loss(run: Run) -> Iterator[Broadcast | Square | EqualShapes | NoSuchLoss | Skipped]:
    """Look at the shapes that torch broadcast."""
    squares = list({square.given: square for term in run.meta.graph.terms if (square := _square(term))}.values())
    yield from squares
    losses = [facts for facts in run.meta.losses if facts.function in _WATCHED]
    if not losses:
        if not squares:
            yield NoSuchLoss()
        return
    found = [_broadcast(run, facts, shapes) for facts in losses if (shapes := _either(facts)) is not None]
    yield from found
    if found or squares:
        return
    if all(facts.broadcast is None for facts in losses):
        yield Skipped(
            reason="the shapes of predictions and targets were not recorded", enable="record again with this version"
        )
        return
    yield EqualShapes(tuple(facts.function for facts in losses))


def _square(term: TermFacts) -> Square | None:
    """What a term of the objective averages; None where it was not stretched, or the record is damaged."""
    given, square = (tuple(one) for one in term.broadcast) if len(term.broadcast) == 2 else ((), ())
    if len(square) != 2 or not square[0] == square[1] == math.prod(given) > 1 or len(given) > 2:
        return None
    return Square(
        term.function or "mean", given, square[0], Span(first=max(0, term.first), last=max(0, term.first, term.last))
    )


def _broadcast(run: Run, facts: LossFacts, shapes: Shapes) -> Broadcast:
    in_training = broadcast_shapes(facts.broadcast) is not None
    training = next((one for one in run.trainings if training_loss(one).facts == facts), None)
    stuck = in_training and training is not None and not_learning(training)
    # All pairs may be meant where each difference is kept, and where several optimizers take turns.
    meant = facts.reduction not in ("mean", "sum") or adversarial(run)
    steps = (training or run.trainings[0]).steps["global_step"]
    return Broadcast(
        facts=facts,
        shapes=shapes,
        in_training=in_training,
        training=training,
        learns_the_mean=stuck,
        all_pairs_may_be_meant=meant,
        critical=stuck and not meant and not _zeros_and_ones(facts),
        span=Span(first=int(steps.iloc[0]), last=int(steps.iloc[-1])),
    )


def _either(facts: LossFacts) -> Shapes | None:
    """What was broadcast in a training loss, else in a validation loss."""
    return broadcast_shapes(facts.broadcast) or broadcast_shapes(facts.evaluation_broadcast)


def _zeros_and_ones(facts: LossFacts) -> bool:
    """Whether the targets can only be zeros and ones, as a least-squares GAN's, of which a batch may have one alone."""
    mean, variance = facts.target_mean, facts.target_variance
    return mean is not None and variance is not None and math.isclose(mean * (1 - mean), variance, rel_tol=0.01)


@broadcast_loss.tell
def _not_applicable(found: NoSuchLoss) -> NotApplicable:
    return NotApplicable(reason=f"no loss was seen that broadcasts shapes: {names(list(_WATCHED), 6)}")


@broadcast_loss.tell
def _clean(found: EqualShapes) -> Clean:
    return Clean(measured=f"{names(list(found.functions), 4)}: 0 calls broadcast the prediction or the target")


@broadcast_loss.tell
def _square_finding(found: Square) -> Finding:
    given, size = _shape(found.given), found.size
    other = f"({size}, 1)" if len(found.given) == 1 else f"({size})"
    last = len(found.given) - 1
    return Finding(
        severity=Severity.CRITICAL,
        confidence=Confidence.CERTAIN,
        title="Broadcasting in the loss",
        headline=f"The loss averages {count(size * size)} numbers, ({size}, {size}), where {count(size)} were meant: "
        f"{given} met {other}",
        explanation=f"In the graph behind the objective element-wise operations stretch a tensor of shape {given} to "
        f"({size}, {size}), and the {found.function} of all that is minimised. The other operand was of shape {other}, "
        "so each example is paired with the numbers of all the others, and what it learns is their average.",
        span=found.span,
        evidence=[
            Numbers(
                title="What is averaged",
                caption="Shapes are aligned at their last dimension; a size of 1, or a missing one, is repeated.",
                columns=["", "shape", "numbers"],
                cells=[["given", given, count(size)], ["other operand", other, count(size)],
                       ["averaged", f"({size}, {size})", count(size * size)]],
            )
        ],
        actions=[
            Action(
                text=f"Give both operands the same shape, {_shape((size,))}, before they meet",
                code="advantage = advantage.reshape(-1)  # or the target, the weight: whichever has the axis more"
                if not last
                else "prediction = prediction.squeeze(-1)  # (N, 1) to (N), the shape of the target",
            ),
            Action(text="Check the shapes in front of the loss, for torch does not warn of it",
                   code="assert a.shape == b.shape, (a.shape, b.shape)"),
        ],
        measures=[
            Measure(quantity="numbers that are averaged", value=size * size, comparison=">", threshold=size,
                    unit="count"),
        ],
    )  # fmt: skip


@broadcast_loss.tell
def _finding(found: Broadcast) -> Finding:
    shapes = found.shapes
    training = found.training if found.in_training else None
    return Finding(
        severity=found.severity,
        confidence=Confidence.MEDIUM if found.all_pairs_may_be_meant else Confidence.CERTAIN,
        is_measurement_issue=not found.in_training,
        caused=[] if found.in_training else _MEASURED,
        title="Broadcasting in the loss" if found.in_training else "Broadcasting in the validation loss",
        headline=_headline(found),
        explanation=_explanation(found),
        span=found.span,
        evidence=[_table(shapes), *([_chart(found, training)] if training is not None else [])],
        actions=_actions(found),
        measures=[
            Measure(quantity="differences that are averaged", value=shapes.differences, comparison=">",
                    threshold=shapes.meant, unit="count"),
        ],
    )  # fmt: skip


def _headline(found: Broadcast) -> str:
    shapes = found.shapes
    both = f"{_shape(shapes.prediction)} with {_shape(shapes.target)}"
    both = both if len(both) <= _LONGEST else "the prediction with the target"
    return (
        f"The {'training' if found.in_training else 'validation'} loss broadcasts {both}: "
        f"{count(shapes.differences)} differences instead of {count(shapes.meant)}"
    )


def _explanation(found: Broadcast) -> str:
    facts, shapes = found.facts, found.shapes
    learned = " The loss ends at that of always predicting the mean: the model has learned nothing."
    return (
        f"{facts.function} got a prediction of shape {_shape(shapes.prediction)} and a target of shape "
        f"{_shape(shapes.target)}. torch broadcasts them to {_shape(shapes.compared)}, so {count(shapes.differences)} "
        f"differences are {_VERBS.get(facts.reduction, 'computed')} where {count(shapes.meant)} were meant."
        + (learned if found.learns_the_mean else "")
    )


def _chart(found: Broadcast, training: Training) -> Lines:
    facts, marks = found.facts, []
    caption = "The training loss. Compared with all targets at once, the best prediction is their mean"
    if facts.function == "mse_loss" and facts.target_variance:
        caption += ", and the loss of that is their variance: the line"
        words = f"variance of the target = {number(facts.target_variance)}"
        marks = [Mark(label=words, y=facts.target_variance, role="reference")]
    return loss_chart(training, f"{caption}.", marks)


def _shape(sizes: tuple[int, ...]) -> str:
    """A shape as torch prints it, without the trailing comma: (32, 1)."""
    return f"({', '.join(str(size) for size in sizes)})"


def _actions(found: Broadcast) -> list[Action]:
    shapes = found.shapes
    same = Action(
        text=f"Give both the same shape, {_shape(shapes.shorter)}",
        code=_fixed_call(found),
    )
    if found.facts.function in _WARNED:
        return [
            same,
            Action(
                text="Turn torch's warning of it into an error, so that it cannot come back",
                code='warnings.filterwarnings("error", message="Using a target size")',
            ),
        ]
    return [
        same,
        Action(
            text="Check the shapes before the loss: torch does not warn of this one",
            code="assert prediction.shape == target.shape",
        ),
    ]


def _fixed_call(found: Broadcast) -> str:
    shapes = found.shapes
    squeeze = f".squeeze({shapes.squeezed})" if shapes.squeezed is not None else f".reshape{_shape(shapes.shorter)}"
    target_is_longer = shapes.target != shapes.shorter
    both = ("prediction", "target" + squeeze) if target_is_longer else ("prediction" + squeeze, "target")
    return f"loss = torch.nn.functional.{found.facts.function}({', '.join(both)})"


def _table(shapes: Shapes) -> Numbers:
    rows = {"prediction": shapes.prediction, "target": shapes.target, "compared": shapes.compared}
    return Numbers(
        title="What the loss was given",
        caption="Shapes are aligned at their last dimension; a size of 1, or a missing one, is repeated.",
        columns=["", "shape", "numbers"],
        cells=[[name, _shape(sizes), count(math.prod(sizes))] for name, sizes in rows.items()],
    )
