"""The figure of the mean ratios of perplexities: a row for each category, two marks for each model."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
import polars as pl

from ppldelta.reporting import hover, labels, short_names
from ppldelta.reporting.hover import literal
from ppldelta.reporting.rows import Row, ends, number
from ppldelta.reporting.theme import LIGHT, Style, template
from ppldelta.wording import numbers


def mean_ratios(models: pl.DataFrame, *, style: Style | None = None) -> go.Figure:
    """Mean ppl_gain (at most 1) and mean ppl_loss (at least 1) of every model, over all documents and by category.

    These are means over documents, as in the post that the project grew from: how much smaller the perplexity is on
    documents on which it is smaller, and how much larger on the others.

    Args:
        models: rows of `schema.MODELS` of one family with weighting "documents"; category null is drawn first.
        style: colours; by default in the order of the frame.
    """
    style = style or Style.of(labels.unique(models, "model"), ())
    categories = [None, *labels.unique(models.filter(pl.col("category").is_not_null()), "category")]
    if len(categories) == 2:
        categories = [None]
    names = labels.unique(models, "model")
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
    ticks = ["<b>all</b>", *(literal(short_names.crop(category or "(none)"), 14) for category in categories[1:])]
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
    for at, text, anchor in (
        (0, "◀ better, else 1", "left"),
        (1, "worse, else 1 ▶", "right"),
    ):
        figure.add_annotation(
            x=at,
            xref="paper",
            y=1,
            yref="paper",
            yanchor="bottom",
            xanchor=anchor,
            text=text,
            showarrow=False,
            font=dict(color=LIGHT["muted"], size=12),
        )
    return figure


def _ratio_range(models: pl.DataFrame) -> list[float]:
    names = [f"{column}{end}" for column in ("ppl_gain", "ppl_loss") for end in ("", "_low", "_high")]
    values = [1.0, *(value for name in names for value in models[name] if numbers.known(value))]
    room = 0.05 * (max(values) - min(values)) or 0.05
    return [min(values) - room, max(values) + room]


def _ratio_trace(model: str, column: str, symbol: str, rows: Sequence[tuple[float, Row]], color: str) -> go.Scatter:
    known = [
        (x, y, row, low, high)
        for y, row in rows
        for x, (low, high) in [(number(row, column), ends(row, column))]
        if numbers.known(x)
    ]
    return go.Scatter(
        x=[x for x, *_ in known],
        y=[y for _, y, *_ in known],
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
            array=[high - x if numbers.known(high) else 0.0 for x, _, _, _, high in known],
            arrayminus=[x - low if numbers.known(low) else 0.0 for x, _, _, low, _ in known],
        ),
        customdata=[hover.ratio(row, column) for _, _, row, _, _ in known],
        hovertemplate="%{customdata}<extra></extra>",
        hoverlabel=dict(bordercolor=color),
    )
