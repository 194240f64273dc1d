"""An embedding table that does not learn as it should, in words: why, what it means, and what to do about it."""

import math

from gradaudit.evidence.words.optimizers import nobody_updates, whole_model
from gradaudit.evidence.words.wording import count, factor, in_code, number, percent, plural, setting, times
from gradaudit.findings import Action
from gradaudit.schema import TensorFacts
from gradaudit.signals.embeddings.embedding_rows import RowHistory
from gradaudit.signals.embeddings.embedding_update_ratio import EmbeddingUpdateRatio
from gradaudit.signals.embeddings.table_state import SlowTable, UnchangedTable
from gradaudit.signals.layers.unchanged import Reason
from gradaudit.signals.updates.learning_rates import optimizer_class
from gradaudit.training import Training

_OR_ELSE = {"unknown": ", or it is not used", "dropped": ", or its result is not used"}  # by how the table is used


_MEANT: dict[Reason, str] = {
    "copy": "a copy of a trained one",
    "fixed": "frozen, and in no optimizer",
    "frozen": "frozen, with requires_grad=False at every step",
}


def stays(state: UnchangedTable) -> str:
    """What a table is that was set up not to change."""
    table = state.table
    return f"none of the {count(table.shape[0])} rows of {table.name} changes: it is {_MEANT[state.reason]}"


def learns(table: TensorFacts, ratio: EmbeddingUpdateRatio | None, history: RowHistory | None) -> str:
    """How fast a table learns, how many of its rows were used, and what it is tied to."""
    speed = f" {number(ratio.relative, 2)} times as fast as the other layers" if ratio is not None else ""
    hit = f"; {count(history.ever_hit)} of {plural(history.tracked, 'row')} were used" if history else ""
    tied = f"; it is tied to {', '.join(table.aliases)}, whose gradient reaches every row" if table.aliases else ""
    return f"{table.name} learns{speed}{hit}{tied}"


def unchanged_explanation(state: UnchangedTable, history: RowHistory | None, training: Training) -> str:
    """How it is known that nothing changes a table, how many of its rows were hit, and the reason."""
    sentences = [
        f"Not one bit of its {plural(state.table.elements, 'weight')} differs between the first and the last record."
        if state.is_exact
        else "None of the sampled weights changed at any recorded step."
    ]
    if history is not None and history.ever_hit:
        sentences.append(f"{count(history.ever_hit)} of its {plural(history.tracked, 'row')} had a gradient.")
    return " ".join([*sentences, _reason(state, training)])


def _reason(state: UnchangedTable, training: Training) -> str:
    match state.reason:
        case "idle":
            return nobody_updates(training) + " it, and it never received a gradient."
        case "unused":
            what = "no step looks it up" if state.use == "not called" else "its lookup does not use it"
            return f"The optimizer has it, and {what}: the loss cannot depend on it."
        case "not owned":
            what = "nor most other parameters" if state.most_are_outside else "while the rest of the model is trained"
            return f"{nobody_updates(training)} it, {what}."
        case "rate zero":
            return "The learning rate of its parameter group is 0 at every step."
        case "no gradient":
            return (
                "The optimizer has it, and it never received a gradient: its lookup is cut off from the loss, by "
                f"detach() or torch.no_grad(){_OR_ELSE.get(state.use, '')}."
            )
        case "zero gradient":
            return "Its gradient is exactly zero at every recorded step."
        case _:
            return (
                "It has a gradient and a learning rate above 0, and still does not change: the optimizer holds other "
                "tensors than the model, or the updates are below the precision of the weights."
            )


def unchanged_actions(state: UnchangedTable, training: Training) -> list[Action]:
    """What to do about a table that nothing changes."""
    table, elements = state.table, count(state.table.elements)
    match state.reason:
        case "idle":
            return [Action(text=f"Nothing, if its {elements} elements are not used or not meant to train")]
        case "unused":
            return [Action(text=f"Remove its {elements} elements, or look up tokens in it")]
        case "not owned":
            return [Action(text="Train all parameters of the model", code=whole_model(training))]
        case "rate zero":
            return [Action(text="Set a learning rate", code=f"optimizer.param_groups[{table.group}]['lr'] = 1e-3")]
        case "no gradient":
            look_up = Action(
                text=f"Look up its {count(table.shape[0])} rows without torch.no_grad() and detach()",
                code=f"x = self.{table.module.rpartition('.')[2] or table.name}(tokens)",
            )
            remove = Action(text=f"If the table is not used, remove its {elements} elements")
            return [look_up, remove] if state.use in _OR_ELSE else [look_up]
        case "zero gradient":
            return [
                Action(text="Check that more than 0 tokens differ from padding_idx, and that no layer above it is dead")
            ]
        case _:
            return [
                Action(
                    text="Make the optimizer after the model is final: after .to(device), copying and loading",
                    code="optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)",
                ),
                Action(text="Keep the weights in float32 when training in bfloat16"),
            ]


def slow_explanation(state: SlowTable, *, behind_another: bool) -> str:
    """What a table that learns too slowly was compared with."""
    ratio = state.ratio
    sentence = (
        f"The update-to-weight ratio is {number(ratio.table)} for the table and {number(ratio.layers)} for the median "
        f"weight layer. A step hits {percent(ratio.hit_share)} of the rows, which alone explains a factor of "
        f"{factor(1 / math.sqrt(ratio.hit_share))}."
    )
    if not behind_another or not state.share_of_fastest > 0:
        return sentence
    faster = times(1 / state.share_of_fastest)
    return f"{sentence} Another table, measured in the same way, learns {faster} times as fast."


def slow_actions(state: SlowTable, training: Training) -> list[Action]:
    """What to do about a table that learns too slowly."""
    table, actions = in_code(state.table.name), []
    if not state.is_adaptive:
        actions.append(
            Action(
                text=f"Train the table with Adam or Adagrad: with {optimizer_class(training)} a row receives only its "
                "share of a batch's mean gradient",
                code=f"torch.optim.Adagrad([{table}], lr=0.01)",
            )
        )
    if state.peak_rate > 0:
        rate, larger = setting(state.peak_rate), setting(state.suggested_rate)
        actions.append(
            Action(
                text=f"Give the table its own learning rate: {larger} instead of {rate}",
                code=f"{{'params': [{table}], 'lr': {larger}}}",
            )
        )
    return [*actions, Action(text="Look for a multiplier that shrinks the table's output, and so its gradient")]
