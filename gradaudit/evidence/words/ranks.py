"""Ranks that do not train one model, in words: since when, which of them, and what to do."""

from gradaudit.evidence.words.wording import count, names, number, percent, plural
from gradaudit.findings import Action
from gradaudit.signals.ranks.gradients_apart import GradientsApart
from gradaudit.signals.ranks.skew import Skew
from gradaudit.signals.ranks.weights_apart import WeightsApart


def parting_title(apart: WeightsApart) -> str:
    """The disease by name."""
    if apart.periodic:
        return "Weights averaged only periodically"
    if apart.equal_at is None:
        return "Ranks start with different weights"
    return f"Ranks diverged by step {count(apart.step)}"


def parting_headline(apart: WeightsApart) -> str:
    """Since when, in a sentence."""
    at = f"differ at step {count(apart.step)}"
    if apart.equal_at is not None:
        begin = f"are equal at step {count(apart.equal_at)} and {at}"
    else:
        begin = at if apart.periodic else f"differ from step {count(apart.step)} on"
    again = f", and are equal again at step {count(apart.last)}" if apart.periodic else ""
    return f"The weights of {count(len(apart.sums.ranks))} ranks {begin}{again}"


def parting_explanation(apart: WeightsApart) -> str:
    """At how many steps, and which ranks stand alone."""
    steps = f"{count(apart.sums.differ.sum())} of {plural(len(apart.sums.steps), 'step')}"
    again = f"; at step {count(apart.last)} they are equal again, as with periodic averaging"
    sentences = [f"The checksums of the weights differ at {steps}{again if apart.periodic else ''}."]
    if apart.minority:
        listed = names([str(int(apart.sums.ranks[index])) for index in apart.minority], 6)
        one = len(apart.minority) == 1
        sentences.append(f"{'Rank' if one else 'Ranks'} {listed} {'differs' if one else 'differ'} from the majority.")
    if not apart.periodic:
        sentences.append("Each rank trains a model of its own, whether gradients are averaged or not.")
    return " ".join(sentences)


def keep_together(apart: WeightsApart) -> list[Action]:
    """What to do about it: look for what one rank does alone, or begin with equal weights."""
    wrapping = _wrap_model(len(apart.sums.ranks))
    if apart.equal_at is None:
        return [
            wrapping,
            Action(
                text="Seed all ranks with the same number before the model is made",
                code="torch.manual_seed(0)",
            ),
        ]
    since = f"between steps {count(apart.equal_at)} and {count(apart.step)}"
    return [
        Action(
            text=f"Look for what one rank alone does {since}: if rank == 0 around a step, a clip or a change of the "
            "weights"
        ),
        Action(
            text="Call the wrapped model, not model.module, and leave no_sync() before the last micro-batch: otherwise "
            "gradients are averaged at no step"
        ),
        wrapping,
    ]


def average_gradients(ranks: int) -> list[Action]:
    """How the ranks come to step along one gradient."""
    return [
        _wrap_model(ranks),
        Action(
            text="Call the wrapped model, not model.module, and leave no_sync() for the last of the micro-batches of "
            "each step"
        ),
    ]


def shuffle_over(ranks: int) -> list[Action]:
    """How the ranks come to be dealt like data."""
    return [
        Action(
            text=f"Shuffle before the data is dealt out to the {count(ranks)} ranks, in each epoch",
            code="sampler = DistributedSampler(dataset, shuffle=True)\nsampler.set_epoch(epoch)",
        ),
        Action(text="Check that no file or class of the data goes to one rank alone"),
    ]


def _wrap_model(ranks: int) -> Action:
    return Action(
        text=f"Wrap the model once, before step 0, on all {count(ranks)} ranks",
        code="model = torch.nn.parallel.DistributedDataParallel(model)",
    )


def unequal_norms(found: GradientsApart) -> str:
    """By how much the gradient norms of the ranks differ, and at how many steps."""
    norms = found.norms
    return (
        f"The gradient norms of {count(len(norms.ranks))} ranks differ by {percent(found.typical)} at "
        f"{count(found.steps)} of {plural(len(norms.steps), 'step')}"
    )


def harder_data_headline(found: Skew) -> str:
    """The loss of the rank that stands alone, and that of the others."""
    return (
        f"The loss of rank {found.rank} is {number(found.own)} over the last half of the run, and "
        f"{number(found.others)} on the other ranks"
    )


def harder_data(found: Skew) -> str:
    """How far the two are apart, and what that means."""
    return (
        f"That is {number(found.standard_errors, 2)} standard errors apart, while the ranks hold the same "
        f"weights: the data of rank {found.rank} is different, or harder."
    )
