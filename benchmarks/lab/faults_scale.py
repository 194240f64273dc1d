"""Faults of scale: inputs, targets, initial values and layers whose sizes do not fit together."""

from benchmarks.lab.configuration import Edits, Fault
from benchmarks.lab.edits import series, times

_ADAM = "torch.optim.Adam(model.parameters()"
_ADAMW = "torch.optim.AdamW(model.parameters()"


_START = ("initial_loss_mismatch",)
_SUM = ("initial_loss_mismatch", "learning_rate_too_high")
_SUMMED = (("loss = F.cross_entropy(output, y)", 'loss = F.cross_entropy(output, y, reduction="sum")'),)
_PROBABILITIES = (("loss = F.cross_entropy(output, y)", "loss = F.nll_loss(output.softmax(dim=1), y)"),)
_RAW = ("initial_loss_mismatch", "divergence", "learning_rate_too_high", "non_finite")
_RAW_ADAM = ("initial_loss_mismatch", "no_learning")

_INITIAL: tuple[Fault, ...] = (
    *(
        fault
        for base in ("deep_tanh", "resnet", "finetune_head")
        for fault in series("summed_loss", base, {"batch": _SUMMED}, _SUM, _START)
    ),
    *(
        fault
        for base in ("mlp_classifier", "lion_classifier", "resnet", "vit")
        for fault in series("loss_of_probabilities", base, {"all": _PROBABILITIES}, _START)
    ),
    *series("large_head", "text_bag", {f: times("model[-1].weight", f) for f in (50, 200)}, _START),
    *series("large_head", "deep_tanh", {f: times("model[-1].weight", f) for f in (50, 200)}, _START),
    *series("large_head", "vit", {f: times("model.head.weight", f) for f in (50,)}, _START),
    *series("large_head", "rezero", {f: times("model[-1].weight", f) for f in (50, 200)}, _START),
    *series("large_head", "deep_sigmoid", {f: times("model[-1].weight", f) for f in (50, 200)}, _START),
    *series(
        "raw_target",
        "mlp_regression",
        {
            f: (("mean, std = train_y.mean(), train_y.std()", f"mean, std = train_y.mean() - {f}, train_y.std()"),)
            for f in ("50", "500")
        },
        _RAW_ADAM,
    ),
    *series(
        "raw_target",
        "recommender",
        {f: (("return users, items, stars + 0.3", f"return users, items, {f} + stars + 0.3"),) for f in ("10", "100")},
        _RAW_ADAM,
    ),
    *series(
        "raw_target",
        "quantile_regression",
        {f: (("return x, signal + (", f"return x, {f} + signal + ("),) for f in ("10", "100")},
        (*_RAW_ADAM, "learning_rate_too_low"),
    ),
)

_INPUT = ("unscaled_input", "initial_loss_mismatch")


def _inputs(base: str, old: str, new: str, factors: tuple[str, ...]) -> tuple[Fault, ...]:
    return series("raw_input", base, {f: ((old, new.format(f)),) for f in factors}, _INPUT, ("unscaled_input",))


_INPUTS: tuple[Fault, ...] = (
    *_inputs("mlp_regression", "return (u - 0.5) * 12**0.5, y", "return {} * u, y", ("100", "1000")),
    *_inputs("huber_regression", "return x, signal", "return {} * x, signal", ("100", "1000")),
    *_inputs(
        "vit",
        "torch.randn(pictures.shape))[:, None], labels",
        "torch.randn(pictures.shape))[:, None] * {}, labels",
        ("255",),
    ),
    *_inputs("lion_classifier", "    return x, y\n", "    return {} * x, y\n", ("100", "1000")),
    *_inputs("tabular_binary", "return numbers, categories", "return {} * numbers, categories", ("100", "1000")),
    *_inputs("mlp_classifier", "    return x, y\n", "    return {} * x, y\n", ("100", "1000")),
    *_inputs("deep_sigmoid", "    return x, y\n", "    return {} * x, y\n", ("100", "1000")),
    *_inputs("poisson_regression", "return x, torch.poisson", "return {} * x, torch.poisson", ("100", "1000")),
    *_inputs("imbalanced", "    return x, y\n", "    return {} * x, y\n", ("100", "1000")),
)

_UNEVEN = ("layer_imbalance", "vanishing_gradient")
_LAYER = ("layer_imbalance", "frozen_parameter")


def _slow(optimizer: str, slow: str, others: str, factor: str) -> Edits:
    groups = f'[{{"params": {slow}, "lr": {factor} * LEARNING_RATE}}, {{"params": {others}}}]'
    return ((f"{optimizer}, lr", optimizer.replace("model.parameters()", f"{groups}, lr")),)


_UNBALANCED: tuple[Fault, ...] = (
    *series(
        "slow_group",
        "mlp_regression",
        {f: _slow(_ADAMW, "model[0].parameters()", "model[2:].parameters()", f) for f in ("1e-2", "1e-4")},
        _LAYER,
    ),
    *series(
        "slow_group",
        "autoencoder",
        {f: _slow(_ADAM, "model[5:].parameters()", "model[:5].parameters()", f) for f in ("1e-2", "1e-4")},
        _LAYER,
    ),
    *series(
        "slow_group",
        "mlp_classifier",
        {f: _slow(_ADAM, "model[:4].parameters()", "model[4:].parameters()", f) for f in ("1e-2", "1e-4")},
        _LAYER,
    ),
    *series(
        "slow_group",
        "multilabel",
        {f: _slow(_ADAM, "model[:4].parameters()", "model[4:].parameters()", f) for f in ("1e-2", "1e-4")},
        _LAYER,
    ),
    *series(
        "weak_module", "contrastive", {f: (("self.hidden2(x)", f"{f} * self.hidden2(x)"),) for f in ("1e-3",)}, _UNEVEN
    ),
    *series(
        "weak_module", "recommender", {f: (("self.hidden(x)", f"{f} * self.hidden(x)"),) for f in ("1e-3",)}, _UNEVEN
    ),
    *series(
        "weak_module",
        "tabular_binary",
        {f: (("self.hidden1(x)", f"{f} * self.hidden1(x)"),) for f in ("1e-3",)},
        _UNEVEN,
    ),
    *series(
        "weak_module", "sequence_tagger", {f: (("self.conv1(x)", f"{f} * self.conv1(x)"),) for f in ("1e-3",)}, _UNEVEN
    ),
    *series("strong_layer", "mlp_regression", {f: times("model[2].weight", f) for f in (30, 300)}, _UNEVEN),
    *series(
        "strong_layer",
        "distillation",
        {f: times("student[2].weight", f) for f in (30, 300)},
        (*_UNEVEN, "initial_loss_mismatch"),
    ),
    *series("strong_layer", "autoencoder", {f: times("model[4].weight", f) for f in (30, 300)}, _UNEVEN),
)

SCALE: tuple[Fault, ...] = (*_INITIAL, *_INPUTS, *_UNBALANCED)
