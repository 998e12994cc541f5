"""A result in a notebook: its card, a table of its models with intervals, and where the report is."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import polars as pl
from markupsafe import Markup

from ppldelta.cards.content import Content
from ppldelta.cards.drawing import Page
from ppldelta.cards.layout import card
from ppldelta.reporting import notebook, tables
from ppldelta.reporting.sentences import Piece
from ppldelta.wording.names import printable

MOST_MODELS = 40
"""Rows of the table."""


def result_html(content: Content, models: pl.DataFrame, reports: Sequence[Path]) -> str:
    """HTML for a cell's output.

    Args:
        content: of the card.
        models: `schema.MODELS`.
        reports: pages that were written, the last one last; those that are no longer there are not named.
    """
    overall = models.filter(pl.col("category").is_null(), weighting="tokens")
    shown = content.models[:MOST_MODELS]
    colors = {(model.family.name, model.facts.label): model.color for model in content.models}
    table = tables.brief(overall, colors, damage=any(model.quant for model in content.models), unit=content.unit)
    order = {(row["family"], row["model"]): i for i, row in enumerate(overall.iter_rows(named=True))}
    rows = [table.rows[order[model.family.name, model.facts.label]] for model in shown]
    rest = len(content.models) - len(shown)
    more = [notebook.sentence(f"and {rest} more: `result.models` has all", muted=True)] if rest else []
    key = f"ppldelta-{sha256(repr([model.rows for model in content.models]).encode()).hexdigest()[:8]}-"
    return notebook.fragment(
        Markup(card(content, page=Page(notebook.variable, key, key))),
        notebook.models(
            tables.Table(table.columns, rows), [model.name for model in shown], [model.color for model in shown]
        ),
        *more,
        notebook.sentence("Below a number its 95\N{NO-BREAK SPACE}% interval.", muted=True),
        _where([path for path in reports if path.is_file()]),
    )


def _where(reports: Sequence[Path]) -> Markup:
    if not reports:
        return notebook.sentence(
            'The report, down to the single token, is not written yet: `result.report("report.html")` does that.'
        )
    report = reports[-1]
    try:
        href = report.resolve().relative_to(Path.cwd().resolve()).as_posix()
    except ValueError:  # front ends open nothing that lies elsewhere
        return notebook.paragraph(
            [Piece("The report, down to the single token, is "), Piece(printable(report), "name")]
        )
    return notebook.link(href, f"The report, down to the single token: {printable(href)}")
