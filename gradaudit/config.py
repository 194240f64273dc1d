"""The section ``[tool.gradaudit]`` of the nearest pyproject.toml that has one."""

import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradaudit.schema import UserError

MOST_BYTES = 10_000_000
LARGEST = sys.float_info.max  # of a threshold; a whole number may be too large to be compared with one

KEYS = ("select", "ignore", "fail-on", "expected-frozen")
FAIL_ON = ("critical", "warning", "note", "never")


class ConfigError(UserError):
    """A pyproject.toml that cannot be used; the message names the file and what is wrong in it."""


@dataclass(frozen=True)
class Config:
    """What the section says; empty without one. `thresholds` maps "diagnoser.threshold" to a value."""

    file: Path | None = None
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fail_on: str | None = None
    thresholds: dict[str, float] = field(default_factory=dict)
    expected_frozen: tuple[str, ...] = ()  # patterns of tensor names, as fnmatch has them


def read(start: Path) -> Config:
    """The configuration that holds in the folder `start`: of it, or of the nearest folder above it.

    A pyproject.toml without the section is passed over. Raises ConfigError. Names of diagnosers and of
    thresholds are not checked here.
    """
    start = start.resolve()
    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        try:
            if not file.is_file():  # a FIFO would be waited for
                continue
            if file.stat().st_size > MOST_BYTES:
                raise ConfigError(f"{file} has {file.stat().st_size / 1e6:,.0f} MB, which no settings have")
            whole = tomllib.loads(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        except RecursionError:
            raise ConfigError(f"{file} is nested too deeply") from None
        except ValueError as error:  # no TOML, no UTF-8, or a number of thousands of digits
            raise ConfigError(f"{file} is not TOML: {error}") from None
        tools = whole.get("tool")
        section = tools.get("gradaudit") if isinstance(tools, dict) else None
        if section is not None:
            return _parse(section, file)
    return Config()


def _parse(section: Any, file: Path) -> Config:
    def refuse(what: str) -> ConfigError:
        return ConfigError(f"{file}: {what}")

    if not isinstance(section, dict):
        raise refuse("tool.gradaudit is not a table")
    lists: dict[str, tuple[str, ...]] = {}
    for key, example in (("select", "overfitting"), ("ignore", "overfitting"), ("expected-frozen", "backbone.*")):
        names = section.get(key, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise refuse(f"{key} is not a list of names, such as {key} = ['{example}']")
        lists[key] = tuple(names)
    fail_on = section.get("fail-on")
    if fail_on is not None and fail_on not in FAIL_ON:
        raise refuse(f"fail-on is {fail_on!r}; it may be {', '.join(FAIL_ON)}")
    thresholds: dict[str, float] = {}
    for name, table in section.items():
        if name in KEYS:
            continue
        if not isinstance(table, dict):
            raise refuse(f"tool.gradaudit has no key {name!r}; it has {', '.join(KEYS)}, and a table for a diagnoser")
        for option, value in table.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
                shown = "too large" if isinstance(value, int) and abs(value) > LARGEST else repr(value)
                raise refuse(f"{name}.{option} is {shown}, not a finite number")
            thresholds[f"{name}.{option}"] = value
    return Config(file, lists["select"], lists["ignore"], fail_on, thresholds, lists["expected-frozen"])
