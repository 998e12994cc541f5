"""Figures: finished frames in, `plotly.graph_objects.Figure` out. Nothing is computed here but the layout.

Each function draws the rows of one family and works alone in a notebook; the page (render.py) sets several
side by side and takes legend and colours over. Every trace of a model carries ``meta = {"model": …}``.
Names come from files, and plotly reads a little HTML in its texts, so every name goes through `literal`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
import polars as pl

from ppldelta.reporting import hover, labels, lines, plane
from ppldelta.reporting.hover import COLUMNS, literal
from ppldelta.reporting.plane import Limits, Unit
from ppldelta.reporting.theme import LIGHT, Style, template
from ppldelta.wording import numbers

if TYPE_CHECKING:
    from ppldelta.analysis.density import Density

MOST_SVG = 3000
"""Marks of documents beyond which they are drawn with WebGL."""

MOST_OBSTACLES = 2000
"""Marks that the diagonal's name is kept clear of."""


def documents_plane(
    documents: pl.DataFrame,
    *,
    unit: Unit = "nats",
    densities: Mapping[str, Density] | None = None,
    marks: bool = True,
    style: Style | None = None,
) -> go.Figure:
    """Gain against loss of every document: one colour per model, one symbol per category.

    Args:
        documents: rows of `schema.DOCUMENTS` of one family.
        unit: nats per token, or bits per byte.
        densities: model → highest-density regions in the same unit, drawn behind the points.
        marks: False leaves the traces of the documents empty, for the page, which fills them itself.
        style: colours and symbols; by default in the order of the frame.
    """
    style = style or Style.of(labels.unique(documents, "model"), labels.unique(documents, "category"))
    gain, loss = COLUMNS[unit]
    points = [(x, y) for x, y in documents.select(gain, loss).rows() if numbers.known(x) and numbers.known(y)]
    densities = densities or {}
    reach = plane.limits(documents, unit=unit, regions=[density.reach for density in densities.values()])
    figure = plane.empty(reach, unit, points[:MOST_OBSTACLES])
    veil = "1f" if len(densities) <= 4 else "12"
    for model, density in densities.items():
        for trace in _contours(model, density, style.colors[model], veil):
            figure.add_trace(trace)
    for trace in document_marks(documents, (gain, loss), marks=marks, style=style, unit=unit):
        figure.add_trace(trace)
    return figure


def perplexities(documents: pl.DataFrame, *, marks: bool = True, style: Style | None = None) -> go.Figure:
    """Perplexity of the reference (x) against that of the model (y) for every document, with the diagonal.

    Args:
        documents: rows of `schema.DOCUMENTS` of one family.
        marks: False leaves the traces of the documents empty, for the page, which fills them itself.
        style: colours and symbols; by default in the order of the frame.
    """
    style = style or Style.of(labels.unique(documents, "model"), labels.unique(documents, "category"))
    names = ("ppl_ref", "ppl_cmp")
    values = [math.log10(value) for name in names for value in documents[name] if numbers.known(value) and value > 0]
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.05 * (high - low) or 0.1
    ends = [low - room, high + room]
    figure = go.Figure(layout=dict(template=template()))
    ticks = [
        part * 10.0**power
        for power in range(math.floor(ends[0]), math.ceil(ends[1]) + 1)
        for part in ((1, 1.5, 2, 3, 5, 7) if high - low < 1 else (1, 2, 5) if high - low < 2.5 else (1,))
    ]
    axis = dict(type="log", range=ends, tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    figure.update_xaxes(title=dict(text="perplexity of the reference"), **axis)
    figure.update_yaxes(title=dict(text="perplexity of the model"), **axis)
    plane.add_better_half(figure, 10 ** (low - 3), 10 ** (high + 3), "model predicts better ↘")
    for trace in document_marks(documents, names, marks=marks, style=style, unit="nats"):
        figure.add_trace(trace)
    return figure


def document_marks(
    documents: pl.DataFrame, names: tuple[str, str], *, marks: bool, style: Style, unit: Unit
) -> Iterator[go.Scatter | go.Scattergl]:
    """A trace per model with a mark for each of its documents; WebGL beyond some thousand of them.

    Args:
        documents: rows of `schema.DOCUMENTS` of one family.
        names: columns for x and y.
        marks: whether the marks are in it.
        style: colours and symbols.
        unit: of the numbers that a mark says.
    """
    many = documents.height > MOST_SVG
    kind = go.Scattergl if many else go.Scatter
    for (model,), rows in documents.partition_by("model", maintain_order=True, as_dict=True).items():
        rows = rows if marks else rows.clear()
        yield kind(
            x=rows[names[0]].to_list(),
            y=rows[names[1]].to_list(),
            mode="markers",
            name=literal(model),
            legendgroup=model,
            meta={"model": model, "marks": "documents"},
            marker=dict(
                color=style.colors[model],
                symbol=[style.symbols[category] for category in rows["category"]],
                size=5 if many else 8.5,
                opacity=0.6 if many else 0.85,
                line=dict(color=LIGHT["surface"], width=0 if many else 1),
            ),
            selected=dict(marker=dict(opacity=1)),
            unselected=dict(marker=dict(opacity=0.12)),
            customdata=[hover.document(row, unit) for row in rows.iter_rows(named=True)],
            hovertemplate="%{customdata}<extra></extra>",
            hoverlabel=dict(bordercolor=style.colors[model]),
        )


def models_plane(
    models: pl.DataFrame,
    *,
    unit: Unit = "nats",
    reach: Limits | None = None,
    named: bool = True,
    front: Sequence[str] = (),
    style: Style | None = None,
) -> go.Figure:
    """Gain against loss of every model with 95 % intervals as crosses, the reference at (0, 0).

    Args:
        models: rows of `schema.MODELS` of one family, category and weighting: one row per model.
        unit: nats per token, or bits per byte.
        reach: ends of the axes, for planes that are read side by side; by default those of the rows.
        named: whether the names stand at the marks.
        front: models that no other beats in both gain and loss (`analysis.front`), joined by a line.
        style: colours; by default in the order of the frame.
    """
    style = style or Style.of(labels.unique(models, "model"), ())
    reach = reach or plane.limits(models, unit=unit)
    gain, loss = COLUMNS[unit]
    rows = [row for row in models.iter_rows(named=True) if numbers.known(row[gain]) and numbers.known(row[loss])]
    points = [(row[gain], row[loss]) for row in rows]
    figure = plane.empty(reach, unit, points)
    plane.add_iso_lines(figure, reach)
    lines.add_front(figure, ((row[gain], row[loss], row["model"]) for row in rows), front)
    names = labels.shorten([row["model"] for row in rows])
    places = labels.place(
        [(0.0, 0.0), *points],
        ["reference", *names],
        [(0.0, 0.0, 0.0, 0.0), *(_cross(row, gain, loss) for row in rows)],
        reach,
        below_zero=plane.BELOW_ZERO,
    )
    figure.add_trace(
        go.Scatter(
            x=[0],
            y=[0],
            mode="markers+text" if named else "markers",
            text=["\N{NO-BREAK SPACE}reference\N{NO-BREAK SPACE}"],
            textposition=places[0] or "middle right",
            textfont=dict(color=LIGHT["muted"], size=12),
            name="reference",
            showlegend=False,
            cliponaxis=False,
            marker=dict(color=LIGHT["surface"], symbol="circle", size=11, line=dict(color=LIGHT["ink"], width=2)),
            hovertemplate="<b>reference</b><br>gains nothing, loses nothing<extra></extra>",
        )
    )
    for row, name, where in zip(rows, names, places[1:], strict=True):
        color = style.colors[row["model"]]
        figure.add_trace(
            go.Scatter(
                x=[row[gain]],
                y=[row[loss]],
                error_x=lines.whiskers(row, gain, color),
                error_y=lines.whiskers(row, loss, color),
                mode="markers+text" if named else "markers",
                text=[literal(name) if where else ""],
                textposition=where or "top right",
                textfont=dict(color=LIGHT["ink"], size=12),
                name=literal(row["model"]),
                showlegend=not named,
                cliponaxis=False,
                meta={"model": row["model"]},
                marker=dict(color=color, size=12, line=dict(color=LIGHT["surface"], width=1.5)),
                customdata=[hover.model(row, unit)],
                hovertemplate="%{customdata}<extra></extra>",
                hoverlabel=dict(bordercolor=color),
            )
        )
    return figure


def _contours(model: str, density: Density, color: str, veil: str) -> list[go.Contour]:
    """The highest-density regions of one model, a veil of that opacity over each."""
    shared = dict(
        x=density.x,
        y=density.y,
        z=density.z.astype("float32"),
        name=literal(model),
        legendgroup=model,
        showlegend=False,
        showscale=False,
        hoverinfo="skip",
        meta={"model": model},
    )
    return [  # plotly fills what a constraint leaves out
        go.Contour(
            contours=dict(type="constraint", operation="<", value=level),
            fillcolor=color + veil,
            line=dict(color=color + "66", width=1),
            **shared,
        )
        for level in sorted(density.levels)
    ]


def _cross(row: dict[str, Any], gain: str, loss: str) -> tuple[float, float, float, float]:
    ends = [(row[f"{column}_low"], row[f"{column}_high"], row[column]) for column in (gain, loss)]
    (left, right), (low, high) = (
        (a, b) if numbers.known(a) and numbers.known(b) else (middle, middle) for a, b, middle in ends
    )
    return left, low, right, high
