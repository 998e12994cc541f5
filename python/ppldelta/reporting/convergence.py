"""The figure of how a document's numbers settle, token by token."""

from __future__ import annotations

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from ppldelta.reporting.theme import LIGHT, template

_VALUES = ("delta_sum", "ppl_ratio", "bpb_difference")
NO_CURVE = pl.DataFrame(schema={"pos": pl.UInt32(), **dict.fromkeys(_VALUES, pl.Float64())})
"""The curve of no document: the page fills in that of the document that is open."""


def convergence(curve: pl.DataFrame, *, bits: bool = False) -> go.Figure:
    """Running ratio of perplexities (above), and the deltas added up (below), along one document.

    Below 1 the model has predicted the text so far better than the reference, above 1 worse; the areas are shaded.

    Args:
        curve: rows of `analysis.curves.running` for one document and model.
        bits: whether the curve above is the difference of bits per byte, around 0, and no ratio.
    """
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.09, row_heights=[0.58, 0.42])
    figure.update_layout(template=template(), hovermode="x unified", height=330, margin=dict(t=10))
    upper, title, even = ("bpb_difference", "Δ bits/byte", 0.0) if bits else ("ppl_ratio", "ppl ratio", 1.0)
    pos, ratio, total = (curve[name].to_list() for name in ("pos", upper, "delta_sum"))
    one = [even] * len(pos)
    for part, color, role in (
        ([min(value, even) for value in ratio], LIGHT["gain"], "below"),
        ([max(value, even) for value in ratio], LIGHT["loss"], "above"),
    ):
        quiet = dict(mode="lines", line=dict(width=0), hoverinfo="skip", showlegend=False)
        figure.add_trace(go.Scatter(x=pos, y=one, meta={"curve": "one"}, **quiet), row=1, col=1)
        figure.add_trace(
            go.Scatter(x=pos, y=part, fill="tonexty", fillcolor=color + "55", meta={"curve": role}, **quiet),
            row=1,
            col=1,
        )
    line = dict(color=LIGHT["ink"], width=1.5)
    for row, values, name, role in ((1, ratio, title, "ratio"), (2, total, "sum of delta", "sum")):
        figure.add_trace(
            go.Scatter(
                x=pos,
                y=values,
                mode="lines",
                line=line,
                name=name,
                showlegend=False,
                meta={"curve": role},
                hovertemplate="%{y:.4f}",
            ),
            row=row,
            col=1,
        )
    figure.add_hline(y=even, line=dict(color=LIGHT["muted"], width=1), row=1, col=1)
    figure.add_hline(y=0, line=dict(color=LIGHT["muted"], width=1), row=2, col=1)
    figure.update_yaxes(title=dict(text=title), row=1, col=1)
    figure.update_yaxes(title=dict(text="Σ delta, nats"), row=2, col=1)
    figure.update_xaxes(title=dict(text="position in the document, tokens"), row=2, col=1)
    return figure
