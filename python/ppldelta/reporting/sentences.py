"""What the numbers say, in plain English: one line on what was compared, one sentence for each model.

A sentence claims "better" or "worse" only if the interval of the mean delta leaves out 0; where there is no interval,
it says that there are too few documents. Sentences are lists of `Piece`, not strings, so that the page can set names as
code and escape every part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from ppldelta.analysis.uncertainty import LEVEL, side
from ppldelta.family import Family
from ppldelta.reporting.rows import Row, ends, number, overall_of, text
from ppldelta.reporting.units import COLUMNS, DELTA, SHORT_UNITS, Unit, is_within_noise
from ppldelta.wording import numbers

INTERVAL = f"{100 * LEVEL:g}\N{NO-BREAK SPACE}% interval"

TOO_FEW = "too few documents to tell"
"""What is said where there is no interval."""

NO_INTERVAL = "too few documents for an interval"
"""What stands in its place behind a value."""

NEITHER = "neither clearly better nor worse"
"""What is said where the interval spans 0."""

SHOWN = 3
"""Categories named on either side of a sentence; the rest are counted."""


@dataclass(frozen=True)
class Piece:
    """A stretch of a sentence: plain text, a `name` set as code, or a `number` (with its interval)."""

    text: str
    kind: str = "text"


def corpus(documents: pl.DataFrame, *, brief: bool = False) -> str:
    """`36 documents (12 code, 12 multilingual, 12 prose)`: the documents of one family, each counted once; or in brief
    without categories."""
    unique = documents.unique(["document"], keep="first", maintain_order=True)
    total = unique.height
    groups = unique.group_by("category", maintain_order=True).len().rows()
    head = f"{numbers.count(total)} {'document' if total == 1 else 'documents'}"
    if len(groups) < 2 or brief:
        return head
    named = [f"{numbers.count(n)} {category or 'without category'}" for category, n in groups[:6]]
    if len(groups) > 6:
        named.append(f"{len(groups) - 6} more categories")
    return f"{head} ({', '.join(named)})"


def scope(family: Family, documents: pl.DataFrame) -> str:
    """`the first 256 tokens of each`: which windows of longer documents were scored; empty if all were.

    Args:
        family: whose signature says so.
        documents: its rows of `schema.DOCUMENTS`.
    """
    n_windows, n_ctx = (family.signature.get(key) or "" for key in ("max_windows", "n_ctx"))
    longest = documents["n_tokens"].max()
    if not (n_windows.isdecimal() and n_ctx.isdecimal() and isinstance(longest, int)) or family.only_prompts:
        return ""
    if longest <= int(n_windows) * int(n_ctx):
        return ""
    if n_windows == "1" and family.rule == "every":
        return f"the first {n_ctx} tokens of each"
    windows = "window" if n_windows == "1" else f"{n_windows} windows"
    return f"the first {windows} of {n_ctx} tokens of each"


def finding(rows: Sequence[Row], unit: Unit = "nats", about: str | None = None) -> list[Piece]:
    """The sentence about one model.

    Args:
        rows: the model's rows of `schema.MODELS` under one weighting: a row for each category and one with
            category null for all documents.
        unit: in which gain and loss are told.
        about: the category that the row with category null is about, if it is not about all documents.
    """
    rows = [{**row, "delta": row[DELTA[unit]], **_ends(row, unit)} for row in rows]
    overall = overall_of(rows)
    by_category = [row for row in rows if row["category"] is not None and numbers.known(number(row, "delta"))]
    name = Piece(text(overall, "model"), "name")
    if not numbers.known(number(overall, "delta")):
        return [name, Piece(" gave numbers that are not finite, so nothing can be said about it.")]
    if len(by_category) < 2 or all(direction(row) is None for row in by_category):
        return _whole_text(name, overall, unit, about)

    better, worse, even, untold = (
        sorted((row for row in by_category if direction(row) == way), key=lambda row: -abs(number(row, "delta") or 0))
        for way in (1, -1, 0, None)
    )
    pieces = [name, Piece(" predicts ")]
    groups = [(better, "better"), (worse, "worse"), (even, NEITHER)]
    groups.append((untold, f"on {TOO_FEW}"))
    for at, (group, word) in enumerate((group, word) for group, word in groups if group):
        if at:
            pieces.append(Piece(", "))
        pieces += _group(group, word, SHORT_UNITS[unit] if at == 0 else "")
    return [*pieces, Piece(". Over all: "), *_amount(overall, bare=True), Piece(".")]


def _whole_text(name: Piece, overall: Row, unit: Unit, about: str | None) -> list[Piece]:
    way = direction(overall)
    what = Piece("the text") if about is None else Piece(about or "documents without category", "category")
    if way is None:
        amount, *_ = _amount(overall, SHORT_UNITS[unit], bare=True)
        where = [] if about is None else [Piece(" on "), what]
        said = f" against the reference, on {TOO_FEW} better from worse."
        return [name, *where, Piece(": "), amount, Piece(said)]
    verdict = {1: "better than", -1: "worse than", 0: f"{NEITHER} than"}[way]
    return [
        name,
        Piece(" predicts "),
        what,
        Piece(f" {verdict} the reference "),
        *_amount(overall, SHORT_UNITS[unit]),
        Piece("."),
    ]


def behind(row: Row, unit: Unit = "nats", *, spans: bool = False) -> list[Piece]:
    """What a model gained and lost, and how little of it the mean shows: where a card has told the rest.

    Args:
        row: the model's row of `schema.MODELS` for all documents.
        unit: of gain and loss.
        spans: whether rows are of spans of text, which have no perplexity.
    """
    name, (gain, loss) = Piece(text(row, "model"), "name"), (number(row, column) for column in COLUMNS[unit])
    if not (numbers.known(gain) and numbers.known(loss)):
        return [name, Piece(" gave numbers that are not finite, so nothing can be said about it.")]
    digits = numbers.decimals(gain, loss)
    what, write, kind = ("bits per byte", numbers.fixed, "bpb") if spans else ("perplexity", numbers.perplexity, "ppl")
    ref, cmp = (write(number(row, f"{kind}_{which}")) for which in ("ref", "cmp"))
    return [
        name,
        Piece(" gained "),
        Piece(numbers.fixed(gain, digits), "number"),
        Piece(f" on some {'spans' if spans else 'tokens'} and lost "),
        Piece(f"{numbers.fixed(loss, digits)} {SHORT_UNITS[unit]}", "number"),
        Piece(f" on others; the {what}, "),
        Piece(f"{ref} → {cmp}", "number"),
        Piece(", shows only the difference."),
    ]


def within_noise(family: Family, row: Row) -> list[Piece]:
    """The sentence that follows `finding` if the model cannot be told from the reference; nothing if it can.

    Args:
        family: the model's.
        row: the model's row of `schema.MODELS` for all documents, every token weighing the same.
    """
    floor = family.noise_floor
    if floor is None or not is_within_noise(family, row):
        return []
    most = (floor.gain, floor.loss) if family.align == "tokens" else floor.bits_per_byte or ()
    gain, loss = (numbers.fixed(each, max(numbers.decimals(*most), 3)) for each in most)
    return [
        Piece(" All of it lies inside the noise floor (gain "),
        Piece(gain, "number"),
        Piece(", loss "),
        Piece(loss, "number"),
        Piece(", the largest of all changes): the model is equal to the reference, as far as these documents tell."),
    ]


def divergence(rows: Sequence[Row]) -> list[Piece]:
    """How far a model's whole distribution is from the reference's; nothing if the run has no `kld`.

    Args:
        rows: as those of `finding`.
    """
    overall = overall_of(rows)
    kld, top = number(overall, "kld"), number(overall, "same_top")
    if not (numbers.known(kld) and numbers.known(top)):
        return []
    of_kld = numbers.significant_interval(*ends(overall, "kld"))
    top_low, top_high = (None if end is None else 100 * end for end in ends(overall, "same_top"))
    of_top = numbers.interval(top_low, top_high, 1)
    return [
        Piece(" KL divergence from the reference "),
        Piece(f"{numbers.significant(kld)} {SHORT_UNITS['nats']}", "number"),
        *([Piece(" "), Piece(f"({of_kld})", "interval")] if of_kld else []),
        Piece(", the same most probable token at "),
        Piece(numbers.percent(top), "number"),
        *([Piece(" "), Piece(f"({of_top})", "interval")] if of_top else []),
        Piece(" of the tokens."),
    ]


def _ends(row: Row, unit: Unit) -> dict[str, float | None]:
    return dict(zip(("delta_low", "delta_high"), ends(row, DELTA[unit]), strict=True))


def _group(rows: Sequence[Row], word: str, unit: str) -> list[Piece]:
    """`code better (+0.13)`, or of several `prose (−0.29) and code (−0.11) worse`."""
    pieces: list[Piece] = []
    several = len(rows) > 1
    for i, row in enumerate(rows[:SHOWN]):
        if i:
            pieces.append(Piece(" and " if i == len(rows) - 1 else ", "))
        pieces.append(Piece(text(row, "category") or "documents without category", "category"))
        pieces.append(Piece(" " if several else f" {word} "))
        pieces += _amount(row, unit if i == 0 else "")
    if len(rows) > SHOWN:
        rest = len(rows) - SHOWN
        pieces.append(Piece(f" and {rest} more {'category' if rest == 1 else 'categories'}"))
    return [*pieces, Piece(f" {word}")] if several else pieces


def marked(message: str) -> list[Piece]:
    """A message of ppldelta, in which backticks stand around names: its text and its names as pieces of their own."""
    parts = message.split("`")
    if len(parts) % 2 == 0:
        return [Piece(message)]
    return [Piece(part, "name" if i % 2 else "text") for i, part in enumerate(parts) if part]


def direction(row: Row) -> int | None:
    """1 better, -1 worse, 0 if the interval spans 0, None if there are too few documents for one."""
    low, high = ends(row, "delta")
    if not (numbers.known(low) and numbers.known(high)):
        return None
    return side(low, high)


def _amount(row: Row, unit: str = "", *, bare: bool = False) -> list[Piece]:
    """A delta with its interval: both in brackets or, if it is `bare`, the interval alone."""
    delta = number(row, "delta")
    digits = max(numbers.decimals(delta) - 1, 2)
    amount = Piece(numbers.signed(delta, digits) + (f" {unit}" if unit else ""), "number")
    interval = numbers.interval(*ends(row, "delta"), digits, sign=True)
    if not interval and not bare:  # the words around it say so
        return [Piece("("), amount, Piece(")")]
    if not interval:
        interval = NO_INTERVAL
    elif unit:
        interval = f"{INTERVAL} {interval}"
    if bare:
        return [amount, Piece(" "), Piece(f"({interval})", "interval")]
    return [Piece("("), amount, Piece(", "), Piece(f"{interval})", "interval")]
