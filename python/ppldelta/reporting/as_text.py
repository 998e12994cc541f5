"""A result as text for a terminal: its references, a table of its models, and in which unit they are told."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from textwrap import wrap

import polars as pl

from ppldelta.family import Family
from ppldelta.reporting import odds, references
from ppldelta.reporting.floor import noise_notes
from ppldelta.reporting.rows import Row, ends, number, whole
from ppldelta.reporting.text_table import Cell, Column, fit
from ppldelta.reporting.units import COLUMNS, DELTA, Unit, unit_of
from ppldelta.schema import INTERVALS, PERCENTILE_INTERVALS
from ppldelta.wording import numbers, rules
from ppldelta.wording.names import counted, escaped, shown_name

WIDTH = 120
"""Columns of what is no terminal."""

_LONGEST_LINE = 100


def summary(families: Sequence[Family], overall: pl.DataFrame) -> pl.DataFrame:
    """The most important columns of `schema.MODELS`: without perplexities and nats where some models are compared on
    spans of text. The ends of an interval follow their value.

    Args:
        families: of the result.
        overall: rows of `schema.MODELS`, a row for each model.
    """
    columns = ["family"] if len(families) > 1 else []
    columns += ["model", "n_documents", "n_scored"]
    if unit_of(families) == "bpb":
        columns += ["n_bytes", "bpb_ref", "bpb_cmp", "gain_bpb", "loss_bpb", "delta_bpb"]
    else:
        columns += ["ppl_ref", "ppl_cmp", "gain", "loss", "delta", "gain_bpb", "loss_bpb"]
        if any(family.quants for family in families):
            columns += ["damage"]
    of_divergence = ("kld", "kld_p99", "same_top")
    columns += [name for name in of_divergence if overall[name].null_count() < len(overall)]
    with_ends = {*INTERVALS, *PERCENTILE_INTERVALS}
    ends_of = ("", "_low", "_high")
    of_each = [f"{name}{end}" for name in columns for end in (ends_of if name in with_ends else ("",))]
    return overall.select(*of_each, "size_bytes", "bits_per_weight")


def as_text(
    families: Sequence[Family],
    overall: pl.DataFrame,
    odds_models: pl.DataFrame | None = None,
    most: int | None = None,
    reference_pairs: pl.DataFrame | None = None,
) -> str:
    """What `repr` of a result shows.

    Args:
        families: as for `summary`.
        overall: likewise.
        odds_models: `Result.odds_models`.
        most: columns that there is room for; by default those of the terminal.
        reference_pairs: `Result.references`.
    """
    most = most or shutil.get_terminal_size((WIDTH, 24)).columns
    rows = list(overall.iter_rows(named=True))
    several = len(families) > 1
    unit = unit_of(families)
    of_all = ", ".join(f"`{shown_name(family.ref.label)}`" for family in families)
    same = rows[0] if not several and rows and all(_shared(row) == _shared(rows[0]) for row in rows) else None
    if same is not None:
        of_all += f" ({_corpus(families[0], same, unit)})"
    names = {"family": [row["family"] for row in rows]} if several else {}
    table = fit({**names, "model": [row["model"] for row in rows]}, list(_columns(families, rows, unit)), most)
    left_out = (
        f"no room for {', '.join(table.left_out)}: the report and `result.summary` have more" if table.left_out else ""
    )
    rule = rules.notes((shown_name(family.name), family.rule) for family in families)
    which = [] if reference_pairs is None else references.finding(reference_pairs)
    first = "".join(shown_name(piece.text) if piece.kind == "name" else escaped(piece.text) for piece in which)
    notes = filter(None, [left_out, _note(table.lines, rows, several, unit), *rule])
    return "\n".join(
        [
            *wrap(first, min(most, _LONGEST_LINE), break_long_words=False),
            *wrap(f"Compared with {of_all}:", most, break_long_words=False, break_on_hyphens=False),
            *table.lines,
            *(line for each in notes for line in wrap(each, min(most, _LONGEST_LINE), break_long_words=False)),
            *noise_notes(families, overall),
            *([] if odds_models is None else odds.notes(odds_models)),
        ]
    )


def _shared(row: Row) -> tuple[object, ...]:
    """What all models of a family have in common if they are compared on the same tokens."""
    return row["n_documents"], row["n_scored"], row["ppl_ref"]


def _corpus(family: Family, row: Row, unit: Unit) -> str:
    documents = counted(whole(row, "n_documents") or 0, "document")
    if unit == "bpb":
        return f"{numbers.fixed(number(row, 'bpb_ref'))} bits per byte; {documents}"
    length = numbers.bytes_per_token(family.ref.bytes_per_token)
    parts = [documents, counted(whole(row, "n_scored") or 0, "token"), *([length] if length else [])]
    return f"ppl {numbers.perplexity(number(row, 'ppl_ref'))}; {', '.join(parts)}"


def _columns(families: Sequence[Family], rows: Sequence[Row], unit: Unit) -> Iterator[Column]:
    """The columns of numbers, from left to right; quants are told by their damage, so that it is worth more there."""
    several = len(families) > 1
    gain, loss = COLUMNS[unit]
    digits = numbers.decimals(*(number(row, name) for row in rows for name in (gain, loss)))

    def column(title: str, importance: int, name: str, write: Callable[[float | None], str]) -> Column:
        return Column(title, [_cell(row, name, write) for row in rows], importance)

    def fixed(value: float | None) -> str:
        return numbers.fixed(value, digits)

    def count(title: str, importance: int, name: str) -> Column:
        return Column(title, [Cell(numbers.count(whole(row, name))) for row in rows], importance)

    fits = ("bpb_ref", "bpb_cmp") if unit == "bpb" else ("ppl_ref", "ppl_cmp")
    write = numbers.fixed if unit == "bpb" else numbers.perplexity
    if several or len({_shared(row) for row in rows}) > 1:
        yield count("documents", 1, "n_documents")
        yield count("spans" if unit == "bpb" else "tokens", 0, "n_scored")
        yield Column(f"{fits[0][:3]} ref", [Cell(write(number(row, fits[0]))) for row in rows], 2)
    yield Column(fits[1][:3], [Cell(write(number(row, fits[1]))) for row in rows], 4)
    yield column("gain", 11, gain, fixed)
    yield column("loss", 10, loss, fixed)
    yield column("net", 12, DELTA[unit], lambda value: numbers.signed(value, digits))
    if several and unit == "nats":  # only families are compared in bits per byte
        yield column("gain bpb", 5, "gain_bpb", numbers.fixed)
        yield column("loss bpb", 5, "loss_bpb", numbers.fixed)
    if unit == "nats" and any(family.quants for family in families):
        yield column("damage", 9, "damage", fixed)
    if any(numbers.known(number(row, "kld")) for row in rows):
        yield column("KLD", 13, "kld", numbers.significant)
        yield column("KLD 99 %", 3, "kld_p99", numbers.significant)
        yield column("same top", 6, "same_top", lambda value: numbers.percent(value))
    if any(row["size_bytes"] is not None for row in rows):
        yield Column("size", [Cell(numbers.size(whole(row, "size_bytes"))) for row in rows], 8)
        yield Column("bits", [Cell(numbers.fixed(number(row, "bits_per_weight"), 2)) for row in rows], 7)


def _cell(row: Row, name: str, write: Callable[[float | None], str]) -> Cell:
    """A value with half the width of its interval, which has as many digits."""
    value = write(number(row, name))
    low, high = ends(row, name)
    if not (numbers.known(low) and numbers.known(high)):
        return Cell(value)
    half = (high - low) / 2
    percent = value.endswith("%")
    digits = len(value.removesuffix("\N{NO-BREAK SPACE}%").partition(".")[2])
    spread = numbers.significant(half) if "e" in value else numbers.fixed(100 * half if percent else half, digits)
    return Cell(value, f"± {spread}")


def _note(lines: Sequence[str], rows: Sequence[Row], several: bool, unit: Unit) -> str:
    """What the columns are in."""
    head = lines[1]
    parts = []
    if unit == "bpb":
        spans = "on spans that the tokens of both models cut out"
        parts.append(f"bpb, gain, loss, net (gain − loss): bits per byte of text, {spans}")
    else:
        damage = ", damage (gain + loss)" if " damage " in head else ""
        parts.append(f"gain, loss, net (gain − loss){damage}: nats per token; every token weighs the same")
    if " bpb " in head and unit == "nats":
        parts.append("bpb: bits per byte")
    if " bits " in head:
        parts.append("size of the tensors, bits per weight")
    if any(numbers.known(end) for row in rows for end in ends(row, DELTA[unit])):
        parts.append("±: half of the 95 % interval")
    elif rows:
        parts.append("too few documents for intervals")
    return "; ".join(parts)
