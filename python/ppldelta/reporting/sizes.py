"""The figure of quality against size: what does a gigabyte, or a bit per weight, buy?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import plotly.graph_objects as go
import polars as pl

from ppldelta.family import ModelFacts
from ppldelta.reporting import hover, labels, lines
from ppldelta.reporting.hover import literal
from ppldelta.reporting.theme import LIGHT, Style, template
from ppldelta.wording import numbers

Measure = Literal["size_bytes", "bits_per_weight"]

TITLES: dict[Measure, str] = {"size_bytes": "size of the tensors, GB", "bits_per_weight": "bits per weight"}
_SCALES: dict[Measure, float] = {"size_bytes": 1e-9, "bits_per_weight": 1.0}


def quality_against_size(
    models: pl.DataFrame,
    *,
    measure: Measure = "size_bytes",
    reference: ModelFacts | None = None,
    front: Sequence[str] = (),
    style: Style | None = None,
) -> go.Figure:
    """Mean delta (nats per token, up is better) of every model against its size.

    Args:
        models: rows of `schema.MODELS` of one family, category and weighting: one row per model.
        measure: size of the tensors, or bits per weight.
        reference: is drawn at delta 0 where its size, or its bits per weight, are known.
        front: models that no smaller one equals (`analysis.front`), joined by a line.
        style: colours; by default in the order of the frame.
    """
    style = style or Style.of(labels.unique(models, "model"), ())
    scale = _SCALES[measure]
    if measure == "size_bytes" and max((value or 0 for value in models[measure]), default=0) < 1e9:
        scale, title = 1e-6, "size of the tensors, MB"
    else:
        title = TITLES[measure]
    figure = go.Figure(layout=dict(template=template()))
    figure.update_xaxes(title=dict(text=title), rangemode="tozero")
    figure.update_yaxes(title=dict(text="<b>delta →</b> predicts better, nats per token"))
    figure.add_hline(y=0, line=dict(color=LIGHT["ink"], width=1), layer="below")
    rows = [row for row in models.iter_rows(named=True) if numbers.known(row[measure]) and numbers.known(row["delta"])]
    lines.add_front(figure, ((row[measure] * scale, row["delta"], row["model"]) for row in rows), front, shape="hv")
    of_reference: dict[Measure, float | None] = {}
    if reference is not None:
        of_reference = {"size_bytes": reference.size_bytes, "bits_per_weight": reference.bits_per_weight}
    own = [value * scale for value in [of_reference.get(measure)] if value is not None and numbers.known(value)]
    largest = max([row[measure] * scale for row in rows] + own, default=1.0)
    for at in own:
        figure.add_trace(
            go.Scatter(
                x=[at],
                y=[0],
                mode="markers+text",
                text=["reference"],
                textposition=f"top {'left' if at > 0.5 * largest else 'right'}",
                textfont=dict(color=LIGHT["muted"], size=12),
                name="reference",
                showlegend=False,
                cliponaxis=False,
                marker=dict(color=LIGHT["surface"], size=11, line=dict(color=LIGHT["ink"], width=2)),
                hovertemplate="<b>reference</b><br>%{x:.3~g}<extra></extra>",
            )
        )
    points = [(row[measure] * scale, row["delta"]) for row in rows]
    names = labels.shorten([row["model"] for row in rows])
    for row, (x, y), name in zip(rows, points, names, strict=True):
        color = style.colors[row["model"]]
        figure.add_trace(
            go.Scatter(
                x=[x],
                y=[y],
                error_y=lines.whiskers(row, "delta", color),
                mode="markers+text",
                text=[literal(name)],
                textposition=_side(x, y, [*points, *((at, 0.0) for at in own)]),
                textfont=dict(color=LIGHT["ink"], size=12),
                name=literal(row["model"]),
                showlegend=False,
                cliponaxis=False,
                meta={"model": row["model"]},
                marker=dict(color=color, size=12, line=dict(color=LIGHT["surface"], width=1.5)),
                customdata=[hover.size(row)],
                hovertemplate="%{customdata}<extra></extra>",
                hoverlabel=dict(bordercolor=color),
            )
        )
    return figure


def _side(x: float, y: float, points: Sequence[tuple[float, float]]) -> str:
    """To the left of marks in the right half; above or below, away from the nearest mark of about that size."""
    largest = max(each for each, _ in points) or 1.0
    near = [other for at, other in points if abs(at - x) < 0.15 * largest and other != y]
    nearest = min(near, key=lambda other: abs(other - y), default=None)
    vertical = "top" if nearest is None or nearest < y else "bottom"
    return f"{vertical} {'left' if x > 0.5 * largest else 'right'}"
