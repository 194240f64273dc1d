"""A synthetic audit with one of everything: a 12-block transformer over 2,000 steps, told as a run that went wrong."""

from pathlib import Path
from typing import Any

import numpy

from gradaudit.audit.overview import overview
from gradaudit.audit.result import AUDIT_VERSION, Audit, Outcome
from gradaudit.audit.runner import rank
from gradaudit.chart_data import AnyEvidence, Bin, Distribution, Dot, Dots, Heatmap, Lines, Mark, Numbers, Series
from gradaudit.findings import (
    Action,
    AnyResult,
    Clean,
    Confidence,
    Failed,
    Finding,
    Found,
    Measure,
    NotApplicable,
    Severity,
    Skipped,
    Span,
)
from gradaudit.reading.run import Run
from gradaudit.schema import LossFacts, ModuleFacts, TensorFacts
from tests.build import build_run

STEPS, BLOCKS, WIDTH, VOCABULARY = 2000, 12, 64, 8192
DEAD = ("transformer.h.5.attn.c_attn.weight", "transformer.h.5.attn.c_attn.bias")
DOCUMENTATION = {
    "headline": "Some tensors receive no gradient.",
    "What it looks for": "Tensors whose gradient is exactly zero for `patience` steps.",
    "Why it matters": "The block runs on its random initialisation.\n\nNothing else shows the fault:\n\n"
    "- the loss still falls\n- the `residual` path goes around the block",
    "What to try": "Look for `detach()`.",
    "When it is wrong": "A tensor that is frozen on purpose has no gradient either; set `requires_grad=False` on it.",
}


def transformer(blocks: int = BLOCKS) -> list[TensorFacts]:
    """Facts of the parameter tensors of a GPT-like model."""
    parts: list[tuple[str, str, list[int], str]] = [
        ("transformer.wte", "Embedding", [VOCABULARY, WIDTH], "embedding"),
        ("transformer.wpe", "Embedding", [1024, WIDTH], "embedding"),
    ]
    for block in range(blocks):
        prefix = f"transformer.h.{block}"
        parts += [
            (f"{prefix}.ln_1", "LayerNorm", [WIDTH], "norm"),
            (f"{prefix}.attn.c_attn", "Linear", [3 * WIDTH, WIDTH], "weight"),
            (f"{prefix}.attn.c_proj", "Linear", [WIDTH, WIDTH], "weight"),
            (f"{prefix}.ln_2", "LayerNorm", [WIDTH], "norm"),
            (f"{prefix}.mlp.c_fc", "Linear", [4 * WIDTH, WIDTH], "weight"),
            (f"{prefix}.mlp.c_proj", "Linear", [WIDTH, 4 * WIDTH], "weight"),
        ]
    parts += [("transformer.ln_f", "LayerNorm", [WIDTH], "norm"), ("lm_head", "Linear", [VOCABULARY, WIDTH], "weight")]
    tensors: list[TensorFacts] = []
    for module, module_class, shape, role in parts:
        for kind in ("weight", "bias"):
            if kind == "bias" and (role == "embedding" or module == "lm_head"):
                continue
            size = shape if kind == "weight" else shape[:1]
            real_role = "bias" if kind == "bias" and role != "norm" else role
            tensors.append(
                TensorFacts(
                    id=len(tensors),
                    name=f"{module}.{kind}",
                    role=real_role,
                    module=module,
                    module_class=module_class,
                    shape=size,
                    depth=len(tensors),
                    optimizer=0,
                    group=0,
                )
            )
    return tensors


def sample_run(path: Path, state: str = "finished") -> Run:
    """Record the run as Parquet and load it."""
    random = numpy.random.default_rng(0)
    step = numpy.arange(STEPS)
    tensors = transformer()
    loss = 2.8 + 6.3 * numpy.exp(-step / 130) + 0.5 * numpy.exp(-step / 1500) + random.normal(0, 0.04, STEPS)
    loss[612] += 1.9
    loss[1440] += 1.1
    loss[1702:1705] = numpy.nan
    evaluations = [(-1, "validation", 9.02), *((at, "validation", _validation(at)) for at in range(99, STEPS, 100))]
    warmup = numpy.minimum(1, step / 150)
    rate = 6e-4 * warmup * (0.1 + 0.9 * (0.5 + 0.5 * numpy.cos(numpy.pi * step / STEPS)))
    norm = 0.9 * numpy.exp(-step / 900) * numpy.exp(random.normal(0, 0.15, STEPS)) + 0.1
    norm[612] *= 11
    norm[1440] *= 6
    norm[1702:1705] = numpy.nan
    gradient, nans = _gradients(tensors, random)
    weight = numpy.array([numpy.sqrt(t.elements) * (0.02 if len(t.shape) > 1 else 1.0) for t in tensors])
    return build_run(
        path,
        loss=loss,
        tensors=tensors,
        facts=LossFacts(id=0, function="cross_entropy", classes=VOCABULARY),
        evaluations=evaluations,
        modules=[ModuleFacts(id=0, name="", module_class="GPT", parameters=sum(t.elements for t in tensors))],
        state=state,
        histograms=_histograms(tensors, random),
        stats={
            "gradient_norm": gradient,
            "gradient_nan": nans,
            "weight_norm": weight,
            "update_norm": weight * rate[:, None] * 3.0 * random.lognormal(0, 0.1, (STEPS, len(tensors))),
            "has_grad": numpy.ones((STEPS, len(tensors)), bool),
        },
        steps={
            "learning_rate": [[float(r)] for r in rate],
            "gradient_norm": norm,
            "clip_threshold": 1.0,
            "clip_kind": 1,
            "time": step * 0.4,
        },
    )


def _validation(at: int) -> float:
    best = 1300
    base = 2.95 + 6.3 * float(numpy.exp(-at / 135)) + 0.5 * float(numpy.exp(-at / 1500))
    return base + max(0, at - best) ** 1.2 * 1.5e-4


def _gradients(tensors: list[TensorFacts], random: numpy.random.Generator) -> tuple[Any, Any]:
    """[steps, tensors] gradient norms that fade towards the input, with a dead layer, and counts of NaN."""
    block = numpy.array([int(t.name.split(".")[2]) if ".h." in t.name else 11 for t in tensors])
    scale = 10 ** (-5.4 + block * 0.17) * numpy.array([6.0 if len(t.shape) == 1 else 1.0 for t in tensors])
    size = numpy.sqrt([t.elements for t in tensors])
    fade = numpy.exp(-numpy.arange(STEPS) / 700)[:, None] + 0.25
    own = 10 ** random.normal(0, 0.25, len(tensors))
    gradient = scale * size * own * fade * 10 ** random.normal(0, 0.12, (STEPS, len(tensors)))
    gradient[:, [t.name in DEAD for t in tensors]] = 0.0
    nans = numpy.zeros((STEPS, len(tensors)), int)
    nans[1702:1705, block >= 8] = 4
    return gradient, nans


def sample_outcomes(run: Run) -> list[Outcome]:
    """Findings that nest, and every other result of a diagnoser."""

    def outcome(name: str, result: AnyResult) -> Outcome:
        return Outcome(diagnoser=name, documentation=DOCUMENTATION, thresholds={"patience": 20.0}, result=result)

    return [
        outcome("stale_gradient", Clean(measured="gradients were zeroed before each of 2,000 steps")),
        outcome("initial_loss_mismatch", Clean(measured="first loss 9.09, ln 8,192 = 9.01")),
        outcome("learning_rate_too_low", Clean(measured="the loss fell by 69 %")),
        outcome("frozen_parameter", Found(findings=[_dead_layer(run)])),
        outcome("layer_imbalance", Found(findings=[_imbalance(run)])),
        outcome("non_finite", Found(findings=[_burst(run)])),
        outcome("overfitting", Found(findings=[_overfitting(run)])),
        outcome("dead_embedding", Found(findings=[_unused_rows()])),
        outcome("amp_overflow", NotApplicable(reason="the run trains without a GradScaler")),
        outcome("rank_divergence", NotApplicable(reason="the run has one process")),
        outcome("dead_relu", Skipped(reason="the run has no modules", enable="record with --activations")),
        outcome("small_batch_normalization", Failed(traceback="Traceback (most recent call last):\nKeyError: 'x'")),
    ]


def sample_audit(run: Run) -> Audit:
    """The whole audit; *frozen_parameter* explains *layer_imbalance* and *non_finite*."""
    outcomes = sample_outcomes(run)
    flagged = {name for item in outcomes for finding in item.findings for name in finding.tensors}
    return Audit(
        audit_version=AUDIT_VERSION,
        gradaudit_version="0.1.0",
        meta=run.meta,
        state=run.state,
        problems=[problem.message for problem in run.problems],
        overview=overview(run, flagged),
        outcomes=outcomes,
        ranked=rank(outcomes, {"frozen_parameter": ("layer_imbalance", "non_finite")}),
    )


def _dead_layer(run: Run) -> Finding:
    return Finding(
        severity=Severity.CRITICAL,
        confidence=Confidence.CERTAIN,
        headline="One attention layer got a gradient of exactly zero in 2,000 of 2,000 steps",
        explanation="transformer.h.5.attn.c_attn.weight and its bias had a gradient of exactly zero at every step. "
        "They hold "
        "12,480 parameters, 0.8 % of the model, and are bit for bit what they were at step 0.",
        span=Span(first=0, last=STEPS - 1),
        tensors=list(DEAD),
        evidence=[_heat(run)],
        actions=[
            Action(
                text="Look for a detach() or a no_grad() block in front of transformer.h.5.attn.",
                code="[name for name, p in model.named_parameters()\n if p.grad is None or not p.grad.any()]",
            ),
            Action(text="If it is meant to be frozen, set requires_grad=False on it."),
        ],
        measures=[
            Measure(
                quantity="steps with a gradient of zero", value=STEPS, comparison=">=", threshold=20, unit="count",
                option="patience",
            ),
            Measure(quantity="movement since step 0", value=0, comparison="==", threshold=0),
        ],
    )  # fmt: skip


def _heat(run: Run) -> Heatmap:
    whole = overview(run, set(DEAD)).matrices
    assert whole is not None
    rows = [i for i, name in enumerate(whole.rows) if ".h.4." in name or ".h.5." in name or ".h.6." in name]
    return Heatmap(
        title="The blocks around it",
        caption="White is a gradient of exactly zero.",
        rows=[whole.rows[i] for i in rows],
        first_step=whole.first_step,
        last_step=whole.last_step,
        values=[whole.values[i] for i in rows],
        zero=[whole.zero[i] for i in rows],
        bad=[whole.bad[i] for i in rows],
        groups=[whole.groups[i] for i in rows],
        flagged=[DEAD[0]],
    )


def _imbalance(run: Run) -> Finding:
    table = overview(run, set()).table
    dots = [
        Dot(label=row.name, value=row.gradient_rms, group=row.role, flagged=row.name in DEAD)
        for row in table
        if row.role != "bias"
    ]
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.HIGH,
        headline="The gradient shrinks 74-fold on its way to the first block",
        explanation="Per element, the weight matrices of block 11 receive 2.4e-5, those of block 0 only 3.3e-7.",
        span=Span(first=0, last=STEPS - 1),
        tensors=["transformer.h.0.attn.c_attn.weight"],
        evidence=[
            Dots(
                title="Gradient by depth",
                caption="Each mark is one tensor, the input at the top. Shaded columns are powers of ten.",
                x_label="gradient RMS per element, median of the last half",
                dots=dots,
                marks=[Mark(label="median", x=2e-6, role="reference")],
            )
        ],
        actions=[Action(text="Put the LayerNorm in front of attention and MLP.", code="x = x + attn(ln_1(x))")],
        measures=[
            Measure(
                quantity="distance between blocks",
                value=1.87,
                comparison=">=",
                threshold=1.5,
                unit="decades",
                option="decades",
            )
        ],
    )


def _burst(run: Run) -> Finding:
    return Finding(
        severity=Severity.CRITICAL,
        confidence=Confidence.CERTAIN,
        headline="The loss was NaN for 3 steps from step 1,702 on",
        explanation="transformer.h.8.attn.c_attn.weight was the first tensor with a NaN in its gradient.",
        span=Span(first=1702, last=1704),
        tensors=["transformer.h.8.attn.c_attn.weight"],
        evidence=[
            Numbers(
                title="Tensors with NaN at step 1,702",
                caption="In depth order.",
                columns=["tensor", "NaN", "of"],
                cells=[[f"transformer.h.{i}.attn.c_attn.weight", "4", "12,288"] for i in range(8, 12)],
            )
        ],
        actions=[Action(text="Find the operation.", code="torch.autograd.set_detect_anomaly(True)")],
        measures=[Measure(quantity="NaN losses", value=3, comparison=">", threshold=0, unit="count")],
    )


def _histograms(tensors: list[TensorFacts], random: numpy.random.Generator) -> list[dict[str, Any]]:
    """Rows of table `histograms`: normal gradients, smaller towards the input and over the steps."""
    rows = []
    weights = [tensor for tensor in tensors if tensor.role == "weight"]
    for step in (0, 10, *range(100, STEPS, 100)):
        for place, tensor in enumerate(weights):
            octave = 4 * numpy.log2(numpy.abs(random.standard_normal(500)))
            bins = numpy.floor(octave + 4 * (-20 + 14 * place / len(weights) - step / 700)).astype(int)
            counts = numpy.bincount(bins - bins.min())
            rows.append(
                {
                    "optimizer": 0, "step": step, "tensor": tensor.id, "kind": "gradient", "elements": 500, "zeros": 0,
                    "nonfinite": 0, "lowest": int(bins.min()), "positive": counts.tolist(), "negative": [],
                }
            )  # fmt: skip
    return rows


def _overfitting(run: Run) -> Finding:
    view = overview(run, set())
    evaluation = view.evaluations[0]
    y = [value for value in evaluation.y if value is not None]
    best = min(range(len(y)), key=y.__getitem__)
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.HIGH,
        headline=f"Validation loss was best at step {evaluation.x[best]:,.0f} and rose by {y[-1] - y[best]:.2f} since",
        explanation=f"Validation {y[best]:.2f} to {y[-1]:.2f} while training went on falling.",
        span=Span(first=int(evaluation.x[best]), last=STEPS - 1),
        evidence=[
            Lines(
                title="Training and validation loss",
                caption="Red area: after the best validation loss.",
                x_label="step",
                y_label="loss",
                series=[*view.loss, evaluation],
                marks=[Mark(label=f"best {y[best]:.2f}", x=evaluation.x[best], y=y[best], role="best")],
                shade_from=evaluation.x[best],
            )
        ],
        actions=[Action(text="Use the checkpoint nearest step 1,299.")],
        measures=[Measure(quantity="rise since the best", value=0.32, comparison=">", threshold=0.05, option="rise")],
    )


def _unused_rows() -> Finding:
    counts = [100, 12, 45, 160, 420, 900, 1800, 2400, 1500, 700, 155]
    labels = ["0", "1", "2–3", "4–7", "8–15", "16–31", "32–63", "64–127", "128–255", "256–511", "512–1,023"]
    bins = [Bin(label=a, count=b, flagged=a == "0") for a, b in zip(labels, counts, strict=True)]
    ratio = Series(name="transformer.wte.weight", x=list(range(0, 2000, 20)), y=[1e-3] * 100, role="flagged")
    evidence: list[AnyEvidence] = [
        Distribution(
            title="How often each row was trained",
            caption="Rows of the embedding table by the number of steps that gave them a gradient.",
            x_label="steps with a gradient",
            y_label="embedding rows",
            bins=bins,
        ),
        Lines(
            title="Update to weight",
            caption="1e-3 is the usual size.",
            x_label="step",
            y_label="|update| / |weight|",
            log=True,
            series=[ratio],
            marks=[Mark(label="1e-3, the usual size", y=1e-3, role="reference")],
        ),
    ]
    return Finding(
        severity=Severity.NOTE,
        confidence=Confidence.CERTAIN,
        headline="100 of 8,192 embedding rows never received a gradient",
        explanation="These tokens are not in the training data.",
        span=Span(first=0, last=STEPS - 1),
        tensors=["transformer.wte.weight"],
        evidence=evidence,
        actions=[Action(text="Check that tokenizer and data belong together.")],
        measures=[
            Measure(
                quantity="rows never hit",
                value=100 / 8192,
                comparison=">",
                threshold=0.01,
                unit="fraction",
                option="share",
            )
        ],
    )
