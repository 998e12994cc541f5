"""How numbers are written in the report: sensible digits, a true minus sign, thin spaces in thousands."""

from __future__ import annotations

import math
from typing import TypeGuard

MINUS = "\N{MINUS SIGN}"
THIN = "\N{NARROW NO-BREAK SPACE}"
NONE = "\N{EN DASH}"


def known(value: float | None) -> TypeGuard[float]:
    """Whether there is a number to write: neither null nor NaN nor infinite."""
    return value is not None and math.isfinite(value)


def decimals(*values: float | None) -> int:
    """Digits after the point that give the largest of some values three significant ones, within 2 to 5."""
    largest = max((abs(value) for value in values if known(value)), default=0.0)
    if largest == 0:
        return 3
    return min(max(2 - math.floor(math.log10(largest)), 2), 5)


def fixed(value: float | None, digits: int = 3) -> str:
    """A number with so many digits after the point."""
    if not known(value):
        return NONE
    text = f"{value:,.{digits}f}".replace(",", THIN)
    if text.startswith("-"):
        return (MINUS if text.strip("-0.") else "") + text[1:]
    return text


def signed(value: float | None, digits: int = 3) -> str:
    """A number with its sign, but 0 bare."""
    text = fixed(value, digits)
    return text if not known(value) or text.startswith(MINUS) or not text.strip("0.") else f"+{text}"


def significant(value: float | None) -> str:
    """A number with three significant digits, however small it is; two below 0.0001, as in 1.2e−6."""
    if not known(value):
        return NONE
    if 0 < abs(value) < 9.95e-5:
        digits, power = f"{abs(value):.1e}".split("e-")
        return f"{MINUS if value < 0 else ''}{digits}e{MINUS}{int(power)}"
    rounded = abs(float(f"{value:.2e}"))  # 0.9996 is 1.00
    return fixed(value, 2 if value == 0 else max(2 - math.floor(math.log10(rounded)), 0))


def perplexity(value: float | None) -> str:
    """Four significant digits, none after the point from 1000 on."""
    if not known(value):
        return NONE
    return fixed(value, 3 if value < 10 else 2 if value < 100 else 1 if value < 1000 else 0)


def count(value: int | None) -> str:
    """A whole number in groups of three."""
    return NONE if value is None else f"{value:,}".replace(",", THIN)


def size(value: int | None) -> str:
    """Bytes in decimal units, as model hubs show them."""
    return _scaled(value, (" B", " kB", " MB", " GB", " TB"))


def bytes_per_token(value: float | None) -> str:
    """How long tokens are: 4.05 bytes per token; empty if that is not known."""
    return f"{fixed(value, 2)}\N{NO-BREAK SPACE}bytes per token" if known(value) else ""


def params(value: int | None) -> str:
    """A number of parameters: 3.2 M, 4.02 B."""
    return _scaled(value, ("", " k", " M", " B", " T"))


def percent(part: float | None, digits: int = 1) -> str:
    """A part of 1 in per cent: 99.5 %."""
    return f"{fixed(100 * part, digits)}\N{NO-BREAK SPACE}%" if known(part) else NONE


def probability(logp: float) -> str:
    """A probability of which the natural log is given, with three significant digits: 12.3 %, 1 in 2 310 (0.0432 %),
    and 1 in 119 000 where per cent would be unreadable."""
    part = math.exp(min(logp, 0.0))
    readable = f"{fixed(100 * part, 2) if part >= 0.9995 else significant(100 * part)}\N{NO-BREAK SPACE}%"
    if part >= 1e-3:
        return readable
    if part < 1e-9:
        if not math.isfinite(logp):
            return NONE
        power = math.floor(-logp / math.log(10))
        return f"less than 1 in 10{str(power).translate(_RAISED)}"
    once = f"1 in {count(round(float(f'{1 / part:.2e}')))}"
    return f"{once} ({readable})" if part >= 1e-4 else once


_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def interval(low: float | None, high: float | None, digits: int = 3, *, sign: bool = False) -> str:
    """Both ends of an interval, or nothing when there is none."""
    if not (known(low) and known(high)):
        return ""
    write = signed if sign else fixed
    return f"{write(low, digits)} to {write(high, digits)}"


def significant_interval(low: float | None, high: float | None) -> str:
    """Both ends of an interval with three significant digits each, or nothing when there is none."""
    return f"{significant(low)} to {significant(high)}" if known(low) and known(high) else ""


def _scaled(value: int | None, suffixes: tuple[str, ...]) -> str:
    if value is None:
        return NONE
    step = 0
    scaled = float(value)
    while scaled >= 999.5 and step < len(suffixes) - 1:
        scaled /= 1000
        step += 1
    digits = 0 if step == 0 or scaled >= 100 else 1 if scaled >= 10 else 2
    return f"{scaled:.{digits}f}{suffixes[step]}".replace(" ", "\N{NO-BREAK SPACE}")


def duration(seconds: float | None) -> str:
    """A time as long as it matters: 0.4 s, 12 s, 3 min, 2 h 10 min."""
    if not known(seconds):
        return NONE
    if 0 < seconds < 0.05:
        return "< 0.1 s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60:,} h {minutes % 60} min"
