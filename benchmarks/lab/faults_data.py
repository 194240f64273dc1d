"""Faults of data: labels, inputs and sets that cannot teach what is asked, or teach it too well."""

from benchmarks.lab.configuration import Edits, Fault
from benchmarks.lab.edits import before_training, on_batch, series

_NOTHING = ("no_learning", "no_signal")
_SHUFFLED = ("no_signal", "no_learning")
_BLIND = ("no_learning", "no_signal", "frozen_parameter", "dead_embedding")
_ZEROS = (on_batch("x = torch.zeros_like(x)"),)

_CONSTANT: tuple[Fault, ...] = (
    *(
        fault
        for base, old, new in (
            ("mlp_regression", "output = model(x).squeeze(1)", "output = model(x)"),
            ("huber_regression", "output = model(x).squeeze(1)", "output = model(x)"),
            ("poisson_regression", "output = model(x).squeeze(1)", "output = model(x)"),
        )
        for fault in series("broadcast_loss", base, {"all": ((old, new),)}, _NOTHING, _NOTHING)
    ),
    *(
        fault
        for base in ("deep_tanh", "lion_classifier", "multilabel", "mlp_classifier", "quantile_regression")
        for fault in series("blank_input", base, {"all": _ZEROS}, _BLIND, _BLIND[:3])
    ),
)


def _strangers(*shares: str) -> dict[float | str, Edits]:
    return {
        share: (on_batch(f"y = torch.where(torch.rand(len(y)) < {share}, y[torch.randperm(len(y))], y)"),)
        for share in shares
    }


_SIGNAL: tuple[Fault, ...] = (
    *series("shuffled_labels", "mlp_regression", _strangers("0.5", "1.0"), _SHUFFLED, _SHUFFLED),
    *series("shuffled_labels", "mixture_of_experts", _strangers("0.5", "1.0"), _SHUFFLED, _SHUFFLED),
    *series("shuffled_labels", "vit", _strangers("1.0"), _SHUFFLED, _SHUFFLED),
    *series("shuffled_labels", "text_bag", _strangers("0.5", "1.0"), _SHUFFLED, _SHUFFLED),
    *series("shuffled_labels", "mlp_classifier", _strangers("0.5", "1.0"), _SHUFFLED, _SHUFFLED),
    *series("shuffled_labels", "poisson_regression", _strangers("0.5", "1.0"), _SHUFFLED, _SHUFFLED),
    *series("shuffled_labels", "imbalanced", _strangers("1.0"), _SHUFFLED, _SHUFFLED),
)

_BETTER = ("validation_better_than_train",)
_EASIER = "nothing but the trust in the validation loss, which is measured on easier examples"

_EASY: tuple[Fault, ...] = (
    *(
        fault
        for base in ("mlp_regression", "lion_classifier", "mlp_classifier", "multilabel")
        for fault in series(
            "noisy_training_inputs",
            base,
            {f: (on_batch(f"x = x + {f} * torch.randn_like(x)"),) for f in ("1.0", "2.0")},
            _BETTER,
            harm=_EASIER,
        )
    ),
    *(
        fault
        for base, old in (
            ("tabular_binary", "DROPOUT = 0.2"),
            ("gcn", "DROPOUT = 0.5"),
            ("transformer_prenorm", "DROPOUT = 0.1"),
        )
        for fault in series("too_much_dropout", base, {0.8: ((old, "DROPOUT = 0.8"),)}, _BETTER, harm=_EASIER)
    ),
)

_MEMORY = ("overfitting",)


def _few(base: str, name: str, old: str, *counts: int) -> tuple[Fault, ...]:
    line = f"train_x, train_y = {name}("
    return series("few_examples", base, {n: ((f"{line}{old})", f"{line}{n})"),) for n in counts}, _MEMORY)


_OVERFITTING: tuple[Fault, ...] = (
    *_few("mlp_regression", "make_examples", "5000", 50, 200),
    *_few("lion_classifier", "make_examples", "6000", 60),
    *_few("text_bag", "make_documents", "6000", 100, 400),
    *series("few_examples", "recommender", {2000: (("make_ratings(40_000)", "make_ratings(2000)"),)}, _MEMORY),
    *series("few_examples", "word_language_model", {1000: (("windows[:36_000]", "windows[:1000]"),)}, _MEMORY),
    *_few("mlp_classifier", "make_examples", "6000", 60, 200),
    *_few("multilabel", "make_examples", "10_000", 100, 400),
    *_few("poisson_regression", "make_examples", "8000", 100, 400),
    *_few("imbalanced", "make_transactions", "20_000", 300),
)

_SMALL = ("small_batch_normalization",)
_FEW_VALUES = "the normalisation, which sees too few values to know their mean and spread; the loss may hide it"


def _small(old: str, new: str, batch: str, size: int) -> Edits:
    return ((old, new), (f"BATCH = {batch}", f"BATCH = {size}"))


_FIRST = "    nn.Linear(20, WIDTH),\n"
_NORMED = "    nn.Linear(20, WIDTH),\n    nn.BatchNorm1d(WIDTH),\n"

_BATCHES: tuple[Fault, ...] = (
    *series(
        "small_batch",
        "lion_classifier",
        {n: _small(_FIRST, _NORMED, "64", n) for n in (2, 4)},
        _SMALL,
        harm=_FEW_VALUES,
    ),
    *series(
        "small_batch", "mlp_classifier", {n: _small(_FIRST, _NORMED, "64", n) for n in (2, 4)}, _SMALL, harm=_FEW_VALUES
    ),
    *series(
        "small_batch",
        "multilabel",
        {4: _small("    nn.LayerNorm(WIDTH),\n", "    nn.BatchNorm1d(WIDTH),\n", "64", 4)},
        _SMALL,
        harm=_FEW_VALUES,
    ),
    *series(
        "small_batch",
        "contrastive",
        {4: _small("nn.LayerNorm(WIDTH)", "nn.BatchNorm1d(WIDTH)", "64", 4)},
        _SMALL,
        harm=_FEW_VALUES,
    ),
    *series(
        "small_batch",
        "mlp_regression",
        {4: _small("    nn.Linear(10, WIDTH),\n", "    nn.Linear(10, WIDTH),\n    nn.BatchNorm1d(WIDTH),\n", "64", 4)},
        _SMALL,
        harm=_FEW_VALUES,
    ),
)

_RARE = ("class_imbalance", "no_learning")


def _one_class(share: str) -> Edits:
    """Training labels of which all but `share` of the other classes are the first class."""
    return (
        before_training(
            f"keep = (train_y == 0) | (torch.rand(len(train_y)) < {share})\n"
            "train_x, train_y = train_x[keep], train_y[keep]"
        ),
    )


_LABELS: tuple[Fault, ...] = (
    *(
        fault
        for base, share in (
            ("lion_classifier", "0.005"),
            ("deep_tanh", "0.005"),
            ("text_bag", "0.005"),
            ("mlp_classifier", "0.005"),
            ("deep_sigmoid", "0.005"),
        )
        for fault in series("one_class", base, {share: _one_class(share)}, _RARE, _RARE)
    ),
)

DATA: tuple[Fault, ...] = (*_CONSTANT, *_SIGNAL, *_EASY, *_OVERFITTING, *_BATCHES, *_LABELS)
