"""Faults of step size: learning rates, schedules, weight decay and clipping that are off by orders of magnitude."""

from benchmarks.lab.configuration import Edits, Fault
from benchmarks.lab.edits import after_step, rate, series

_HIGH = ("learning_rate_too_high", "divergence", "non_finite")
_LOW = ("learning_rate_too_low",)


def _high(base: str, *factors: str) -> tuple[Fault, ...]:
    return series("rate_high", base, {f: (rate(f),) for f in factors}, _HIGH)


def _low(base: str, *factors: str) -> tuple[Fault, ...]:
    return series("rate_low", base, {f"over_{f}": (rate(f"1 / {f}"),) for f in factors}, _LOW)


_RATES: tuple[Fault, ...] = (
    *_high("mlp_regression", "30", "100", "300"),
    *_high("deep_tanh", "10", "30", "100"),
    *_high("recommender", "30", "100"),
    *_high("lstm_language_model", "30", "100"),
    *_high("vit", "30"),
    *_high("mlp_classifier", "10", "30", "100", "300"),
    *_high("multilabel", "30", "100", "300"),
    *_high("autoencoder", "10", "30", "100"),
    *_high("segmentation", "100"),
    *_high("transformer_prenorm", "30"),
    *_low("mlp_regression", "30", "100", "1000"),
    *_low("deep_tanh", "30", "100", "1000"),
    *_low("recommender", "30", "100"),
    *_low("vit", "100"),
    *_low("lion_classifier", "30", "100"),
    *_low("mlp_classifier", "30", "100", "1000"),
    *_low("diffusion", "100", "1000"),
    *_low("autoencoder", "30", "100"),
    *_low("gru_language_model", "100"),
)

_DECAY = ("excessive_weight_decay",)
_RATE = "lr=LEARNING_RATE"


def _decay(base: str, *doses: str) -> tuple[Fault, ...]:
    return series("weight_decay", base, {d: ((_RATE, f"lr=LEARNING_RATE, weight_decay={d}"),) for d in doses}, _DECAY)


_DECAYS: tuple[Fault, ...] = (
    *_decay("mlp_regression", "10", "30", "100"),
    *_decay("contrastive", "30"),
    *_decay("vit", "30"),
    *_decay("multilabel", "0.1", "1.0"),
    *_decay("mlp_classifier", "0.1", "1.0"),
    *_decay("diffusion", "10", "30"),
    *_decay("autoencoder", "0.1", "1.0"),
    *series(
        "weight_decay",
        "lion_classifier",
        {d: (("WEIGHT_DECAY = 0.1", f"WEIGHT_DECAY = {d}"),) for d in ("30", "100", "300")},
        _DECAY,
    ),
    *series("weight_decay", "resnet", {d: (("WEIGHT_DECAY = 5e-4", f"WEIGHT_DECAY = {d}"),) for d in ("0.5",)}, _DECAY),
    *series(
        "weight_decay",
        "deep_tanh",
        {d: (("momentum=0.9", f"momentum=0.9, weight_decay={d}"),) for d in ("0.1", "1.0")},
        _DECAY,
    ),
)

_CLIPPED = ("constant_clipping", "learning_rate_too_low")
_ROOT = ("constant_clipping",)


def _clip(threshold: str, kind: str = "norm") -> Edits:
    line = f"nn.utils.clip_grad_{kind}_(model.parameters(), {threshold})"
    return (("    loss.backward()\n", f"    loss.backward()\n    {line}\n"),)


_CLIPPING: tuple[Fault, ...] = (
    *series(
        "clipping",
        "huber_regression",
        {f: (("MAX_NORM = 5.0", f"MAX_NORM = {f}"),) for f in ("0.03", "0.01", "0.003")},
        _CLIPPED,
        _ROOT,
    ),
    *series("clipping", "deep_tanh", {f: _clip(f) for f in ("0.1", "0.03", "0.01")}, _CLIPPED, _ROOT),
    *series("clipping", "mlp_classifier-momentum", {f: _clip(f) for f in ("0.1", "0.03", "0.01")}, _CLIPPED, _ROOT),
    *series("clipping", "deep_sigmoid-momentum", {f: _clip(f) for f in ("0.03", "0.01")}, _CLIPPED, _ROOT),
    *series("clipping", "siamese", {f: _clip(f) for f in ("0.03", "0.01")}, _CLIPPED, _ROOT),
    *series("clipping_values", "deep_tanh", {f: _clip(f, "value") for f in ("1e-4", "1e-5")}, _CLIPPED, _ROOT),
    *series("clipping", "finetune_head", {f: _clip(f) for f in ("0.03", "0.01")}, _CLIPPED, _ROOT),
    *series("clipping", "resnet", {f: _clip(f) for f in ("0.01",)}, _CLIPPED, _ROOT),
)

_RESTARTS = ("learning_rate_schedule", "loss_spike", "learning_rate_too_high", "unstable_loss")
_EARLY = ("premature_plateau", "learning_rate_too_low")


def _fading(factor: str) -> Edits:
    return (after_step(f'optimizer.param_groups[0]["lr"] *= {factor}'),)


_SCHEDULES: tuple[Fault, ...] = (
    *series("early_decay", "mlp_regression", {f: _fading(f) for f in ("0.96", "0.9", "0.8")}, _EARLY, _EARLY[:1]),
    *series("early_decay", "recommender", {f: _fading(f) for f in ("0.96", "0.9")}, _EARLY, _EARLY[:1]),
    *series("early_decay", "mixture_of_experts", {f: _fading(f) for f in ("0.95", "0.9")}, _EARLY, _EARLY[:1]),
    *series("early_decay", "multilabel", {f: _fading(f) for f in ("0.95", "0.9")}, _EARLY, _EARLY[:1]),
    *series("early_decay", "mlp_classifier", {f: _fading(f) for f in ("0.96", "0.9")}, _EARLY, _EARLY[:1]),
    *series(
        "early_decay",
        "gru_language_model",
        {10: (("optimizer, 100, gamma", "optimizer, 10, gamma"),)},
        _EARLY,
        _EARLY[:1],
    ),
    *series(
        "endless_warmup",
        "vit",
        {3000: (("WARMUP = 20", "WARMUP = 3000"),)},
        ("learning_rate_schedule", "learning_rate_too_low"),
    ),
    *series(
        "endless_warmup",
        "transformer_tied",
        {3000: (("WARMUP = 20", "WARMUP = 3000"),)},
        ("learning_rate_schedule", "learning_rate_too_low"),
    ),
    *series(
        "endless_warmup",
        "transformer_prenorm",
        {3000: (("WARMUP = 20", "WARMUP = 3000"),)},
        ("learning_rate_schedule", "learning_rate_too_low"),
    ),
    *series(
        "restarts",
        "mlp_regression",
        {
            f: (after_step(f'optimizer.param_groups[0]["lr"] = LEARNING_RATE * ({f} if step % 100 < 5 else 1)'),)
            for f in ("30", "100")
        },
        _RESTARTS,
    ),
    *series(
        "endless_warmup",
        "lion_classifier",
        {
            6000: (
                (
                    "    optimizer.zero_grad()\n",
                    '    optimizer.param_groups[0]["lr"] = LEARNING_RATE * step / 6000\n    optimizer.zero_grad()\n',
                ),
            )
        },
        ("learning_rate_schedule", "learning_rate_too_low"),
    ),
    *series(
        "endless_warmup",
        "autoencoder",
        {
            6000: (
                (
                    "    optimizer.zero_grad()\n",
                    '    optimizer.param_groups[0]["lr"] = LEARNING_RATE * step / 6000\n    optimizer.zero_grad()\n',
                ),
            )
        },
        ("learning_rate_schedule", "learning_rate_too_low"),
    ),
    *series(
        "short_cosine",
        "resnet",
        {"tenth": (("CosineAnnealingLR(optimizer, STEPS)", "CosineAnnealingLR(optimizer, STEPS // 10)"), rate("4"))},
        ("learning_rate_schedule", "unstable_loss", "learning_rate_too_high"),
    ),
    *series(
        "restarts",
        "mlp_classifier",
        {
            f: (after_step(f'optimizer.param_groups[0]["lr"] = LEARNING_RATE * ({f} if step % 100 < 5 else 1)'),)
            for f in ("30", "100")
        },
        _RESTARTS,
    ),
)

RATE: tuple[Fault, ...] = (*_RATES, *_DECAYS, *_CLIPPING, *_SCHEDULES)
