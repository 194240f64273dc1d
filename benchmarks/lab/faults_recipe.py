"""Faults of recipes: settings and layers that long trainings of large models go wrong by."""

from benchmarks.lab.configuration import Fault
from benchmarks.lab.edits import after_step, series

_EPS = ("epsilon_dominates", "learning_rate_too_low")


def _eps(base: str, doses: tuple[str, ...]) -> tuple[Fault, ...]:
    """An eps of Adam above the gradients: 0.1 and 1 come with recipes of image models."""
    edits = {eps: (("lr=LEARNING_RATE", f"lr=LEARNING_RATE, eps={eps}"),) for eps in doses}
    return series("large_eps", base, {**edits}, _EPS, _EPS[:1])


_LARGE_EPS: tuple[Fault, ...] = (
    *_eps("mlp_regression", ("0.1", "1")),
    *_eps("recommender", ("0.1", "1")),
    *_eps("tabular_binary", ("0.1", "1")),
    *_eps("mlp_classifier", ("0.1", "1")),
)

_HEAD = ("output_head_growth", "unstable_loss", "divergence")


def _growing(base: str, doses: tuple[str, ...]) -> tuple[Fault, ...]:
    """From step 100 on every step multiplies the weights of the head, as a rescaling that was meant to happen once."""
    edits = {dose: (after_step(f"model.head.weight.data.mul_({dose} if step > 100 else 1)"),) for dose in doses}
    return series("growing_head", base, {**edits}, _HEAD, _HEAD[:1])


_GROWING_HEAD: tuple[Fault, ...] = (
    *_growing("vit-cosine", ("1.02", "1.03")),
    *_growing("mixture_of_experts-adamw_cosine", ("1.01", "1.02")),
    *_growing("transformer_postnorm", ("1.03",)),
)

_TABLE = ("embedding_shrinkage", "excessive_weight_decay", "dead_embedding")


def _decayed(base: str, table: str, doses: tuple[str, ...]) -> tuple[Fault, ...]:
    """Weight decay, of AdamW, that acts on an embedding."""
    edits = {
        dose: (
            (
                "torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)",
                f"torch.optim.AdamW([{{'params': [p], 'weight_decay': {dose} * (p is {table})}} "
                "for p in model.parameters()], lr=LEARNING_RATE)",
            ),
        )
        for dose in doses
    }
    return series("decayed_table", base, {**edits}, _TABLE, _TABLE[:1])


_DECAYED_TABLE: tuple[Fault, ...] = (
    *_decayed("word_language_model", "model.embedding.weight", ("5", "30")),
    *_decayed("lstm_language_model", "model.embedding.weight", ("30",)),
    *_decayed("recommender", "model.users.weight", ("3", "10")),
)

_TWICE = ("twice_averaged_loss", "divergence", "loss_spike", "unstable_loss")


def _twice(base: str, rate: str, loss: str, rows: str, sizes: tuple[int, ...]) -> tuple[Fault, ...]:
    """A mean loss divided by the batch size, a learning rate that makes up for it, and every 20th batch a small one."""
    edits = {
        f"batch_{size}": (
            (f"{rows}, (BATCH,)", f"{rows}, (BATCH if step % 20 else {size},)"),
            (f"loss = {loss}\n", f"loss = {loss} / len(y)\n"),
            (f"lr={rate},", f"lr={rate} * BATCH,"),
        )
        for size in sizes
    }
    return series("mean_divided", base, {**edits}, _TWICE, _TWICE[:1])


_MEAN_DIVIDED: tuple[Fault, ...] = (
    *_twice("huber_regression", "LEARNING_RATE", "F.huber_loss(output, y, delta=DELTA)", "len(train_x)", (1, 2)),
    *_twice("deep_tanh", "LEARNING_RATE", "F.cross_entropy(output, y)", "len(train_x)", (1, 2)),
    *_twice("mlp_regression-nesterov", "0.02", "F.mse_loss(output, y)", "len(train_x)", (1, 2)),
    *_twice("tabular_uncalled-momentum", "0.1", "F.binary_cross_entropy_with_logits(output, y)", "len(train_y)", (2,)),
)

_REACH = ("unreachable_target",)


def _squashed(base: str, old: str, new: str) -> tuple[Fault, ...]:
    """A sigmoid at the end of a regression, as of a classifier that was copied."""
    return series("squashed_output", base, {"sigmoid": ((old, new),)}, _REACH)


_SQUASHED: tuple[Fault, ...] = (
    *_squashed("mlp_regression", "    nn.Linear(WIDTH, 1),\n", "    nn.Linear(WIDTH, 1),\n    nn.Sigmoid(),\n"),
    *_squashed("huber_regression", "    nn.Linear(WIDTH, 1),\n", "    nn.Linear(WIDTH, 1),\n    nn.Sigmoid(),\n"),
    *_squashed("recommender", "self.hidden(x))).squeeze(1)", "self.hidden(x))).squeeze(1).sigmoid()"),
)

RECIPE: tuple[Fault, ...] = (*_LARGE_EPS, *_GROWING_HEAD, *_DECAYED_TABLE, *_MEAN_DIVIDED, *_SQUASHED)
