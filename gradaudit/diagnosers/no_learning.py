"""The model learns nothing: its loss ends no lower than that of a constant prediction.

## What it looks for

The loss of the last tenth of the run, against that of the best constant prediction: the entropy of the labels, or the
variance of the target. At `constant` of it or above, and with a fall of less than 2 % of the first loss over the last
half, the model has learned nothing from its input. It is a note at first, because healthy models may stay there for
some hundred steps, and critical after `epochs` passes over the data. Losses whose level means nothing are not judged,
and neither are runs that end above a constant prediction because they broke (`divergence`, `non_finite`) or are still
falling.

The samples of the loss's input show how. Where the outputs of one batch differ by less than `spread` (a logit, or the
standard deviation of the target, is 1), the prediction is the same for every input: the frequencies of the labels, the
most frequent class first, or the mean of the target. Below a tenth of `spread` the input does not reach the output, and
that is a warning before any number of epochs.

A loss that is one of several terms is at most a warning: it may be meant to stay. Where the other terms have fallen to
a tenth of their share of the objective meanwhile, they outweigh it: in a variational autoencoder that is posterior
collapse.

## Why it matters

The model has learned how often each label occurs, and nothing else.

## What to try

Check that inputs and labels belong together: shuffle both with one permutation, and look at ten pairs by eye. Train on
one batch until its loss is zero; if that fails, the code is at fault, not the data. Check that the input reaches the
output: print how much the outputs differ over a batch.

## When it is wrong

Labels that cannot be predicted from the input look the same. Language models stay at the frequencies of their tokens
for a while, and large recommenders for an epoch.
"""

import math
from collections.abc import Iterator

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.labels import baseline_marks, label_bars
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.words.crowded_out import crowding_in_words, weigh_terms
from gradaudit.evidence.words.optimizers import label_of, rate_in_words
from gradaudit.evidence.words.outcomes import epochs_in_words
from gradaudit.evidence.words.unclear_loss import unclear_in_words
from gradaudit.evidence.words.wording import number, percent, plural
from gradaudit.findings import (
    Action,
    Clean,
    Confidence,
    Finding,
    Measure,
    NotApplicable,
    Severity,
    Skipped,
    Span,
    Verdict,
    ratio,
)
from gradaudit.signals.activations.output_spread import output_spread
from gradaudit.signals.gradients.finiteness import non_finite_onset
from gradaudit.signals.loss.crowded_out import crowding
from gradaudit.signals.loss.progress import NO_PROGRESS, constant_level, not_learning
from gradaudit.signals.loss.progress import divergence as diverges
from gradaudit.signals.loss.progress import epochs as epochs_of
from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.signals.updates.learning_rates import peak_rates
from gradaudit.training import Training

_EQUAL = 0.1  # of `spread`; faulty models reach 0.0023 of a logit, healthy ones never less than 0.39

_BEST = 1.1  # of the best constant prediction's loss; not measured: up to it a constant output is called the best one


@diagnoser(per="training", worst=Severity.CRITICAL, needs=("steps",), minimum_steps=100, explains=("no_signal",))
def no_learning(
    training: Training,
    *,
    constant: float = 0.98,  # a model that learned anything is further below; six healthy ones were not at 100 steps
    epochs: float = 5,  # before that, slow starts and wrong labels look the same
    spread: float = 0.05,  # not measured; probabilities then differ by 1 %
) -> Iterator[Verdict]:
    """Compare the last losses with the best constant predictor's."""
    loss = training_loss(training)
    if loss.not_interpretable:
        yield NotApplicable(reason=unclear_in_words(loss.not_interpretable))
        return
    level = constant_level(loss)
    if math.isnan(level):
        yield Skipped(
            reason="the labels were not counted, so it is not known what a model that ignores its input would reach",
            enable="use a torch.nn.functional loss that takes the labels themselves",
        )
        return
    broken = non_finite_onset(training)
    failed = broken is not None or diverges(training) is not None
    beside = f"the loss ends at {_end(loss.last)}; a constant prediction gives {number(level)}"
    if loss.last < constant * level:
        yield Clean(measured=beside + ("; the loss diverges on the way" if failed else ""))
        return
    if failed:
        # It may have learned before: what broke it is told of by another finding.
        yield NotApplicable(
            reason=f"{beside}{label_of(training)}, "
            + ("after NaN or infinities: see non_finite" if broken is not None else "and it rose: see divergence")
        )
        return
    if not not_learning(training, constant):
        falling = _gained(loss) > NO_PROGRESS
        yield Skipped(
            reason=f"{beside}{label_of(training)}, "
            + (
                f"and it is still falling, by {percent(_gained(loss))} of its start over the last half"
                if falling
                else f"and yet it has fallen from {number(loss.first)}"
            ),
            enable="train until the loss stops falling"
            if falling
            else "standardise inputs and targets, so that the loss starts near that of a constant prediction",
        )
        return
    yield _finding(training, loss, level, constant, epochs, spread)


def _finding(
    training: Training, loss: TrainingLoss, level: float, constant: float, epochs: float, spread: float
) -> Finding:
    differ = output_spread(loss)
    same, equal = differ < spread, differ < _EQUAL * spread
    rest = crowding(loss)
    passed = epochs_of(training)
    late = passed >= epochs
    what = {
        "classification": "predicting the label frequencies",
        "binary": "predicting the label frequencies",
        "regression": "predicting the mean of the target",
    }.get(loss.kind, "a constant prediction")
    after = f"after {plural(len(loss.values), 'step')}{epochs_in_words(passed)}"
    severity = Severity.CRITICAL if late else Severity.WARNING if equal else Severity.NOTE
    if loss.one_of_several and rest is None and severity is Severity.CRITICAL:
        severity = Severity.WARNING
    name = f"The {loss.facts.function} term" if loss.one_of_several and loss.facts else "The loss"
    if rest is not None:
        title = "Posterior collapse" if rest.latent else "Loss outweighed by other terms"
    elif same:
        title = "Constant prediction"
    elif loss.one_of_several:
        title = "Loss term does not improve"
    else:
        title = "Model does not learn" if late else "No learning yet"
    return Finding(
        severity=severity,
        confidence=Confidence.HIGH if late or equal else Confidence.MEDIUM,
        title=title,
        headline=f"{name} ends at {number(loss.last)}; {what} gives {number(level)}",
        explanation=f"The best constant prediction, of a model that ignores its input, gives {number(level)}. The "
        "loss starts "
        f"at {number(loss.first)} and is {number(loss.last)} {after}; it has stopped falling."
        # A latent code that is sampled makes outputs differ whatever the input is.
        + ("" if rest is not None and not same else _predictions(loss, level, differ, same=same))
        + (
            crowding_in_words(loss, rest)
            if rest is not None
            else f" {unclear_in_words(loss.one_of_several)}."
            if loss.one_of_several
            else ""
        )
        + ("" if late or equal else " Some healthy models are still there after a few hundred steps."),
        span=Span(first=int(loss.steps[-max(5, len(loss.steps) // 10)]), last=int(loss.steps[-1])),
        evidence=[
            loss_chart(
                training,
                "The training loss against that of a constant prediction. A model that uses its input goes below the "
                "lines.",
                baseline_marks(loss, level),
            ),
            *label_bars(
                loss.facts,
                "How often each class was a target: all that the model has learned. Their entropy is the lowest line "
                "above.",
            ),
        ],
        actions=[
            *(weigh_terms(loss) if rest is not None else []),
            *(
                [
                    Action(
                        text=f"Find where the input is lost: print how much each layer's output differs over a batch; "
                        f"at the end it is {number(differ, 2)}",
                        code="print(activation.std(dim=0).mean())",
                    )
                ]
                if same
                else []
            ),
            Action(text="Look at ten pairs of input and label as the model gets them: do they belong together?"),
            Action(
                text="Train on one batch of 16 until its loss is near 0; if that fails, the code is at fault, "
                "not the data",
                code="x, y = next(iter(loader))\nfor _ in range(500): ...",
            ),
            Action(text=f"Try ten times the learning rate of {rate_in_words(peak_rates(training))}, and a tenth of it"),
        ],
        measures=[
            ratio(
                ("last loss", loss.last),
                ("a constant prediction's", level),
                ">=",
                constant,
                option="constant",
            ),
            Measure(
                quantity="epochs", value=passed, comparison=">=", threshold=epochs, option="epochs", decides="critical"
            ),
            Measure(
                quantity="fall over the last half, of the first loss",
                value=_gained(loss),
                comparison="<=",
                threshold=NO_PROGRESS,
                unit="fraction",
            ),
            Measure(
                quantity="spread of the outputs over a batch, for a constant prediction",
                value=differ,
                comparison="<",
                threshold=spread,
                option="spread",
                decides="cause",
            ),
            Measure(
                quantity="spread of the outputs over a batch",
                value=differ,
                comparison="<",
                threshold=_EQUAL * spread,
                option="spread",
                decides="warning",
            ),
        ],
    )


def _end(last: float) -> str:
    return number(last) if math.isfinite(last) else "NaN or infinity"


def _gained(loss: TrainingLoss) -> float:
    half = len(loss.values) // 2
    width = max(5, len(loss.values) // 10)
    middle = float(loss.values[half : half + width].mean())
    return (middle - loss.last) / loss.first if loss.first > 0 else math.nan


def _predictions(loss: TrainingLoss, level: float, differ: float, *, same: bool) -> str:
    """Whether the predictions of a batch depend on the input, in a sentence; empty where they were not sampled."""
    if math.isnan(differ):
        return ""
    unit = "standard deviations of the target" if loss.kind == "regression" else "of a logit"
    if not differ:
        unit = ""
    if not same:
        return f" Over a batch the outputs differ by {number(differ, 2)} {unit}, so they depend on the input."
    constant = "the mean of the target"
    if loss.kind != "regression":
        constant = "the frequencies of the labels"
        counts = loss.facts.label_counts if loss.facts else []
        if counts:
            most = counts.index(max(counts))
            constant += f", class {most} first ({percent(max(counts) / sum(counts))} of the labels)"
    spread = f"differ by {number(differ, 2)} {unit}" if differ else "do not differ at all"
    same_for_all = "nearly the same" if differ else "the same"
    # Far above the best constant prediction's loss it is another constant.
    best = f", {constant}" if loss.last < _BEST * level else ""
    return f" Over a batch the outputs {spread}: the prediction is {same_for_all} for every input{best}."
