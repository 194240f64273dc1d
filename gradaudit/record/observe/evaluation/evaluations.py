"""Losses that a thread computed without a backward: the passes of an evaluation, and their rows."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from gradaudit.record.observe.evaluation import parts
from gradaudit.record.observe.evaluation.parts import Key, Part
from gradaudit.record.observe.evaluation.splits import current_part, rest
from gradaudit.record.observe.loss.calls import LossCall, wide

_PAUSE = 5.0  # times the shortest time between two losses of a pass


@dataclass
class _Split:
    total: Any = 0.0
    valid: Any = 0
    batches: int = 0
    training: int = -1
    loss: int = -1

    def add(self, other: Self) -> None:
        """Take in another part of the same data; of a second loss function nothing: the first one is the pass's."""
        if self.loss == other.loss:
            self.total, self.valid = self.total + other.total, self.valid + other.valid
            self.batches += other.batches


class Evaluations:
    """Losses that a thread computed without a backward, gathered into passes between its training steps."""

    def __init__(self) -> None:
        self.open: dict[Key, _Split] = {}
        self.supposed: dict[Key, _Split] = {}  # of losses that the next backward may tell to be the training's
        self._pass: dict[str, Any] = {}
        self._last = 0.0
        self._shortest = math.inf  # seconds between two losses of one pass
        # Of the rows that are written while the pass is open, by pass and split: batches, and what says which pass.
        self._written: dict[tuple[int, str], tuple[int, dict[str, Any]]] = {}
        self._looked: dict[tuple[int, str], int] = {}

    def begin(self, number: int, after_step: int, seconds: float) -> None:
        """Open a pass: its number, and the last training step with its time."""
        self._pass = {"pass": number, "after_step": after_step, "time": seconds}

    @property
    def begun(self) -> bool:
        """Whether a pass is open."""
        return bool(self._pass)

    def interrupted(self, after_step: int) -> bool:
        """Whether the open pass is over for a thread that does not train itself, now that it computes another loss.

        Steps were made meanwhile, and it paused for longer than between two batches, or half of the training is new.
        """
        advanced = after_step - int(self._pass["after_step"])
        paused = time.perf_counter() - self._last > _PAUSE * self._shortest
        return advanced > 0 and (paused or advanced > max(10, int(self._pass["after_step"])))

    def add(self, call: LossCall, training: int, part: Part | None = None, supposed: bool = False) -> None:
        """Add one evaluation loss; `part` is what it belongs to, else the script's source says it.

        What is only `supposed` to be one counts until `refute`, as far as the rows go that are written meanwhile.
        """
        now = time.perf_counter()
        if self.open or self.supposed:
            self._shortest = min(self._shortest, now - self._last)
        self._last = now
        key = parts.key_of(part or current_part())
        entries = self.supposed if supposed else self.open
        entry = entries.setdefault(key, _Split(training=training, loss=call.loss))
        entry.add(_Split(wide(call.mean) * call.valid, call.valid, 1, training, call.loss))
        while parts.crowded(key, entries):
            merged = _together([({each: parts.shortened(each) for each in entries}, entries)])
            entries.clear()
            entries.update(merged)

    def confirm(self) -> None:
        """What was supposed to be losses of an evaluation is."""
        self.open, self.supposed = self._all(), {}

    def refute(self) -> None:
        """What was supposed to be losses of an evaluation is not."""
        self.supposed = {}

    def _all(self) -> dict[Key, _Split]:
        keys = dict.fromkeys((*self.open, *self.supposed))
        crowded = {key for key in keys if parts.crowded(key, keys)} if self.supposed else set()
        names = {key: parts.shortened(key) if key in crowded else key for key in keys}
        return _together([(names, self.open), (names, self.supposed)])

    def forget(self, split: str, loss: int) -> None:
        """Drop what was seen of this split, or of no named one, but for this loss: the script says what it means."""
        of = (None, "evaluation", split)
        self.open = {key: entry for key, entry in self.open.items() if key.name not in of or entry.loss == loss}

    def close(self) -> list[dict[str, Any]]:
        """End the pass and return its rows; values may still be on the device."""
        rows = self.so_far(ended=True)
        self.open, self.supposed, self._written, self._pass = {}, {}, {}, {}
        rest()
        return rows

    def _splits(self, *, ended: bool = False) -> dict[str, _Split]:
        """What was found of each split of the open pass."""
        entries = self.open if ended else self._all()
        calls = {key: entry.batches for key, entry in entries.items()}
        return _together([(parts.labels(calls, ended=ended), entries)])

    def _batches(self, splits: dict[str, _Split]) -> dict[tuple[int, str], int]:
        return {(self._pass["pass"], split): entry.batches for split, entry in splits.items()}

    def is_unchanged(self) -> bool:
        """Whether nothing was added to the open pass since this was asked before, and its rows are not written."""
        before, self._looked = self._looked, self._batches(self._splits())
        written = {key: batches for key, (batches, _) in self._written.items() if batches}
        return before == self._looked != written

    def so_far(self, *, ended: bool = False) -> list[dict[str, Any]]:
        """The rows of the pass that are new since this was asked before; its `mean_loss` is still the total.

        They take the place of earlier rows of the pass. A split without batches is one that was written and
        is taken back.
        """
        splits = self._splits(ended=ended)
        rows, now = [], self._batches(splits)
        for (number, split), batches in now.items():
            entry = splits[split]
            if self._written.get((number, split), (0, {}))[0] != batches:
                numbers = {"targets": entry.valid, "batches": batches, "training": entry.training, "loss": entry.loss}
                rows.append({**self._pass, "split": split, "mean_loss": entry.total, **numbers})
                self._written[number, split] = batches, self._pass
        for key, (batches, of_pass) in list(self._written.items()):
            if batches and key not in now:
                nothing = {"mean_loss": 0.0, "targets": 0, "batches": 0, "training": -1, "loss": -1}
                rows.append({**of_pass, "split": key[1], **nothing})
                self._written[key] = 0, of_pass
        return rows


def _together(tables: Sequence[tuple[Mapping[Any, Any], Mapping[Any, _Split]]]) -> dict[Any, _Split]:
    """The sum of the entries of all tables under each of their new names."""
    found: dict[Any, _Split] = {}
    for names, entries in tables:
        for old, entry in entries.items():
            found.setdefault(names[old], _Split(training=entry.training, loss=entry.loss)).add(entry)
    return found
