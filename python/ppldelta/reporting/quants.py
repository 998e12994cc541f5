"""What the numbers say of quants, in their words.

A quant is told by what it damages, how far its distribution moved, and what its bytes buy. Gain and loss are two sides
of the same perturbation there, so nothing is called better.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppldelta.analysis.steps import Step
from ppldelta.reporting.rows import Row, ends, number, overall_of, text, whole
from ppldelta.reporting.sentences import INTERVAL, NO_INTERVAL, Piece
from ppldelta.reporting.units import DAMAGE, SHORT_UNITS, Unit, damage_of
from ppldelta.wording import numbers


def finding(rows: Sequence[Row], step: Step | None, unit: Unit = "nats", about: str | None = None) -> list[Piece]:
    """The sentences about one quant.

    Args:
        rows: as for `sentences.finding`.
        step: from the best of the smaller quants to this one; None for the smallest.
        unit: in which damage is told; steps are told in nats per token alone.
        about: as for `sentences.finding`.
    """
    overall = overall_of(rows)
    name = Piece(text(overall, "model"), "name")
    if not numbers.known(damage_of(overall, unit)):
        return [name, Piece(" gave numbers that are not finite, so nothing can be said about it.")]
    amount = _value({**overall, DAMAGE[unit]: damage_of(overall, unit)}, DAMAGE[unit], SHORT_UNITS[unit])
    if number(overall, DAMAGE[unit]) is None:  # an older version has saved it, without an interval
        amount = amount[:1]
    to = [] if about is None else [Piece(" to "), Piece(about or "documents without category", "category")]
    return [
        name,
        Piece(_size(overall)),
        Piece(" does a damage of "),
        *amount,
        *to,
        *_spread([row for row in rows if row["category"] is not None], DAMAGE[unit]),
        Piece("."),
        *divergence(overall),
        *(_bought(step) if step and unit == "nats" else []),
    ]


def verdict(rows: Sequence[Row], step: Step | None) -> tuple[str, str]:
    """A quant in a few words: what its size buys, and where it damages most and least; each may be empty."""
    categories = [row for row in rows if row["category"] is not None]
    clear = _extremes(categories, "damage")
    spread = ""
    if clear is not None:
        least, most = (_category(row).text for row in clear)
        spread = f"most to {most}, least to {least}"
    if step is None:
        return "", spread
    if step.low is None or step.high is None or step.low > 0:
        if step.saved > 0:
            return f"{numbers.fixed(step.saved, numbers.decimals(step.saved))} less damage than {step.smaller}", spread
    elif step.high > 0:
        return f"not clearly less damage than {step.smaller}", spread
    return f"more damage than {step.smaller}, though larger", spread


def against_all(row: Row, overall: Row) -> str:
    """A quant's damage in a category in a few words: whether it is clearly more or less than over all documents."""
    (low, high), (least, most) = ends(row, "damage"), ends(overall, "damage")
    if not all(map(numbers.known, (low, high, least, most))):
        return ""
    if (low or 0.0) > (most or 0.0):
        return "more damage than over all documents"
    return "less damage than over all documents" if (high or 0.0) < (least or 0.0) else "as much as over all documents"


def _extremes(rows: Sequence[Row], column: str) -> tuple[Row, Row] | None:
    """The rows of least and of greatest damage, which a column has, if their intervals do not overlap."""
    known = [row for row in rows if numbers.known(number(row, column))]
    known.sort(key=lambda row: number(row, column) or 0.0)
    if len(known) < 2:
        return None
    high, low = ends(known[0], column)[1], ends(known[-1], column)[0]
    return (known[0], known[-1]) if numbers.known(high) and numbers.known(low) and high < low else None


def _size(row: Row) -> str:
    size, bits = whole(row, "size_bytes"), number(row, "bits_per_weight")
    if size is None or not numbers.known(bits):
        return ""
    return f" ({numbers.size(size)}, {numbers.fixed(bits, 2)} bits per weight)"


def _spread(rows: Sequence[Row], column: str) -> list[Piece]:
    """Where it damages most and where least, where the two intervals do not overlap."""
    known = [row for row in rows if numbers.known(ends(row, column)[0])]
    if len(known) < 2:
        return []
    clear = _extremes(known, column)
    if clear is None:
        return [Piece(", in no category clearly more than in another")]
    least, most = clear
    return [
        Piece(", most to "),
        _category(most),
        Piece(" "),
        *_value(most, column),
        Piece(" and least to "),
        _category(least),
        Piece(" "),
        *_value(least, column),
    ]


def _category(row: Row) -> Piece:
    return Piece(text(row, "category") or "documents without category", "category")


def divergence(row: Row) -> list[Piece]:
    """The KL divergence, its tail, and the same top token, where there are any."""
    if not numbers.known(number(row, "kld")):
        return []
    pieces = [Piece(" Its KL divergence is "), *_value(row, "kld")]
    if numbers.known(tail := number(row, "kld_p99")):
        pieces += [Piece(", at one token in a hundred above "), Piece(numbers.fixed(tail, 2), "number")]
        if interval := numbers.interval(*ends(row, "kld_p99"), 2):
            pieces.append(Piece(f" ({interval})", "interval"))
    if numbers.known(same := number(row, "same_top")):
        low, high = ends(row, "same_top")
        pieces += [Piece("; it finds the same token most probable at "), Piece(numbers.percent(same), "number")]
        if numbers.known(low) and numbers.known(high):
            pieces.append(Piece(f" ({numbers.fixed(100 * low, 1)} to {numbers.percent(high)})", "interval"))
        pieces.append(Piece(" of the tokens"))
    return [*pieces, Piece(".")]


def _bought(step: Step) -> list[Piece]:
    """What it saves for its size, if the interval says that it saves anything."""
    more = f" It is {numbers.size(step.more_bytes)} larger than "
    smaller = Piece(step.smaller, "name")
    if step.low is not None and step.high is not None and step.low <= 0 <= step.high:
        return [
            Piece(more),
            smaller,
            Piece(" and does not clearly save damage, "),
            *_amount(step, signed=True),
            Piece("."),
        ]
    if step.saved <= 0:
        return [Piece(more), smaller, Piece(" and yet does "), *_amount(step), Piece(" more damage.")]
    scale, unit = (1e9, "GB") if step.more_bytes >= 1e9 else (1e6, "MB")
    rate, low, high = (
        None if value is None else value / step.more_bytes * scale for value in (step.saved, step.low, step.high)
    )
    digits = numbers.decimals(rate)
    each = [Piece(" of damage, "), Piece(numbers.fixed(rate, digits), "number")]
    if interval := numbers.interval(low, high, digits):
        each += [Piece(" "), Piece(f"({interval})", "interval")]
    each.append(Piece(f" for each {unit}."))
    return [Piece(more), smaller, Piece(" and saves "), *_amount(step), *each]


def _amount(step: Step, *, signed: bool = False) -> list[Piece]:
    """What is saved, or without its sign how much more or less it is, with its interval."""
    digits = numbers.decimals(step.saved)
    value, low, high = step.saved, step.low, step.high
    if not signed and value < 0 and low is not None and high is not None:
        low, high = -high, -low
    write = numbers.signed if signed else numbers.fixed
    interval = numbers.interval(low, high, digits, sign=signed) or NO_INTERVAL
    return [
        Piece(write(value if signed else abs(value), digits), "number"),
        Piece(" "),
        Piece(f"({interval})", "interval"),
    ]


def _value(row: Row, column: str, unit: str = "") -> list[Piece]:
    value = number(row, column)
    digits = numbers.decimals(value)
    interval = numbers.interval(*ends(row, column), digits)
    if unit:  # the first value of all, which says it for the others
        interval = f"{INTERVAL} {interval}" if interval else NO_INTERVAL
    amount = Piece(numbers.fixed(value, digits) + (f" {unit}" if unit else ""), "number")
    return [amount, *([Piece(" "), Piece(f"({interval})", "interval")] if interval else [])]
