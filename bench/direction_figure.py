"""The figure of the study in `direction.py`."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from direction_numbers import PREDICTORS, Found, kind_of
from ppldelta.reporting import theme


def figure_of(models: pl.DataFrame, found: Found) -> go.Figure:
    """Left, flips against KL divergence; then the AUC of each predictor for any flip and for its direction."""
    titles = (
        "flipped items, by KL divergence of other text",
        "AUC within a task: does the item flip?",
        "AUC within a task: if it flips, is it won?",
    )
    figure = make_subplots(
        1,
        4,
        specs=[[{}, None, {}, {}]],  # the second column has the names of the third
        subplot_titles=titles,
        column_widths=[0.28, 0.2, 0.26, 0.26],
        horizontal_spacing=0.02,
    )
    for sign, name, color in ((1, "won", "gain"), (-1, "lost", "loss")):
        for kind, symbol in (("quants", "circle"), ("finetunes", "diamond")):
            some = models.filter(pl.col("model").map_elements(kind_of, pl.String) == kind)
            figure.add_scatter(
                x=some["kld_rest"],
                y=sign * some[name].cast(pl.Int64),
                mode="markers+text" if sign > 0 else "markers",
                text=some["model"],
                textposition="top center" if kind == "quants" else "bottom center",
                textfont=dict(size=10, color=theme.LIGHT["muted"]),
                marker=dict(color=theme.LIGHT[color], symbol=symbol, size=9),
                name=f"{name}, {kind}",
                legend="legend",
                row=1,
                col=1,
            )
    names = list(PREDICTORS)[::-1]
    labels = [f"<b>{PREDICTORS[name][0]}</b>: {PREDICTORS[name][1]}".replace("\\|", "|") for name in names]
    for column, question in ((3, "flips"), (4, "direction")):
        for kind, role, symbol, shift in (("quants", 0, "circle", 0.15), ("finetunes", 1, "diamond", -0.15)):
            values = [found.get((kind, name, question, "task"), (np.nan,) * 3) for name in names]
            figure.add_scatter(
                x=[value for value, _, _ in values],
                y=np.arange(len(names)) + shift,
                error_x=dict(
                    type="data",
                    symmetric=False,
                    array=[high - value for value, _, high in values],
                    arrayminus=[value - low for value, low, _ in values],
                    width=0,
                    thickness=1.5,
                ),
                mode="markers",
                cliponaxis=False,
                marker=dict(color=theme.MODEL_COLORS[role][0], symbol=symbol, size=8),
                name=kind,
                showlegend=column == 3,
                legend="legend2",
                row=1,
                col=column,
            )
        figure.add_vline(x=0.5, line=dict(color=theme.LIGHT["muted"], width=1, dash="dot"), row=1, col=column)
        figure.update_xaxes(range=[0, 1.01], row=1, col=column)
        figure.update_yaxes(
            tickvals=np.arange(len(names)),
            ticktext=labels,
            showticklabels=column == 3,
            range=[-0.6, len(names) - 0.4],
            row=1,
            col=column,
        )
    figure.update_xaxes(type="log", title_text="nats per token, logarithmic", row=1, col=1)
    figure.update_yaxes(title_text="items: won upwards, lost downwards", row=1, col=1)
    figure.add_hline(y=0, line=dict(color=theme.LIGHT["muted"], width=1), row=1, col=1)
    figure.update_layout(
        template=theme.template(),
        width=1440,
        height=520,
        margin=dict(t=40, b=80, l=60, r=24),
        legend=dict(orientation="h", x=0, y=-0.2, yanchor="top"),
        legend2=dict(orientation="h", x=0.5, y=-0.2, yanchor="top"),
    )
    figure.update_annotations(font=dict(size=13, color=theme.LIGHT["ink"]))
    return figure
