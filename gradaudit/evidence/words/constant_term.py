"""Sentences about a term of the objective that is a constant."""

from gradaudit.evidence.words.wording import number, plural
from gradaudit.findings import Action
from gradaudit.signals.loss.constant_terms import ConstantTerm


def constant_headline(term: ConstantTerm) -> str:
    """What is wrong, in a sentence."""
    return f"The {_name(term)} in the objective is a constant: it reaches no parameter, and trains nothing"


def _name(term: ConstantTerm) -> str:
    return term.function or (term.variable if len(term.variable) <= 24 else "penalty")


def constant_explanation(term: ConstantTerm) -> str:
    """What was seen of it."""
    sentences = [
        f"Before each of {plural(term.looks, 'backward')} that were looked at, something without a gradient was added "
        "to the objective."
    ]
    if term.factor is not None:
        sentences.append(
            f"What is left of the objective without its other terms is {number(term.factor)} times the {_name(term)}, "
            "which was computed without a graph."
        )
    elif term.variable:
        sentences.append(f"The script adds the variable {term.variable}, which has no graph.")
    else:
        sentences.append(f"The {_name(term)} was computed without a graph, and is 0 at each of them.")
    if term.derived:
        sentences.append(
            "Gradients of a tensor that is no parameter were asked for each time without create_graph=True: what is "
            "computed from them has no gradient."
        )
    return " ".join(sentences)


def constant_action(term: ConstantTerm) -> Action:
    """What to do about it."""
    if term.derived:
        return Action(
            text="Ask for the gradients with create_graph=True, so that the penalty reaches the parameters",
            code="torch.autograd.grad(score, inputs, torch.ones_like(score), create_graph=True)",
        )
    return Action(
        text=f"Compute the {_name(term)} from the outputs of the model that is trained: neither its input nor its "
        "target has a gradient",
        code=f"functional.{term.function}(prediction, target)  # prediction = model(x)" if term.function else "",
    )
