"""What holds for an analysis: the options of the command line, else [tool.gradaudit], else the defaults."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradaudit.config import Config, ConfigError, read
from gradaudit.schema import UserError


@dataclass(frozen=True)
class Settings:
    """What holds, and the file behind what the command line does not say."""

    select: tuple[str, ...]
    ignore: tuple[str, ...]
    thresholds: dict[str, float]
    fail_on: str
    config: Config
    typed: dict[str, float]  # thresholds of the command line


def effective(
    select: Sequence[str] = (), ignore: Sequence[str] = (), assignments: Sequence[str] = (), fail_on: str | None = None
) -> Settings:
    """The settings for options as click gives them: each replaces what the file says. Raises UserError."""
    from gradaudit.audit.runner import choose

    config = read(Path.cwd())
    typed = dict(assignment(text) for text in assignments)
    # What is wrong is said once, before any run is read, and whether the file or the command line is to be fixed.
    choose(select, ignore, typed)
    try:
        choose(config.select, config.ignore, config.thresholds)
    except UserError as error:
        raise ConfigError(f"{config.file}: {error}") from None
    return Settings(
        select=tuple(select) or config.select,
        # Who selects a diagnoser by hand wants it to run.
        ignore=tuple(ignore) or tuple(name for name in config.ignore if name not in select),
        thresholds={**config.thresholds, **typed},
        fail_on=fail_on or config.fail_on or "never",
        config=config,
        typed=typed,
    )


def assignment(text: str) -> tuple[str, float]:
    """Split NAME.THRESHOLD=VALUE; raises UserError."""
    key, equals, value = text.partition("=")
    name, dot, option = key.partition(".")
    if not (equals and dot and name and option):
        raise UserError(f"--set {text}: write NAME.THRESHOLD=VALUE, such as overfitting.gap=0.2")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"--set {text}: {value!r} is not a finite number")
    return key, number


def shown(settings: Settings) -> Iterator[str]:
    """The settings as lines of TOML, each threshold with where it comes from."""
    from gradaudit.audit.runner import choose

    yield f"# from {settings.config.file or 'the defaults: no pyproject.toml here or above has [tool.gradaudit]'}"
    yield "[tool.gradaudit]"
    yield f"select = {_list(settings.select)}{'' if settings.select else '  # all'}"
    yield f"ignore = {_list(settings.ignore)}"
    yield f'fail-on = "{settings.fail_on}"'
    yield f"expected-frozen = {_list(settings.config.expected_frozen)}"
    for item in choose(settings.select, settings.ignore, settings.thresholds):
        yield ""
        yield f"[tool.gradaudit.{item.name}]"
        for option, default in item.thresholds.items():
            key = f"{item.name}.{option}"
            place = "  # --set" if key in settings.typed else "  # pyproject.toml" if key in settings.thresholds else ""
            yield f"{option} = {settings.thresholds.get(key, default):g}{place}"


def _list(names: Sequence[str]) -> str:
    # A string of JSON is one of TOML, too.
    return json.dumps(list(names), ensure_ascii=False)
