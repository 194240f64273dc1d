"""Faults of wiring: parameters, gradients and modes that are not connected as they were meant to be."""

from benchmarks.lab.configuration import Fault
from benchmarks.lab.edits import before_training, rate, series

_ADAM = "torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)"
_ADAMW = "torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)"
_NO_ZERO = (("optimizer.zero_grad()", "pass"),)
_ZERO_LATE = (("    optimizer.zero_grad()\n    loss.backward()\n", "    loss.backward()\n    optimizer.zero_grad()\n"),)
_EVAL = (("    model.train()\n", "    model.eval()\n"),)
_BFLOAT16 = ("torch.set_num_threads(1)", "torch.set_num_threads(1)\ntorch.set_default_dtype(torch.bfloat16)")
_NOT_IN_LOSS = "Dropout or batch normalisation do not do in training what they were put there for"
_METRIC = "the validation loss is not that of the model as it is used"

_FROZEN = ("frozen_parameter",)
_DEAD_OR_FROZEN = ("frozen_parameter", "dead_embedding")
_RATE = ("frozen_parameter", "learning_rate_too_low")

_FROZEN_FAULTS: tuple[Fault, ...] = (
    *series(
        "missing_group",
        "mlp_regression",
        {"hidden": ((_ADAMW, "torch.optim.AdamW(model[4].parameters(), lr=LEARNING_RATE)"),)},
        _FROZEN,
    ),
    *series(
        "missing_group",
        "autoencoder",
        {"decoder": ((_ADAM, "torch.optim.Adam(model[:5].parameters(), lr=LEARNING_RATE)"),)},
        _FROZEN,
    ),
    *series(
        "missing_group",
        "rezero",
        {"blocks": ((_ADAM, "torch.optim.Adam([*model[0].parameters(), *model[-1].parameters()], lr=LEARNING_RATE)"),)},
        _FROZEN,
    ),
    *series(
        "missing_group",
        "gan",
        {"generator": (("optimizer_g = torch.optim.Adam(generator", "optimizer_g = torch.optim.Adam(discriminator"),)},
        _FROZEN,
    ),
    *series("made_again", "vit", {"model": (before_training("model = VisionTransformer()"),)}, _FROZEN),
    *series(
        "made_again",
        "cnn_batchnorm",
        {"copy": (before_training('model = __import__("copy").deepcopy(model)'),)},
        _FROZEN,
    ),
    *series("made_again", "segmentation", {"model": (before_training("model = UNet()"),)}, _FROZEN),
    *series(
        "detached",
        "sequence_tagger",
        {"convolutions": (("torch.relu(self.conv2(x))", "torch.relu(self.conv2(x)).detach()"),)},
        _DEAD_OR_FROZEN,
        _DEAD_OR_FROZEN,
    ),
    *series(
        "detached",
        "mixture_of_experts",
        {"stem": (("torch.relu(self.stem(x))", "torch.relu(self.stem(x)).detach()"),)},
        _FROZEN,
    ),
    *series("rate_zero", "poisson_regression", {0: (rate("0"),)}, _RATE, _RATE),
    *series("rate_zero", "lstm_language_model", {0: (rate("0"),)}, _RATE, _RATE),
    *series("zero_grad_late", "multilabel", {"all": _ZERO_LATE}, _FROZEN),
    *series("zero_grad_late", "gcn", {"all": _ZERO_LATE}, _FROZEN),
    *series(
        "requires_grad", "deep_tanh", {"six_layers": (before_training("model[:12].requires_grad_(False)"),)}, _FROZEN
    ),
    *series("requires_grad", "multilabel", {"hidden": (before_training("model[:4].requires_grad_(False)"),)}, _FROZEN),
    *series("bfloat16_weights", "deep_tanh", {1: (_BFLOAT16,), 0.1: (_BFLOAT16, rate("0.1"))}, _RATE, _RATE),
    *series(
        "bfloat16_weights",
        "mlp_classifier",
        {0.1: (_BFLOAT16, rate("0.1")), 0.03: (_BFLOAT16, rate("0.03"))},
        _RATE,
        _RATE,
    ),
    *series("bfloat16_weights", "huber_regression", {0.1: (_BFLOAT16, rate("0.1"))}, _RATE, _RATE),
)

_MODE_FAULTS: tuple[Fault, ...] = (
    *(
        fault
        for base in (
            "mlp_regression",
            "vit",
            "tabular_binary",
            "deep_tanh",
            "cnn_batchnorm",
            "autoencoder",
            "gru_language_model",
            "multilabel",
        )
        for fault in series("no_zero_grad", base, {"all": _NO_ZERO}, ("stale_gradient",))
    ),
    *(
        fault
        for base in ("gcn", "lstm_language_model", "transformer_prenorm", "cnn_batchnorm", "resnet")
        for fault in series("eval_in_training", base, {"all": _EVAL}, ("eval_mode_training",), harm=_NOT_IN_LOSS)
    ),
    *series(
        "eval_in_training",
        "tabular_binary",
        {"after_evaluation": (("        model.train()\n", ""),)},
        ("eval_mode_training",),
        harm=_NOT_IN_LOSS,
    ),
    *(
        fault
        for base in ("tabular_binary", "gcn", "transformer_postnorm", "cnn_batchnorm", "resnet", "transformer_prenorm")
        for fault in series(
            "train_in_evaluation",
            base,
            {"all": (("    model.eval()\n", ""),)},
            ("train_mode_evaluation",),
            harm=_METRIC,
        )
    ),
)


def _double(base: str, old: str, new: str) -> tuple[Fault, ...]:
    return series("activation_before_loss", base, {"all": ((old, new),)}, ("activation_before_loss",))


_SOFTMAX_FAULTS: tuple[Fault, ...] = (
    *_double(
        "mlp_classifier", "    nn.Linear(WIDTH, CLASSES),\n", "    nn.Linear(WIDTH, CLASSES),\n    nn.Softmax(dim=1),\n"
    ),
    *_double(
        "text_bag", "    nn.Linear(WIDTH, CLASSES),\n", "    nn.Linear(WIDTH, CLASSES),\n    nn.Softmax(dim=1),\n"
    ),
    *_double(
        "lion_classifier",
        "    nn.Linear(WIDTH, CLASSES),\n",
        "    nn.Linear(WIDTH, CLASSES),\n    nn.Softmax(dim=1),\n",
    ),
    *_double(
        "vit", "self.head(self.norm(self.layers(x))[:, 0])", "self.head(self.norm(self.layers(x))[:, 0]).softmax(dim=1)"
    ),
    *_double("gru_language_model", "return self.head(x)", "return self.head(x).softmax(dim=-1)"),
    *_double(
        "resnet",
        "self.head(self.blocks(x).mean(dim=(2, 3)))",
        "self.head(self.blocks(x).mean(dim=(2, 3))).softmax(dim=1)",
    ),
    *_double("tabular_binary", "return self.head(x).squeeze(1)", "return torch.sigmoid(self.head(x)).squeeze(1)"),
    *_double("multilabel", "    nn.Linear(WIDTH, TAGS),\n", "    nn.Linear(WIDTH, TAGS),\n    nn.Sigmoid(),\n"),
    *_double("imbalanced", "    nn.Linear(WIDTH, 1),\n", "    nn.Linear(WIDTH, 1),\n    nn.Sigmoid(),\n"),
)

_DEAD = ("dead_embedding", "frozen_parameter")
_SLOW = ("dead_embedding", "layer_imbalance")
_SGD = ("dead_embedding", "learning_rate_too_low")


def _slow_items(optimizer: str, others: str, factor: str) -> tuple[str, str]:
    groups = f'[{{"params": model.items.parameters(), "lr": {factor} * LEARNING_RATE}}, {{"params": {others}}}]'
    return f"torch.optim.{optimizer}(model.parameters()", f"torch.optim.{optimizer}({groups}"


_RECOMMENDER = "[*model.users.parameters(), *model.hidden.parameters(), *model.head.parameters()]"
_TOWERS = "[*model.users.parameters(), *model.user_tower.parameters(), *model.item_tower.parameters()]"

_EMBEDDING_FAULTS: tuple[Fault, ...] = (
    *series(
        "table_detached",
        "recommender",
        {"items": (("self.items(items)\n", "self.items(items).detach()\n"),)},
        _DEAD,
        _DEAD,
    ),
    *series(
        "table_frozen", "two_towers", {"items": (before_training("model.items.requires_grad_(False)"),)}, _DEAD, _DEAD
    ),
    *series(
        "table_detached",
        "skip_gram",
        {"contexts": (("self.contexts(contexts)).sum", "self.contexts(contexts).detach()).sum"),)},
        _DEAD,
        _DEAD,
    ),
    *series(
        "table_detached",
        "word_language_model",
        {"words": (("self.embedding(words)", "self.embedding(words).detach()"),)},
        _DEAD,
        _DEAD,
    ),
    *series("table_frozen", "text_bag", {"words": (before_training("model[0].requires_grad_(False)"),)}, _DEAD, _DEAD),
    *series(
        "table_slow",
        "recommender",
        {f: (_slow_items("Adam", _RECOMMENDER, f),) for f in ("1e-2", "1e-4")},
        _SLOW,
        _SLOW,
    ),
    *series(
        "table_slow", "two_towers", {f: (_slow_items("AdamW", _TOWERS, f),) for f in ("1e-2", "1e-4")}, _SLOW, _SLOW
    ),
    *series(
        "table_sgd",
        "recommender",
        {"0.1": ((_ADAM, "torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)"),)},
        _SGD,
        _SGD,
    ),
    *series(
        "table_sgd",
        "two_towers",
        {"0.1": ((_ADAMW, "torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)"),)},
        _SGD,
        _SGD,
    ),
    *series(
        "table_sgd",
        "text_bag",
        {
            "0.1": (
                (
                    "torch.optim.Adagrad(model.parameters(), lr=LEARNING_RATE)",
                    "torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)",
                ),
            )
        },
        _SGD,
        _SGD,
    ),
)

WIRING: tuple[Fault, ...] = (*_FROZEN_FAULTS, *_MODE_FAULTS, *_SOFTMAX_FAULTS, *_EMBEDDING_FAULTS)
