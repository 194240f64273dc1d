"""What a diagnoser is: a check that judges a `Run` or a `Training` in numbers, and tells that put them into words."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_type_hints

import msgspec

from gradaudit.findings import Clean, Finding, NotApplicable, Severity, Skipped, Verdict
from gradaudit.schema import TABLES
from gradaudit.training import Training

if TYPE_CHECKING:
    from gradaudit.reading.run import Run

SECTIONS = ("What it looks for", "Why it matters", "What to try", "When it is wrong")

Check = Callable[..., Iterator[Any]]
Tell = TypeVar("Tell", bound=Callable[..., Verdict])
Per = Literal["run", "training"]


class Judged(msgspec.Struct, frozen=True):
    """Base of what a check finds, in numbers.

    A struct and no dataclass, as are limits and what signals come to: 400 dataclasses would take a sixth of a second
    of each analysis to define.
    """


class NoLimits(msgspec.Struct, frozen=True):
    """The thresholds of a diagnoser that has none: an exact fact needs no limit."""


@dataclass(frozen=True)
class Documentation:
    """The page of a diagnoser: `headline` is the failing sentence, `sections` the four of `SECTIONS`."""

    headline: str
    sections: MappingProxyType[str, str]


@dataclass(frozen=True)
class Diagnoser:
    """One rule. Its `name` is the file, the anchor, the sample run and the test file.

    Its check yields numbers: `Judged` structs, each of a kind that one of its tells knows; `NotApplicable` and
    `Skipped` where there is nothing to judge.
    """

    name: str
    check: Check
    per: Per  # what `check` is called with: the run, or each training of it
    worst: Severity
    needs: tuple[str, ...]  # "table" or "table.column"
    minimum_steps: int
    explains: tuple[str, ...]  # diagnosers whose findings are consequences of this one's
    limits: type = NoLimits  # a struct; its fields are the thresholds, with the reason of each in a comment
    documentation: Documentation = Documentation("", MappingProxyType({}))
    tells: dict[type, Callable[..., Verdict]] = field(default_factory=dict)  # by what the check found

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Each threshold with its default."""
        return _by_name(self.limits())

    @property
    def limits_source(self) -> str:
        """The code of its limits, with that of what they extend: each threshold has its reason beside it."""
        kinds = [kind for kind in self.limits.__mro__ if kind.__module__.startswith("gradaudit.")]
        return "\n".join(map(inspect.getsource, reversed(kinds)))

    def tell(self, function: Tell) -> Tell:
        """Let `function` tell what the check found of the kind, or kinds, that its first argument is annotated with.

        It is called with what was found and, where it asks for them by name, with the `run` or `training`, for the
        charts, and the `limits`. Raises TypeError at import when two functions tell one kind.
        """
        found = next(iter(inspect.signature(function).parameters))
        annotation = get_type_hints(function)[found]
        for kind in get_args(annotation) or (annotation,):
            if kind in self.tells:
                raise TypeError(f"{self.name} has two tells for {kind.__name__}")
            self.tells[kind] = function
        return function

    def thresholds_of(self, run: "Run") -> dict[str, float]:
        """Each threshold in this analysis: the default, or what the user changed it to (`Run.thresholds`)."""
        return {name: run.thresholds.get(f"{self.name}.{name}", value) for name, value in self.thresholds.items()}

    def limits_of(self, run: "Run") -> Any:
        """The same, as the check gets them."""
        return self.limits(**self.thresholds_of(run))

    def judge(self, subject: "Run | Training") -> Iterator[Any]:
        """What the check finds in a run or training, in numbers."""
        yield from self.check(subject) if self.limits is NoLimits else self.check(subject, self._limits(subject))

    def verdicts(self, subject: "Run | Training") -> Iterator[Verdict]:
        """The same, told. Raises KeyError where the check yields what none of its tells knows."""
        for found in self.judge(subject):
            if isinstance(found, Finding | Clean | NotApplicable | Skipped):
                yield found
                continue
            tell = self.tells[type(found)]
            known = {self.per: subject, "limits": self._limits(subject)}
            _, *asked = inspect.signature(tell).parameters
            yield tell(found, *(known[name] for name in asked))

    def _limits(self, subject: "Run | Training") -> Any:
        return self.limits_of(subject.run if isinstance(subject, Training) else subject)


def _by_name(limits: Any) -> dict[str, float]:
    # A dataclass will do as well as a struct.
    named: dict[str, float] = msgspec.to_builtins(limits)
    return named


def parse_documentation(docstring: str) -> Documentation:
    """Split a module docstring into its failing sentence and its ``## `` sections."""
    head, *parts = re.split(r"^## (.+)$", inspect.cleandoc(docstring), flags=re.MULTILINE)
    sections = {title.strip(): body.strip() for title, body in zip(parts[::2], parts[1::2], strict=True)}
    return Documentation(head.strip(), MappingProxyType(sections))


def diagnoser(
    *,
    worst: Severity,
    per: Per = "run",
    needs: tuple[str, ...] = (),
    minimum_steps: int = 1,
    explains: tuple[str, ...] = (),
) -> Callable[[Check], Diagnoser]:
    """Turn a generator function over a `Run`, or over a `Training`, into a `Diagnoser`.

    Where there are several trainings the runner says in what was found, and in what is clean, whose it is. Thresholds
    are the fields of the struct that the function's second argument is annotated with. Raises ValueError at import
    when `needs` names a table or column that the schema does not have.
    """
    for need in needs:
        table, _, column = need.partition(".")
        if table not in TABLES or (column and column not in {c.name for c in TABLES[table].columns}):
            raise ValueError(f"needs names {need!r}, which no table of schema.py has")

    def wrap(check: Check) -> Diagnoser:
        module: Any = inspect.getmodule(check)
        return Diagnoser(
            name=check.__name__,
            check=check,
            per=per,
            worst=worst,
            needs=needs,
            minimum_steps=minimum_steps,
            explains=explains,
            limits=get_type_hints(check).get("limits", NoLimits),
            documentation=parse_documentation(module.__doc__ or ""),
        )

    return wrap
