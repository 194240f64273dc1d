"""Long tables of cases: `make test` takes some of each, `make test-full` all."""

from collections.abc import Iterable
from typing import Any

import pytest


def thin(every: int, cases: Iterable[Any]) -> list[Any]:
    """The cases for `parametrize`: the first and each `every`th after it are quick, the others long.

    A tuple is a case of several arguments.

        @pytest.mark.parametrize("seed", thin(4, range(20)))
    """
    return [_case(case, quick=index % every == 0) for index, case in enumerate(cases)]


def _case(case: Any, quick: bool) -> Any:
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=[] if quick else [pytest.mark.long])
