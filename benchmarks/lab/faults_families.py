"""Faults of the second round's families: targets that move, several losses, pairs, tables, no optimizer, a compiler."""

from benchmarks.lab.configuration import Fault
from benchmarks.lab.edits import Edit, before_training, on_batch, rate, series

_HIGH = ("learning_rate_too_high", "divergence", "non_finite")
_LOW = ("learning_rate_too_low",)
_BROADCAST = ("broadcast_loss", "no_learning")
_NOTHING = ("no_learning", "no_signal")
_SHUFFLED = ("no_signal", "no_learning")
_TABLE = ("dead_embedding", "frozen_parameter")

_EVAL = ("    model.train()\n", "    model.eval()\n")
_NEVER_EVAL = ("    model.eval()\n", "")
_VALUE_HARM = "the value, which learns nothing or no more than the mean of all returns; the policy may hide it"
_MODE_HARM = "Dropout or batch normalisation do not do in training what they were put there for"
_METRIC_HARM = "the validation loss is not that of the model as it is used"
_FEW_HARM = "the normalisation, which sees too few values to know their mean and spread; the loss may hide it"


def _one(
    mechanism: str, base: str, dose: str, edit: Edit, accepted: tuple[str, ...], *more: Edit, harm: str = "loss"
) -> tuple[Fault, ...]:
    """A fault of a single dose."""
    return series(mechanism, base, {dose: (edit, *more)}, accepted, harm=harm)


def _high(base: str, *factors: str) -> tuple[Fault, ...]:
    return series("rate_high", base, {f: (rate(f),) for f in factors}, _HIGH)


def _low(base: str, *factors: str) -> tuple[Fault, ...]:
    return series("rate_low", base, {f"over_{f}": (rate(f"1 / {f}"),) for f in factors}, _LOW)


def _stale(base: str, old: str = "optimizer.zero_grad()") -> tuple[Fault, ...]:
    """Gradients that are never zeroed."""
    return _one("no_zero_grad", base, "all", (old, "pass"), ("stale_gradient",))


def _only(base: str, dose: str, new: str, old: str = "(model.parameters()") -> tuple[Fault, ...]:
    """An optimizer that was given `new` in place of `old`; `dose` says what it lacks or has."""
    return _one("missing_group", base, dose, (old, f"({new}"), ("frozen_parameter",))


def _of_generator(base: str, mechanism: str, factor: str, accepted: tuple[str, ...]) -> tuple[Fault, ...]:
    """Another learning rate of the generator alone."""
    edit = ("generator.parameters(), lr=", f"generator.parameters(), lr={factor} * ")
    return _one(mechanism, base, factor, edit, accepted)


_REINFORCEMENT: tuple[Fault, ...] = (
    *_high("double_dqn_grid", "30"),
    *_stale("double_dqn_grid"),
    *_only("double_dqn_grid", "body", "model[4].parameters()"),
    *_high("dqn_pole", "30"),
    *_low("dqn_pole", "100"),
    *_one(
        "dead_units",
        "dqn_pole",
        "-10",
        before_training("nn.init.constant_(model[2].bias, -10)"),
        ("dead_relu",),
    ),
    *_high("ppo_grid", "30"),
    *_one(
        "broadcast_value",
        "ppo_grid",
        "all",
        ("F.mse_loss(value, returns", "F.mse_loss(value[:, None], returns"),
        _BROADCAST,
        harm=_VALUE_HARM,
    ),
    # 513 examples in batches of 128 leave a last one of a single example, whose standard deviation is NaN.
    *_one(
        "batch_of_one",
        "ppo_grid",
        "513",
        ("WALKERS = 16", "WALKERS = 27"),
        ("non_finite",),
        ("HORIZON = 32", "HORIZON = 19"),
    ),
    *_one(
        "missing_group",
        "ppo_continuous",
        "critic",
        ("(critic.parameters()", "(actor.parameters()"),
        ("frozen_parameter",),
        harm=_VALUE_HARM,
    ),
    *_low("ppo_continuous", "100"),
    *_one(
        "broadcast_value",
        "ppo_continuous",
        "all",
        ("critic(states[rows]).squeeze(1), y", "critic(states[rows]), y"),
        _BROADCAST,
        harm=_VALUE_HARM,
    ),
    *_stale("ppo_continuous"),
)

_GENERATIVE: tuple[Fault, ...] = (
    *_high("vae_points", "30"),
    *_only("vae_points", "encoder", "model.decoder.parameters()"),
    *_high("vae_annealed", "30"),
    # The reconstruction is averaged over the pixels and the divergence is not: the code says nothing.
    *_one(
        "posterior_collapse",
        "vae_annealed",
        "mean",
        ('(output, x, reduction="none").flatten(1).sum(', '(output, x, reduction="none").flatten(1).mean('),
        _NOTHING,
    ),
    *_only("vae_annealed", "decoder", "[*model.encoder.parameters(), *model.mean.parameters()]"),
    *_only("wgan_penalty", "generator", "critic.parameters()", "(generator.parameters()"),
    *_of_generator("wgan_penalty", "rate_low", "1e-2", _LOW),
    *_one(
        "dead_units",
        "wgan_penalty",
        "-10",
        ("@torch.no_grad()\n", "nn.init.constant_(generator[2].bias, -10)\n\n\n@torch.no_grad()\n"),
        ("dead_relu",),
    ),
    *_only("lsgan_conditional", "generator", "discriminator.parameters()", "(generator.parameters()"),
    *_of_generator("lsgan_conditional", "rate_low", "1e-2", _LOW),
    *_of_generator("lsgan_conditional", "rate_high", "100", _HIGH),
)

_PLAIN = "torch.randn(shape.shape))[:, None], y"
_SEVERAL: tuple[Fault, ...] = (
    *_one(
        "activation_before_loss",
        "multitask_trunk",
        "kind",
        ("return self.kind(x),", "return self.kind(x).softmax(dim=1),"),
        ("activation_before_loss",),
    ),
    *_one("broadcast_loss", "multitask_trunk", "amount", ("(x).squeeze(1), self.pre", "(x), self.pre"), _BROADCAST),
    *_one("train_in_evaluation", "multitask_trunk", "all", _NEVER_EVAL, ("train_mode_evaluation",), harm=_METRIC_HARM),
    *_one("eval_in_training", "multitask_trunk", "all", _EVAL, ("eval_mode_training",), harm=_MODE_HARM),
    *_high("multitask_uncertainty", "30"),
    *_stale("multitask_uncertainty"),
    *_only("multitask_uncertainty", "trunk", "[*model.height.parameters(), *model.width.parameters()]"),
    *_one(
        "raw_input",
        "multitask_uncertainty",
        "255",
        (f"(shape + 0.1 * {_PLAIN}", f"255 * (shape + 0.1 * {_PLAIN}"),
        ("unscaled_input", "initial_loss_mismatch"),
    ),
    *_low("mean_teacher", "100"),
    *_one("eval_in_training", "mean_teacher", "all", _EVAL, ("eval_mode_training",), harm=_MODE_HARM),
    *_one("weight_decay", "mean_teacher", "0.3", ("=1e-3)", "=0.3)"), ("excessive_weight_decay",)),
    *_one(
        "activation_before_loss",
        "distillation_features",
        "labels",
        ("F.cross_entropy(output, y)", "F.cross_entropy(output.softmax(dim=1), y)"),
        ("activation_before_loss",),
    ),
    *_low("distillation_features", "100"),
    *_high("distillation_features", "100"),
    *_one(
        "few_examples", "distillation_features", "60", ("make_examples(10_000)", "make_examples(60)"), ("overfitting",)
    ),
)

_PAIRS: tuple[Fault, ...] = (
    *_high("retrieval_triplet", "100"),
    *_low("retrieval_triplet", "100"),
    *series(
        "table_frozen",
        "retrieval_triplet",
        {"words": (before_training("model.words.requires_grad_(False)"),)},
        _TABLE,
        _TABLE,
    ),
    *series(
        "shuffled_labels",
        "retrieval_triplet",
        {"1.0": (on_batch("y = y[torch.randperm(len(y))]"),)},
        _SHUFFLED,
        _SHUFFLED,
    ),
    *_high("retrieval_in_batch", "100"),
    *series(
        "shuffled_labels", "retrieval_in_batch", {"1.0": (on_batch("y = y.roll(1, dims=0)"),)}, _SHUFFLED, _SHUFFLED
    ),
    *_one("few_examples", "retrieval_in_batch", "100", ("make_pairs(8000)", "make_pairs(100)"), ("overfitting",)),
    *series(
        "table_detached",
        "retrieval_in_batch",
        {"words": (("self.words(captions).mean", "self.words(captions).detach().mean"),)},
        _TABLE,
        _TABLE,
    ),
)

_TABLES: tuple[Fault, ...] = (
    *_one(
        "activation_before_loss",
        "tabular_uncalled",
        "all",
        ("return self.head(x).squeeze(1)", "return torch.sigmoid(self.head(x)).squeeze(1)"),
        ("activation_before_loss",),
    ),
    *_only("tabular_uncalled", "head", "model.head.parameters()"),
    *series(
        "shuffled_labels",
        "tabular_uncalled",
        {"1.0": (("train_numbers[rows], train_y[rows]\n", "train_numbers[rows], train_y[rows.roll(1)]\n"),)},
        _SHUFFLED,
        _SHUFFLED,
    ),
    *_stale("tabular_uncalled"),
    *_one("eval_in_training", "tabular_steps", "all", _EVAL, ("eval_mode_training",), harm=_MODE_HARM),
    *_one("train_in_evaluation", "tabular_steps", "all", _NEVER_EVAL, ("train_mode_evaluation",), harm=_METRIC_HARM),
    *_one(
        "small_batch",
        "tabular_steps",
        "4",
        ("BATCH = 128", "BATCH = 4"),
        ("small_batch_normalization",),
        harm=_FEW_HARM,
    ),
    *series(
        "early_decay",
        "tabular_steps",
        {"5": (("100, gamma=0.8", "5, gamma=0.5"),)},
        ("premature_plateau", "learning_rate_too_low"),
        ("premature_plateau",),
    ),
)

_RATE, _EACH = "LEARNING_RATE = 0.05", "for parameter in parameters:"
_BY_HAND: tuple[Fault, ...] = (
    *_one("rate_high", "by_hand_mlp", "10", (_RATE, "LEARNING_RATE = 0.5"), _HIGH),
    *_one("rate_low", "by_hand_mlp", "over_100", (_RATE, "LEARNING_RATE = 5e-4"), _LOW),
    *_stale("by_hand_mlp", "parameter.grad.zero_()"),
    *_one("missing_group", "by_hand_mlp", "first", (_EACH, "for parameter in parameters[4:]:"), ("frozen_parameter",)),
    *series(
        "clipping",
        "by_hand_language_model",
        {"0.02": (("MAX_NORM = 0.5", "MAX_NORM = 0.02"),)},
        ("constant_clipping", "learning_rate_too_low"),
        ("constant_clipping",),
    ),
    *_one("rate_low", "by_hand_language_model", "over_30", ("LEARNING_RATE = 6.0", "LEARNING_RATE = 0.2"), _LOW),
    *_one(
        "missing_group",
        "by_hand_language_model",
        "gru",
        ("parameter in model.parameters()", "parameter in [model.letters.weight, *model.head.parameters()]"),
        ("frozen_parameter",),
    ),
    *_stale("by_hand_language_model", "model.zero_grad()"),
)

_FLAT = "return output, F.cross_entropy(output.flatten(0, 1)"
_COMPILED: tuple[Fault, ...] = (
    *_high("compiled_gpt", "30"),
    *_one(
        "activation_before_loss", "compiled_gpt", "all", (_FLAT, f"{_FLAT}.softmax(dim=1)"), ("activation_before_loss",)
    ),
    *_one(
        "large_head",
        "compiled_gpt",
        "30",
        before_training("network.head.weight.data.mul_(30)"),
        ("initial_loss_mismatch",),
    ),
    *_one(
        "endless_warmup",
        "compiled_gpt",
        "3000",
        ("WARMUP = 30", "WARMUP = 3000"),
        ("learning_rate_schedule", "learning_rate_too_low"),
    ),
    *_one(
        "activation_before_loss",
        "compiled_cnn",
        "all",
        ("    nn.Linear(32, CLASSES),\n", "    nn.Linear(32, CLASSES),\n    nn.Softmax(dim=1),\n"),
        ("activation_before_loss",),
    ),
    *_one("eval_in_training", "compiled_cnn", "all", _EVAL, ("eval_mode_training",), harm=_MODE_HARM),
    *_stale("compiled_cnn"),
    *_low("compiled_cnn", "100"),
)

FAMILIES: tuple[Fault, ...] = (
    *_REINFORCEMENT,
    *_GENERATIVE,
    *_SEVERAL,
    *_PAIRS,
    *_TABLES,
    *_BY_HAND,
    *_COMPILED,
)
