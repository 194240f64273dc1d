"""The first loss is not what an untrained model should have.

## What it looks for

An untrained classifier predicts N classes uniformly and has a loss of ln N, and ln 2 for each binary output. The first
mean loss per valid target is compared with that. Label smoothing, and class weights with reduction='mean', do not move
it. A first loss above ln N by more than `excess` of it, and by more than `floor`, is a warning; for binary outputs
above `binary_excess` times ln 2. A first batch of fewer than `few` targets is given more room, and so are uneven
labels, by up to `uneven` where nearly all are of one class. It is a note up to `mild` times ln N where the loss is
below ln N for good before `soon` of the run is over: then the start cost next to nothing. It is critical above `severe`
(for binary outputs `binary_severe`) times when training then diverges or learns nothing. Below `low` times both ln N
and the entropy of the labels it is a note. A negative first loss of a likelihood is always wrong.

The differentiated loss is then compared with the mean: a factor that matches the batch at every step looks like
reduction='sum', one that matches the micro-steps like accumulation without division. Where other terms are minimised,
too, the sum is their weight, and is meant. Labels that fill at most half of at most `vocabulary` outputs look like a
wrong output layer.

For a squared error the first loss is compared with the variance of the target (`variance` times), and the spread of the
target with `spread`; this is a note, and a warning when training then keeps more than `learned` of the first loss. The
mean square of the untrained outputs against that of the target shows which of the two is the cause.

## Why it matters

The first loss is the one value of a run that is known in advance. A start far above it means logits, a target or a
reduction on the wrong scale; the first updates are then far too large, and the run spends its first steps, or all of
them, undoing them.

## What to try

Initialise the output layer small, standardise inputs and regression targets, whichever of them is off, average the loss
over the batch, and give the output layer as many units as there are classes.

## When it is wrong

A pretrained model starts low, which is why that is a note. A few healthy models start up to 1.2 times above ln N, and
up to 1.5 times with two classes. A regression on raw targets can be handled by the initial bias or the learning rate.
Losses whose start is not known (contrastive, adversarial, policy gradients, your own) are left out.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.reduce import plain
from gradaudit.evidence.words.first_regression import advice, disease, in_words, standardise_inputs
from gradaudit.evidence.words.outcomes import harm_done
from gradaudit.evidence.words.wording import count, factor, in_code, number, plural, setting
from gradaudit.findings import (
    Action,
    Clean,
    Comparison,
    Confidence,
    CouldNotLook,
    Decides,
    Finding,
    Lines,
    Mark,
    Measure,
    NotApplicable,
    Severity,
    Span,
    Verdict,
)
from gradaudit.schema import LossFacts
from gradaudit.signals.layers.initialisation import output_layer
from gradaudit.signals.loss.constant_predictor import constant_loss, uniform_loss
from gradaudit.signals.loss.first_loss import CLOSE, classes_used, objective_factor, overcome, unevenness
from gradaudit.signals.loss.first_regression import cause
from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.signals.smoothing import wide
from gradaudit.signals.updates.learning_rates import scale_free
from gradaudit.training import Training

_VISIBLE = "use a loss of torch.nn.functional (nn.CrossEntropyLoss uses one), so that its classes can be seen"
_SHOWN = 50  # steps in the chart of the start
_LARGE_START = 3.0  # times torch.nn's default RMS: worth naming as the reason


@dataclass(frozen=True)
class Level:
    """What the first loss of a likelihood is compared with; all in nats."""

    name: str  # ln 10
    uniform: float  # the loss of a uniform prediction
    high: float
    severe: float
    low: float
    option: str  # the threshold behind `high`

    @property
    def words(self) -> str:
        """`uniform` as a sentence shows it: ln 10 = 2.30."""
        return f"{self.name} = {number(self.uniform)}"

    def times(self, loss: float) -> str:
        """How large a loss is beside it."""
        return f"{factor(loss / self.uniform)} times that of a uniform prediction, {self.words}"


@diagnoser(
    per="training",
    worst=Severity.CRITICAL,
    needs=("steps.objective",),
    minimum_steps=1,
    explains=(
        "learning_rate_too_high",
        "divergence",
        "no_learning",
        "unstable_loss",
        "gradient_growth",
        "layer_imbalance",
        "non_finite",
        "dead_relu",
        "no_signal",
    ),
)
def initial_loss_mismatch(
    training: Training,
    *,
    excess: float = 0.25,  # healthy starts reach 1.18 ln N with 10 classes or more
    floor: float = 0.35,  # nats; a wide head on two classes starts up to 0.33 above ln 2
    severe: float = 2.0,  # the faults measured start at 1.8 ln N and more, most far above 2
    mild: float = 1.5,  # times ln N; torch.nn's default start of makemore's smallest models has 1.33, the faults 1.8
    soon: float = 0.1,  # of the steps; as in loss_spike, where the first tenth of a run is left out
    low: float = 0.5,  # fine-tuned models start at 0.71 ln N
    binary_excess: float = 1.5,  # batches of one example reach 1.26 ln 2
    binary_severe: float = 3.0,  # twice `binary_excess`
    vocabulary: float = 100,  # byte and word vocabularies leave most outputs unused and are healthy
    variance: float = 2.5,  # a constant at the mean has 1; autoencoders reach 3.7, hence only a note
    spread: float = 10.0,  # default learning rates and initialisations expect targets of order 1
    uneven: float = 0.35,  # nats; of 11,520 default starts, most on uneven labels, the worst was 0.68 above ln 5
    few: float = 32,  # targets; with 1 to 4, up to 22 % of default initialisations start above the other limits
    learned: float = 0.7,  # a run that loses more of its first loss has coped
) -> Iterator[Verdict]:
    """Compare the first loss with that of an untrained model."""
    loss = training_loss(training)
    facts = loss.facts
    if loss.minor:
        yield NotApplicable(reason=loss.minor)
    elif facts is None:
        yield CouldNotLook(reason=loss.unjudged, enable=_VISIBLE)
    elif loss.unjudged:
        yield NotApplicable(reason=loss.unjudged)
    elif not math.isfinite(loss.first):
        yield CouldNotLook(reason=f"the first loss is {number(loss.first)}", enable="fix what non_finite reports")
    elif loss.kind == "regression":
        yield from _regression(loss, facts, variance, spread, learned)
    elif loss.kind == "other":
        yield NotApplicable(reason=f"where {facts.function} starts depends on the scale of the data")
    else:
        uniform, constant = uniform_loss(facts, loss.kind), constant_loss(facts, loss.kind)
        margin = max(excess * uniform, floor) if loss.kind == "classification" else (binary_excess - 1) * uniform
        # Where one class is nearly all, its logit alone decides, and nothing averages out.
        margin += uneven * unevenness(facts)
        # The loss of a few targets scatters around its mean with one over the root of their number.
        margin *= max(1.0, math.sqrt(few / max(1, int(loss.targets[0]))))
        name = f"ln {facts.classes}" if loss.kind == "classification" else "ln 2"
        above = "floor" if floor > excess * uniform else "excess"
        level = Level(
            name=name if abs(uniform - math.log(facts.classes or 2)) < 1e-9 else f"weighted {name}",
            uniform=uniform,
            high=uniform + margin,
            severe=max(uniform * (severe if loss.kind == "classification" else binary_severe), uniform + margin),
            # A bias initialised to the label frequencies starts at their entropy.
            low=low * (uniform if math.isnan(constant) else min(uniform, constant)),
            option=above if loss.kind == "classification" else "binary_excess",
        )
        if math.isnan(uniform):
            yield NotApplicable(reason=f"the weights of {facts.function} are not known, so neither is its start")
            return
        yield from _likelihood(loss, facts, level, vocabulary, mild, soon)


def _likelihood(
    loss: TrainingLoss, facts: LossFacts, level: Level, vocabulary: float, mild: float, soon: float
) -> Iterator[Verdict]:
    first = loss.first
    scale = objective_factor(loss)
    used = classes_used(facts, vocabulary)
    margin = level.high - level.uniform
    # A resumed run, and the second optimizer of a script, may well start from trained weights.
    run = loss.training.run
    from_scratch = run.meta.attempt == 0 and loss.training is run.trainings[0]
    if first < 0:
        yield _negative(loss, facts, level)
    elif scale is not None and loss.objective[0] > level.high:
        yield _scaled(loss, level, *scale)
    elif first > level.high:
        yield _too_high(loss, level, mild, soon)
    elif used and first > math.log(used) + margin and first > level.uniform - margin:
        yield _too_many_outputs(loss, facts, level, used, vocabulary)
    elif first < level.low and from_scratch:
        yield _too_low(loss, facts, level)
    else:
        yield Clean(measured=f"the first loss is {number(first)}, that of a uniform prediction is {level.words}")


def _finding(
    loss: TrainingLoss,
    severity: Severity,
    confidence: Confidence,
    title: str,
    headline: str,
    seen: str,
    actions: list[Action],
    measures: list[Measure],
    *,
    reference: Mark,
    tensors: list[str] | None = None,
) -> Finding:
    shown = slice(0, _SHOWN)
    series = [plain("mean loss per target", loss.steps[shown], loss.values[shown])]
    compared = loss.objective[shown]
    if len(compared) and abs(compared[0] - loss.first) > CLOSE * abs(loss.first):
        series.append(plain("objective (the differentiated loss)", loss.steps[shown], compared, role="flagged"))
    values = numpy.concatenate([loss.values[shown], compared, [reference.y or math.nan]])
    return Finding(
        severity=severity,
        confidence=confidence,
        title=title,
        headline=headline,
        seen=seen,
        span=Span(first=int(loss.steps[0]), last=int(loss.steps[0])),
        tensors=tensors or [],
        evidence=[
            Lines(
                title=f"The first {plural(min(len(loss.steps), _SHOWN), 'step')}",
                caption=f"An untrained model should start at the line {reference.label}; the distance of the first "
                "point from it is what was judged.",
                x_label="step",
                y_label="loss",
                series=series,
                marks=[reference],
                log=wide(values),
            )
        ],
        actions=actions,
        measures=measures,
    )


def _uniform_mark(level: Level) -> Mark:
    return Mark(label=level.words, y=level.uniform, role="reference")


def _first_measure(loss: TrainingLoss, comparison: Comparison, limit: float, option: str, decides: Decides) -> Measure:
    return Measure(quantity="first mean loss per target", value=loss.first, comparison=comparison, threshold=limit,
                   option=option, decides=decides)  # fmt: skip


def _negative(loss: TrainingLoss, facts: LossFacts, level: Level) -> Finding:
    right = "log_softmax(logits, dim=1)" if facts.function == "nll_loss" else "logits, and targets in [0, 1]"
    return _finding(
        loss,
        Severity.CRITICAL,
        Confidence.CERTAIN,
        "Negative likelihood loss",
        f"The first loss is {number(loss.first)}, but {facts.function} cannot be negative",
        f"{facts.function} is minus the logarithm of a probability, so it is never below 0. Either its input is not a "
        "log-probability, or its target is outside [0, 1].",
        [
            Action(text=f"Give {facts.function} what it expects: {right}"),
            Action(text="Or pass raw logits to the combined loss", code="loss = F.cross_entropy(logits, target)"),
        ],
        [_first_measure(loss, "<", 0, "", "finding")],
        reference=_uniform_mark(level),
    )


def _scaled(loss: TrainingLoss, level: Level, times: float, amount: int, meaning: str) -> Finding:
    harm = harm_done(loss.training)
    if meaning == "micro_steps":
        looks = f"it looks like {count(amount)} accumulated micro-steps without division"
        actions = [
            Action(text=f"Divide each micro-step's loss by {count(amount)}", code=f"(loss / {amount}).backward()")
        ]
    else:
        what = "the number of targets" if meaning == "targets" else "the batch size"
        looks = f"{count(amount)} is {what} of that step, so it looks like reduction='sum'"
        actions = [
            Action(text="Average the loss over the batch", code='criterion = nn.CrossEntropyLoss(reduction="mean")'),
            Action(text=f"Or, to keep the sum, divide the learning rate by {count(amount)}"),
        ]
    # Adam and its kin divide the factor out again, whatever else went wrong; it still matters to clipping and decay.
    severity = Severity.CRITICAL if harm else Severity.WARNING
    if scale_free(loss.training):
        severity, harm = Severity.NOTE, ""
    return _finding(
        loss,
        severity,
        Confidence.HIGH,
        "Accumulated loss not divided" if meaning == "micro_steps" else "Loss summed over the batch",
        f"The first loss is {number(loss.objective[0])}, {level.times(loss.objective[0])}",
        f"The differentiated loss is {factor(times)} times the mean loss per target, {number(loss.first)}: {looks}. "
        f"Every gradient is {factor(times)} times larger than with a mean. {harm}".strip(),
        actions,
        [
            Measure(quantity="first objective", value=loss.objective[0], comparison=">", threshold=level.high,
                    option=level.option),
            Measure(quantity=f"distance of objective / mean loss from {count(amount)}", value=abs(times / amount - 1),
                    comparison="<", threshold=CLOSE, unit="fraction"),
        ],
        reference=_uniform_mark(level),
    )  # fmt: skip


def _too_high(loss: TrainingLoss, level: Level, mild: float, soon: float) -> Finding:
    harm = harm_done(loss.training)
    gone = overcome(loss, level.uniform)
    spent = gone / len(loss.values) if gone is not None else 1.0
    small = loss.first <= mild * level.uniform and spent < soon
    start = output_layer(loss.training)
    seen = [
        f"The mean loss per target of the first step is {number(loss.first)}; a uniform prediction has {level.words}."
    ]
    seen.append("The untrained model is confident and wrong: its outputs are too large.")
    actions = []
    large = start is not None and start.rms > _LARGE_START * start.usual
    if start is not None and large:
        seen.append(
            f"{start.name} starts with {number(start.rms)} per element (RMS), "
            f"{factor(start.rms / start.usual)} times torch.nn's default for {plural(start.inputs, 'input')}."
        )
        actions.append(
            Action(
                text=f"Initialise {start.name} with a standard deviation of {setting(float(f'{start.usual:.1g}'))} or "
                f"less instead of {setting(float(f'{start.rms:.2g}'))}",
                code=f"nn.init.normal_({in_code(start.name)}, std={setting(float(f'{start.usual:.1g}'))})",
            )
        )
    else:
        actions.append(
            Action(text="Scale down the initial weights of the output layer, to 0.1 of their size for a start")
        )
    actions += standardise_inputs(loss.training, "large inputs make large logits")
    actions.append(Action(text="Check that the loss gets logits and that the labels are in the order of the outputs"))
    if small and gone is not None:
        seen.append(f"By step {count(loss.steps[gone])} the loss is below that for good: the start cost little.")
    else:
        seen.append(harm)
    return _finding(
        loss,
        Severity.CRITICAL if harm and loss.first > level.severe else Severity.NOTE if small else Severity.WARNING,
        Confidence.HIGH,
        "Output layer initialised too large" if large else "Overconfident initial predictions",
        f"The first loss is {number(loss.first)}, {level.times(loss.first)}",
        " ".join(filter(None, seen)),
        actions,
        [_first_measure(loss, ">", level.high, level.option, "finding"),
         Measure(quantity="first mean loss per target", value=loss.first, comparison=">",
                 threshold=mild * level.uniform, option="mild", decides="warning", any_of="start"),
         Measure(quantity="share of the run until the loss is below a uniform prediction's", value=spent,
                 comparison=">=", threshold=soon, unit="fraction", option="soon", decides="warning", any_of="start"),
         _first_measure(loss, ">", level.severe, "binary_severe" if level.option == "binary_excess" else "severe",
                        "critical")],
        reference=_uniform_mark(level),
        tensors=[start.name] if start is not None and large else [],
    )  # fmt: skip


def _too_many_outputs(loss: TrainingLoss, facts: LossFacts, level: Level, used: int, most: float) -> Finding:
    start = output_layer(loss.training)
    return _finding(
        loss,
        Severity.WARNING,
        Confidence.MEDIUM,
        "More outputs than classes",
        f"The first loss is {number(loss.first)}, near {level.words}, but the labels have only {used} classes "
        f"(ln {used} = {number(math.log(used))})",
        f"The output layer has {count(facts.classes)} units, and only the first {used} of them ever occur as a label. "
        "The model spends its first steps learning that the others do not occur.",
        [
            Action(text=f"Give the output layer {used} units instead of {count(facts.classes)}",
                   code=f"nn.Linear(features, {used})"),
            Action(text="Check that no class is missing from the training labels"),
        ],
        [
            _first_measure(loss, ">", math.log(used) + level.high - level.uniform, level.option, "finding"),
            Measure(quantity="outputs", value=facts.classes, comparison=">=", threshold=2 * used, unit="count"),
            Measure(quantity="outputs", value=facts.classes, comparison="<=", threshold=most, unit="count",
                    option="vocabulary"),
        ],
        reference=Mark(label=f"ln {used} = {number(math.log(used))}", y=math.log(used), role="reference"),
        tensors=[start.name] if start is not None else [],
    )  # fmt: skip


def _too_low(loss: TrainingLoss, facts: LossFacts, level: Level) -> Finding:
    return _finding(
        loss,
        Severity.NOTE,
        Confidence.MEDIUM,
        "Initial loss below chance level",
        f"The first loss is {number(loss.first)}, {level.times(loss.first)}",
        "At its first step the model predicts better than an untrained one can. Pretrained weights explain it, and so "
        "do a label that leaks into the input and steps taken before recording began.",
        [
            Action(text="If the model is not pretrained, look for the label, or a copy of it, among the inputs"),
            Action(text=f"Check that {count(facts.classes or 2)} is the number of classes you expect"),
        ],
        [_first_measure(loss, "<", level.low, "low", "finding")],
        reference=_uniform_mark(level),
    )


def _regression(
    loss: TrainingLoss, facts: LossFacts, variance: float, spread: float, learned: float
) -> Iterator[Verdict]:
    target = facts.target_variance
    if target is None or not math.isfinite(target):
        yield CouldNotLook(
            reason="the variance of the target was not recorded",
            enable="compute the loss with torch.nn.functional.mse_loss (nn.MSELoss uses it)",
        )
        return
    if target <= 0:
        yield NotApplicable(reason="the regression target is constant")
        return
    deviation, ratio = math.sqrt(target), loss.first / target
    if ratio <= variance and deviation <= spread:
        yield Clean(
            measured=f"the first loss is {number(loss.first)}, {factor(ratio)} times the variance of the target, whose "
            f"standard deviation is {number(deviation)}"
        )
        return
    mean = facts.target_mean or 0.0
    harm = harm_done(loss.training)
    kept = loss.last / loss.first if loss.first > 0 else math.nan
    stuck = not kept <= learned  # also when the last loss is NaN
    raw = deviation > spread
    found = cause(loss, mean, deviation, variance, spread)
    seen = [
        f"The target has mean {number(mean)} and standard deviation {number(deviation)}; the first loss is "
        f"{number(loss.first)}, {factor(ratio)} times its variance."
    ]
    seen.append(in_words(found))
    if stuck and not harm:
        seen.append(f"The last loss is {factor(kept)} times the first.")
    seen.append(harm)
    headline = f"The first loss is {number(loss.first)}, {factor(ratio)} times the variance of the target"
    if raw:
        headline += f" (standard deviation {number(deviation)})"
    yield _finding(
        loss,
        Severity.WARNING if stuck or harm else Severity.NOTE,
        Confidence.HIGH if stuck or harm else Confidence.MEDIUM,
        disease(found),
        headline,
        " ".join(filter(None, seen)),
        advice(loss, found),
        [
            Measure(quantity="first loss / variance of the target", value=ratio, comparison=">", threshold=variance,
                    option="variance", any_of="scale"),
            Measure(quantity="standard deviation of the target", value=deviation, comparison=">", threshold=spread,
                    option="spread", any_of="scale"),
            Measure(quantity="last loss / first loss", value=kept, comparison=">", threshold=learned,
                    option="learned", decides="warning"),
        ],
        reference=Mark(label=f"variance of the target = {number(target)}", y=target, role="reference"),
    )  # fmt: skip
