"""The marks of documents, models and the reference: all planes take them from here.

A figure for a notebook holds the marks of its documents. The page gets the same traces without marks, and
`page/planes.js` fills in places and symbols from the page's numbers under the filters of the moment.
"""

from __future__ import annotations

from collections.abc import Iterator

import plotly.graph_objects as go
import polars as pl

from ppldelta.reporting import hover
from ppldelta.reporting.hover import literal
from ppldelta.reporting.theme import LIGHT, Style
from ppldelta.reporting.units import Unit

MOST_SVG = 3000
"""Marks of documents beyond which they are drawn with WebGL."""


def documents(
    frame: pl.DataFrame, columns: tuple[str, str], *, filled: bool, style: Style, unit: Unit
) -> Iterator[go.Scatter | go.Scattergl]:
    """A trace per model with a mark for each of its documents; drawn with WebGL beyond `MOST_SVG` marks.

    Args:
        frame: rows of `schema.DOCUMENTS` of one family.
        columns: for x and y.
        filled: False leaves the marks out, for the page, whose script fills them in and says what each is.
        style: colours and symbols.
        unit: of the numbers in what a mark says when it is pointed at.
    """
    many = frame.height > MOST_SVG
    kind = go.Scattergl if many else go.Scatter
    for (model,), rows in frame.partition_by("model", maintain_order=True, as_dict=True).items():
        color = style.colors[str(model)]
        trace = kind(
            mode="markers",
            name=literal(str(model)),
            legendgroup=model,
            meta={"model": model, "marks": "documents"},
            marker=dict(
                color=color,
                size=5 if many else 8.5,
                opacity=0.6 if many else 0.85,
                line=dict(color=LIGHT["surface"], width=0 if many else 1),
            ),
            selected=dict(marker=dict(opacity=1)),
            unselected=dict(marker=dict(opacity=0.12)),
            hoverinfo=None if filled else "none",
            hoverlabel=dict(bordercolor=color),
        )
        if filled:
            trace.update(
                x=rows[columns[0]].to_list(),
                y=rows[columns[1]].to_list(),
                marker_symbol=[style.symbols[category] for category in rows["category"]],
                customdata=[hover.document(row, unit) for row in rows.iter_rows(named=True)],
                hovertemplate="%{customdata}<extra></extra>",
            )
        yield trace


def model(
    name: str,
    x: float,
    y: float,
    *,
    color: str,
    says: str,
    label: str,
    place: str,
    named: bool = True,
    whiskers_x: dict[str, object] | None = None,
    whiskers_y: dict[str, object] | None = None,
) -> go.Scatter:
    """The mark of a model.

    Args:
        name: of the model.
        x: where it stands.
        y: likewise.
        color: of the model.
        says: what the mark says when it is pointed at (`hover`).
        label: the name that stands beside the mark.
        place: where the label stands, plotly's `textposition`.
        named: False leaves the label out and gives the model a place in the legend.
        whiskers_x: its interval along x (`lines.whiskers`), if it has one.
        whiskers_y: likewise along y.
    """
    return go.Scatter(
        x=[x],
        y=[y],
        error_x=whiskers_x,
        error_y=whiskers_y,
        mode="markers+text" if named else "markers",
        text=[literal(label)],
        textposition=place,
        textfont=dict(color=LIGHT["ink"], size=12),
        name=literal(name),
        showlegend=not named,
        cliponaxis=False,
        meta={"model": name},
        marker=dict(color=color, size=12, line=dict(color=LIGHT["surface"], width=1.5)),
        customdata=[says],
        hovertemplate="%{customdata}<extra></extra>",
        hoverlabel=dict(bordercolor=color),
    )


def reference(x: float, *, says: str, label: str, place: str, named: bool = True) -> go.Scatter:
    """The mark of the reference, at y = 0; arguments as those of `model`."""
    return go.Scatter(
        x=[x],
        y=[0],
        mode="markers+text" if named else "markers",
        text=[label],
        textposition=place,
        textfont=dict(color=LIGHT["muted"], size=12),
        name="reference",
        showlegend=False,
        cliponaxis=False,
        marker=dict(color=LIGHT["surface"], size=11, line=dict(color=LIGHT["ink"], width=2)),
        hovertemplate=f"<b>reference</b><br>{says}<extra></extra>",
    )
