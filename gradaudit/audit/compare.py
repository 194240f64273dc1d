"""Audits side by side: what changed in the configuration, in the findings and in each layer, the first one the base."""

import math
from collections.abc import Iterator, Sequence
from typing import Literal, get_args

from gradaudit.audit.causes import title
from gradaudit.audit.differences import Change, changes, one_task, shown_loss
from gradaudit.audit.loss_change import loss_change
from gradaudit.audit.overview import ParameterRow
from gradaudit.audit.result import Audit, Outcome
from gradaudit.audit.verdict import within
from gradaudit.chart_data import Series, Value
from gradaudit.evidence.words.wording import names
from gradaudit.findings import Clean, Finding, Found, NotApplicable, Severity, Skipped
from gradaudit.schema import UserError

COMPARISON_VERSION = 1
MOST_RUNS = 26
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Status = Literal["new", "worse", "unchecked_before", "still", "unchecked_after", "gone", "fixed"]

ORDER: tuple[Status, ...] = get_args(Status)
_NOT_IN_THE_BASE: tuple[Status, ...] = ("new", "worse", "unchecked_before")


class Followed(Value, frozen=True, kw_only=True):
    """What became of the findings of one diagnoser from the base to another run.

    *new* and *fixed* say that the check looked at both runs. Where it was skipped for one of them, nobody knows:
    *gone* stands for *fixed* where the runs train different models on different losses: nothing was fixed there.
    *unchecked_before* is found in the other and the base was not looked at, *unchecked_after* was found in the base
    and the other was not. *worse* is found in both and more severe in the other.
    """

    diagnoser: str
    title: str  # of the worst of its findings
    status: Status
    before: Severity | None
    after: Severity | None
    headline: str
    remark: str = ""  # why one of the two could not be looked at


class TensorChange(Value, frozen=True, kw_only=True):
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
    verdict: str  # what became of the findings, and of the loss
    details: list[str]  # what the worst of the findings that the verdict names say
    findings: list[Followed]
    shifts: list[TensorChange]  # those that changed most first
    unmatched: int  # tensors that only one of them has


class Compared(Value, frozen=True, kw_only=True):
    """One run: its letter, and what is plotted of it."""

    label: str
    name: str
    state: str
    steps: int
    loss: list[Series]
    evaluations: list[Series]
    validation: str  # the series of `evaluations` that is judged; empty where that is not clear
    last_loss: float | None
    last_non_finite: str  # NaN or Inf where training ended in that
    best_evaluation: float | None
    loss_spike_score: float | None = None  # as in `Overview`
    norm_spike_score: float | None = None
    loss_function: str  # losses of different functions cannot be compared


class Comparison(Value, frozen=True, kw_only=True):
    """A whole comparison; every output is a function of it.

    >>> comparison = gradaudit.compare([gradaudit.analyze("runs/x"), gradaudit.analyze("runs/y")])
    >>> [run.label for run in comparison.runs], len(comparison.pairs)
    (['A', 'B'], 1)
    """

    comparison_version: int
    gradaudit_version: str
    runs: list[Compared]
    changes: list[Change]
    pairs: list[Pair]

    def reaches(self, severity: Severity) -> bool:
        """Whether a finding that is not known to be in the base is at least this severe.

        One that the base was not looked at for counts: a gate that opens where nothing is known guards nothing.

            >>> audit = gradaudit.analyze("runs/x")
            >>> gradaudit.compare([audit, audit]).reaches(Severity.NOTE)
            False
        """
        return bool(self.reaching(severity))

    def reaching(self, severity: Severity) -> list[tuple[str, Followed]]:
        """The findings of `reaches`, each with the letter of its run.

        >>> audit = gradaudit.analyze("runs/x")
        >>> gradaudit.compare([audit, audit]).reaching(Severity.NOTE)
        []
        """
        return [
            (pair.label, one)
            for pair in self.pairs
            for one in pair.findings
            if one.after is not None and one.status in _NOT_IN_THE_BASE and one.after.rank <= severity.rank
        ]


def compare(audits: Sequence[Audit]) -> Comparison:
    """Compare each audit with the first.

        >>> comparison = gradaudit.compare([gradaudit.analyze("runs/x"), gradaudit.analyze("runs/y")])
        >>> [(one.diagnoser, one.status) for one in comparison.pairs[0].findings]
        [('overfitting', 'still'), ('initial_loss_mismatch', 'fixed')]

    Raises UserError for fewer than 2 or more than 26 of them.
    """
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
        validation=overview.validation,
        last_loss=overview.last_loss,
        last_non_finite=overview.last_non_finite,
        best_evaluation=best.y if best else None,
        loss_spike_score=overview.loss_spike_score,
        norm_spike_score=overview.norm_spike_score,
        loss_function=shown_loss(audit),
    )


def _pair(label: str, base: Audit, other: Audit) -> Pair:
    findings = list(_followed(base, other, label))
    before, after = ({row.name: row for row in audit.overview.table} for audit in (base, other))
    shifts = [_shift(row, after[name]) for name, row in before.items() if name in after]
    shifts.sort(key=lambda shift: -max(abs(shift.gradient_decades or 0), abs(shift.ratio_decades or 0)))
    return Pair(
        label=label,
        verdict=f"{_verdict(label, findings)}{loss_change(base, other)}",
        details=list(_details(label, findings)),
        findings=findings,
        shifts=shifts,
        unmatched=len(before.keys() ^ after.keys()),
    )


def _followed(base: Audit, other: Audit, label: str) -> Iterator[Followed]:
    """Every diagnoser that found something in either run: new ones first, then those still there, then the fixed."""
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
            status = "new" if _looked(first) else "unchecked_before"
            remark = "" if status == "new" else _why("A", first)
        else:
            status = ("fixed" if one_task(base, other) else "gone") if _looked(second) else "unchecked_after"
            remark = _why(label, second) if status == "unchecked_after" else ""
        found.append(
            Followed(
                diagnoser=name,
                title=title(name, shown),
                status=status,
                before=before.severity if before else None,
                after=after.severity if after else None,
                headline=shown.headline,
                remark=remark,
            )
        )
    # Of equals the one that explains the others comes first, as in the report of a run.
    places = [ranked.diagnoser for audit in (other, base) for ranked in audit.all_ranked()]
    found.sort(key=lambda one: places.index(one.diagnoser) if one.diagnoser in places else len(places))
    yield from sorted(found, key=lambda one: (ORDER.index(one.status), (one.after or one.before or Severity.NOTE).rank))


def _worst(outcome: Outcome | None) -> Finding | None:
    findings = outcome.findings if outcome else []
    return min(findings, key=lambda finding: finding.severity.rank, default=None)


def _looked(outcome: Outcome | None) -> bool:
    return outcome is not None and isinstance(outcome.result, Clean | Found)


def _why(label: str, outcome: Outcome | None) -> str:
    """Why this run was not looked at, in a sentence without its full stop."""
    if outcome is None:
        return f"{label} was not checked for this: the check was not selected"
    match outcome.result:
        case NotApplicable(reason=reason):
            return f"The check does not apply to {label}: {reason}"
        case Skipped(reason=reason):
            return f"{label} could not be checked for this: {reason}"
    return f"{label} was not checked for this: the check stopped with an error of its own"


def _verdict(label: str, findings: Sequence[Followed]) -> str:
    """What became of the findings, by their titles, a sentence for each status."""

    def named(status: Status) -> list[str]:
        return [within(one.title) for one in findings if one.status == status]

    words: dict[Status, str] = {
        "fixed": f"Fixed in {label}",
        "new": f"New in {label}",
        "worse": f"Worse in {label}",
        "unchecked_before": f"Found in {label}, not checked in A",
        "still": "Still there" if named("fixed") else f"Still there in {label}",
        "gone": f"Found in A and not in {label}",
        "unchecked_after": f"Found in A, not checked in {label}",
    }
    parts = [f"{said}: {names(some, 4)}." for status, said in words.items() if (some := named(status))]
    return " ".join(parts) or f"Neither A nor {label} has a finding."


def _details(label: str, findings: Sequence[Followed]) -> Iterator[str]:
    """The worst finding that came and the worst that went, in a sentence: a title has no numbers."""
    for run, statuses in (("A", ("fixed", "gone")), (label, _NOT_IN_THE_BASE)):
        some = [one for one in findings if one.status in statuses]
        if some:
            worst = min(some, key=lambda one: (one.after or one.before or Severity.NOTE).rank)
            yield f"In {run}: {worst.headline}."


def _shift(before: ParameterRow, after: ParameterRow) -> TensorChange:
    return TensorChange(
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
