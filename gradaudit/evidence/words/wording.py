"""Numbers as sentences show them, the same way in every finding."""

import math


def number(value: float, digits: int = 3, thousands: str = ",") -> str:
    """`value` to `digits` significant digits: 2.30, 146, 12,300, 0.05, 2.1e-4, 3.4e7, NaN."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "infinity" if value > 0 else "-infinity"
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if not -3 <= exponent < 6:
        mantissa, _, power = f"{value:.{max(digits - 2, 0)}e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(power)}"
    decimals = max(digits - 1 - exponent, 0)
    text = f"{round(value, digits - 1 - exponent):{thousands}.{decimals}f}"
    # 2.30 shows how exact it is; 0.00100 and 80.0 only look odd.
    return text if exponent == 0 or "." not in text else text.rstrip("0").rstrip(".")


def literal(value: float, digits: int = 2) -> str:
    """`number` as Python reads it, for code to copy: 12000, 0.05, 2.1e-4."""
    return number(value, digits, thousands="")


def setting(value: float | None, digits: int = 3) -> str:
    """A setting as a user types it, without padding zeros: 300, 0.05, 1e-4; None, a JSON null, is NaN or infinite."""
    if value is None:
        return "not finite"
    text = f"{value:.{digits}g}" if value == 0 or abs(value) >= 1e-3 else f"{value:.{digits - 1}e}"
    mantissa, exponential, power = text.partition("e")
    if not exponential:
        return mantissa
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(power)}"


def count(value: float) -> str:
    """A count with thousands separators: 1,320."""
    return f"{round(value):,}"


def plural(amount: float, noun: str, nouns: str = "") -> str:
    """A count with its noun: 1 step, 20 steps."""
    return f"{count(amount)} {noun if round(amount) == 1 else nouns or noun + 's'}"


def percent(share: float) -> str:
    """A share as a percentage: 12 %, 5 %, 0.4 %, 0.012 %, 99.8 %; 100 % is all and nothing less."""
    if not math.isfinite(share):
        return "NaN"
    value = 100 * share
    if 99 < abs(value) < 100:
        # 399 of 400 are not all: it never rounds up to 100 %.
        return f"{math.copysign(min(round(abs(value), 1), 99.9), value):.1f}".removesuffix(".0") + " %"
    decimals = 0 if abs(value) >= 10 or value == 0 else 1 if abs(value) >= 0.1 else 3
    return f"{value:,.{decimals}f}".removesuffix(".0") + " %"


def distance(before: float, after: float) -> str:
    """How far a positive number has moved: 12 % lower, 40 % higher, 150 times as high."""
    if after > 3 * before:
        return f"{factor(after / before)} times as high"
    return f"{percent(abs(after - before) / before)} {'lower' if after < before else 'higher'}"


def factor(value: float) -> str:
    """How many times: 1.4, 63, 2,100, 13 million, 4.9 billion, 3e17."""
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if size <= float(f"{abs(value):.2e}") < 1e15:
            return f"{number(value / size, 2 if abs(value) < 100 * size else 3)} {word}"
    return number(value, 2 if abs(value) < 100 else 3)


def times(value: float) -> str:
    """`factor`, with large numbers in words: 63, 19,300, 13 million, 4.2 trillion; 3e17 above that."""
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if size <= abs(value) < 1e15:
            return f"{number(value / size, 2 if abs(value) < 100 * size else 3)} {word}"
    return factor(value)


def fold(decades: float) -> str:
    """How many times that many powers of ten are, either way: 13,000 for 4.1 and for -4.1."""
    return factor(10 ** abs(decades))


def in_code(name: str) -> str:
    """A module or tensor as Python reaches it from the model: layers.0.weight becomes model.layers[0].weight."""
    parts = (f"[{part}]" if part.isdigit() else f".{part}" for part in name.split(".") if part)
    return "model" + "".join(parts)


def names(items: list[str], most: int = 3) -> str:
    """A list in words, cut after `most`: a, b, c and 4 more."""
    if len(items) > most:
        return f"{', '.join(items[:most])} and {count(len(items) - most)} more"
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]])) if items else ""
