"""Weight decay is too high: it shrinks the weights faster than the gradient makes them grow.

## What it looks for

The cosine of each update with the weights it changes. An update of nothing but decay points straight at zero, at a
cosine of -1. A median over steps 2 to 40 and the weight layers below `cosine`, while the last norm of the median layer
is below `shrunk` of its first, is a warning; it is critical when the model has learned nothing. It is a note where the
loss keeps falling and ends below `learned` of that of the best constant prediction: this run cannot tell what it would
reach with less decay. It is a note, too, where no optimizer group has a weight decay, or one far too small for it:
learning rate times decay, summed over the run, below a tenth of what the weights lost. Then a penalty in the loss does
the same, or weights that started too large.

## Why it matters

Every step takes a share of the weights away, whatever the loss is. Once decay outweighs the gradient the outputs shrink
towards zero, what was learned is lost as fast as it is learned, and the model ends at a constant prediction.

## What to try

A weight decay whose product with the learning rate, summed over the run, stays near 0.1 (with SGD's momentum, 0.1 times
1 - momentum): it then takes a tenth of a weight that nothing else moves. Leave biases and normalisation out. With Adam
use AdamW, since a decay in the gradient is divided by the gradient's own size.

## When it is wrong

The rule is the same for decay in the gradient (SGD, Adam), beside it (AdamW) and in the loss. Healthy runs stay above
-0.23 and keep 0.99 of their norm; normalised layers reach -0.24 late in training, which is why early steps count. A
decay that acts slowly, over thousands of steps, is not seen.
"""

import math
from collections.abc import Iterator

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.charts.reduce import plain
from gradaudit.evidence.words.depth import outcome_sentence
from gradaudit.evidence.words.last_tenth import weights_at_the_end
from gradaudit.evidence.words.optimizers import optimizer_line, rate_in_words
from gradaudit.evidence.words.wording import count, number, percent, setting
from gradaudit.findings import (
    Action,
    Clean,
    Confidence,
    Finding,
    Lines,
    Mark,
    Measure,
    NotApplicable,
    Severity,
    Skipped,
    Span,
    Verdict,
    ratio,
)
from gradaudit.signals.gradients.finiteness import non_finite_onset
from gradaudit.signals.layers.layers import weight_layers, zero_start
from gradaudit.signals.loss.progress import constant_level, learned_nothing
from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.signals.order_statistics import Floats, Integers, median, medians, medians_across
from gradaudit.signals.updates.learning_rates import optimizer_class, peak_rates
from gradaudit.signals.updates.ratios import window
from gradaudit.signals.updates.weight_growth import decay_paths, momentum_gain, norms_over_first, weight_decays
from gradaudit.training import Training

_EARLY = (2, 40)  # steps: late in training decay and gradient balance in healthy normalised layers, too
_EXPLAINED = 0.1  # of the shrinkage, as a logarithm: less decay than that is not its cause
_FALLS = 0.01  # of the first loss, from the second fifth of the run to the last, as in `gradient_growth`
_TAKEN = 0.1  # of an idle weight over the whole run: what the suggested decay takes


@diagnoser(
    per="training",
    worst=Severity.CRITICAL,
    needs=("tensors.update_weight_cosine", "tensors.weight_norm"),
    minimum_steps=40,
    explains=(
        "learning_rate_too_high",
        "learning_rate_too_low",
        "dead_embedding",
        "gradient_growth",
        "unstable_loss",
        "premature_plateau",
        "no_learning",
        "no_signal",
        "layer_imbalance",
        "embedding_shrinkage",
    ),
)
def excessive_weight_decay(
    training: Training,
    *,
    cosine: float = -0.5,  # healthy runs stay above -0.23, faulty ones below -0.73
    shrunk: float = 0.5,  # of the first norm; healthy layers keep 0.99, faulty ones at most 0.22
    learned: float = 0.96,  # of a constant's loss: runs that decay holds down end at 0.99, one that learns at 0.87
) -> Iterator[Verdict]:
    """Judge the direction of the early updates and what is left of the weights."""
    tensors = training.tensors
    owned = numpy.asarray([t.optimizer == training.id for t in tensors], dtype=bool)
    columns = numpy.flatnonzero(weight_layers(training) & owned & ~zero_start(training))
    if not len(columns):
        yield NotApplicable(reason="no weight layer that does not start at zero is trained")
        return
    cosines = training.matrix("update_weight_cosine")[window(training, *_EARLY)][:, columns]
    left = norms_over_first(training)[:, columns]
    if not numpy.isfinite(cosines).any() or not numpy.isfinite(left).any():
        yield Skipped(
            reason="the directions of the updates at steps 2 to 40 were not recorded, or the weights do not change",
            enable="record from the first step on, more often: --every 1",
        )
        return
    if unknown := weights_at_the_end(training):
        yield unknown
        return
    # The median over steps and layers at once: one layer may well shrink for reasons of its own.
    early = float(medians(cosines.reshape(-1, 1))[0])
    last = medians_across(left)
    last = last[numpy.isfinite(last)]
    remains = float(last[-1])
    if not (early < cosine and remains < shrunk):
        broken = non_finite_onset(training)
        lost = broken is not None and not broken.recovered
        yield Clean(
            measured=f"the early updates have a cosine of {number(early, 2)} with the weights (-1 is nothing but "
            "decay)"
            # What the norms are where a run breaks says nothing of decay.
            + ("" if lost else f", and the weights end at {number(remains, 2)} times their first norm (median layer)")
        )
        return
    yield _finding(training, columns, early, remains, {"cosine": cosine, "shrunk": shrunk, "learned": learned})


def _finding(
    training: Training, columns: Integers, early: float, remains: float, thresholds: dict[str, float]
) -> Finding:
    steps = training.recorded_global_steps
    left = norms_over_first(training)
    middle = medians_across(left[:, columns])
    halved = numpy.flatnonzero(middle < 0.5)
    group = _decaying_group(training, columns)
    set_decay = float(weight_decays(training)[group]) if group >= 0 else 0.0
    able = _able(training, set_decay, remains)
    decay = set_decay if able else 0.0
    nothing = learned_nothing(training)
    loss = training_loss(training)
    constant = math.nan if loss.not_interpretable else constant_level(loss)
    level = loss.last / constant if constant > 0 else math.nan  # targets that are all the same have a constant at 0
    fifth = len(loss.values) // 5
    fall = median(loss.values[fifth : 2 * fifth]) - median(loss.values[-fifth:])
    falls = fall >= _FALLS * abs(loss.first)
    learns = level < thresholds["learned"] and not nothing and falls
    rates = peak_rates(training)[[group]] if group >= 0 else peak_rates(training)
    tensors = training.tensors
    ends = numpy.nan_to_num(left[-1], nan=1.0)
    # The median layer has shrunk, not each one: the others are no part of it.
    order = numpy.asarray([i for i in columns[numpy.argsort(ends[columns])] if ends[i] < thresholds["shrunk"]])
    seen = [
        f"The updates of steps {_EARLY[0]} to {_EARLY[1]} have a cosine of {number(early, 2)} with the weights "
        f"(median), where -1 is nothing but decay. The median of {count(len(columns))} weight layers ends at "
        f"{percent(remains)} of its initial norm"
        + (f"; it falls below half of it at step {count(steps[halved[0]])}." if len(halved) else ".")
    ]
    if decay:
        seen.append(
            f"{optimizer_class(training)} has a weight decay of {setting(decay)} at a learning rate of "
            f"{rate_in_words(rates)}."
        )
    elif set_decay:
        seen.append(
            f"A weight decay of {setting(set_decay)} at a learning rate of {rate_in_words(rates)} is far too small for "
            "that: a penalty in the loss shrinks the weights, or code that sets their size."
        )
    else:
        seen.append(
            "These layers have no weight decay: a penalty in the loss shrinks them, or code that sets their size."
        )
    if nothing:
        seen.append(outcome_sentence(training))
    elif learns:
        seen.append(
            f"The loss ends at {percent(level)} of the best constant prediction's, so the model still learns. Only a "
            "run with less decay can tell what the decay costs."
        )
    return Finding(
        severity=Severity.NOTE if not decay or learns else Severity.CRITICAL if nothing else Severity.WARNING,
        confidence=Confidence.HIGH if decay else Confidence.MEDIUM,
        title=("Strong weight decay" if learns else "Weight decay too high") if decay else "Shrinking weights",
        headline=f"A weight decay of {setting(decay)} shrinks the weights to {percent(remains)} of their initial norm"
        if decay
        else f"The weights shrink to {percent(remains)} of their initial norm, "
        + (f"which a weight decay of {setting(set_decay)} cannot explain" if set_decay else "without any weight decay"),
        explanation=" ".join(seen),
        span=Span(first=int(steps[0]), last=int(steps[-1])),
        tensors=[tensors[int(index)].name for index in order[:20]],
        evidence=[_chart(training, steps, order, middle), loss_chart(training, "The training loss.", [])],
        actions=_actions(training, decay, group),
        measures=[
            Measure(quantity="cosine of update and weights, steps 2 to 40", value=early, comparison="<",
                    threshold=thresholds['cosine'], option="cosine"),
            Measure(quantity="last norm / first, median layer", value=remains, comparison="<",
                    threshold=thresholds['shrunk'], option="shrunk"),
            *([] if math.isnan(level) else [
                Measure(quantity="last loss / constant prediction's", value=level, comparison="<",
                        threshold=thresholds["learned"], option="learned", decides="note"),
                ratio(("fall of the loss, second fifth of the run to the last", fall), ("first loss", abs(loss.first)),
                      ">=", _FALLS, decides="note")]),
        ],
    )  # fmt: skip


def _able(training: Training, decay: float, remains: float) -> bool:
    """Whether the weight decay can have shrunk the weights to `remains`, or is not known to be too small for it."""
    paths = decay_paths(training)
    if not numpy.isfinite(paths).all() or not remains > 0:
        return decay > 0
    return decay > 0 and not 0 < float(paths.max(initial=0.0)) < _EXPLAINED * -math.log(remains)


def _decaying_group(training: Training, columns: Integers) -> int:
    """The parameter group of the judged layers whose weight decay takes most: learning rate times decay, summed."""
    tensors, decays = training.tensors, weight_decays(training)
    groups = sorted({tensors[int(index)].group for index in columns} & set(range(len(decays))))
    paths = numpy.nan_to_num(training.learning_rates).sum(axis=0)
    return max(groups, key=lambda group: (decays[group] * paths[group], decays[group])) if groups else -1


def _chart(training: Training, steps: Integers, order: Integers, middle: Floats) -> Lines:
    left, tensors = norms_over_first(training), training.tensors
    worst = [plain(tensors[int(i)].name, steps, left[:, int(i)], role="flagged") for i in order[:3]]
    return Lines(
        title="Norm of the weights",
        caption="The norm of each weight over its first, for the layers that shrank most and for the median layer. "
        "Healthy weights stay or grow.",
        x_label="step",
        y_label="|w| / |first w|",
        series=[*worst, plain("median layer", steps, middle)],
        marks=[Mark(label="start", y=1.0, role="reference")],
        log=True,
    )


def _actions(training: Training, decay: float, group: int) -> list[Action]:
    if not decay:
        return [
            Action(text="Divide the penalty on the weights in the loss by 100, or remove it"),
            Action(text="Or initialise the weights with a standard deviation of 1 / sqrt(inputs)",
                   code="layer.reset_parameters()"),
        ]  # fmt: skip
    name = optimizer_class(training)
    rates = numpy.nan_to_num(training.learning_rates)[:, group]
    path = float(rates.sum()) * momentum_gain(training)
    better = min(decay / 10, _TAKEN / path) if path > 0 else decay / 100
    text = setting(float(f"{better:.0e}"))
    of_group = f" of group {group}" if len(weight_decays(training)) > 1 else ""
    actions = [
        Action(
            text=f"Lower the weight decay{of_group} from {setting(decay)} to {text}"
            # In the gradient of Adam the decay is divided by the gradient's size: no product tells what it takes.
            + (f": over the {count(len(rates))} steps of this run it then takes about a tenth of a weight, or less"
               if name in ("SGD", "AdamW") else ""),
            code=f"optimizer.param_groups[{group}]['weight_decay'] = {text}"
            if of_group
            else optimizer_line(training, lr=setting(float(rates.max())), weight_decay=text),
        )
    ]  # fmt: skip
    if name == "Adam":
        actions.append(
            Action(
                text="With Adam take the decay out of the gradient: AdamW's default is 0.01",
                code="torch.optim.AdamW(model.parameters(), weight_decay=0.01)",
            )
        )
    actions.append(
        Action(
            text="Decay matrices only, and set 0 for biases, normalisation and embeddings",
            code='[{"params": matrices}, {"params": others, "weight_decay": 0.0}]',
        )
    )
    return actions
