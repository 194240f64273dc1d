"""The training loss of each optimizer: its values, what kind of loss it is, how it began and how it ended."""

import math
from typing import Literal

import msgspec
import numpy

from gradaudit.reading.run import Run
from gradaudit.schema import LossFacts
from gradaudit.signals.loss.minor_term import minor_share
from gradaudit.signals.loss.moving_target import Movement, movement
from gradaudit.signals.loss.objective import MOSTLY, factor
from gradaudit.signals.order_statistics import Floats, Integers, median
from gradaudit.training import Training, signal

Kind = Literal["classification", "binary", "regression", "other", "unknown"]

# What torch.nn.functional minimises from above zero: the level or at least the shape of these means something.
_KINDS: dict[str, Kind] = {
    "cross_entropy": "classification",
    "nll_loss": "classification",
    "log_softmax": "classification",  # a cross entropy that the script writes out itself
    "binary_cross_entropy": "binary",
    "binary_cross_entropy_with_logits": "binary",
    "mse_loss": "regression",
    "l1_loss": "other",
    "smooth_l1_loss": "other",
    "huber_loss": "other",
    "kl_div": "other",
    "ctc_loss": "other",
    "multi_margin_loss": "other",
    "multilabel_margin_loss": "other",
    "multilabel_soft_margin_loss": "other",
    "soft_margin_loss": "other",
}


class Unclear(msgspec.Struct, frozen=True):
    """Why a loss does not say how training goes, and the numbers behind that."""

    why: Literal[
        "small term",  # of the objective, of which the whole is looked at
        "compiled",  # the loss is inside a compiled region
        "no function seen",
        "unknown function",
        "adversarial",
        "contrastive",
        "negative objective",
        "moving targets",
        "several terms",  # are minimised, or the loss is weighted
    ]
    function: str = ""  # of the loss, where one was seen
    share: float = math.nan  # of a small term in the objective
    told: str = ""  # what the recorder says of the compiled region
    movement: Movement | None = None  # of the targets
    first: float = math.nan  # of several terms: how many times the loss the objective is, at first
    last: float = math.nan  # and at the end
    unit: str = "1"  # of these two, as `Factor.unit` is


class TrainingLoss(msgspec.Struct, frozen=True, eq=False):
    """One optimizer's training loss; `values` is the mean per valid target, else the objective."""

    training: Training
    steps: Integers  # [steps] global steps
    values: Floats  # [steps]
    objective: Floats  # [steps] what was differentiated
    targets: Integers  # [steps] valid targets behind each value
    facts: LossFacts | None
    kind: Kind
    not_interpretable: Unclear | None = None  # why neither level nor shape say how training goes; None when they do
    minor: Unclear | None = None  # the loss called is a small term: `values` is the objective then, without `facts`
    one_of_several: Unclear | None = None  # why its shape is not that of what is minimised, though its level means what
    # it always does

    @property
    def shapeless(self) -> Unclear | None:
        """Why its shape says nothing of how training goes; None when it does."""
        return self.not_interpretable or self.one_of_several

    @property
    def first(self) -> float:
        """The loss of the first step, NaN and infinities as they are."""
        return float(self.values[0]) if len(self.values) else float("nan")

    @property
    def last(self) -> float:
        """Mean of the last 10 % of the steps, at least 5; not finite when one of them is not."""
        tail = final_losses(self.values)
        with numpy.errstate(invalid="ignore", over="ignore"):
            return float(tail.mean()) if len(tail) else float("nan")

    @property
    def improvement(self) -> float:
        """How much of the first loss is gone at the end, as a share; NaN unless the first is positive."""
        return (self.first - self.last) / self.first if self.first > 0 else float("nan")

    @property
    def name(self) -> str:
        """What a chart calls it."""
        return (
            f"training loss ({self.facts.function})" if self.facts else "objective" if self.minor else "training loss"
        )


def final_losses(losses: Floats) -> Floats:
    """The losses that the end of a run is judged by: of the last 10 % of [steps], at least of 5."""
    return losses[-max(5, len(losses) // 10) :]


@signal
def training_loss(training: Training) -> TrainingLoss:
    """The training loss seen at this optimizer's steps; the objective where that loss is a small term of it.

    Where the level of such a term means something the values stay: a constant has a known loss whatever is added.
    An optimizer that steps on a backward pass already counted for another one has no loss of its
    own and is given the latest one before its step.
    """
    mine = training.run.steps["optimizer"].to_numpy() == training.id
    frame = training.run.steps[mine]
    column = "mean_loss" if frame["mean_loss"].notna().any() and (frame["loss"] >= 0).any() else "objective"
    values = frame[column].to_numpy(dtype=float)
    index = frame["loss"].to_numpy()
    if not len(values) or (numpy.isnan(values).all() and (frame["micro_steps"].to_numpy() == 0).all()):
        borrowed = training.run.steps[["mean_loss", "objective", "loss"]].ffill()[mine]
        column = "mean_loss" if borrowed["mean_loss"].notna().any() else "objective"
        values = borrowed[column].to_numpy(dtype=float)
    known = index[index >= 0]
    facts = (
        training.run.loss_facts(int(numpy.bincount(known).argmax())) if len(known) and column == "mean_loss" else None
    )
    kind = _KINDS.get(facts.function, "unknown") if facts else "unknown"
    loss = TrainingLoss(
        training=training,
        steps=frame["global_step"].to_numpy(dtype=numpy.int64),
        values=values,
        objective=frame["objective"].to_numpy(dtype=float),
        targets=frame["targets"].to_numpy(dtype=numpy.int64),
        facts=facts,
        kind=kind,
    )
    if loss.facts is not None and not _has_level(loss.facts, kind):
        loss = _or_objective(loss, minor_share(training))
    return msgspec.structs.replace(
        loss, not_interpretable=_not_interpretable(loss), one_of_several=_one_of_several(loss)
    )


@signal
def course(training: Training) -> TrainingLoss:
    """The training loss, or the objective where that loss is a small term of it, whatever its level means."""
    return _or_objective(training_loss(training), minor_share(training))


def _has_level(facts: LossFacts, kind: Kind) -> bool:
    return kind in ("classification", "binary") or (kind == "regression" and movement(facts) is None)


def _or_objective(loss: TrainingLoss, share: float | None) -> TrainingLoss:
    """The loss as it is, or the objective of which it is this small `share`."""
    if loss.facts is None or share is None:
        return loss
    minor = Unclear("small term", loss.facts.function, share=share)
    return msgspec.structs.replace(
        loss, values=loss.objective, facts=None, kind="unknown", minor=minor, not_interpretable=minor
    )


def inside_compiled(run: Run) -> str:
    """What the recorder says of a loss that it could not see inside a compiled region; else nothing."""
    told = run.events[run.events["kind"] == "compiled"]["message"]
    return str(told.iloc[0])[:300] if len(told) else ""


def _not_interpretable(loss: TrainingLoss) -> Unclear | None:
    if loss.facts is None:
        told = inside_compiled(loss.training.run)
        return loss.minor or (Unclear("compiled", told=told) if told else Unclear("no function seen"))
    function = loss.facts.function
    if loss.kind == "unknown":
        return Unclear("unknown function", function)
    if loss.kind != "classification" and adversarial(loss.training.run):
        return Unclear("adversarial", function)
    if contrastive(loss):
        return Unclear("contrastive", function)
    if (loss.objective < 0).any() and (loss.values >= 0).all():
        return Unclear("negative objective", function)
    moves = movement(loss.facts)
    return Unclear("moving targets", function, movement=moves) if moves else None


def _one_of_several(loss: TrainingLoss) -> Unclear | None:
    """Why what is minimised is more than this loss; None where it is this loss, up to a factor or a small part."""
    if loss.facts is None or loss.facts.function == "logged":
        return None
    times = factor(loss.training.steps, loss.values)
    if times is None or (times.spread <= MOSTLY and minor_share(loss.training) is None):
        return None
    first, last = float(times.values[0]), float(times.values[-1])
    return Unclear("several terms", loss.facts.function, first=first, last=last, unit=times.unit)


@signal
def adversarial(run: Run) -> bool:
    """Whether several optimizers take turns on losses of different value, as a GAN's two sides do."""
    curves = []
    for training in run.trainings:
        frame = training.steps
        losses = frame["objective"].to_numpy(dtype=float)
        if numpy.isfinite(losses).any():
            curves.append((frame["global_step"].to_numpy(), losses))
    for number, (steps, losses) in enumerate(curves):
        for other_steps, other_losses in curves[number + 1 :]:
            in_turn = steps[0] < other_steps[-1] and other_steps[0] < steps[-1]
            common = min(len(losses), len(other_losses))
            apart = numpy.abs(losses[:common] - other_losses[:common])
            size = numpy.abs(losses[:common]) + numpy.abs(other_losses[:common])
            if in_turn and median(apart) > 1e-6 * median(size):
                return True
    return False


def contrastive(loss: TrainingLoss) -> bool:
    """Whether the classes are the batch itself (InfoNCE): as many classes as targets, each as often as any other."""
    facts = loss.facts
    if facts is None or loss.kind != "classification" or facts.classes < 2:
        return False
    one_each = (loss.targets % facts.classes == 0).mean() > 0.9 and median(loss.targets.astype(float)) > 0
    if facts.label_counts:
        even = len(set(facts.label_counts)) == 1
    else:
        even = facts.label_entropy is not None and abs(facts.label_entropy - numpy.log(facts.classes)) < 1e-9
    return bool(one_each and even and int(median(loss.targets.astype(float))) == facts.classes)
