"""Faults of numbers: NaN and Inf, half precision, losses that explode, jump or swing."""

from benchmarks.lab.configuration import Edits, Fault
from benchmarks.lab.edits import after_step, on_batch, rate, series

_NAN = ("non_finite",)


def _also(penalty: str, start: int) -> Edits:
    """A further term in the loss from step `start` on."""
    line = f"    loss = loss + {penalty} if step >= {start} else loss\n"
    return (("    optimizer.zero_grad()\n", f"{line}    optimizer.zero_grad()\n"),)


_NON_FINITE: tuple[Fault, ...] = (
    *series(
        "bad_batch",
        "mlp_regression",
        {"step_150": (on_batch('x[0, 0] = float("nan") if step == 150 else x[0, 0]'),)},
        _NAN,
    ),
    *series(
        "bad_batch",
        "autoencoder",
        {
            "step_200": (
                (
                    "    output = model(x)\n",
                    '    x[0, 0] = float("inf") if step == 200 else x[0, 0]\n    output = model(x)\n',
                ),
            )
        },
        _NAN,
    ),
    *series(
        "bad_target",
        "huber_regression",
        {"step_100": (on_batch('y[3] = float("nan") if step == 100 else y[3]'),)},
        _NAN,
    ),
    *series(
        "square_root_of_zero",
        "huber_regression",
        {"step_0": _also("0.01 * ((output[:, None] - output) ** 2).sqrt().mean()", 0)},
        _NAN,
    ),
    *series(
        "square_root_of_zero",
        "text_bag",
        {"step_100": _also("0.01 * ((output[:, None] - output) ** 2).sum(dim=2).sqrt().mean()", 100)},
        _NAN,
    ),
    *series(
        "log_of_negative",
        "poisson_regression",
        {"rate": (("loss = F.poisson_nll_loss(output, y)", "loss = F.poisson_nll_loss(output, y, log_input=False)"),)},
        _NAN,
    ),
    *series(
        "square_root_of_zero",
        "quantile_regression",
        {"step_200": _also("0.01 * ((output[:, None] - output) ** 2).sum(dim=2).sqrt().mean()", 200)},
        _NAN,
    ),
    *series(
        "bad_weight",
        "lstm_language_model",
        {
            "step_150": (
                after_step('model.head.bias.data[0] = float("inf") if step == 150 else model.head.bias.data[0]'),
            )
        },
        _NAN,
    ),
)


def _half(optimizer: str, scaler: str, model: str = "model") -> Edits:
    """Forward and backward pass in half precision under a gradient scaler made with the arguments `scaler`."""
    return (
        (
            f"optimizer = {optimizer}\n",
            f'optimizer, scaler = {optimizer}, torch.amp.GradScaler("cpu", {scaler})\n'
            f'{model}.forward = torch.autocast("cpu", torch.float16)({model}.forward)\n',
        ),
        (
            "    loss.backward()\n    optimizer.step()\n",
            "    scaler.scale(loss).backward(), scaler.step(optimizer), scaler.update()\n",
        ),
    )


_ADAM = "torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)"
_ADAMW = "torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)"
_MOMENTUM = "torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=0.9)"
_NEVER = "init_scale=2.0**40, backoff_factor=0.999"
_EAGER = "growth_interval=1, growth_factor=64.0"

_OVERFLOW: tuple[Fault, ...] = tuple(
    fault
    for base, optimizer, dose, scaler in (
        ("mlp_regression", _ADAMW, "eager_growth", _EAGER),
        ("mlp_regression", _ADAMW, "never_backs_off", _NEVER),
        ("deep_tanh", _MOMENTUM, "eager_growth", _EAGER),
        ("recommender", _ADAM, "never_backs_off", _NEVER),
        ("autoencoder", _ADAM, "eager_growth", _EAGER),
        ("autoencoder", _ADAM, "never_backs_off", _NEVER),
        ("multilabel", _ADAM, "eager_growth", _EAGER),
        ("mlp_classifier", _ADAM, "eager_growth", _EAGER),
    )
    for fault in series("scaler_overflow", base, {dose: _half(optimizer, scaler)}, ("amp_overflow",))
)


def _small(optimizer: str, factor: str) -> Edits:
    """Half precision without a gradient scaler, and a loss multiplied by `factor`."""
    forward = f'optimizer = {optimizer}\nmodel.forward = torch.autocast("cpu", torch.float16)(model.forward)\n'
    return (f"optimizer = {optimizer}\n", forward), ("loss.backward()", f"({factor} * loss).backward()")


_LOST = ("fp16_underflow", "frozen_parameter", "vanishing_gradient", "learning_rate_too_low")
_EPS = ("vanishing_gradient", "epsilon_dominates", "learning_rate_too_low", "fp16_underflow")

_UNDERFLOW: tuple[Fault, ...] = (
    *(
        fault
        for base, optimizer in (
            ("mlp_regression", _ADAMW),
            ("deep_tanh", _MOMENTUM),
            ("autoencoder", _ADAM),
            ("mlp_classifier", _ADAM),
        )
        for fault in series(
            "half_underflow", base, {f: _small(optimizer, f) for f in ("1e-5", "1e-6")}, _LOST, _LOST[:2]
        )
    ),
    *series(
        "loss_too_small",
        "vae",
        {f: (("loss.backward()", f"({f} * loss).backward()"),) for f in ("1e-9", "1e-10")},
        _EPS,
        _EPS,
    ),
    *series(
        "loss_too_small",
        "multilabel",
        {f: (("loss.backward()", f"({f} * loss).backward()"),) for f in ("1e-8", "1e-9")},
        _EPS,
        _EPS,
    ),
)

_RISES = ("divergence", "learning_rate_too_high", "non_finite")
_GROWS = ("gradient_growth", "divergence", "learning_rate_too_high", "unstable_loss", "non_finite")
_SWINGS = ("unstable_loss", "learning_rate_too_high", "gradient_growth", "divergence", "non_finite")
_JUMPS = ("loss_spike", "divergence", "non_finite")
_SPIKE = "the step at which the loss jumps; the run may recover"


def _growing(factor: str) -> Edits:
    return (after_step(f'optimizer.param_groups[0]["lr"] *= {factor}'),)


def _swelling(factor: str) -> Edits:
    return (after_step(f"torch._foreach_mul_([p.data for p in model.parameters()], {factor})"),)


_UPHILL = (("lr=LEARNING_RATE", "lr=LEARNING_RATE, maximize=True"),)

_INSTABILITY: tuple[Fault, ...] = (
    *(
        fault
        for base in (
            "mlp_regression",
            "recommender",
            "text_bag",
            "multilabel",
            "autoencoder",
            "quantile_regression",
            "resnet",
        )
        for fault in series("maximize", base, {"all": _UPHILL}, _RISES)
    ),
    *series("growing_rate", "mlp_regression", {f: _growing(f) for f in ("1.01", "1.02")}, _GROWS, _GROWS[:4]),
    *series("growing_rate", "lion_classifier", {f: _growing(f) for f in ("1.01", "1.02")}, _GROWS, _GROWS[:4]),
    *series("growing_rate", "diffusion", {f: _growing(f) for f in ("1.01", "1.02")}, _GROWS, _GROWS[:4]),
    *series("growing_weights", "deep_sigmoid", {f: _swelling(f) for f in ("1.01", "1.02")}, _GROWS, _GROWS[:4]),
    *series("growing_weights", "autoencoder", {f: _swelling(f) for f in ("1.01", "1.02")}, _GROWS, _GROWS[:4]),
    *series("growing_weights", "siamese", {f: _swelling(f) for f in ("1.01", "1.02")}, _GROWS, _GROWS[:4]),
    *series(
        "momentum",
        "deep_tanh",
        {m: (("momentum=0.9", f"momentum={m}"),) for m in ("0.99", "0.999")},
        _SWINGS,
        _SWINGS[:4],
    ),
    *series(
        "momentum",
        "huber_regression",
        {m: (("momentum=0.9", f"momentum={m}"),) for m in ("0.99", "0.999")},
        _SWINGS,
        _SWINGS[:4],
    ),
    *series(
        "momentum", "resnet", {m: (("momentum=0.9", f"momentum={m}"),) for m in ("0.99", "0.999")}, _SWINGS, _SWINGS[:4]
    ),
    *series(
        "momentum",
        "finetune_head",
        {m: (("momentum=0.9", f"momentum={m}"),) for m in ("0.99", "0.999")},
        _SWINGS,
        _SWINGS[:4],
    ),
    *(
        fault
        for base in ("recommender", "multilabel", "quantile_regression", "autoencoder")
        for fault in series(
            "short_memory",
            base,
            {f: (("lr=LEARNING_RATE", f"lr={f} * LEARNING_RATE, betas=(0.0, 0.5)"),) for f in ("3", "10")},
            _SWINGS,
            _SWINGS[:4],
        )
    ),
    *series(
        "momentum",
        "mlp_classifier-momentum",
        {m: (("momentum=0.9", f"momentum={m}"),) for m in ("0.99", "0.999")},
        _SWINGS,
        _SWINGS[:4],
    ),
    *series(
        "momentum",
        "siamese",
        {m: (("momentum=0.9", f"momentum={m}"),) for m in ("0.99", "0.999")},
        _SWINGS,
        _SWINGS[:4],
    ),
    *series(
        "short_memory",
        "gru_language_model",
        {"0.1": (rate("5"), ("RMSprop(model.parameters(), ", "RMSprop(model.parameters(), alpha=0.1, "))},
        _SWINGS,
        _SWINGS[:4],
    ),
    *series(
        "outlier_batch",
        "mlp_regression",
        {f: (on_batch(f"x = {f} * x if step == 250 else x"),) for f in ("30", "300")},
        _JUMPS,
        harm=_SPIKE,
    ),
    *series(
        "outlier_batch",
        "deep_tanh",
        {"shuffled": (on_batch("y = y.flip(0) if 250 <= step < 253 else y"),)},
        _JUMPS,
        harm=_SPIKE,
    ),
    *series(
        "outlier_batch",
        "poisson_regression",
        {f: (on_batch(f"y = {f} * y if step == 250 else y"),) for f in ("30", "300")},
        _JUMPS,
        harm=_SPIKE,
    ),
    *series(
        "outlier_batch", "multilabel", {"flipped": (on_batch("y = 1 - y if step == 250 else y"),)}, _JUMPS, harm=_SPIKE
    ),
    *series(
        "outlier_batch",
        "quantile_regression",
        {f: (on_batch(f"y = {f} * y if step == 250 else y"),) for f in ("100", "1000")},
        _JUMPS,
        harm=_SPIKE,
    ),
    *series(
        "rate_spike",
        "lstm_language_model",
        {
            f: (after_step(f'optimizer.param_groups[0]["lr"] = LEARNING_RATE * ({f} if step == 200 else 1)'),)
            for f in ("30", "100")
        },
        _JUMPS,
        harm=_SPIKE,
    ),
    *series(
        "rate_spike",
        "vit",
        {
            "100": (
                (
                    "lambda step: min(1.0, (step + 1) / WARMUP)",
                    "lambda step: 100 if step == 200 else min(1.0, (step + 1) / WARMUP)",
                ),
            )
        },
        _JUMPS,
        harm=_SPIKE,
    ),
)

NUMBERS: tuple[Fault, ...] = (*_NON_FINITE, *_OVERFLOW, *_UNDERFLOW, *_INSTABILITY)
