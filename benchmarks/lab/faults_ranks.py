"""Faults of data-parallel training: the two ranks hold different models, and each trains its own."""

from benchmarks.lab.configuration import Edits, Fault
from benchmarks.lab.edits import series

# Rank 0 is the one that prints and is saved: its loss is little worse than without the fault.
_APART = "replicas train apart"
_MLP_SEED = "    torch.manual_seed(RANKS * SEED + rank)\n"
_LANGUAGE_SEED = "    torch.manual_seed(RANKS * SEED + rank)  # each rank draws its own windows\n"


def _apart(mechanism: str, base: str, dose: str, *edits: tuple[str, str]) -> tuple[Fault, ...]:
    doses: dict[float | str, Edits] = {dose: edits}
    return series(mechanism, base, doses, ("rank_divergence",), harm=_APART)


RANKS: tuple[Fault, ...] = (
    *_apart("unwrapped", "ddp_mlp", "all", ("output = model(x)", "output = network(x)")),
    *_apart(
        "own_weights",
        "ddp_mlp",
        "head",
        (_MLP_SEED, f"{_MLP_SEED}    nn.init.xavier_uniform_(network[-1].weight)\n"),
    ),
    *_apart(
        "schedule_of_one_rank",
        "ddp_cnn",
        "0",
        ("        scheduler.step()\n", "        if rank == 0:\n            scheduler.step()\n"),
    ),
    # The rate was to grow with the number of ranks.
    *_apart("rate_by_rank", "ddp_cnn", "all", ("lr=LEARNING_RATE", "lr=LEARNING_RATE * (1 + rank) / RANKS")),
    *_apart(
        "never_averaged",
        "ddp_language_model",
        "all",
        ("micro_step == MICRO_STEPS - 1\n", "micro_step == MICRO_STEPS\n"),
    ),
    *_apart(
        "own_weights",
        "ddp_language_model",
        "head",
        (_LANGUAGE_SEED, f"{_LANGUAGE_SEED}    nn.init.normal_(model.module.head.weight, std=0.02)\n"),
    ),
)
