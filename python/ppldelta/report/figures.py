"""Figures: finished frames in, `plotly.graph_objects.Figure` out. Nothing is computed here but the layout.

Each function draws the rows of one family and works alone in a notebook; the page (render.py) sets several
side by side and takes legend and colours over. Every trace of a model carries ``meta = {"model": …}``.
Names come from files, and plotly reads a little HTML in its texts, so every name goes through `literal`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
import polars as pl

from ppldelta.report import hover, labels, numbers, plane
from ppldelta.report.hover import COLUMNS, literal
from ppldelta.report.plane import Limits, Unit
from ppldelta.report.theme import LIGHT, Style, template

if TYPE_CHECKING:
    from ppldelta.analysis.density import Density


def documents_plane(
    documents: pl.DataFrame,
    *,
    unit: Unit = "nats",
    densities: Mapping[str, Density] | None = None,
    style: Style | None = None,
) -> go.Figure:
    """Gain against loss of every document: one colour per model, one symbol per category.

    Args:
        documents: rows of `schema.DOCUMENTS` of one family.
        unit: nats per token, or bits per byte.
        densities: model → highest-density regions in the same unit, drawn behind the points.
        style: colours and symbols; by default in the order of the frame.
    """
    style = style or Style.of(_unique(documents, "model"), _unique(documents, "category"))
    gain, loss = COLUMNS[unit]
    points = [(x, y) for x, y in documents.select(gain, loss).rows() if numbers.known(x) and numbers.known(y)]
    densities = densities or {}
    reach = plane.limits(documents, unit=unit, regions=[density.reach for density in densities.values()])
    figure = plane.empty(reach, unit, points)
    veil = "1f" if len(densities) <= 4 else "12"
    for model, density in densities.items():
        for trace in _contours(model, density, style.colors[model], veil):
            figure.add_trace(trace)
    listed: set[str] = set()
    parts = documents.partition_by("model", "category", maintain_order=True, as_dict=True)
    for (model, category), rows in parts.items():
        figure.add_trace(
            go.Scatter(
                x=rows[gain].to_list(),
                y=rows[loss].to_list(),
                mode="markers",
                name=literal(model),
                legendgroup=model,
                showlegend=model not in listed,
                meta={"model": model, "category": category},
                marker=dict(
                    color=style.colors[model],
                    symbol=style.symbols[category],
                    size=8.5,
                    opacity=0.85,
                    line=dict(color=LIGHT["surface"], width=1),
                ),
                customdata=[hover.document(row, unit) for row in rows.iter_rows(named=True)],
                hovertemplate="%{customdata}<extra></extra>",
                hoverlabel=dict(bordercolor=style.colors[model]),
            )
        )
        listed.add(model)
    return figure


def models_plane(
    models: pl.DataFrame,
    *,
    unit: Unit = "nats",
    reach: Limits | None = None,
    named: bool = True,
    style: Style | None = None,
) -> go.Figure:
    """Gain against loss of every model with 95 % intervals as crosses, the reference at (0, 0).

    Args:
        models: rows of `schema.MODELS` of one family, category and weighting: one row per model.
        unit: nats per token, or bits per byte.
        reach: ends of the axes, for planes that are read side by side; by default those of the rows.
        named: whether the names stand at the marks.
        style: colours; by default in the order of the frame.
    """
    style = style or Style.of(_unique(models, "model"), ())
    reach = reach or plane.limits(models, unit=unit)
    gain, loss = COLUMNS[unit]
    rows = [row for row in models.iter_rows(named=True) if numbers.known(row[gain]) and numbers.known(row[loss])]
    points = [(row[gain], row[loss]) for row in rows]
    figure = plane.empty(reach, unit, points)
    plane.add_iso_lines(figure, reach)
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
                error_x=_whiskers(row, gain, color),
                error_y=_whiskers(row, loss, color),
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


def mean_ratios(models: pl.DataFrame, *, style: Style | None = None) -> go.Figure:
    """Mean ppl_gain (at most 1) and mean ppl_loss (at least 1) of every model, over all documents and by category.

    These are the means over documents of the post that the project grew from: how much smaller the
    perplexity is where it is smaller, how much larger where it is larger.

    Args:
        models: rows of `schema.MODELS` of one family with weighting "documents"; category null is drawn first.
        style: colours; by default in the order of the frame.
    """
    style = style or Style.of(_unique(models, "model"), ())
    categories = [None, *_unique(models.filter(pl.col("category").is_not_null()), "category")]
    if len(categories) == 2:
        categories = [None]
    names = _unique(models, "model")
    figure = go.Figure(layout=dict(template=template()))
    figure.add_vline(x=1, line=dict(color=LIGHT["ink"], width=1))
    for i in range(1, len(categories)):
        figure.add_hline(y=i - 0.5, line=dict(color=LIGHT["grid"], width=1), layer="below")
    step = 0.64 / max(len(names), 1)
    for i, model in enumerate(names):
        rows = [
            (categories.index(row["category"]) + (i - (len(names) - 1) / 2) * step, row)
            for row in models.filter(model=model).iter_rows(named=True)
            if row["category"] in categories
        ]
        for column, symbol in (("ppl_gain", "triangle-left"), ("ppl_loss", "triangle-right")):
            figure.add_trace(_ratio_trace(model, column, symbol, rows, style.colors[model]))
    ticks = ["<b>all</b>", *(literal(labels.crop(category or "(none)"), 14) for category in categories[1:])]
    figure.update_layout(
        xaxis=dict(title="mean ratio of perplexities", range=_ratio_range(models)),
        yaxis=dict(
            tickvals=list(range(len(categories))),
            ticktext=ticks,
            range=[len(categories) - 0.5, -0.5],
            showgrid=False,
            ticks="",
            tickfont=dict(color=LIGHT["ink"], size=13),
        ),
        height=110 + len(categories) * max(44, 20 * len(names)),
        margin=dict(t=34),
    )
    for text, anchor, shift in (("← predicts better", "right", -8), ("predicts worse →", "left", 8)):
        figure.add_annotation(
            x=1,
            y=1,
            yref="paper",
            yanchor="bottom",
            xanchor=anchor,
            xshift=shift,
            text=text,
            showarrow=False,
            font=dict(color=LIGHT["muted"], size=12),
        )
    return figure


def _unique(frame: pl.DataFrame, column: str) -> list[str]:
    return frame[column].unique(maintain_order=True).to_list()


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


def _whiskers(row: dict[str, Any], column: str, color: str) -> dict[str, Any]:
    low, high, middle = row[f"{column}_low"], row[f"{column}_high"], row[column]
    if not (numbers.known(low) and numbers.known(high)):
        return dict(visible=False)
    return dict(
        type="data",
        symmetric=False,
        array=[high - middle],
        arrayminus=[middle - low],
        color=color,
        thickness=1.5,
        width=0,
    )


def _ratio_range(models: pl.DataFrame) -> list[float]:
    names = [f"{column}{end}" for column in ("ppl_gain", "ppl_loss") for end in ("", "_low", "_high")]
    values = [1.0, *(value for name in names for value in models[name] if numbers.known(value))]
    room = 0.05 * (max(values) - min(values)) or 0.05
    return [min(values) - room, max(values) + room]


def _ratio_trace(
    model: str, column: str, symbol: str, rows: list[tuple[float, dict[str, Any]]], color: str
) -> go.Scatter:
    known = [(y, row) for y, row in rows if numbers.known(row[column])]
    ends = [
        [row[f"{column}_{end}"] if numbers.known(row[f"{column}_{end}"]) else row[column] for _, row in known]
        for end in ("low", "high")
    ]
    middles = [row[column] for _, row in known]
    return go.Scatter(
        x=middles,
        y=[y for y, _ in known],
        mode="markers",
        name=literal(model),
        legendgroup=model,
        showlegend=column == "ppl_gain",
        meta={"model": model, "column": column},
        marker=dict(color=color, symbol=symbol, size=11, line=dict(color=LIGHT["surface"], width=1)),
        error_x=dict(
            type="data",
            symmetric=False,
            color=color,
            thickness=1.5,
            width=0,
            array=[high - middle for high, middle in zip(ends[1], middles, strict=True)],
            arrayminus=[middle - low for low, middle in zip(ends[0], middles, strict=True)],
        ),
        customdata=[hover.ratio(row, column) for _, row in known],
        hovertemplate="%{customdata}<extra></extra>",
        hoverlabel=dict(bordercolor=color),
    )
