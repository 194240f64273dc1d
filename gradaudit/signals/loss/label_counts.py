"""How often each class is a target of a loss."""

from gradaudit.schema import LossFacts


def label_counts(facts: LossFacts) -> list[float]:
    """How often each class is a target; for binary targets the shares of 0 and 1; empty when neither was counted."""
    if facts.label_counts:
        return [float(amount) for amount in facts.label_counts]
    mean = facts.target_mean
    binary = facts.function.startswith("binary") and mean is not None and 0 < mean < 1
    return [1 - mean, mean] if binary and mean is not None else []
