"""The id at the end of sequences whose label positions are ignored: padding, an end token, or both in one."""

from dataclasses import dataclass, field
from typing import Any

import numpy
import torch

from gradaudit.schema.loaders import PaddingFacts

INPUTS = ("input_ids", "inputs", "ids", "tokens", "input", "x")
TARGETS = ("labels", "targets", "target", "label", "y")
_ROWS = 64
_MOST_WIDTHS = 64


@dataclass
class Padding:
    """Counts so far; of an id that is ignored wherever it stands."""

    batches: int = 0
    padded: int = 0
    ids: set[int] = field(default_factory=set)  # kept in memory alone
    rows: int = 0
    ended: int = 0
    shortest: int = 0
    widths: set[int] = field(default_factory=set)
    attended: int = 0
    inside: int = 0
    learned: int = 0
    varied: int = 0
    labelled: bool = False  # batches hold labels themselves

    def look(self, tensors: dict[str, torch.Tensor]) -> None:
        """Look at a batch, by the places of its tensors."""
        whole = {name: each for name, each in tensors.items() if each.ndim == 2 and each.dtype == torch.int64}
        pair = _pair(whole)
        if pair is None:
            return
        self.labelled = True
        ids, labels = (each[:_ROWS].detach().numpy() for each in pair)
        mask = whole.get("attention_mask")
        attended = mask[:_ROWS].numpy() != 0 if mask is not None and mask.shape == pair[0].shape else None
        self._add(ids, labels < 0, attended, bool((labels == ids)[labels >= 0].all()))

    def look_at_targets(
        self, given: list[torch.Tensor], offset: int | None, target: torch.Tensor, ignored: int | None
    ) -> None:
        """Look at the targets of a loss, where they are the next ids of what the batch has, or are ignored."""
        if self.labelled or offset is None or not target.is_cpu or target.is_floating_point():
            return
        for each in given:
            pair = _next_ids(each, offset, target.detach(), -100 if ignored is None else ignored)
            if pair is not None:
                self._add(*pair, None, True)
                return

    def _add(self, ids: Any, ignored: Any, attended: Any, written: bool) -> None:
        """Count in a batch: [rows, positions] of ids, of whether their label is ignored, and is attended to.

        The labels of a text that is `written` are its ids: a tagger's are not.
        """
        if ids.shape[1] < 2:
            return
        self.batches += 1
        self.widths = self.widths if len(self.widths) >= _MOST_WIDTHS else self.widths | {ids.shape[1]}
        ends, counts = numpy.unique(ids[:, -1][ignored[:, -1]], return_counts=True)
        if not len(ends):
            return
        last = int(ends[counts.argmax()])
        here = ids == last
        learned = int((here & ~ignored).sum())
        self.learned += learned
        self.padded += 1
        if len(self.ids) < 2:
            self.ids.add(last)
        runs = _runs_at_the_end(here)
        self.rows += len(ids)
        self.ended += int((runs > 0).sum())
        self.shortest += int(runs.min()) == 1
        self.inside += _inside(here)
        self.varied += written and _varied(ids, runs)
        if attended is not None:
            self.attended += int((here & attended & ignored).sum())

    def facts(self) -> PaddingFacts:
        """What goes into run.json."""
        return PaddingFacts(
            batches=self.batches, padded=self.padded, one_id=len(self.ids) < 2, rows=self.rows, ended=self.ended,
            shortest=self.shortest, widths=len(self.widths), attended=self.attended, inside=self.inside,
            learned=self.learned, varied=self.varied,
        )  # fmt: skip


def _pair(tensors: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The ids and the labels of a batch, where labels of the same shape say by -100 which of them are ignored."""
    labels = next((tensors[name] for name in TARGETS if name in tensors), tensors.get("1"))
    ids = next((tensors[name] for name in INPUTS if name in tensors), tensors.get("0"))
    if ids is None or labels is None or ids.shape != labels.shape or ids is labels:
        return None
    return (ids, labels) if bool((labels < 0).any()) and bool((ids >= 0).all()) else None


def _next_ids(ids: torch.Tensor, offset: int, target: torch.Tensor, ignored: int) -> tuple[Any, Any] | None:
    """The ids that the targets of a loss are, at their places, and which of them are ignored; None of other targets."""
    rows, length = ids.shape
    width = target.numel() // rows
    if target.numel() % rows or target.ndim > 2 or (target.ndim == 2 and len(target) != rows):
        return None
    first, last = offset + 1, min(length, offset + 1 + width)
    if last - first < 2 or offset + width not in (length - 1, length):
        return None
    labels = target.reshape(rows, width)[:_ROWS, : last - first].numpy()
    behind = ids[:_ROWS, first:last].numpy()
    without = (labels == ignored) | (labels < 0)
    same = bool((labels == behind)[~without].all())
    return (behind, without) if same and without.any() and not without.all() else None


def _varied(ids: Any, runs: Any) -> bool:
    """Whether what stands before the run at the end of a row differs from row to row."""
    some = (runs > 0) & (runs < ids.shape[1])
    before = ids[some, ids.shape[1] - runs[some] - 1]
    return len(numpy.unique(before)) > 1


def _runs_at_the_end(here: Any) -> Any:
    """[rows]: how often the id stands at the end of each row."""
    away = ~here[:, ::-1]
    return numpy.where(away.any(axis=1), away.argmax(axis=1), here.shape[1])


def _inside(here: Any) -> int:
    """Positions with the id that have other ids before and behind them in their row."""
    before = numpy.logical_or.accumulate(~here, axis=1)
    behind = numpy.logical_or.accumulate(~here[:, ::-1], axis=1)[:, ::-1]
    return int((here & before & behind).sum())
