"""Audits side by side: what changed in the configuration, in the findings and in each layer, the first one the base."""

import math
from collections.abc import Iterator, Sequence
from typing import Literal

from gradaudit.audit import Audit, Face, Outcome
from gradaudit.derived.wording import names, number, percent
from gradaudit.differences import Change, changes
from gradaudit.findings import Finding, Series, Severity, Value
from gradaudit.overview import ParameterRow
from gradaudit.schema import UserError

COMPARISON_VERSION = 1
MOST_RUNS = 26
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Status = Literal["new", "worse", "fixed", "still", "unknown"]


class Followed(Value, frozen=True, kw_only=True):
    """What became of the findings of one diagnoser from the base to another run.

    *worse* is found in both and more severe in the other; *unknown* was found in the base and the
    other did not look.
    """

    diagnoser: str
    status: Status
    before: Severity | None
    after: Severity | None
    headline: str
    remark: str = ""  # why it is unknown, or that the base did not look


class Shift(Value, frozen=True, kw_only=True):
    """One parameter tensor in the base and another run; decades are log10 of after over before."""

    tensor: str
    role: str
    gradient: tuple[float | None, float | None]  # RMS per element
    gradient_decades: float | None
    ratio: tuple[float | None, float | None]  # |update| / |weight|
    ratio_decades: float | None


class Pair(Value, frozen=True, kw_only=True):
    """The base and one other run."""

    label: str
    verdict: str
    findings: list[Followed]
    shifts: list[Shift]  # those that changed most first
    unmatched: int  # tensors that only one of them has


class Compared(Value, frozen=True, kw_only=True):
    """One run: its letter, and what is plotted of it."""

    label: str
    name: str
    state: str
    steps: int
    loss: list[Series]
    evaluations: list[Series]
    last_loss: float | None
    best_evaluation: float | None


class Comparison(Value, frozen=True, kw_only=True):
    """A whole comparison; every output is a function of it."""

    comparison_version: int
    gradaudit_version: str
    runs: list[Compared]
    changes: list[Change]
    pairs: list[Pair]

    def reaches(self, severity: Severity) -> bool:
        """Whether a finding that the base does not have is at least this severe."""
        return any(
            one.after is not None and one.status in ("new", "worse") and one.after.rank <= severity.rank
            for pair in self.pairs
            for one in pair.findings
        )


def compare(audits: Sequence[Audit]) -> Comparison:
    """Compare each audit with the first. Raises UserError for fewer than 2 or more than `MOST_RUNS`."""
    if not 2 <= len(audits) <= MOST_RUNS:
        raise UserError(f"a comparison needs 2 to {MOST_RUNS} runs, not {len(audits)}")
    base = audits[0]
    return Comparison(
        comparison_version=COMPARISON_VERSION,
        gradaudit_version=base.gradaudit_version,
        runs=[_compared(letter, audit) for letter, audit in zip(LETTERS, audits, strict=False)],
        changes=list(changes(audits)),
        pairs=[_pair(letter, base, audit) for letter, audit in zip(LETTERS[1:], audits[1:], strict=False)],
    )


def _compared(label: str, audit: Audit) -> Compared:
    overview = audit.overview
    best = overview.best_evaluation
    return Compared(
        label=label,
        name=audit.meta.name,
        state=audit.state,
        steps=overview.steps,
        loss=overview.loss,
        evaluations=overview.evaluations,
        last_loss=overview.last_loss,
        best_evaluation=best.y if best else None,
    )


def _pair(label: str, base: Audit, other: Audit) -> Pair:
    findings = list(_followed(base, other))
    before, after = ({row.name: row for row in audit.overview.table} for audit in (base, other))
    shifts = [_shift(row, after[name]) for name, row in before.items() if name in after]
    shifts.sort(key=lambda shift: -max(abs(shift.gradient_decades or 0), abs(shift.ratio_decades or 0)))
    return Pair(
        label=label,
        verdict=_verdict(label, findings, base, other),
        findings=findings,
        shifts=shifts,
        unmatched=len(before.keys() ^ after.keys()),
    )


def _followed(base: Audit, other: Audit) -> Iterator[Followed]:
    """Every diagnoser that found something in either run: new ones first, then those still there, then the fixed."""
    order: list[Status] = ["new", "worse", "still", "unknown", "fixed"]
    outcomes = [{outcome.diagnoser: outcome for outcome in audit.outcomes} for audit in (base, other)]
    found = []
    for name in sorted({*outcomes[0], *outcomes[1]}):
        first, second = (side.get(name) for side in outcomes)
        before, after = _worst(first), _worst(second)
        shown = after or before
        if shown is None:
            continue
        remark = ""
        status: Status
        if before and after:
            status = "worse" if after.severity.rank < before.severity.rank else "still"
        elif after:
            status, remark = "new", "" if _looked(first) else f"the base did not look: {_why(first)}"
        else:
            status = "fixed" if _looked(second) else "unknown"
            remark = "" if status == "fixed" else f"this run did not look: {_why(second)}"
        found.append(
            Followed(
                diagnoser=name,
                status=status,
                before=before.severity if before else None,
                after=after.severity if after else None,
                headline=shown.headline,
                remark=remark,
            )
        )
    yield from sorted(found, key=lambda one: (order.index(one.status), (one.after or one.before or Severity.NOTE).rank))


def _worst(outcome: Outcome | None) -> Finding | None:
    findings = outcome.findings if outcome else []
    return min(findings, key=lambda finding: finding.severity.rank, default=None)


def _looked(outcome: Outcome | None) -> bool:
    looking: tuple[Face, ...] = ("clean", "found")
    return outcome is not None and outcome.face in looking


def _why(outcome: Outcome | None) -> str:
    if outcome is None:
        return "the check was not run"
    return "the check failed" if outcome.face == "failed" else outcome.reason


def _verdict(label: str, findings: Sequence[Followed], base: Audit, other: Audit) -> str:
    """What changed in one sentence, and the evaluation loss in another."""

    def named(status: Status) -> list[str]:
        return [one.diagnoser for one in findings if one.status == status]

    def be(words: list[str]) -> str:
        return f"{names(words, 4)} {'is' if len(words) == 1 else 'are'}"

    parts = []
    if fixed := named("fixed"):
        parts.append(f"{label} fixes {names(fixed, 4)}")
    for status, words in (("new", "new"), ("worse", "worse"), ("still", "still there"), ("unknown", "not checked")):
        if some := named(status):  # type: ignore[arg-type]
            parts.append(f"{be(some)} {words}{f' in {label}' if not parts else ''}")
    sentence = "; ".join(parts) if parts else f"Neither A nor {label} has a finding"
    return f"{sentence}.{_losses(label, base, other)}"


def _losses(label: str, base: Audit, other: Audit) -> str:
    """How the best evaluation loss, or else the last training loss, differs."""
    before, after = (audit.overview.best_evaluation for audit in (base, other))
    pair: tuple[float | None, float | None, str]
    if before and after and before.y is not None and after.y is not None:
        pair = (before.y, after.y, "best evaluation loss")
    else:
        pair = (base.overview.last_loss, other.overview.last_loss, "last training loss")
    first, second, what = pair
    if first is None or second is None:
        return ""
    functions = [{(facts.function, facts.classes) for facts in audit.meta.losses} for audit in (base, other)]
    if functions[0] != functions[1]:
        return " Their loss functions differ, so their losses cannot be compared."
    change = f", {percent(abs(second - first) / first)} {'lower' if second < first else 'higher'}" if first > 0 else ""
    same = number(first) == number(second)
    return f" The {what} is {number(second)} {'in both' if same else f'instead of {number(first)}{change}'}."


def _shift(before: ParameterRow, after: ParameterRow) -> Shift:
    return Shift(
        tensor=before.name,
        role=before.role,
        gradient=(before.gradient_rms, after.gradient_rms),
        gradient_decades=_decades(before.gradient_rms, after.gradient_rms),
        ratio=(before.update_ratio, after.update_ratio),
        ratio_decades=_decades(before.update_ratio, after.update_ratio),
    )


def _decades(before: float | None, after: float | None) -> float | None:
    """log10 of after over before, to two decimals; None where one is missing or not positive."""
    if not before or not after or before <= 0 or after <= 0:
        return None
    return round(math.log10(after / before), 2)
