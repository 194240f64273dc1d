"""What the laboratory trains: an ordinary script with a few edits (healthy), and the same with a fault in it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SCRIPTS = Path(__file__).parent / "scripts"
Half = Literal["development", "held-out", "unseen"]
HALVES: tuple[Half, ...] = ("unseen", "held-out", "development")
# Written for the second round, after the held-out half had been looked at: its families and its habits are others.
SECOND_ROUND = frozenset({
    "by_hand_language_model", "by_hand_mlp", "compiled_cnn", "compiled_gpt", "distillation_features", "double_dqn_grid",
    "dqn_pole", "lsgan_conditional", "mean_teacher", "multitask_trunk", "multitask_uncertainty", "ppo_continuous",
    "ppo_grid", "retrieval_in_batch", "retrieval_triplet", "tabular_steps", "tabular_uncalled", "vae_annealed",
    "vae_points", "wgan_penalty",
})  # fmt: skip
# Facts about schedules and labels: never the discovery of another fault.
NEVER_COUNT = ("learning_rate_schedule", "class_imbalance")
Edits = tuple[tuple[str, str], ...]  # (old, new) pairs; each old text must occur exactly once


@dataclass(frozen=True)
class Configuration:
    """A healthy training: the script `scripts/SCRIPT.py` with `edits`, in this order."""

    name: str
    script: str
    edits: Edits = ()

    @property
    def half(self) -> Half:
        """The half that its script belongs to."""
        return half_of(self.script)

    @property
    def text(self) -> str:
        """The script as it is run."""
        return edited((SCRIPTS / f"{self.script}.py").read_text(encoding="utf-8"), self.edits)


@dataclass(frozen=True)
class Fault:
    """A faulty training: the healthy configuration named `base`, with `edits` on top of its own.

    `accepted` names the diagnosers of which one must fire for the fault to count as found, `root` those of which one
    must stand first in the report. `dose` says how strong the fault is within the series called `fault` of one base.
    `harm` is "loss" where the fault costs at least a tenth of the attainable loss reduction (fault_costs.csv), and
    else says what it harms.
    """

    name: str
    base: str
    edits: Edits
    fault: str
    dose: float | str
    accepted: tuple[str, ...]
    root: tuple[str, ...]
    harm: str = "loss"


def half_of(script: str) -> Half:
    """Development or held out, by the parity of the name's SHA-256: fixed before any diagnoser saw a run.

    What is held out is "held-out" in the first round, which was looked at, and "unseen" in the second. A script is
    wholly in one half, with all its healthy and faulty configurations: that is not another learning rate of a known
    model, but models that no threshold was chosen on.
    """
    if hashlib.sha256(script.encode()).digest()[0] % 2 == 0:
        return "development"
    return "unseen" if script in SECOND_ROUND else "held-out"


def edited(text: str, edits: Edits) -> str:
    """`text` with every edit applied in order. Raises ValueError when an old text does not occur exactly once."""
    for old, new in edits:
        if (found := text.count(old)) != 1:
            raise ValueError(f"{old!r} occurs {found} times in the script, and an edit needs exactly one")
        text = text.replace(old, new)
    return text
