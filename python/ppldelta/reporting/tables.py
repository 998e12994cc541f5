"""The tables of the report: which columns, in which order, with how many digits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import polars as pl

from ppldelta.analysis.uncertainty import side
from ppldelta.reporting import short_names
from ppldelta.reporting.rows import Row, ends, in_category, number, text, whole
from ppldelta.reporting.units import COLUMNS, DAMAGE, DELTA, SHORT_UNITS, Choice, Unit, damage_of
from ppldelta.wording import numbers

HELP = {
    "family": "One reference and what is judged against it",
    "model": "The model that is judged",
    "document": "Path below the corpus root",
    "category": "First folder of the document's path",
    "ppl_ref": "Perplexity of the reference",
    "ppl_cmp": "Perplexity of the model",
    "gain": "What the model adds on tokens that it predicts better",
    "loss": "What the model gives up on tokens that it predicts worse",
    "delta": "gain − loss, the mean of the tokens' deltas: above 0 the model predicts the text better",
    "damage": "gain + loss: how far a quant moved from its reference, whichever way",
    "bpb_ref": "Bits that the reference needs per byte of text",
    "bpb_cmp": "Bits that the model needs per byte of text",
    "kld": "KL divergence of the model's predictions from the reference's, mean of the tokens; 0: the same",
    "kld_p50": "Half of the tokens diverge less",
    "kld_p90": "Nine tenths of the tokens diverge less",
    "kld_p95": "95 % of the tokens diverge less",
    "kld_p99": "99 % of the tokens diverge less",
    "kld_p999": "All but one in a thousand tokens diverge less",
    "kld_max": "The token that diverges most",
    "same_top": "Tokens at which the model and the reference find the same token most probable",
    "dp_rms": "Root mean square of the change of the probability of the token that came next, in percentage points",
    "ppl_ratio": "Perplexity of the model by that of the reference",
    "n_documents": "Documents that were scored",
    "n_bytes": "Bytes of text on which both were compared",
    "n_scored": "Tokens whose probability was compared",
    "size_bytes": "Size of the model's tensors",
    "bits_per_weight": "Size of the tensors in bits, by parameters",
    "bytes_per_token": "How many bytes of text a token of the model covers on average",
}
"""What each column means, also in the page's table of documents."""


@dataclass(frozen=True)
class Cell:
    """A value as text, what to sort it by, the interval or remark below it, its ends, and where a click on it leads."""

    text: str
    sort: float | str | None = None
    note: str = ""
    kind: str = "number"
    color: str = ""
    href: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Column:
    """A heading, its unit, what it means (shown on hover), how a row fills it, and its name in a CSV file."""

    title: str
    unit: str
    help: str
    cell: Callable[[Row], Cell]
    kind: str = "number"
    name: str = ""


@dataclass(frozen=True)
class Table:
    """Columns and rows of finished cells; `of` says for each row its family, model, and category or None."""

    columns: list[Column]
    rows: list[list[Cell]]
    of: list[tuple[str, str, str | None]] = field(default_factory=list)


def summary(
    models: pl.DataFrame,
    colors: Mapping[tuple[str, str], str],
    choice: Choice | None = None,
    *,
    damage: bool = False,
    spans: bool = False,
    bytes_per_token: Mapping[tuple[str, str], float | None] | None = None,
) -> Table:
    """One row per model.

    Args:
        models: rows of `schema.MODELS`, all weightings and categories.
        colors: (family, model) → name of the colour in the page's style sheet.
        choice: unit of gain and loss, weighting, and category; by default over all documents, every token weighing
            the same.
        damage: whether there is a column of damage, as there is where some models are quants.
        spans: whether rows are of spans of text, which have no perplexity and no damage.
        bytes_per_token: (family, model) → how long its tokens are; no column if it is empty.
    """
    lengths = bytes_per_token or {}

    def length(row: Row) -> Cell:
        value = lengths.get((text(row, "family"), text(row, "model")))
        return Cell(numbers.fixed(value, 2), value)

    choice = choice or Choice()
    rows = models.filter(in_category(choice.category), weighting=choice.weighting)
    lengths_of = [Column("length", "bytes/token", HELP["bytes_per_token"], length, name="bytes_per_token")]
    return made_of(
        rows,
        [
            *names(rows, colors),
            *_values(rows, damage, choice.unit, spans),
            *(lengths_of if lengths else []),
            *_sizes(),
        ],
    )


def brief(
    rows: pl.DataFrame, colors: Mapping[tuple[str, str], str], *, damage: bool = False, unit: Unit = "nats"
) -> Table:
    """What `summary` and `divergence` say of each model in short, with intervals, where there is room for one table.

    Args:
        rows: of `schema.MODELS`, one for each model.
        colors: as for `summary`.
        damage: likewise.
        unit: of gain, loss, delta and damage.
    """
    ppl = with_interval("ppl", "model", "ppl_cmp", numbers.perplexity)
    bits = with_interval(SHORT_UNITS["bpb"], "model", "bpb_cmp", lambda value: numbers.fixed(value, 3))
    of_divergence = [
        with_interval("KL divergence", "nats/token", "kld", numbers.significant),
        with_interval("same top", "% of tokens", "same_top", percent(1)),
    ]
    return made_of(
        rows,
        [
            *names(rows, colors),
            *deltas(rows, damage, unit),
            *(of_divergence if rows["kld"].count() else []),
            bits if unit == "bpb" else ppl,
            *_sizes(),
        ],
    )


def by_category(
    models: pl.DataFrame,
    colors: Mapping[tuple[str, str], str],
    choice: Choice | None = None,
    *,
    damage: bool = False,
    spans: bool = False,
) -> Table:
    """One row per model and category, whatever category is chosen; empty if there is but one. As `summary` else."""
    choice = choice or Choice()
    rows = models.filter(pl.col("category").is_not_null(), weighting=choice.weighting)
    if rows["category"].n_unique() < 2:
        rows = rows.clear()
    category = Column("category", "", HELP["category"], _category, "name", "category")
    columns = [*names(rows, colors), category, *_values(rows, damage, choice.unit, spans)]
    if rows["kld"].count():
        columns.append(with_interval("KL divergence", "nats/token", "kld", numbers.significant))
        columns.append(with_interval("same top", "% of tokens", "same_top", percent(1)))
    return made_of(rows, columns)


def divergence(models: pl.DataFrame, colors: Mapping[tuple[str, str], str], choice: Choice | None = None) -> Table:
    """One row per model that has divergences: mean, tail, agreement; empty if none has. Arguments as of `summary`.

    Every document weighing the same there are means alone.
    """
    choice = choice or Choice()
    rows = models.filter(in_category(choice.category), pl.col("kld").is_not_null(), weighting=choice.weighting)
    tail = {"kld_p50": "median", "kld_p90": "90\N{NO-BREAK SPACE}%", "kld_p95": "95\N{NO-BREAK SPACE}%"}
    tail |= {"kld_p99": "99\N{NO-BREAK SPACE}%", "kld_p999": "99.9\N{NO-BREAK SPACE}%", "kld_max": "greatest"}
    by_token = choice.weighting == "tokens"
    percentiles = [with_interval(title, "of the tokens", name, numbers.significant) for name, title in tail.items()]
    return made_of(
        rows,
        [
            *names(rows, colors),
            with_interval("KL divergence", "mean, nats/token", "kld", numbers.significant),
            *(percentiles if by_token else []),
            with_interval("same top", "% of tokens", "same_top", percent(1)),
            *([with_interval("Δp", "RMS, points", "dp_rms", percent(2))] if by_token else []),
            *([with_interval("ppl ratio", "model/reference", "ppl_ratio", _four)] if by_token else []),
        ],
    )


def _four(value: float | None) -> str:
    return numbers.fixed(value, 4)


def percent(digits: int) -> Callable[[float | None], str]:
    """Writes parts of 1 in per cent."""
    return lambda value: numbers.fixed(None if value is None else 100 * value, digits)


def with_interval(title: str, unit: str, name: str, write: Callable[[float | None], str]) -> Column:
    """A column of values with their intervals."""

    def cell(row: Row) -> Cell:
        low, high = ends(row, name)
        note = f"{write(low)} to {write(high)}" if numbers.known(low) and numbers.known(high) else ""
        return Cell(write(number(row, name)), _sortable(row, name), note, low=low, high=high)

    return Column(title, unit, HELP[name], cell, name=name)


def made_of(rows: pl.DataFrame, columns: list[Column]) -> Table:
    """A table of rows with the columns family, model and category."""
    of: list[tuple[str, str, str | None]] = list(rows.select("family", "model", "category").iter_rows())
    return Table(columns, [[column.cell(row) for column in columns] for row in rows.iter_rows(named=True)], of)


def names(rows: pl.DataFrame, colors: Mapping[tuple[str, str], str]) -> list[Column]:
    """The columns of models, whose names are short, sorted by the whole ones; and of families if there are several."""
    short = short_names.in_families(colors)

    def model_cell(row: Row) -> Cell:
        key = text(row, "family"), text(row, "model")
        return Cell(short[key], key[1], kind="model", color=colors[key])

    def family_cell(row: Row) -> Cell:
        return Cell(text(row, "family"), text(row, "family"), kind="name")

    model = Column("model", "", HELP["model"], model_cell, "model", "model")
    family = Column("family", "", HELP["family"], family_cell, "name", "family")
    return [model, family] if rows["family"].n_unique() > 1 else [model]


def _category(row: Row) -> Cell:
    return Cell(text(row, "category") or "(none)", text(row, "category"), kind="name")


def _values(rows: pl.DataFrame, damage: bool, unit: Unit, spans: bool) -> list[Column]:
    def perplexity(row: Row, name: str) -> str:
        return numbers.perplexity(number(row, name))

    def bits(row: Row, name: str) -> str:
        return numbers.fixed(number(row, name), 3)

    def count(row: Row, name: str) -> str:
        return numbers.count(whole(row, name))

    fits = [
        _column("ppl", "reference", "ppl_ref", perplexity),
        _column("ppl", "model", "ppl_cmp", perplexity),
    ]
    of_bytes = [
        _column(SHORT_UNITS["bpb"], "reference", "bpb_ref", bits),
        _column(SHORT_UNITS["bpb"], "model", "bpb_cmp", bits),
    ]
    n_documents = _column("docs", "", "n_documents", count)
    if spans:
        n_bytes = _column("bytes", "compared", "n_bytes", count)
        return [*of_bytes, *deltas(rows, False, unit), n_documents, n_bytes, _column("spans", "", "n_scored", count)]
    n_scored = _column("tokens", "scored", "n_scored", count)
    return [*fits, *deltas(rows, damage, unit), *of_bytes, n_documents, n_scored]


def _sizes() -> list[Column]:
    return [
        _column("size", "tensors", "size_bytes", lambda row, name: numbers.size(whole(row, name))),
        _column("bits", "per weight", "bits_per_weight", lambda row, name: numbers.fixed(number(row, name), 2)),
    ]


def _column(title: str, unit: str, name: str, write: Callable[[Row, str], str]) -> Column:
    return Column(title, unit, HELP[name], lambda row: Cell(write(row, name), _sortable(row, name)), name=name)


def deltas(rows: pl.DataFrame, damage: bool, unit: Unit) -> list[Column]:
    """Gain, loss and net with one number of digits for all, so that they can be added and subtracted by eye."""
    columns = dict(zip(("gain", "loss", "delta"), (*COLUMNS[unit], DELTA[unit]), strict=True))
    names = list(columns)
    columns["damage"] = DAMAGE[unit]
    digits = numbers.decimals(*(value for name in names for value in rows[columns[name]]))

    def column(name: str, write: Callable[[float | None, int], str]) -> Column:
        def cell(row: Row) -> Cell:
            low, high = ends(row, columns[name])
            kind = "number"
            if name == "delta" and numbers.known(low) and numbers.known(high):
                kind = {1: "better", -1: "worse", 0: "number"}[side(low, high)]
            note = numbers.interval(low, high, digits, sign=name == "delta")
            value = damage_of(row, unit) if name == "damage" else number(row, columns[name])
            sort = value if numbers.known(value) else None
            return Cell(write(value, digits), sort, note, kind, low=low, high=high)

        title = "net" if name == "delta" else name  # a delta is a token's
        return Column(title, SHORT_UNITS[unit], HELP[name], cell, name=columns[name])

    more = [column("damage", numbers.fixed)] if damage else []
    return [column("gain", numbers.fixed), column("loss", numbers.fixed), column("delta", numbers.signed), *more]


def _sortable(row: Row, name: str) -> float | None:
    value = number(row, name)
    return value if numbers.known(value) else None
