"""What the numbers say of quants, in their words.

A quant is told by what it damages, how far its distribution moved, and what its bytes buy. Gain and loss are two sides
of the same perturbation there, so nothing is called better.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppldelta.analysis.steps import Standing, Step
from ppldelta.reporting.rows import Row, ends, number, overall_of, text, whole
from ppldelta.reporting.sentences import INTERVAL, NO_INTERVAL, Piece
from ppldelta.reporting.units import DAMAGE, SHORT_UNITS, Unit, damage_of
from ppldelta.wording import numbers


def finding(
    rows: Sequence[Row], standing: Standing | None, unit: Unit = "nats", about: str | None = None
) -> list[Piece]:
    """The sentences about one quant.

    Args:
        rows: as for `sentences.finding`.
        standing: of the quant among others, in the same unit; None if there are none.
        unit: in which damage is told.
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
        Piece(" does "),
        *amount[:1],
        Piece(" of damage"),
        *amount[1:],
        *to,
        *_spread([row for row in rows if row["category"] is not None], DAMAGE[unit]),
        Piece("."),
        *divergence(overall),
        *(_stands(text(overall, "model"), standing) if standing else []),
    ]


def verdict(rows: Sequence[Row], standing: Standing | None, unit: Unit = "nats") -> tuple[str, str]:
    """A quant in a few words: against the next smaller one, and whether it ties with the best; each may be empty.

    A quant with no other to compare it with is described by the categories that it damages clearly most and least, if
    all categories are in view.
    """
    if standing is None:
        return _clear_of([row for row in rows if row["category"] is not None], DAMAGE[unit]), ""
    step, beside, name = standing.after, standing.beside, text(overall_of(rows), "model")
    short = "the smallest"
    if step is not None:
        digits = numbers.decimals(step.saved)
        ends_of = numbers.interval(*_turned(step), digits, sign=True)
        amount = f"{numbers.signed(-step.saved, digits)}{f' ({ends_of})' if ends_of else ''}"
        how = {1: "less damage than", -1: "larger and worse than", 0: "not clearly other than"}[step.way]
        short = f"{how if step.low is not None else 'against'} {step.smaller}: {amount}"
    if standing.tied is None:
        return short, ""
    if name == standing.least:
        smaller = standing.tied[0]
        return short, "the least damage; " + (
            "nothing smaller ties with it" if smaller == name else f"{smaller}, smaller, cannot be told from it"
        )
    if name in standing.tied:
        alone = "the smallest that" if standing.tied[0] == name else ""
        return short, f"{alone} cannot be told from {standing.least}, the best".strip()
    if beside is not None and beside.way < 0 and beside != step:
        digits = numbers.decimals(beside.saved)
        return short, f"{beside.smaller}, smaller, does {numbers.fixed(-beside.saved, digits)} less"
    return short, ""


def _turned(step: Step) -> tuple[float | None, float | None]:
    """The interval of what a step adds instead of saves."""
    return (None, None) if step.low is None or step.high is None else (-step.high, -step.low)


def _clear_of(rows: Sequence[Row], column: str) -> str:
    least, most = _extremes(rows, column)
    parts = [f"{word} to {_category(row).text}" for word, row in (("most", most), ("least", least)) if row]
    return ", ".join(parts)


def _extremes(rows: Sequence[Row], column: str) -> tuple[Row | None, Row | None]:
    """The rows of least and of greatest damage, each if its interval lies apart from all others."""
    known = [row for row in rows if all(map(numbers.known, ends(row, column)))]
    known.sort(key=lambda row: number(row, column) or 0.0)
    if len(known) < 2:
        return None, None
    lows, highs = ([ends(row, column)[i] or 0.0 for row in known] for i in (0, 1))
    return known[0] if highs[0] < min(lows[1:]) else None, known[-1] if lows[-1] > max(highs[:-1]) else None


def _size(row: Row) -> str:
    size, bits = whole(row, "size_bytes"), number(row, "bits_per_weight")
    if size is None or not numbers.known(bits):
        return ""
    return f" ({numbers.size(size)}, {numbers.fixed(bits, 2)} bits per weight)"


def _spread(rows: Sequence[Row], column: str) -> list[Piece]:
    """Where it damages most and where least, as far as that is clear."""
    if sum(numbers.known(ends(row, column)[0]) for row in rows) < 2:
        return []
    least, most = _extremes(rows, column)
    pieces: list[Piece] = []
    for word, row in (("most", most), ("least", least)):
        if row is not None:
            pieces += [
                Piece(f"{' and' if pieces else ','} {word} to "),
                _category(row),
                Piece(" "),
                *_value(row, column),
            ]
    return pieces or [Piece(", in no category clearly more or less than in all others")]


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


def _stands(name: str, standing: Standing) -> list[Piece]:
    """What a quant saves against the next smaller one and the best of the smaller ones, and what ties with the best."""
    step, beside = standing.after, standing.beside
    pieces = [] if step is None else _bought(step)
    if beside is not None and beside != step:
        verb = {1: " saves ", -1: " does ", 0: " does not clearly change damage, "}[beside.way]
        pieces += [
            Piece(" Against "),
            Piece(beside.smaller, "name"),
            Piece(f", the best of the smaller ones, it{verb}"),
        ]
        pieces += [*_amount(beside, signed=beside.way == 0), Piece({1: ".", -1: " more.", 0: "."}[beside.way])]
    if standing.tied is None:
        return pieces
    if name == standing.least:
        if standing.tied[0] == name:
            return [*pieces, Piece(" It does the least damage, and nothing smaller ties with it." if step else "")]
        return [*pieces, Piece(" It does the least damage, but "), Piece(standing.tied[0], "name"), Piece(_TIED)]
    if name in standing.tied:
        alone = "is the smallest that " if standing.tied[0] == name else ""
        return [*pieces, Piece(f" It {alone}cannot be told from "), Piece(standing.least, "name"), Piece(", the best.")]
    return pieces


_TIED = " is the smallest that cannot be told from it."


def _bought(step: Step) -> list[Piece]:
    """What it saves for its size, if the interval says that it saves anything."""
    more = f" It is {numbers.size(step.more_bytes)} larger than "
    smaller = Piece(step.smaller, "name")
    if step.low is not None and step.way == 0:
        changed = [Piece(" and does not clearly save damage, "), *_amount(step, signed=True), Piece(".")]
        return [Piece(more), smaller, *changed]
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
