"""The marks of documents, models and the reference: all planes take them from here.

A figure for a notebook holds the marks of its documents. The page gets the same traces without marks, and
`page/planes.js` fills in places and symbols from the page's numbers under the filters of the moment.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import cast

import plotly.graph_objects as go
import polars as pl

from ppldelta.reporting import hover
from ppldelta.reporting.hover import literal
from ppldelta.reporting.short import SHORT
from ppldelta.reporting.sketch import Part
from ppldelta.reporting.theme import LIGHT, Style
from ppldelta.reporting.units import Axes, Unit, spaced

MOST_SVG = 3000
"""Marks of documents beyond which a figure for a notebook draws them with WebGL."""

SIZES = (4.5, 8.5, 16.0)
"""Pixels across a mark: the least, that of the median document, and the most; in between, areas are as tokens are."""

OPACITIES = (0.22, 0.75)
"""Of the marks of short documents, and of the others."""


def documents(
    frame: pl.DataFrame,
    columns: tuple[str, str],
    *,
    filled: bool,
    style: Style,
    unit: Unit,
    axes: Axes = "linear",
) -> Iterator[Part]:
    """A trace per model with a mark for each of its documents; drawn with WebGL beyond `MOST_SVG` marks.

    Args:
        frame: rows of `schema.DOCUMENTS` of one family.
        columns: for x and y.
        filled: False leaves the marks out, for the page, whose script fills them in and says what each is.
        style: colours and symbols.
        unit: of the numbers in what a mark says when it is pointed at.
        axes: how those of the plane are spaced.
    """
    many = filled and frame.height > MOST_SVG
    least, middle, most = SIZES
    median = frame["n_scored"].median()
    usual = float(median) if isinstance(median, (int, float)) and median > 0 else 1.0
    for (model,), rows in frame.partition_by("model", maintain_order=True, as_dict=True).items():
        color = style.colors[str(model)]
        marker: Part = dict(color=color, line=dict(color=LIGHT["surface"], width=0 if many else 1))
        trace: Part = dict(
            type="scattergl" if many else "scatter",
            mode="markers",
            name=literal(str(model)),
            legendgroup=model,
            meta={"model": model, "marks": "documents"},
            marker=marker,
            selected=dict(marker=dict(opacity=1)),
            unselected=dict(marker=dict(opacity=0.12)),
            hoverinfo=None if filled else "none",
            hoverlabel=dict(bordercolor=color),
        )
        if filled:
            marker |= dict(
                size=[
                    (0.6 if many else 1) * min(max(middle * math.sqrt(n / usual), least), most)
                    for n in rows["n_scored"]
                ],
                opacity=[OPACITIES[n >= SHORT] * (0.4 if many else 1) for n in rows["n_scored"]],
                symbol=[style.symbols[category] for category in rows["category"]],
            )
            trace |= dict(
                x=[spaced(value, axes) for value in rows[columns[0]]],
                y=[spaced(value, axes) for value in rows[columns[1]]],
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
) -> Part:
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
    return dict(
        type="scatter",
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


def reference(x: float, *, says: str, label: str, place: str, named: bool = True) -> Part:
    """The mark of the reference, at y = 0; arguments as those of `model`."""
    return dict(
        type="scatter",
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


def square_quants(traces: Iterable[Part], style: Style) -> None:
    """Gives quants squares in a sketch, as `tell_apart` does in a figure."""
    for trace in traces if style.quants else ():
        marker = cast("Part", trace.get("marker", {}))
        if _is_quant(trace.get("meta"), trace.get("mode"), style) and marker.get("symbol", "circle") == "circle":
            trace["marker"] = {**marker, "symbol": "square"}


def _is_quant(about: object, mode: object, style: Style) -> bool:
    """Whether a trace is the mark of a quant, by its `meta` and mode."""
    marked = isinstance(about, dict) and "marks" not in about and mode in ("markers", "markers+text")
    return marked and _key(cast("Part", about)) in style.quants


def _key(about: Part) -> object:
    """What a style calls the model of a trace, by its `meta`."""
    family, name = about.get("family"), about.get("model")
    return name if family is None else f"{family}/{name}"


def tell_apart(figure: go.Figure, style: Style) -> go.Figure:
    """Gives models whose colour another one had before marks with a dark rim and dashed lines, and quants squares;
    returns the figure."""
    for trace in figure.data if style.quants else ():
        if _is_quant(trace.meta, trace.mode, style) and (trace.marker.symbol or "circle") == "circle":
            trace.update(marker_symbol="square")
    if style.again:
        for trace in figure.data:
            if _key(trace.meta or {}) not in style.again:
                continue
            if "markers" in (trace.mode or ""):
                trace.update(marker_line=dict(color=LIGHT["ink"], width=2))
            if "lines" in (trace.mode or "") and trace.line.width != 0:
                trace.update(line_dash="dash")
    return figure
