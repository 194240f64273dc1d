"""A validation loss that is above the training loss before anything can have been memorised."""

import math

from gradaudit.evidence.words.wording import number, percent
from gradaudit.findings import Action
from gradaudit.reading.run import Run
from gradaudit.signals.evaluation.generalisation import TrainingCurve
from gradaudit.signals.loss.progress import start_level
from gradaudit.signals.loss.training_loss import TrainingLoss
from gradaudit.signals.order_statistics import Floats

_CARRIED = 0.3  # of what training has gained by the first evaluation; in healthy runs most of it carries over
_GAINED = 0.1  # of the first loss: of less nothing can be told
_EPOCHS = 2.0  # after fewer, each example was seen too seldom to be memorised


def early_gap(run: Run, losses: list[TrainingLoss], train: TrainingCurve, steps: Floats, values: Floats) -> str:
    """What the first evaluation shows, in a sentence; empty where most of what was gained carried over, or too late."""
    loss = losses[0]
    batches = run.meta.data.batches_per_epoch
    seen = (steps[0] + 1) / batches if batches else math.nan
    if not train.comparable or len(losses) > 1 or loss.shapeless or not 0 < seen <= _EPOCHS:
        return ""
    start, there = start_level(loss), float(train.at(steps[:1])[0])
    gained, carried = start - there, start - float(values[0])
    if not gained > _GAINED * start or not carried < _CARRIED * gained:
        return ""
    return (
        f"By the first evaluation the training loss has fallen from {number(start)} to {number(there)}, and "
        f"{percent(max(0.0, carried / gained))} of that carries over to the validation loss. So early this is not "
        "memorisation: the two losses are measured differently, or on different data."
    )


def measure_alike() -> list[Action]:
    """What to look at first where the gap is that old."""
    return [
        Action(
            text="Evaluate a part of the training data with the code of the evaluation: if the gap is there, too, it "
            "comes from the mode, the buffers or the preprocessing, and not from the data",
            code="evaluate(model, DataLoader(train_set, batch_size))",
        ),
        Action(
            text="Compare mean and spread of the inputs in training and in evaluation, and the running statistics of "
            "batch normalisation with those of a batch"
        ),
    ]
