"""Faults of layers: depth that loses or blows up the gradient, noise, dead and saturated units."""

from benchmarks.lab.configuration import Edits, Fault
from benchmarks.lab.edits import before_training, series, times

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
        ("30", "100"),
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
    *series(
        "noise_module",
        "rezero",
        {
            f: (
                (
                    "        self.gate = nn.Parameter(torch.zeros(1))\n",
                    "        self.gate = nn.Parameter(torch.zeros(1))\n        self.extra = nn.Linear(WIDTH, WIDTH)\n",
                ),
                ("return x + self.gate", f"return x + {f} * self.extra(torch.randn_like(x)) + self.gate"),
            )
            for f in ("0.5", "2")
        },
        ("noise_module",),
    ),
    *series(
        "noise_module",
        "sequence_tagger",
        {
            f: (
                (
                    "        self.head = nn.Linear(WIDTH, 3)\n",
                    "        self.head = nn.Linear(WIDTH, 3)\n        self.extra = nn.Linear(WIDTH, WIDTH)\n",
                ),
                (
                    "x, _ = self.gru(x.transpose(1, 2))",
                    f"x, _ = self.gru(x.transpose(1, 2) + {f} * self.extra(torch.randn(len(x), LENGTH, WIDTH)))",
                ),
            )
            for f in ("3", "10")
        },
        ("noise_module",),
    ),
    *_noise(
        "diffusion",
        "        self.head = nn.Linear(WIDTH, 2)\n",
        "WIDTH, WIDTH",
        "F.silu(self.hidden3(x))",
        ("30", "100"),
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
        {f: times("model.hidden.weight", f) for f in (10, 50)},
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

LAYERS: tuple[Fault, ...] = (*_DEPTH, *_NOISY, *_ACTIVATIONS)
