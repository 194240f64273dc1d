"""Where a loss that is not finite came from: the batch of that step, the model's forward, or the loss function."""

import numpy

from gradaudit.evidence.words.module_names import named
from gradaudit.evidence.words.wording import count, percent, plural
from gradaudit.findings import Action
from gradaudit.signals.gradients.finiteness import NonFiniteOnset
from gradaudit.signals.loss.odd_batch import Batch
from gradaudit.signals.loss.training_loss import training_loss

# Five lines that name the first module; a loss that is not finite without it is broken by the loss function itself.
FIND = """\
def check(name, module, inputs, output):
    if isinstance(output, torch.Tensor) and not output.isfinite().all():
        raise ValueError(f"{name} first; its inputs are finite: {[x.isfinite().all().item() for x in inputs]}")
for name, module in model.named_modules():
    module.register_forward_hook(functools.partial(check, name))"""


def batch_in_words(batch: Batch) -> str:
    """What is special about a batch, in a sentence; empty where nothing is."""
    usual = count(batch.usual)
    words = {
        "all ignored": "That batch has no valid target: a mean over none is NaN.",
        "no example": "That batch holds no example: a mean over none is NaN.",
        "one example": f"That batch holds one example, the usual one {usual}: the standard deviation of one value is "
        "NaN, and so is what is divided by it.",
        "small": f"That batch is the smallest so far: {plural(batch.size, 'example')}, and {usual} are usual.",
    }
    return words.get(batch.odd, "")


def fix_batch(batch: Batch) -> list[Action]:
    """What to do about a batch that breaks the loss."""
    if batch.odd == "all ignored":
        return [Action(text="Skip batches whose targets are all ignored", code="if (target != -100).any(): ...")]
    if batch.odd == "no example":
        return [Action(text="Skip batches without an example", code="if len(target): ...")]
    if batch.odd == "one example":
        return [
            Action(text="Do not normalise over a batch of one example",
                   code="if len(x) > 1: x = (x - x.mean()) / (x.std() + 1e-8)"),
            Action(text="Or leave the last, small batch out", code="DataLoader(dataset, batch_size, drop_last=True)"),
        ]  # fmt: skip
    return []


def first_module(broken: NonFiniteOnset) -> str:
    """The first module whose recorded output is not finite at that step; empty where none was recorded."""
    run = broken.training.run
    samples = run.samples
    bad = samples[
        (samples["step"] == broken.step) & (samples["kind"] == "output") & (samples["nonfinite"] > 0)
    ].sort_values("module")
    names = {module.id: module.name for module in run.meta.modules}
    return named(run, names[int(bad["module"].iloc[0])]) if len(bad) and int(bad["module"].iloc[0]) in names else ""


def loss_input(broken: NonFiniteOnset) -> str:
    """Whether what went into the loss of that step was finite, in a sentence; empty where it was not sampled."""
    loss = training_loss(broken.training)
    samples = broken.training.run.samples
    mine = samples[(samples["step"] == broken.step) & (samples["kind"] == "loss_input")]
    if loss.facts is None or not len(mine):
        return ""
    nonfinite, elements = int(mine["nonfinite"].iloc[0]), int(mine["elements"].iloc[0])
    if nonfinite:
        share = percent(nonfinite / elements) if elements else "some"
        return (
            f"The input of {loss.facts.function} was not finite, in {share} of the elements sampled, so it comes from "
            "the forward pass of the model."
        )
    return f"The input of {loss.facts.function} was finite, as far as it was sampled."


def find_in_forward(broken: NonFiniteOnset) -> list[Action]:
    """How to find where the forward pass breaks; `set_detect_anomaly` names the end of the model instead."""
    at = f"at step {count(broken.step)}"
    module = first_module(broken)
    return [
        Action(
            text=f"Look at {module}: it is the first module whose recorded output is not finite {at}"
            if module
            else f"Find the first module whose output is not finite, {at}; if none is, the loss function breaks",
            code=FIND,
        ),
        Action(text="Check the batch of that step for NaN", code="assert torch.isfinite(inputs).all()"),
        Action(
            text="Look there for log(0), a division by 0, sqrt of a negative number and exp of a large one; use the "
            "loss that takes logits",
            code="F.cross_entropy(logits, target)  # not torch.log(torch.softmax(logits, -1))",
        ),
    ]


def already_broken(broken: NonFiniteOnset) -> tuple[str, list[Action]]:
    """The sentence and the advice for a weight that was not finite when the step began."""
    first = broken.training.steps["global_step"].to_numpy()[:1]
    name = broken.tensors[0] if broken.tensors else "a weight"
    if len(first) and numpy.equal(first[0], broken.step):
        return (
            f"{name} is not finite before the first step: training did not cause it, and every output that depends "
            "on it is not finite either.",
            [Action(text=f"Look at how {name} is initialised before step 0, or at what is loaded into it",
                    code="assert all(p.isfinite().all() for p in model.parameters())")],
        )  # fmt: skip
    return (
        f"{name} was already not finite when step {count(broken.step)} began: a step that was not recorded, or the "
        "script itself, caused it.",
        [Action(text="Record every step, to see which one", code="gradaudit record --every 1 train.py")],
    )
