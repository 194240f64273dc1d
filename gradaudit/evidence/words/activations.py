"""An activation in front of a loss, in words: what it is called, what it costs, and what to do about it."""

from gradaudit.chart_data import Numbers
from gradaudit.evidence.words.module_names import layer
from gradaudit.evidence.words.probabilities import logits_instead
from gradaudit.evidence.words.wording import in_code
from gradaudit.findings import Action
from gradaudit.reading.run import Run
from gradaudit.signals.loss.loss_input import APPLIES, Squash

_NAMES = {"softmax": "Softmax", "sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "ReLU", "log_softmax": "Log-softmax"}
_LOSSES = {"cross_entropy": "cross-entropy", "binary_cross_entropy_with_logits": "the binary loss"}
_GIVES = {
    "softmax": "probabilities between 0 and 1",
    "sigmoid": "probabilities between 0 and 1",
    "tanh": "numbers between -1 and 1",
    "relu": "no number below 0",
    "log_softmax": "logarithms of probabilities, at most 0",
}


def activation_title(function: str, activation: str) -> str:
    """The disease by name."""
    name = _NAMES.get(activation, activation.capitalize())
    if APPLIES.get(function) == activation or activation == "log_softmax":
        return f"{name} applied twice"
    return f"{name} before {_LOSSES.get(function, function)}"


def activation_headline(function: str, activation: str) -> str:
    """What the loss is given, and what it wants."""
    if activation in ("softmax", "sigmoid") and function in APPLIES:
        return f"The input of {function} is the output of a {activation}: probabilities, not logits"
    wants = "logits" if function in APPLIES else "logarithms of probabilities"
    return f"{function} wants {wants}, and is given a {activation}: {_GIVES[activation]}"


def activation_effect(function: str, activation: str) -> str:
    """What that does to the loss, in a sentence."""
    if function == "nll_loss":
        return (
            "Its value is then minus the probability of the right class, which has almost no gradient where the model "
            "is wrong."
        )
    if function == "kl_div":
        return (
            "Its value is then a constant minus the outputs weighted by the targets: it says little of how far the two "
            "distributions are apart, and may fall below 0."
        )
    if activation == "log_softmax":
        return "cross_entropy applies it again, which changes nothing and costs time and memory."
    if activation == "relu" and function != "cross_entropy":
        return "With no logit below 0 no probability is below one half: nothing can be predicted to be of class 0."
    if activation == "relu":
        return "No logit falls below 0, and where all of an example are cut off nothing of it is learned."
    if activation == "tanh":
        return "With logits between -1 and 1 the model can never be sure."
    return f"{function} applies {APPLIES[function]} to its input itself."


def without_activation(run: Run, function: str, activation: str) -> list[Action]:
    """To remove it; of one that belongs to another loss, or to use that."""
    if activation in ("softmax", "sigmoid") and function in APPLIES:
        squash: Squash = "softmax" if activation == "softmax" else "sigmoid"
        modules = [one for one in run.meta.modules if one.module_class.lower().startswith(activation)]
        return logits_instead(run, function, APPLIES[function], squash, modules[0] if len(modules) == 1 else None)
    if function == "nll_loss":
        return [
            Action(
                text="Use log_softmax(dim=1) where the softmax is", code="nll_loss(log_softmax(logits, dim=1), target)"
            ),
            Action(text="Or give the logits to cross_entropy", code="loss = cross_entropy(logits, target)"),
        ]
    if function == "kl_div":
        return [
            Action(
                text=f"Use log_softmax where the {activation} is: kl_div wants logarithms in its first argument",
                code='kl_div(log_softmax(logits, dim=1), target, reduction="batchmean")',
            )
        ]
    classes = "logsoftmax" if activation == "log_softmax" else activation
    last = [one for one in run.meta.modules if one.module_class.lower() == classes][-1:]
    called = (layer(run, last[0].name) or last[0].module_class) if last else f"the last {activation}"
    return [
        Action(
            text=f"Remove {called} in front of the loss, which leaves 0 activations after the last layer",
            code=f"{in_code(last[0].name)} = nn.Identity()" if last else f"loss = {function}(logits, target)",
        )
    ]


def last_operation_table(function: str, activation: str) -> Numbers:
    """What is given to the loss."""
    return Numbers(
        title="The last operation before the loss",
        caption="Read off the graph at the first calls of the loss.",
        columns=["", "operation"],
        cells=[["loss", function], ["before it", activation]],
    )
