"""Terms of an objective that are constants: losses and penalties whose graph was cut off before they were added."""

import statistics
from collections.abc import Iterator
from typing import NamedTuple

from gradaudit.schema import ConstantFacts, ConstantSourceFacts, GraphFacts

_NOISE = 2.5e-7  # of the numbers that the rest is a difference of: a few roundings of float32
_CLEAR = 20.0  # times the noise: a value that says by how much a term was multiplied
_SAME = 0.01  # of the value, by which a factor may differ from step to step
_VARIES = 0.02  # of the largest value: what changes less may be a number that the script adds
_ENOUGH = 3  # values that one factor fits


class ConstantTerm(NamedTuple):
    """A constant among the summands of an objective."""

    function: str  # whose result it is; empty of a variable
    variable: str
    factor: float | None  # that makes its values the rest of the objective; None where that is not known
    derived: bool  # gradients of an input were asked for without a graph before each backward
    looks: int  # backwards with it
    values: list[float]
    first: int
    last: int


def constant_terms(graph: GraphFacts, looks: float) -> Iterator[ConstantTerm]:
    """The terms without a gradient that come from a loss, or from gradients, in `looks` backwards or more."""
    for site in graph.constants:
        # Of a number that is added nothing has to be told: `sum` begins with 0, and a logarithm may have one.
        if site.looks >= looks:
            yield from _of_site(site)


def _of_site(site: ConstantFacts) -> Iterator[ConstantTerm]:
    derived = site.derived == site.looks
    always = [source for source in site.sources if None not in source.values]
    for source in always:
        factor = _factor(site, source)
        penalty = derived and source.variable and _rest_is_open(site) and _changes(source)
        nothing = source.function and source.enabled and _is_nothing(site, source)
        if factor is not None or penalty or nothing:
            values = [value for value in source.values if value is not None]
            yield ConstantTerm(
                source.function, source.variable, factor, derived, site.looks, values, site.first, site.last
            )
            return


def _factor(site: ConstantFacts, source: ConstantSourceFacts) -> float | None:
    """By which number the source has to be multiplied, to be all that is left of the objective."""
    known = [
        (rest, value, _NOISE * size)
        for rest, value, size in zip(site.rest, source.values, site.size, strict=True)
        if rest is not None and value is not None and size is not None
    ]
    clear = [(rest, value) for rest, value, noise in known if value and abs(rest) > _CLEAR * noise]
    if len(clear) < _ENOUGH or not _changes(source):
        return None
    factor = statistics.median([rest / value for rest, value in clear])
    # What is taken off is no term that somebody makes small.
    fits = all(abs(rest - factor * value) <= noise + _SAME * abs(rest) for rest, value, noise in known)
    return factor if factor > 0 and fits else None


def _changes(source: ConstantSourceFacts) -> bool:
    values = [value for value in source.values if value is not None]
    return bool(values) and max(values) - min(values) > _VARIES * max(map(abs, values))


def _rest_is_open(site: ConstantFacts) -> bool:
    return all(rest is None for rest in site.rest)


def _is_nothing(site: ConstantFacts, source: ConstantSourceFacts) -> bool:
    """Whether it is 0 at every step, and so is what is left of the objective: a divergence of a model with itself."""
    return len(site.rest) >= _ENOUGH and all(
        rest is not None and value is not None and size is not None and max(abs(rest), abs(value)) <= _NOISE * size
        for rest, value, size in zip(site.rest, source.values, site.size, strict=True)
    )
