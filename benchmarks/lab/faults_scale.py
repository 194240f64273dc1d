"""Faults of scale: inputs, targets, initial values and layers whose sizes do not fit together."""

from benchmarks.lab.configuration import Edits, Fault
from benchmarks.lab.edits import before_training, series

_ADAM = "torch.optim.Adam(model.parameters()"
_ADAMW = "torch.optim.AdamW(model.parameters()"


def _times(weight: str, factor: float) -> Edits:
    """The initial value of `weight` multiplied by `factor`."""
    return (before_training(f"{weight}.data.mul_({factor:g})"),)


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
    *series("large_head", "text_bag", {f: _times("model[-1].weight", f) for f in (50, 200)}, _START),
    *series("large_head", "deep_tanh", {f: _times("model[-1].weight", f) for f in (50, 200)}, _START),
    *series("large_head", "vit", {f: _times("model.head.weight", f) for f in (50,)}, _START),
    *series("large_head", "rezero", {f: _times("model[-1].weight", f) for f in (50, 200)}, _START),
    *series("large_head", "deep_sigmoid", {f: _times("model[-1].weight", f) for f in (50, 200)}, _START),
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
    *series("strong_layer", "mlp_regression", {f: _times("model[2].weight", f) for f in (30, 300)}, _UNEVEN),
    *series(
        "strong_layer",
        "distillation",
        {f: _times("student[2].weight", f) for f in (30, 300)},
        (*_UNEVEN, "initial_loss_mismatch"),
    ),
    *series("strong_layer", "autoencoder", {f: _times("model[4].weight", f) for f in (30, 300)}, _UNEVEN),
)

_VANISHES = ("vanishing_gradient", "layer_imbalance")
_EXPLODES = ("exploding_gradient", "initial_loss_mismatch", "learning_rate_too_high", "layer_imbalance")
_DEEP = "*(layer for _ in range({}) for layer in (nn.Linear(WIDTH, WIDTH), nn.{}())),\n    nn.Linear(WIDTH, 1),\n"

_DEPTH: tuple[Fault, ...] = (
    *series("small_gain", "deep_tanh", {g: (("GAIN = 5 / 3", f"GAIN = {g}"),) for g in ("0.5", "0.3")}, _VANISHES),
    *series("too_deep", "deep_tanh", {20: (("LAYERS = 8", "LAYERS = 20"), ("GAIN = 5 / 3", "GAIN = 0.7"))}, _VANISHES),
    *series("small_gain", "deep_sigmoid", {g: (("GAIN = 4.0", f"GAIN = {g}"),) for g in ("2.0", "1.0")}, _VANISHES),
    *series(
        "too_deep",
        "deep_sigmoid",
        {n: (("LAYERS = 3", f"LAYERS = {n}"), ("GAIN = 4.0", "GAIN = 1.0")) for n in (6, 12)},
        _VANISHES,
    ),
    *series(
        "sigmoid_blocks",
        "rezero",
        {
            12: (
                (
                    "return x + self.gate * self.outer(torch.relu(self.inner(x)))",
                    "return torch.sigmoid(self.outer(torch.relu(self.inner(x))))",
                ),
            )
        },
        _VANISHES,
    ),
    *series("no_shortcut", "rezero", {12: (("return x + self.gate * self.outer", "return self.outer"),)}, _VANISHES),
    *series(
        "too_deep",
        "mlp_regression",
        {n: (("    nn.Linear(WIDTH, 1),\n", "    " + _DEEP.format(n, "Sigmoid")),) for n in (3, 8)},
        _VANISHES,
    ),
    *series(
        "too_deep",
        "huber_regression",
        {n: (("    nn.Linear(WIDTH, 1),\n", "    " + _DEEP.format(n, "ReLU")),) for n in (16,)},
        _VANISHES,
    ),
    *series(
        "too_deep",
        "poisson_regression",
        {n: (("    nn.Linear(WIDTH, 1),\n", "    " + _DEEP.format(n, "Sigmoid")),) for n in (6, 12)},
        _VANISHES,
    ),
    *series(
        "large_gain",
        "rezero",
        {f: (("torch.zeros(1)", f"torch.full((1,), {f})"),) for f in ("2.0", "5.0")},
        _EXPLODES,
        _EXPLODES[:2],
    ),
    *series(
        "large_gain",
        "deep_tanh",
        {g: (("GAIN = 5 / 3", f"GAIN = {g}"),) for g in ("5", "10")},
        ("exploding_gradient", "saturated_activation"),
        ("exploding_gradient", "saturated_activation"),
    ),
    *series(
        "large_gain",
        "autoencoder",
        {f: (before_training(f"torch._foreach_mul_([p.data for p in model.parameters()], {f})"),) for f in ("3", "10")},
        (*_EXPLODES, "divergence"),
        _EXPLODES[:2],
    ),
    *series(
        "large_gain",
        "siamese",
        {f: (before_training(f"torch._foreach_mul_([p.data for p in model.parameters()], {f})"),) for f in ("6",)},
        (*_EXPLODES, "divergence"),
        _EXPLODES[:2],
    ),
    *series(
        "large_gain",
        "vae",
        {f: (before_training(f"torch._foreach_mul_([p.data for p in model.parameters()], {f})"),) for f in ("6",)},
        (*_EXPLODES, "divergence", "non_finite"),
        _EXPLODES[:2],
    ),
)


def _noise(base: str, init: str, width: str, old: str, factors: tuple[str, ...]) -> tuple[Fault, ...]:
    """A linear layer beside `old` that is fed with nothing but noise."""
    made = (init, f"{init}        self.extra = nn.Linear({width})\n")
    return series(
        "noise_module",
        base,
        {f: (made, (old, f"{old} + {f} * self.extra(torch.randn(len(x), {width.split(', ')[0]}))")) for f in factors},
        ("noise_module",),
    )


_NOISY: tuple[Fault, ...] = (
    *_noise(
        "tabular_binary",
        "        self.head = nn.Linear(width, 1)\n",
        "64, 64",
        "torch.relu(self.hidden2(x))",
        ("3", "10"),
    ),
    *_noise(
        "recommender", "        self.head = nn.Linear(32, 1)\n", "32, 32", "torch.relu(self.hidden(x))", ("3", "10")
    ),
    *_noise(
        "contrastive",
        "        self.hidden2 = nn.Linear(WIDTH, WIDTH)\n",
        "WIDTH, WIDTH",
        "torch.relu(self.hidden2(x))",
        ("3", "10"),
    ),
    *_noise(
        "diffusion", "        self.head = nn.Linear(WIDTH, 2)\n", "WIDTH, WIDTH", "F.silu(self.hidden3(x))", ("3", "10")
    ),
)

_DEAD = ("dead_relu",)


def _bias(layer: str, doses: tuple[int, ...]) -> dict[float | str, Edits]:
    return {dose: (before_training(f"nn.init.constant_({layer}.bias, {dose})"),) for dose in doses}


_ACTIVATIONS: tuple[Fault, ...] = (
    *series("dead_units", "mlp_regression", _bias("model[2]", (-1, -3, -10)), _DEAD),
    *series("dead_units", "huber_regression", _bias("model[2]", (-1, -3, -10)), _DEAD),
    *series("dead_units", "siamese", _bias("model[2]", (-1, -3)), _DEAD),
    *series("dead_units", "mlp_classifier", _bias("model[4]", (-1, -3, -10)), _DEAD),
    *series("dead_units", "poisson_regression", _bias("model[2]", (-1, -3)), _DEAD),
    *series("dead_units", "quantile_regression", _bias("model[2]", (-1, -3)), _DEAD),
    *series(
        "saturated",
        "word_language_model",
        {f: _times("model.hidden.weight", f) for f in (10, 50)},
        ("saturated_activation",),
    ),
    *series(
        "saturated",
        "deep_tanh",
        {"20": (("GAIN = 5 / 3", "GAIN = 20"),), "50": (("GAIN = 5 / 3", "GAIN = 50"),)},
        ("saturated_activation", "exploding_gradient"),
        ("saturated_activation",),
    ),
    *series(
        "saturated",
        "deep_sigmoid",
        {g: (("GAIN = 4.0", f"GAIN = {g}"),) for g in ("40", "200")},
        ("saturated_activation",),
    ),
    *series(
        "saturated_output",
        "mlp_regression",
        {
            f: (
                ("    nn.Linear(WIDTH, 1),\n", "    nn.Linear(WIDTH, 1),\n    nn.Tanh(),\n"),
                before_training(f"nn.init.constant_(model[4].bias, {f})"),
            )
            for f in ("10",)
        },
        ("saturated_activation",),
    ),
    *series(
        "saturated_output",
        "quantile_regression",
        {
            f: (
                ("    nn.Linear(WIDTH, 3),\n", "    nn.Linear(WIDTH, 3),\n    nn.Tanh(),\n"),
                before_training(f"nn.init.constant_(model[4].bias, {f})"),
            )
            for f in ("10",)
        },
        ("saturated_activation",),
    ),
    *series(
        "saturated",
        "mlp_classifier",
        {
            f: (
                ("torch.set_num_threads(1)", "torch.set_num_threads(1)\nnn.ReLU = nn.Tanh"),
                before_training(f"torch._foreach_mul_([p.data for p in model[:6].parameters()], {f})"),
            )
            for f in ("30", "100")
        },
        ("saturated_activation", "exploding_gradient"),
        ("saturated_activation",),
    ),
)

SCALE: tuple[Fault, ...] = (*_INITIAL, *_INPUTS, *_UNBALANCED, *_DEPTH, *_NOISY, *_ACTIVATIONS)
