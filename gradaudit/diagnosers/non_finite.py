"""The loss, a gradient or a weight is NaN or infinite.

## What it looks for

The first step at which the loss, any gradient or any weight is NaN or infinite. This is exact: one such number is
enough. It then looks at the 10 steps before. A loss above `rise` times the first loss there, or a median
update-to-weight ratio above `fast`, means that training had already diverged. Otherwise one operation produced it: in
the backward pass where the loss is still finite, else in the forward pass. There the batch, the sampled input of the
loss and the weights before the step tell more. Steps that a GradScaler skipped because of an overflow are left to
`amp_overflow`.

## Why it matters

NaN spreads: one NaN gradient makes every weight that it updates NaN, and every loss after that. From there on the run
does not train.

## What to try

If the loss rose first, lower the learning rate, warm up, or scale the target: NaN is the end of a divergence. If
it did not, find the operation. Where the loss itself is NaN it is in the forward pass: a forward hook on every module
names the first whose output is not finite. Where only gradients are, `torch.autograd.set_detect_anomaly(True)` names
the forward line whose backward first gave NaN. The usual ones are `sqrt` or `norm` at 0, `log` of 0, a division by 0,
`exp` of a large number, the standard deviation of one value, and a mask that leaves a row of a softmax without entries.

## When it is wrong

The numbers are exact, and the cause is inferred from the steps before. With thinned statistics (`--every N`) a
gradient can be NaN some steps before the first record that shows it. A loss that is NaN only because a batch has no
valid target does no harm; it is reported as a warning.
"""

from collections.abc import Iterator

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.lines import loss_chart, update_chart
from gradaudit.evidence.each_training import each_training
from gradaudit.evidence.words.broken_forward import (
    already_broken,
    batch_in_words,
    find_in_forward,
    fix_batch,
    loss_input,
    odd_batch,
)
from gradaudit.evidence.words.optimizers import rate_in_words
from gradaudit.evidence.words.wording import count, names, number, plural, setting, times
from gradaudit.findings import Action, Clean, Confidence, Evidence, Finding, Mark, Measure, Severity, Span, Verdict
from gradaudit.reading.run import Run
from gradaudit.signals.evaluation.validation import validation
from gradaudit.signals.gradients.finiteness import (
    NonFiniteOnset,
    diverged_before,
    non_finite_onset,
    typical_loss_before,
)
from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.training import Training

_LONGEST = 110  # characters of a headline
_LONGEST_NAME = 40  # of a tensor's name in it
_LONGEST_SPLIT = 20  # of a split's name in a title


@diagnoser(worst=Severity.CRITICAL, needs=("steps",), minimum_steps=1)
def non_finite(
    run: Run,
    *,
    rise: float = 3.0,  # separated all 23 runs that diverged first from all 18 with one bad operation
    fast: float = 0.3,  # 398 of 404 healthy runs never reach it
) -> Iterator[Verdict]:
    """Report the first NaN or infinity, and whether training had diverged before."""

    def judge(training: Training) -> Iterator[Verdict]:
        broken = non_finite_onset(training)
        if broken is not None:
            yield _broken(broken, rise, fast)
        else:
            yield _clean(training)

    yield from each_training(run, judge)
    if all(non_finite_onset(training) is None for training in run.trainings):
        yield from _evaluation(run)


def _broken(broken: NonFiniteOnset, rise: float, fast: float) -> Finding:
    loss = training_loss(broken.training)
    last = int(broken.training.steps["global_step"].max())
    away = diverged_before(broken, rise, fast)
    odd, size, usual = odd_batch(broken, looked=not (away or broken.before_step))
    batch = {"all ignored": ", where all targets are ignored", "no example": ", at a batch without an example",
             "one example": ", at a batch of one example"}.get(odd, "")  # fmt: skip
    until = f", and training goes on to step {count(last)}" if last > broken.step and not broken.recovered else ""
    headline = f"{_subject(broken)} is {broken.what} {_when(broken)}"
    for part in (batch, until):
        headline += part if len(headline + part) <= _LONGEST else ""
    measures = [
        Measure(
            quantity="steps with NaN or infinity", value=broken.steps_with, comparison=">", threshold=0, unit="count"
        ),
        Measure(
            quantity="loss in the 10 steps before / first loss",
            value=broken.rise,
            comparison=">",
            threshold=rise,
            option="rise",
            decides="cause",
            any_of="ran away",
        ),
        Measure(
            quantity="update-to-weight ratio in the 10 steps before",
            value=broken.update_ratio,
            comparison=">",
            threshold=fast,
            option="fast",
            decides="cause",
            any_of="ran away",
        ),
    ]
    near = max(60, 2 * broken.step)
    mark = [Mark(label=f"step {count(broken.step)}", x=broken.step)]
    charts: list[Evidence] = []
    if numpy.isfinite(loss.values).any():
        charts.append(
            loss_chart(
                broken.training,
                "The line ends where the loss is not finite. A rise before the mark is a divergence; a flat line that "
                "stops is one bad operation.",
                mark,
                last_step=near,
            )
        )
    if away and not numpy.isnan(broken.update_ratio):
        charts.append(
            update_chart(
                broken.training,
                "The update-to-weight ratio of the median weight layer. At 1 a step replaces the weights.",
                [*mark, Mark(label=f"{setting(fast)}", y=fast)],
            )
        )
    return Finding(
        severity=Severity.WARNING if broken.recovered else Severity.CRITICAL,
        confidence=Confidence.CERTAIN,
        title=_title(broken),
        headline=headline,
        explanation=" ".join(filter(None, (*_seen(broken, away), batch_in_words(odd, size, usual)))),
        span=Span(first=broken.step, last=last),
        tensors=list(broken.tensors[:20]),
        evidence=charts,  # type: ignore[arg-type]
        actions=fix_batch(odd) or _actions(broken, away),
        measures=measures,
    )


def _short(split: str) -> str:
    """The name of a split as a title has room for it."""
    return split if len(split) <= _LONGEST_SPLIT else "validation"


def _first(broken: NonFiniteOnset) -> str:
    return broken.tensors[0] if broken.tensors else "a tensor"


def _title(broken: NonFiniteOnset) -> str:
    kind = "NaN" if broken.what == "NaN" else "Infinite"
    where = {"loss": "loss", "gradient": "gradient", "weight": "weights"}[broken.where]
    if not broken.recovered:
        when = "before training" if _at_start(broken) else f"from step {count(broken.step)}"
    else:
        when = f"at step {count(broken.step)}" if broken.steps_with == 1 else f"at {count(broken.steps_with)} steps"
    return f"{kind} {where} {when}"


def _subject(broken: NonFiniteOnset) -> str:
    """What is not finite, as the headline begins; a name that is too long for it is in the explanation."""
    name = _first(broken)
    if broken.where == "loss":
        return "The loss"
    if broken.where == "gradient":
        return f"The gradient of {name}" if len(name) <= _LONGEST_NAME else "A gradient"
    return f"The weight {name}" if len(name) <= _LONGEST_NAME else "A weight"


def _when(broken: NonFiniteOnset) -> str:
    if broken.recovered:
        several = f"{count(broken.steps_with)} steps, first at " if broken.steps_with > 1 else ""
        return f"at {several}step {count(broken.step)}"
    return "before the first step" if _at_start(broken) else f"from step {count(broken.step)}"


def _at_start(broken: NonFiniteOnset) -> bool:
    """Whether a weight was not finite before the first step of the run."""
    return broken.before_step and broken.step == int(broken.training.steps["global_step"].iloc[0])


def _seen(broken: NonFiniteOnset, away: bool) -> Iterator[str]:
    before = typical_loss_before(broken)
    if broken.before_step:
        yield already_broken(broken)[0]
    elif broken.where == "gradient" and not numpy.isfinite(training_loss(broken.training).values).any():
        yield f"At step {count(broken.step)} the gradient is not finite. No loss was seen, so it may have been first."
    elif broken.where == "gradient" and broken.loss_finite:
        yield (
            f"At step {count(broken.step)} the loss is still finite and the gradient is not, so it comes from the "
            "backward pass."
        )
    elif broken.where == "loss":
        yield f"At step {count(broken.step)} the loss itself is no longer finite."
        yield loss_input(broken)
    else:
        yield f"At step {count(broken.step)} a weight is no longer finite."
    if away:
        grew = []
        if broken.rise == broken.rise and broken.rise > 1:
            grew.append(f"the loss rose to {times(broken.rise)} times its first value")
        if broken.update_ratio == broken.update_ratio:
            grew.append(f"the median update-to-weight ratio reached {times(broken.update_ratio)}")
        yield f"In the 10 steps before, {' and '.join(grew)}: training had already diverged."
    elif before == before:
        yield f"In the 10 steps before, the loss was steady at {number(before)}: training had not diverged."
    if broken.tensors and broken.tensors_step is not None:
        total = len(broken.training.tensors)
        at = "there" if broken.tensors_step == broken.step else f"at step {count(broken.tensors_step)}"
        rest = f", the last {broken.tensors[-1]}" if len(broken.tensors) > 1 else ""
        part = f"{count(len(broken.tensors))} of {plural(total, 'tensor')}"
        yield f"{part} are affected {at}: in depth order the first is {broken.tensors[0]}{rest}."


def _actions(broken: NonFiniteOnset, away: bool) -> list[Action]:
    rates = broken.training.learning_rates
    frame = broken.training.steps
    row = int(numpy.argmax(frame["global_step"].to_numpy() >= broken.step))
    rate = rates[row] if len(rates) else numpy.zeros(0)
    if away:
        return [
            Action(text=f"Lower the learning rate from {rate_in_words(rate)} to {rate_in_words(rate / 10)}"),
            Action(text="Warm up over the first 100 steps, so that the first updates stay small"),
            Action(
                text="Clip the gradient norm: it bounds the damage of one step",
                code="torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)",
            ),
        ]
    if broken.before_step:
        return already_broken(broken)[1]
    if not broken.loss_finite:
        return find_in_forward(broken)
    inner = f" in or behind {broken.tensors[-1]}" if broken.tensors else ""
    return [
        Action(
            text=f"Run again up to step {count(broken.step)} with anomaly detection: it names the line",
            code="torch.autograd.set_detect_anomaly(True)",
        ),
        Action(
            text=f"Look{inner} for sqrt, norm or pow at 0 and for torch.where over a NaN branch: finite forward, "
            "infinite slope",
            code="x.square().sum(-1).add(1e-12).sqrt()",
        ),
    ]


def _clean(training: Training) -> Clean:
    recorded = len(training.recorded)
    skipped = int(training.steps["skipped"].fillna(False).sum())
    tensors = int(training.matrix("has_grad").any(axis=0).sum())
    losses = plural(len(training.steps), "loss", "losses")
    early = f"; the GradScaler skipped {plural(skipped, 'step')}" if skipped else ""
    if not recorded:
        return Clean(measured=f"{losses} are finite; no tensor statistics could be read{early}")
    steps = plural(recorded, "step")
    return Clean(measured=f"{losses} and the gradients of {plural(tensors, 'tensor')} at {steps} are finite{early}")


def _evaluation(run: Run) -> Iterator[Verdict]:
    held_out = validation(run)
    if held_out is None or not len(held_out.losses):
        return
    bad = ~numpy.isfinite(held_out.losses)
    if bad.any():
        steps = held_out.steps[bad]
        yield Finding(
            severity=Severity.WARNING,
            confidence=Confidence.CERTAIN,
            title=f"Non-finite {_short(held_out.name)} loss",
            headline=f"The {held_out.name} loss is NaN or infinite in {count(bad.sum())} of {count(len(bad))} "
            "evaluations",
            explanation="Every training loss is finite, and the loss of these evaluations is not. The steps are "
            f"{names([count(step) for step in steps], 5)}.",
            span=Span(first=int(max(steps[0], 0)), last=int(max(steps[-1], 0))),
            actions=[
                Action(text="Check the validation data for NaN", code="assert torch.isfinite(inputs).all()"),
                Action(text="Check for a batch with 0 valid targets: the mean over none is NaN"),
            ],
            measures=[
                Measure(
                    quantity="evaluations with NaN or infinity",
                    value=bad.sum(),
                    comparison=">",
                    threshold=0,
                    unit="count",
                )
            ],
        )
