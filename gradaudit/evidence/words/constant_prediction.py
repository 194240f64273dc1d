"""What a model predicts that ignores its input, in words, and how to find where the input is lost."""

import math

from gradaudit.evidence.words.wording import number, percent
from gradaudit.findings import Action
from gradaudit.signals.activations.constant_outputs import Outputs
from gradaudit.signals.loss.training_loss import TrainingLoss

_PREDICTING = {
    "classification": "predicting the label frequencies",
    "binary": "predicting the label frequencies",
    "regression": "predicting the mean of the target",
}


def best_constant(loss: TrainingLoss) -> str:
    """What the best constant prediction of a loss is, before "gives"."""
    return _PREDICTING.get(loss.kind, "a constant prediction")


def predictions(loss: TrainingLoss, outputs: Outputs) -> str:
    """Whether the predictions of a batch depend on the input, in a sentence; empty where they were not sampled."""
    regression = loss.kind == "regression"
    if math.isnan(outputs.spread):
        return ""
    unit = "standard deviations of the target" if regression else "of a logit"
    if not outputs.spread:
        unit = ""
    if not outputs.same:
        return f" Over a batch the outputs differ by {number(outputs.spread, 2)} {unit}, so they depend on the input."
    constant = "the mean of the target" if regression else "the frequencies of the labels"
    if not regression and outputs.most_frequent is not None:
        constant += f", class {outputs.most_frequent} first ({percent(outputs.share)} of the labels)"
    spread = f"differ by {number(outputs.spread, 2)} {unit}" if outputs.spread else "do not differ at all"
    same_for_all = "nearly the same" if outputs.spread else "the same"
    best = f", {constant}" if outputs.best else ""
    return f" Over a batch the outputs {spread}: the prediction is {same_for_all} for every input{best}."


def find_lost_input(outputs: Outputs) -> Action:
    """To look for the layer behind which all outputs are the same."""
    return Action(
        text="Find where the input is lost: print how much each layer's output differs over a batch; at the end it is "
        f"{number(outputs.spread, 2)}",
        code="print(activation.std(dim=0).mean())",
    )
