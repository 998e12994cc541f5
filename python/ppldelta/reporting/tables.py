"""The tables of the report: which columns, in which order, with how many digits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from ppldelta.wording import numbers


@dataclass(frozen=True)
class Cell:
    """A value as text, what to sort it by, and the interval or remark below it."""

    text: str
    sort: float | str | None = None
    note: str = ""
    kind: str = "number"
    color: str = ""


@dataclass(frozen=True)
class Column:
    """A heading, its unit, what it means (shown on hover), and how a row fills it."""

    title: str
    unit: str
    help: str
    cell: Callable[[dict[str, Any]], Cell]
    kind: str = "number"


@dataclass(frozen=True)
class Table:
    """Columns and rows of finished cells."""

    columns: list[Column]
    rows: list[list[Cell]]


def summary(models: pl.DataFrame, colors: dict[tuple[str, str], str]) -> Table:
    """One row per model over all documents, every token weighing the same.

    Args:
        models: rows of `schema.MODELS`, all weightings and categories.
        colors: (family, model) → name of the colour in the page's style sheet.
    """
    rows = models.filter(pl.col("category").is_null(), weighting="tokens")
    return _table(
        rows,
        [
            *_names(rows, colors),
            _perplexity("ppl_ref", "reference", "Perplexity of the reference"),
            _perplexity("ppl_cmp", "model", "Perplexity of the model"),
            *_deltas(rows),
            _bits("bpb_ref", "reference", "Bits that the reference needs per byte of text"),
            _bits("bpb_cmp", "model", "Bits that the model needs per byte of text"),
            *_counts(),
            _column("size", "tensors", "Size of the model's tensors", "size_bytes", numbers.size),
            _column(
                "bits",
                "per weight",
                "Size of the tensors in bits, by parameters",
                "bits_per_weight",
                lambda value: numbers.fixed(value, 2),
            ),
        ],
    )


def by_category(models: pl.DataFrame, colors: dict[tuple[str, str], str]) -> Table:
    """One row per model and category, every token weighing the same; empty where there is but one category."""
    rows = models.filter(pl.col("category").is_not_null(), weighting="tokens")
    if rows["category"].n_unique() < 2:
        rows = rows.clear()
    return _table(
        rows,
        [
            *_names(rows, colors),
            Column("category", "", "First folder of the document's path", _category, "name"),
            _perplexity("ppl_ref", "reference", "Perplexity of the reference"),
            _perplexity("ppl_cmp", "model", "Perplexity of the model"),
            *_deltas(rows),
            _bits("bpb_ref", "reference", "Bits that the reference needs per byte of text"),
            _bits("bpb_cmp", "model", "Bits that the model needs per byte of text"),
            *_counts(),
        ],
    )


def _table(rows: pl.DataFrame, columns: list[Column]) -> Table:
    return Table(columns, [[column.cell(row) for column in columns] for row in rows.iter_rows(named=True)])


def _names(rows: pl.DataFrame, colors: dict[tuple[str, str], str]) -> list[Column]:
    model = Column(
        "model",
        "",
        "The model that is judged",
        lambda row: Cell(row["model"], row["model"], kind="model", color=colors[row["family"], row["model"]]),
        "model",
    )
    family = Column(
        "family",
        "",
        "One reference and what is judged against it",
        lambda row: Cell(row["family"], row["family"], kind="name"),
        "name",
    )
    return [model, family] if rows["family"].n_unique() > 1 else [model]


def _category(row: dict[str, Any]) -> Cell:
    return Cell(row["category"] or "(none)", row["category"], kind="name")


def _column(title: str, unit: str, help: str, name: str, write: Callable[[Any], str]) -> Column:
    return Column(title, unit, help, lambda row: Cell(write(row[name]), _sortable(row[name])))


def _perplexity(name: str, unit: str, help: str) -> Column:
    return _column("ppl", unit, help, name, numbers.perplexity)


def _bits(name: str, unit: str, help: str) -> Column:
    return _column("bits/byte", unit, help, name, lambda value: numbers.fixed(value, 3))


def _counts() -> list[Column]:
    return [
        _column("docs", "", "Documents that were scored", "n_documents", numbers.count),
        _column("tokens", "scored", "Tokens whose probability was compared", "n_scored", numbers.count),
    ]


def _deltas(rows: pl.DataFrame) -> list[Column]:
    """Gain, loss and delta with one number of digits for all three, so that they can be subtracted by eye."""
    digits = numbers.decimals(*(value for name in ("gain", "loss", "delta") for value in rows[name]))

    def column(name: str, help: str, write: Callable[[float | None, int], str]) -> Column:
        def cell(row: dict[str, Any]) -> Cell:
            note = numbers.interval(row[f"{name}_low"], row[f"{name}_high"], digits, sign=name == "delta")
            kind = "number"
            if name == "delta" and note:
                kind = "better" if row["delta_low"] > 0 else "worse" if row["delta_high"] < 0 else "number"
            return Cell(write(row[name], digits), _sortable(row[name]), note, kind)

        return Column(name, "nats/token", help, cell)

    return [
        column("gain", "What the model adds on tokens that it predicts better", numbers.fixed),
        column("loss", "What the model gives up on tokens that it predicts worse", numbers.fixed),
        column("delta", "gain − loss: above 0 the model predicts the text better", numbers.signed),
    ]


def _sortable(value: Any) -> float | None:
    return value if numbers.known(value) else None
