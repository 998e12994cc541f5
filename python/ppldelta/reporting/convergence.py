"""The figures of how numbers settle: of a document token by token, and of the corpus document by document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from ppldelta.reporting import labels, short_names
from ppldelta.reporting.hover import literal
from ppldelta.reporting.rows import Row, number
from ppldelta.reporting.theme import LIGHT, Style, template
from ppldelta.wording import numbers

_MOST_BANDS = 4  # models beyond which bands would hide lines
_MOST_STRETCHES = 6
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


def of_models(curves: Mapping[str, pl.DataFrame], *, bits: bool = False, style: Style | None = None) -> go.Figure:
    """The same for all models at once, each in its colour, its area between the ratio and 1 tinted as gain or loss.

    Args:
        curves: by model, as `convergence` takes them.
        bits: as for `convergence`.
        style: colours; by default in the order of `curves`.
    """
    style = style or Style.of(list(curves), ())
    upper, even = ("bpb_difference", 0.0) if bits else ("ppl_ratio", 1.0)
    figure = convergence(NO_CURVE, bits=bits)
    figure.data = ()
    for model, curve in curves.items():
        x, ratio = curve["pos"].to_list(), curve[upper].to_list()
        own = dict(x=x, mode="lines", legendgroup=model, name=literal(model))
        for trace in _areas(ratio, even, model, own, len(curves)):
            figure.add_trace(trace, row=1, col=1)
        line = dict(color=style.colors[model], width=1.5)
        for row, values, role in ((1, ratio, "ratio"), (2, curve["delta_sum"].to_list(), "sum")):
            meta = {"model": model, "curve": role}
            more = dict(line=line, meta=meta, showlegend=row == 1, hovertemplate="%{y:.4f}")
            figure.add_trace(go.Scatter(y=values, **own, **more), row=row, col=1)
    return figure


def _areas(
    values: Sequence[float], even: float, model: str, own: Mapping[str, object], n_models: int
) -> Iterator[go.Scatter]:
    """What lies between a model's line and `even`: below it tinted as a gain, above it as a loss."""
    veil = f"{max(8, 46 // n_models):02x}"  # areas of several models lie on each other
    quiet = dict(own, line=dict(width=0), hoverinfo="skip", showlegend=False)
    for role, part, color in (
        ("below", [min(value, even) for value in values], LIGHT["gain"]),
        ("above", [max(value, even) for value in values], LIGHT["loss"]),
    ):
        for y, more in (([even] * len(values), {}), (part, dict(fill="tonexty", fillcolor=color + veil))):
            yield go.Scatter(y=y, meta={"model": model, "curve": role}, **quiet, **more)


def corpus(curve: pl.DataFrame, *, bits: bool = False, style: Style | None = None) -> go.Figure:
    """Running ratio of perplexities of all models along the documents, with intervals; above 1 a model is worse.

    Of more than `_MOST_BANDS` models the intervals are bars at the end of the lines, not bands along them. The areas
    between a model's line and 1 are tinted as gain and loss.

    Args:
        curve: `analysis.curves.running_documents`.
        bits: whether the values are differences of bits per byte, around 0, and no ratios.
        style: colours; by default in the order of the frame.
    """
    models = labels.unique(curve, "model")
    style = style or Style.of(models, ())
    even, what = (0.0, "bits per byte, model − reference") if bits else (1.0, "perplexity, model / reference")
    figure = go.Figure(layout=dict(template=template(), height=380, hovermode="x unified"))
    for i, model in enumerate(models, 1):
        rows = curve.filter(model=model)
        x, values = rows["n_documents"].to_list(), rows["value"].to_list()
        own = dict(x=x, mode="lines", legendgroup=model, name=literal(model))
        quiet = dict(own, line=dict(width=0), hoverinfo="skip", showlegend=False)
        figure.add_traces(list(_areas(values, even, model, own, len(models))))
        some = rows.filter(pl.col("low").is_not_null())
        if len(models) > _MOST_BANDS and some.height:
            figure.add_trace(_end(some.row(-1, named=True), model, style.colors[model], 1 + 0.012 * i))
        elif some.height:
            there = some["n_documents"].to_list()
            for name, more in (("low", {}), ("high", dict(fill="tonexty", fillcolor=style.colors[model] + "22"))):
                band = dict(quiet, x=there, y=some[name].to_list(), meta={"model": model, "curve": name})
                figure.add_trace(go.Scatter(**band, **more))
        figure.add_trace(
            go.Scatter(
                y=values,
                line=dict(color=style.colors[model], width=2),
                marker=dict(color=style.colors[model]),
                meta={"model": model, "curve": "ratio"},
                customdata=[_interval(row) for row in rows.iter_rows(named=True)],
                hovertemplate="%{y:.3f}%{customdata}",
                **own,
            )
        )
    figure.add_hline(y=even, line=dict(color=LIGHT["ink"], width=1))
    settled = curve.filter(pl.col("n_documents") >= pl.min_horizontal(5, pl.col("n_documents").max()))
    known = [value for name in ("value", "low", "high") for value in settled[name] if value is not None]
    low, high = min([even, *known]), max([even, *known])
    room = 0.06 * (high - low) or 0.05
    figure.update_xaxes(title=dict(text="documents read so far, in the corpus’s order"))
    figure.update_yaxes(title=dict(text=what), range=[low - room, high + room])
    for text, side in (("worse ↑", "bottom"), ("better ↓", "top")):
        figure.add_annotation(
            x=1,
            y=even,
            xref="x domain",
            xanchor="right",
            yanchor=side,
            text=text,
            showarrow=False,
            font=dict(color=LIGHT["muted"], size=11),
        )
    _mark_categories(figure, curve.filter(model=models[0]) if models else curve)
    return figure


def _end(row: Row, model: str, color: str, times: float) -> go.Scatter:
    """The interval of a model's last value as a bar, `times` as far right as the line's end: beside the other bars."""
    at, value, low, high = (number(row, name) or 0.0 for name in ("n_documents", "value", "low", "high"))
    return go.Scatter(
        x=[at * times],
        y=[value],
        mode="markers",
        marker=dict(color=color, size=4),
        error_y=dict(array=[high - value], arrayminus=[value - low], color=color, thickness=2, width=0),
        legendgroup=model,
        name=literal(model),
        meta={"model": model, "curve": "end"},
        hoverinfo="skip",
        showlegend=False,
    )


def _interval(row: Row) -> str:
    low, high = number(row, "low"), number(row, "high")
    return f" ({low:.3f} to {high:.3f})" if numbers.known(low) and numbers.known(high) else ""


def _mark_categories(figure: go.Figure, rows: pl.DataFrame) -> None:
    """Names the stretches of documents of one category, if there are few: at their borders curves bend."""
    begins: list[tuple[float, str]] = []
    last = 0.0
    for row in rows.iter_rows(named=True):
        if not begins or begins[-1][1] != row["category"]:
            begins.append((last + 0.5 if begins else float(row["n_documents"]), row["category"]))
        last = float(row["n_documents"])
    if not 1 < len(begins) <= _MOST_STRETCHES:
        return
    figure.update_layout(margin=dict(t=28))
    for x, category in begins:
        figure.add_vline(x=x, line=dict(color=LIGHT["iso"], width=1), layer="below")
        figure.add_annotation(
            x=x,
            y=1,
            yref="y domain",
            xanchor="left",
            yanchor="bottom",
            text=literal(short_names.crop(category or "(none)")),
            showarrow=False,
            font=dict(color=LIGHT["muted"], size=11),
        )
