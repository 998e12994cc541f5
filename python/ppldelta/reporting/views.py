"""Tables and sentences under each choice of a reader: the page shows the first, its scripts put others in its place.

They are made here once, so that the page writes and judges numbers as all else does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import polars as pl

from ppldelta.family import Family
from ppldelta.reporting import head, tables
from ppldelta.reporting.blocks import Json, pack
from ppldelta.reporting.catalogue import Switch
from ppldelta.reporting.head import MOST_SENTENCES, Head
from ppldelta.reporting.sentences import Piece
from ppldelta.reporting.tables import Cell, Table
from ppldelta.reporting.units import WEIGHTINGS, Choice, Unit

_ALL: tuple[Switch, ...] = ("unit", "weighting", "category")


@dataclass(frozen=True)
class Views:
    """What the page shows first, and the block with all else.

    Attributes:
        tables: by name.
        sentences: by family and model; empty if there is a row for each model instead (``tables["head"]``).
        follows: by name of a table, and of the sentences, the switches that it follows.
        block: `tables` and `sentences` by name and then by the values of these switches.
    """

    tables: dict[str, Table]
    sentences: dict[tuple[str, str], list[Piece]]
    follows: dict[str, Sequence[Switch]]
    block: bytes


def make_views(
    heads: Sequence[Head],
    models: pl.DataFrame,
    colors: Mapping[tuple[str, str], str],
    *,
    units: Sequence[Unit],
    categories: Sequence[str],
    spans: bool,
    bytes_per_token: Mapping[tuple[str, str], float | None],
) -> Views:
    """Makes all tables and sentences.

    Args:
        heads: of the families, in the order of the page.
        models: `schema.MODELS`.
        colors: (family, model) → name of the colour in the page's style sheet.
        units: that the reader may choose; the page begins with the first.
        categories: of the documents.
        spans: as for `tables.summary`.
        bytes_per_token: as for `tables.summary`.
    """
    families = [each.family for each in heads]
    damage = any(family.quants for family in families)
    made: dict[str, tuple[tuple[Switch, ...], Callable[[Choice], Table]]] = {
        "summary": (
            _ALL,
            lambda choice: tables.summary(
                models, colors, choice, damage=damage, spans=spans, bytes_per_token=bytes_per_token
            ),
        ),
        "divergence": (("weighting", "category"), lambda choice: tables.divergence(models, colors, choice)),
        "categories": (
            ("unit", "weighting"),
            lambda choice: tables.by_category(models, colors, choice, damage=damage, spans=spans),
        ),
    }
    many = len(colors) > MOST_SENTENCES
    if many:
        made["head"] = (_ALL, lambda choice: head.table(heads, models, colors, choice))
    first = Choice(unit=units[0])
    drawn = {
        name: {key(choice, follows): _as_json(draw(choice), families) for choice in choices(follows, units, categories)}
        for name, (follows, draw) in made.items()
    }
    told: dict[str, Json] = {}
    for choice in [] if many else choices(_ALL, units, categories):
        told[key(choice, _ALL)] = [
            [[[p.kind, p.text] for p in each.sentence(model, choice)] for model in each.family.models] for each in heads
        ]
    return Views(
        tables={name: draw(first) for name, (_, draw) in made.items()},
        sentences={}
        if many
        else {(each.family.name, m): each.sentence(m, first) for each in heads for m in each.family.models},
        follows={**{name: follows for name, (follows, _) in made.items()}, **({} if many else {"sentences": _ALL})},
        block=pack([("tables", "json", drawn), ("sentences", "json", told)]),
    )


def lengths(families: Sequence[Family]) -> dict[tuple[str, str], float | None]:
    """Of each comparison, by family and model; of none where all tokens of the page are equally long."""
    every = [each.bytes_per_token for family in families for each in (family.ref, *family.cmp)]
    if len({each for each in every if each is not None}) < 2:
        return {}
    return {(family.name, each.label): each.bytes_per_token for family in families for each in family.cmp}


def choices(follows: Sequence[Switch], units: Sequence[Unit], categories: Sequence[str]) -> list[Choice]:
    """Every choice that makes a difference to what follows some switches."""
    scopes: list[str | None] = [None, *(categories if "category" in follows and len(categories) > 1 else [])]
    weightings = list(WEIGHTINGS) if "weighting" in follows else [Choice().weighting]
    every = product(units if "unit" in follows else units[:1], weightings, scopes)
    return [Choice(unit=unit, weighting=weighting, category=category) for unit, weighting, category in every]


def key(choice: Choice, follows: Sequence[Switch]) -> str:
    """The name of a view: the values of the switches that it follows."""
    return "/".join(choice.parts(follows))


def _as_json(table: Table, families: Sequence[Family]) -> Json:
    """Headings, and rows of cells behind the number of the row's family, its model, and its category."""
    places = {family.name: i for i, family in enumerate(families)}
    columns: list[Json] = [
        [column.title, column.unit, column.help, column.kind, column.name] for column in table.columns
    ]
    rows: list[Json] = [
        [places[family], model, category, [_cell(cell) for cell in row]]
        for (family, model, category), row in zip(table.of, table.rows, strict=True)
    ]
    return {"columns": columns, "rows": rows}


def _cell(cell: Cell) -> Json:
    """Text, value to sort by, note, kind, colour, link and interval ends, without what is as usual at the end."""
    parts: list[Json] = [cell.text, cell.sort, cell.note, cell.kind, cell.color, cell.href, cell.low, cell.high]
    usual = ["", None, "", "number", "", "", None, None]
    while parts and parts[-1] == usual[len(parts) - 1]:
        parts.pop()
    return parts
