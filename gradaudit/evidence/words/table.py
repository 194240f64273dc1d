"""An embedding table that never changes, in words: how bad the reason is, what it means, and what to do about it."""

from gradaudit.evidence.words.optimizers import nobody_updates, whole_model
from gradaudit.evidence.words.wording import count
from gradaudit.findings import Action, Severity
from gradaudit.schema import TensorFacts
from gradaudit.signals.layers.calls import use_of
from gradaudit.signals.layers.unchanged import reason_unchanged
from gradaudit.training import Training


def why_unchanged(training: Training, table: TensorFacts) -> tuple[Severity, str, list[Action]] | None:
    """Why a table did not change: how bad that is, the reason in a sentence, and what to do.

    None where it is meant: requires_grad was False at every step, as of a fixed table of positions or of pretrained
    vectors, whether or not the script gave it to the optimizer with all its parameters.
    """
    match reason_unchanged(training, table):
        case "frozen" | "fixed" | "copy":
            return None
        case "idle":
            return (
                Severity.NOTE,
                nobody_updates(training) + " it, and it never received a gradient.",
                [Action(text=f"Nothing, if its {count(table.elements)} elements are not used or not meant to train")],
            )
        case "unused":
            called = use_of(training.run, table) != "not called"
            return (
                Severity.NOTE,
                f"The optimizer has it, and {'its lookup does not use it' if called else 'no step looks it up'}: the "
                "loss cannot depend on it.",
                [Action(text=f"Remove its {count(table.elements)} elements, or look up tokens in it")],
            )
        case "not owned":
            others = [t for t in training.run.meta.tensors if t.id != table.id and t.requires_grad]
            outside = sum(t.elements for t in others if t.optimizer < 0)
            backbone = outside > 0.5 * sum(t.elements for t in others)
            return (
                Severity.NOTE if backbone else Severity.WARNING,
                nobody_updates(training) + (
                    " it, nor most other parameters." if backbone else " it, while the rest of the model is trained."
                ),
                [Action(text="Train all parameters of the model", code=whole_model(training))],
            )  # fmt: skip
        case "rate zero":
            return (
                Severity.CRITICAL,
                "The learning rate of its parameter group is 0 at every step.",
                [Action(text="Set a learning rate", code=f"optimizer.param_groups[{table.group}]['lr'] = 1e-3")],
            )
        case "no gradient":
            use = use_of(training.run, table)
            or_else = {"unknown": ", or it is not used", "dropped": ", or its result is not used"}.get(use, "")
            remove = Action(text=f"If the table is not used, remove its {count(table.elements)} elements")
            return (
                Severity.CRITICAL if use in ("cut off", "cut off by no_grad") else Severity.WARNING,
                "The optimizer has it, and it never received a gradient: its lookup is cut off from the loss, by "
                f"detach() or torch.no_grad(){or_else}.",
                [
                    Action(
                        text=f"Look up its {count(table.shape[0])} rows without torch.no_grad() and detach()",
                        code=f"x = self.{table.module.rpartition('.')[2] or table.name}(tokens)",
                    ),
                    *([remove] if or_else else []),
                ],
            )
        case "zero gradient":
            return (
                Severity.WARNING,
                "Its gradient is exactly zero at every recorded step.",
                [
                    Action(
                        text="Check that more than 0 tokens differ from padding_idx, and that no layer above it is dead"
                    )
                ],
            )
        case "no effect":
            return (
                Severity.CRITICAL,
                "It has a gradient and a learning rate above 0, and still does not change: the optimizer holds other "
                "tensors than the model, or the updates are below the precision of the weights.",
                [
                    Action(
                        text="Make the optimizer after the model is final: after .to(device), copying and loading",
                        code="optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)",
                    ),
                    Action(text="Keep the weights in float32 when training in bfloat16"),
                ],
            )
