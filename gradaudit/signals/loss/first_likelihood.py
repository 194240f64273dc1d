"""How the first loss of a likelihood lies beside that of an untrained model, which predicts all classes uniformly."""

import math

import msgspec

from gradaudit.schema import LossFacts
from gradaudit.signals.layers.initialisation import Start, output_layer
from gradaudit.signals.loss.bad_outcome import BadOutcome, bad_outcome
from gradaudit.signals.loss.first_loss import ObjectiveFactor, classes_used, objective_factor, overcome
from gradaudit.signals.loss.trained_before import begins_new
from gradaudit.signals.loss.training_loss import TrainingLoss
from gradaudit.signals.updates.learning_rates import is_adaptive

_LARGE_START = 3.0  # times torch.nn's default RMS: worth naming as the reason


class ExpectedStart(msgspec.Struct, frozen=True):
    """What the first loss of a likelihood is compared with; all in nats."""

    function: str
    classes: int  # 2 of a binary loss
    weighted: bool  # by class weights, so that `uniform` is not the logarithm of the classes
    uniform: float  # the loss of a uniform prediction
    high: float
    severe: float
    mild: float  # up to here a start that is overcome soon has cost little
    low: float
    option: str  # the threshold behind `high`


class FirstLikelihood(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """The first loss of a likelihood."""

    loss: TrainingLoss
    expected: ExpectedStart
    layer: Start | None = None  # that of the outputs, where it is at fault, and known


class NearUniform(FirstLikelihood, frozen=True, eq=False, kw_only=True):
    """It is about that of a uniform prediction."""


class NegativeLikelihood(FirstLikelihood, frozen=True, eq=False, kw_only=True):
    """It is below 0, which minus the logarithm of a probability never is."""


class BelowChance(FirstLikelihood, frozen=True, eq=False, kw_only=True):
    """It is better than that of an untrained model."""


class NotAveraged(FirstLikelihood, frozen=True, eq=False, kw_only=True):
    """What is differentiated is a sum over the batch, or over micro-steps."""

    factor: ObjectiveFactor
    adaptive: bool  # the optimizer divides the factor out again
    outcome: BadOutcome | None


class Overconfident(FirstLikelihood, frozen=True, eq=False, kw_only=True):
    """It is far above that of a uniform prediction; at fault is a `layer` that starts far above torch.nn's default."""

    severe: bool
    mild: bool  # a little above it, and overcome soon
    below_from: int | None  # global step from which on the loss is below that of a uniform prediction; None if never
    spent: float  # share of the run until then; 1 if never
    outcome: BadOutcome | None


class UnusedOutputs(FirstLikelihood, frozen=True, eq=False, kw_only=True):
    """The model has more outputs than there are classes."""

    used: int  # the classes that occur, the first ones
    high: float  # nats: what the first loss is above, at a uniform prediction of those


Mismatch = NegativeLikelihood | NotAveraged | Overconfident | UnusedOutputs | BelowChance


def first_likelihood(
    loss: TrainingLoss, facts: LossFacts, expected: ExpectedStart, vocabulary: float, soon: float
) -> Mismatch | NearUniform:
    """What is off with the first loss, finite; of more outputs than `vocabulary` many may be unused.

    A start a little high costs little where it is overcome before the share `soon` of the run.
    """
    first, training = loss.first, loss.training
    factor, used = objective_factor(loss), classes_used(facts, vocabulary)
    margin = expected.high - expected.uniform
    new = begins_new(training)
    if first < 0:
        return NegativeLikelihood(loss=loss, expected=expected)
    if factor is not None and loss.objective[0] > expected.high:
        return NotAveraged(
            loss=loss, expected=expected, factor=factor, adaptive=is_adaptive(training), outcome=bad_outcome(training)
        )
    layer = output_layer(training)
    if first > expected.high:
        return _overconfident(loss, expected, layer, soon)
    if used and first > math.log(used) + margin and first > expected.uniform - margin:
        high = math.log(used) + expected.high - expected.uniform
        return UnusedOutputs(loss=loss, expected=expected, layer=layer, used=used, high=high)
    kind = BelowChance if first < expected.low and new else NearUniform
    return kind(loss=loss, expected=expected)


def _overconfident(loss: TrainingLoss, expected: ExpectedStart, layer: Start | None, soon: float) -> Overconfident:
    at = overcome(loss, expected.uniform)
    spent = at / len(loss.values) if at is not None else 1.0
    return Overconfident(
        loss=loss,
        expected=expected,
        layer=layer if layer is not None and layer.rms > _LARGE_START * layer.usual else None,
        severe=loss.first > expected.severe,
        mild=loss.first <= expected.mild and spent < soon,
        below_from=int(loss.steps[at]) if at is not None else None,
        spent=spent,
        outcome=bad_outcome(loss.training),
    )
