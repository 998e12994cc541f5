"""The figures of the Kullback-Leibler divergence, for results that have it (`kld`).

Three questions of someone who quantises or finetunes: is a model near enough to its reference, and how bad are its
worst tokens (`models_divergence`); which texts suffer, and is it loss or only change (`documents_divergence`); and does
it happen where the reference was sure (`confidence`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import plotly.graph_objects as go
import polars as pl

from ppldelta.reporting import labels, lines, marks, plane, short_names
from ppldelta.reporting.hover import literal
from ppldelta.reporting.rows import Row, ends, number, text
from ppldelta.reporting.theme import LIGHT, Style, template
from ppldelta.wording import numbers

AXIS = "KL divergence, nats per token"

_PERCENTILES = (("kld_p50", "median"), ("kld_p99", "99\N{NO-BREAK SPACE}%"), ("kld_p999", "99.9\N{NO-BREAK SPACE}%"))
_WIDE = 380  # pixels of height of a figure that takes the page's whole width

_MOST_NAMES = 12
"""So many lines are named where they end. If there are more, only the legend names them."""

_NAME = 0.06
"""Part of the height that a name takes."""


def models_divergence(models: pl.DataFrame, *, noise: float | None = None, style: Style | None = None) -> go.Figure:
    """Mean divergence of every model with its interval, and its tail over tokens, on a logarithmic axis.

    Args:
        models: rows of `schema.MODELS` of one family, category and weighting: one row per model.
        noise: nats per token by which another setting moves the reference itself, drawn as a line.
        style: colours; by default in the order of the frame.
    """
    style = style or Style.of(labels.unique(models, "model"), ())
    rows = [row for row in models.iter_rows(named=True) if numbers.known(number(row, "kld"))]
    rows.sort(key=lambda row: number(row, "kld") or 0.0)
    figure = go.Figure(layout=dict(template=template()))
    names = ["kld", "kld_low", "kld_high", *(name for name, _ in _PERCENTILES)]
    low, high = _reach([noise, *(number(row, name) for row in rows for name in names)])
    high += 0.08 * (high - low)  # for the words at the end of the last row
    _logarithmic(figure.update_xaxes, low, high, AXIS)
    figure.update_yaxes(range=[len(rows) - 0.4, -0.75], showticklabels=False, showgrid=False, ticks="", showline=False)
    short = short_names.shorten([text(row, "model") for row in rows])
    edge = (10**low, "middle right") if noise is None else (10**high, "middle left")  # clear of the noise's line
    for y, (row, name) in enumerate(zip(rows, short, strict=True)):
        for trace in _model_traces(row, y, name, edge, style.colors[text(row, "model")], worded=y == len(rows) - 1):
            figure.add_trace(trace)
    if noise is not None and noise > 0:
        figure.add_vline(x=noise, line=dict(color=LIGHT["muted"], width=1.5, dash="4px,3px"), layer="below")
        figure.add_annotation(
            x=math.log10(noise),
            y=1,
            yref="y domain",
            xanchor="left",
            yanchor="bottom",
            text="noise floor",
            showarrow=False,
            font=dict(color=LIGHT["muted"], size=11),
        )
    figure.update_layout(margin=dict(t=24))
    return figure


def documents_divergence(documents: pl.DataFrame, *, filled: bool = True, style: Style | None = None) -> go.Figure:
    """Mean delta against mean divergence of every document: how much changed, and in which direction.

    Args:
        documents: rows of `schema.DOCUMENTS` of one family.
        filled: False leaves the marks of the documents out, for the page, which fills them in itself.
        style: colours and symbols; by default in the order of the frame.
    """
    style = style or Style.of(labels.unique(documents, "model"), labels.unique(documents, "category"))
    known = documents.filter(pl.col("kld") > 0, pl.col("kld").is_finite(), pl.col("delta").is_finite())
    figure = go.Figure(layout=dict(template=template(), height=_WIDE))
    _logarithmic(figure.update_xaxes, *_reach(known["kld"].to_list()), "<b>KL divergence →</b> nats per token")
    lowest, highest = (pick([0.0, *known["delta"]]) for pick in (min, max))
    room = 0.08 * (highest - lowest) or 0.1
    title = "<b>net →</b> predicts better, nats per token"
    figure.update_yaxes(title=dict(text=title), range=[lowest - room, highest + room])
    figure.add_hline(y=0, line=dict(color=LIGHT["ink"], width=1), layer="below")
    for trace in marks.documents(known, ("kld", "delta"), filled=filled, style=style, unit="nats"):
        figure.add_trace(trace)
    return figure


def confidence(frame: pl.DataFrame, *, style: Style | None = None) -> go.Figure:
    """Mean divergence by the probability that the reference gives its most probable token, with bands of intervals.

    Args:
        frame: rows of `Result.confidence` of one family: ``model, bin_low, bin_high, n_scored, kld, kld_low, kld_high,
            same_top, same_top_low, same_top_high``.
        style: colours; by default in the order of the frame.
    """
    style = style or Style.of(labels.unique(frame, "model"), ())
    known = frame.filter(pl.col("kld") > 0, pl.col("kld").is_finite()).sort("bin_low", maintain_order=True)
    figure = go.Figure(layout=dict(template=template()))
    figure.update_xaxes(title=dict(text="probability of the reference’s top token"), tickformat=".0%")
    figure.update_xaxes(range=[0, 1.34], tickvals=[0, 0.25, 0.5, 0.75, 1])  # names stand at the right
    ends_ = [value for name in ("kld", "kld_low", "kld_high") for value in known[name]]
    low, high = _reach(ends_)
    _logarithmic(figure.update_yaxes, low, high, AXIS)
    for model in labels.unique(frame, "model"):
        rows = known.filter(model=model).to_dicts()
        if rows:
            for trace in _confidence_traces(model, rows, style.colors[model]):
                figure.add_trace(trace)
    _name_lines(figure, known.unique("model", keep="last", maintain_order=True), low, high)
    return figure


def _name_lines(figure: go.Figure, last: pl.DataFrame, low: float, high: float) -> None:
    """Names each model at the end of its line. A name moves up or down where it would cover another one."""
    if len(last) > _MOST_NAMES:
        return
    last = last.sort("kld")
    ys = labels.apart([math.log10(kld) for kld in last["kld"]], (high - low) * _NAME, low, high)
    for name, model, y in zip(short_names.shorten(last["model"].to_list()), last["model"], ys, strict=True):
        figure.add_annotation(
            name=model,  # the page hides it with its model
            x=1.01,
            y=y,
            xanchor="left",
            yanchor="middle",
            text=literal(name),
            showarrow=False,
            font=dict(color=LIGHT["ink"], size=11),
        )


def _model_traces(
    row: Row, y: int, name: str, edge: tuple[float, str], color: str, *, worded: bool
) -> list[go.Scatter]:
    """The name of a model above its row, its tail as a thin line with ticks, its mean.

    The last row is `worded`: its ticks say what they are, where no name stands below.
    """
    model, mean = text(row, "model"), number(row, "kld") or 0.0
    tail = [(value, title) for column, title in _PERCENTILES if numbers.known(value := number(row, column))]
    drawn = [(value, title) for value, title in tail if value > 0]
    shared = dict(meta={"model": model}, showlegend=False, legendgroup=model, cliponaxis=False)
    label = go.Scatter(
        x=[edge[0]],
        y=[y - 0.32],
        mode="text",
        text=[literal(name) + ("" if mean > 0 else ": no divergence at all")],
        textposition=edge[1],
        textfont=dict(color=LIGHT["ink"], size=12),
        hoverinfo="skip",
        **shared,
    )
    line = go.Scatter(
        x=[value for value, _ in drawn],
        y=[y] * len(drawn),
        mode="lines+markers+text",
        text=[title for _, title in drawn] if worded else [],
        textposition=["bottom center", "bottom left", "bottom center"][: len(drawn)],
        textfont=dict(color=LIGHT["muted"], size=11),
        line=dict(color=color, width=1.5),
        marker=dict(color=color, symbol="line-ns", size=11, line=dict(color=color, width=2)),
        customdata=[
            f"<b>{literal(model)}</b><br>{title} of the tokens: {numbers.significant(value)} nats"
            for value, title in drawn
        ],
        hovertemplate="%{customdata}<extra></extra>",
        hoverlabel=dict(bordercolor=color),
        **shared,
    )
    mark = marks.model(
        model,
        mean,
        y,
        color=color,
        says=_says(row, tail),
        label="",
        place="top right",
        named=True,
        whiskers_x=lines.whiskers(row, "kld", color) | {"thickness": 4},
    )
    mark["mode"] = "markers"
    return [label, line, *([mark] if mean > 0 else [])]


def _says(row: Row, tail: Sequence[tuple[float, str]]) -> str:
    interval = numbers.significant_interval(*ends(row, "kld"))
    top_low, top_high = ((None if each is None else 100 * each) for each in ends(row, "same_top"))
    between = numbers.interval(top_low, top_high, 1)
    top = numbers.percent(number(row, "same_top"))
    return "<br>".join(
        (
            f"<b>{literal(text(row, 'model'))}</b>",
            f"mean KL divergence <b>{numbers.significant(number(row, 'kld'))}</b>{_bracketed(interval)} nats",
            *(f"{title} {numbers.significant(value)}" for value, title in tail),
            f"same top token {top}{_bracketed(between)}",
        )
    )


def _bracketed(interval: str) -> str:
    return f" ({interval})" if interval else ""


def _confidence_traces(model: str, rows: Sequence[Row], color: str) -> list[go.Scatter]:
    """A band between the ends of the intervals, where there are any, and the line of the means."""
    shared = dict(meta={"model": model}, legendgroup=model)
    middle = [((number(row, "bin_low") or 0.0) + (number(row, "bin_high") or 0.0)) / 2 for row in rows]
    banded = [
        (x, low, high)
        for x, row in zip(middle, rows, strict=True)
        for low, high in [ends(row, "kld")]
        if numbers.known(low) and numbers.known(high) and low > 0
    ]
    n_all = sum(number(row, "n_scored") or 0.0 for row in rows)
    kld_all = sum((number(row, "n_scored") or 0.0) * (number(row, "kld") or 0.0) for row in rows)
    band = go.Scatter(
        x=[x for x, _, _ in banded] + [x for x, _, _ in reversed(banded)],
        y=[high for _, _, high in banded] + [low for _, low, _ in reversed(banded)],
        mode="lines",
        line=dict(width=0, color=color),
        fill="toself",
        fillcolor=f"{color}2b",
        hoverinfo="skip",
        showlegend=False,
        **shared,
    )
    line = go.Scatter(
        x=middle,
        y=[number(row, "kld") for row in rows],
        mode="lines+markers",
        name=literal(model),
        line=dict(color=color, width=2),
        marker=dict(color=color, size=7),
        customdata=[_says_bin(row, n_all, kld_all) for row in rows],
        hovertemplate="%{customdata}<extra></extra>",
        hoverlabel=dict(bordercolor=color),
        **shared,
    )
    return [band, line]


def _says_bin(row: Row, n_all: float, kld_all: float) -> str:
    low, high = number(row, "bin_low") or 0.0, number(row, "bin_high") or 0.0
    interval = numbers.significant_interval(*ends(row, "kld"))
    n, kld = number(row, "n_scored") or 0.0, number(row, "kld") or 0.0
    return "<br>".join(
        (
            f"<b>{literal(text(row, 'model'))}</b>",
            f"where the reference is {numbers.fixed(100 * low, 0)} to {numbers.percent(high, 0)} sure",
            f"mean KL divergence <b>{numbers.significant(kld)}</b>{_bracketed(interval)} nats",
            f"same top token {numbers.percent(number(row, 'same_top'))}",
            f"{numbers.percent(n / n_all, 0)} of the tokens, {numbers.percent(n * kld / kld_all, 0)} of the divergence",
        )
    )


def _reach(values: Sequence[float | None]) -> tuple[float, float]:
    """Decimal logarithms of the ends of an axis that shows all values above 0."""
    logs = [math.log10(value) for value in values if numbers.known(value) and value > 0]
    low, high = min(logs, default=-3.0), max(logs, default=0.0)
    room = 0.05 * (high - low) or 0.3
    return low - room, high + room


def _logarithmic(update: Callable[..., object], low: float, high: float, title: str) -> None:
    """Makes an axis logarithmic, from 10^low to 10^high, with ticks that are written out."""
    ticks = plane.decimal_ticks(low, high, span=high - low)
    written = [
        numbers.significant(tick).replace(".0e", "e").rstrip("0").rstrip(".") if tick < 10 else f"{tick:g}"
        for tick in ticks
    ]
    update(type="log", range=[low, high], title=dict(text=title), tickvals=ticks, ticktext=written)
