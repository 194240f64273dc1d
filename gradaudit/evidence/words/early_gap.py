"""A validation loss that is above the training loss before anything can have been memorised, in words."""

from gradaudit.evidence.words.wording import number, percent
from gradaudit.findings import Action
from gradaudit.signals.evaluation.early_gap import EarlyGap


def early_gap_sentences(found: EarlyGap) -> str:
    """What the first evaluation shows."""
    return (
        f"By the first evaluation the training loss has fallen from {number(found.start)} to {number(found.there)}, "
        f"and {percent(found.carried)} of that carries over to the validation loss. So early this is not "
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
