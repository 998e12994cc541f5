"""The figures of a look at a text: matrices of log-probabilities, hidden states, and how far those of two models part.

All but one are heat maps along the text. They draw arrays that are given and compute nothing. Their colours are the
theme's, so that the page can turn them dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from ppldelta.analysis.looks import ByDepth, Values
from ppldelta.reporting.hover import literal
from ppldelta.reporting.theme import LIGHT, template

PLACE = "place in the text"
_DEPTH = "after layer (0: embeddings)"
_TICK = 10  # pixels that a name at an axis needs
_WIDTH = 1050  # pixels of a heat map, where nothing else is known
_ROOM = 120  # pixels that names and the title of the axis take below a heat map
_SEQUENTIAL = [[0, LIGHT["surface"]], [1, LIGHT["accent"]]]
_WARM = [[0, LIGHT["surface"]], [1, LIGHT["diverge"]]]
_DIVERGING = [[0, LIGHT["loss"]], [0.5, LIGHT["surface"]], [1, LIGHT["gain"]]]


@dataclass(frozen=True)
class Axis:
    """What stands along one side of a heat map.

    Attributes:
        texts: what is written at each place or row, as far as there is room.
        names: what is said of it; no two are the same.
    """

    texts: Sequence[str]
    names: Sequence[str]

    @classmethod
    def of(cls, names: Sequence[str]) -> Axis:
        """An axis whose names are short."""
        return cls(names, names)


def matrix(
    logp: Values,
    p: Values,
    places: Axis,
    columns: Axis,
    following: Sequence[tuple[int, int]],
    *,
    label: str,
    least: int,
) -> go.Figure:
    """Log-probabilities of tokens at each place of a text.

    Args:
        logp: shape [n_places, n_columns], in nats.
        p: the probabilities themselves.
        places: of the text.
        columns: the tokens, as they are shown; no two are the same.
        following: (place, column) of the tokens that came next.
        label: the model's.
        least: the power of ten at which the scale of colours begins: -5 stands for a probability of 0.001 %.
    """
    powers = range(least, 1)
    figure = _heatmap(
        logp.T,
        places,
        columns,
        colorscale=_SEQUENTIAL,
        reach=(least * math.log(10), 0.0),
        bar=dict(
            title=dict(text="probability", side="right"),
            tickvals=[power * math.log(10) for power in powers],
            ticktext=[f"{100 * 10**power:g}\N{NO-BREAK SPACE}%" for power in powers],
        ),
        says=f"{literal(label)}<br><b>%{{y}}</b> at %{{x}}<br><b>%{{customdata:.3p}}</b>, ln p = %{{z:.3f}}"
        "<extra></extra>",
    )
    figure.update_traces(customdata=p.T)
    figure.update_layout(height=_height(len(columns.texts)))
    _add_following(figure, places, columns, following)
    return figure


def difference(
    delta: Values, places: Axis, columns: Axis, following: Sequence[tuple[int, int]], *, reach: float
) -> go.Figure:
    """Differences of two models' log-probabilities; NaN is left blank. The arguments are as for `matrix`.

    Args:
        delta: shape [n_places, n_columns], in nats: above 0 the comparison finds the token more probable.
        places: of the text.
        columns: the tokens.
        following: (place, column) of the tokens that came next.
        reach: where the scale of colours ends, in nats.
    """
    figure = _heatmap(
        delta.T,
        places,
        columns,
        colorscale=_DIVERGING,
        reach=(-reach, reach),
        bar=dict(title=dict(text="less probable ← delta, nats → more", side="right")),
        says="<b>%{y}</b> at %{x}<br>delta = <b>%{z:+.3f}</b> nats<extra></extra>",
    )
    figure.update_layout(height=_height(len(columns.texts)))
    _add_following(figure, places, columns, following)
    return figure


def states(values: Values, places: Axis, *, reach: float, says: str) -> go.Figure:
    """The first dimensions of hidden states.

    Args:
        values: shape [n_places, n_dimensions].
        places: of the text.
        reach: where the scale of colours ends.
        says: what a value is, for the hover.
    """
    n = values.shape[1]
    figure = _heatmap(
        values.T,
        places,
        Axis.of([f"dimension {i}" for i in range(n)]),
        colorscale=_DIVERGING,
        reach=(-reach, reach),
        bar=dict(title=dict(text="value", side="right")),
        says=f"%{{y}}, before %{{x}}<br>{literal(says)} = <b>%{{z:.3f}}</b><extra></extra>",
    )
    figure.update_yaxes(tickvals=list(range(0, n, 8)), ticktext=[str(i) for i in range(0, n, 8)], title="dimension")
    figure.update_layout(height=420)
    return figure


def norms(logarithms: Values, places: Axis, depths: Axis, *, label: str) -> go.Figure:
    """How large the states are after each layer.

    Args:
        logarithms: shape [n_depths, n_places]: log10 of the root mean square.
        places: of the text.
        depths: names of the rows, from the first layer to the last.
        label: the model's.
    """
    low, high = math.floor(float(logarithms.min())), math.ceil(float(logarithms.max()))
    figure = _heatmap(
        logarithms,
        places,
        depths,
        colorscale=_SEQUENTIAL,
        reach=(float(logarithms.min()), float(logarithms.max())),
        bar=dict(
            title=dict(text="root mean square", side="right"),
            tickvals=list(range(low, high + 1)),
            ticktext=[f"{10.0**power:g}" for power in range(low, high + 1)],
        ),
        says=f"{literal(label)}<br>%{{y}}, before %{{x}}<br>log10 of the root mean square = <b>%{{z:.2f}}</b>"
        "<extra></extra>",
        upward=True,
    )
    figure.update_layout(height=_height(len(depths.texts)))
    figure.update_yaxes(title=dict(text=_DEPTH))
    return figure


def departure(distance: Values, places: Axis, depths: Axis, *, reach: float) -> go.Figure:
    """How far a comparison's states are from the reference's, at each depth and place.

    Args:
        distance: shape [n_depths, n_places], by the length of the reference's state.
        places: of the text.
        depths: names of the rows, from the first layer to the last.
        reach: where the scale of colours ends.
    """
    figure = _heatmap(
        distance,
        places,
        depths,
        colorscale=_WARM,
        reach=(0.0, reach),
        bar=dict(title=dict(text="distance by length", side="right"), tickformat=".0%"),
        says="%{y}, before %{x}<br>distance <b>%{z:.1%}</b> of the state’s length<extra></extra>",
        upward=True,
    )
    figure.update_layout(height=_height(len(depths.texts)))
    figure.update_yaxes(title=dict(text=_DEPTH))
    return figure


def depth(spread: ByDepth, depths: Axis) -> go.Figure:
    """How far a comparison's states are from the reference's, layer by layer: the median and 80 % of the places.

    Args:
        spread: of the distance by the length of the reference's state.
        depths: names, from the first layer to the last.
    """
    x = list(range(len(depths.texts)))
    figure = go.Figure(layout=dict(template=template(), height=340, showlegend=False))
    veil = dict(mode="lines", line=dict(width=0, color=LIGHT["diverge"]), hoverinfo="skip")
    figure.add_trace(go.Scatter(x=x, y=spread.low, **veil))
    figure.add_trace(go.Scatter(x=x, y=spread.high, fill="tonexty", fillcolor=LIGHT["diverge"] + "26", **veil))
    figure.add_trace(
        go.Scatter(
            x=x,
            y=spread.median,
            mode="lines+markers",
            line=dict(color=LIGHT["diverge"], width=2),
            marker=dict(color=LIGHT["diverge"], size=5),
            customdata=[
                [name, low, high] for name, low, high in zip(depths.names, spread.low, spread.high, strict=True)
            ],
            hovertemplate="<b>%{customdata[0]}</b><br>median distance <b>%{y:.1%}</b> of the state’s length<br>"
            "80 % of the places: %{customdata[1]:.1%} to %{customdata[2]:.1%}<extra></extra>",
        )
    )
    names = _thinned(depths.texts, 2 * _TICK)
    figure.update_xaxes(title=dict(text=_DEPTH), tickangle=0, tickvals=x, ticktext=names, range=[-0.3, x[-1] + 0.3])
    figure.update_yaxes(title=dict(text="distance by the state’s length"), tickformat=".0%", rangemode="tozero")
    return figure


def _heatmap(
    z: Values,
    places: Axis,
    rows: Axis,
    *,
    colorscale: list[list[object]],
    reach: tuple[float, float],
    bar: dict[str, object],
    says: str,
    upward: bool = False,
) -> go.Figure:
    """Rows of values along the text; the first row is at the top, or with `upward` at the bottom."""
    figure = go.Figure(layout=dict(template=template()))
    bar = dict(thickness=12, len=1, outlinewidth=0, tickfont=dict(color=LIGHT["muted"], size=11)) | bar
    figure.add_trace(
        go.Heatmap(
            z=z.astype("float32"),
            x=list(map(literal, places.names)),
            y=list(map(literal, rows.names)),
            colorscale=colorscale,
            zmin=reach[0],
            zmax=reach[1],
            hoverongaps=False,
            colorbar=bar,
            hovertemplate=says,
        )
    )
    n = len(rows.texts)
    figure.update_layout(meta={"places": list(map(literal, places.texts))})  # for the page, whose width is another
    figure.update_xaxes(
        type="category",
        tickvals=list(range(len(places.texts))),
        ticktext=_thinned(places.texts, _TICK),
        tickangle=-90,
        tickfont=dict(size=10),
        title=dict(text=PLACE),
        showgrid=False,
        ticks="",
        range=[-0.5, len(places.texts) - 0.5],
    )
    figure.update_yaxes(
        type="category",
        tickvals=list(range(n)),
        ticktext=_thinned(rows.texts, _TICK, _height(n) - _ROOM),
        tickfont=dict(size=10),
        showgrid=False,
        ticks="",
        range=[-0.5, n - 0.5] if upward else [n - 0.5, -0.5],
    )
    return figure


def _add_following(figure: go.Figure, places: Axis, columns: Axis, following: Sequence[tuple[int, int]]) -> None:
    """Marks the tokens that really came next."""
    figure.add_trace(
        go.Scatter(
            x=[literal(places.names[place]) for place, _ in following],
            y=[literal(columns.names[column]) for _, column in following],
            mode="markers",
            marker=dict(
                symbol="square-open",
                size=7 if len(columns.texts) < 200 else 4,
                line=dict(width=1.5),
                color=LIGHT["surprise"],
            ),
            name="the token that came next",
            hoverinfo="skip",
            showlegend=True,
        )
    )


def _thinned(names: Sequence[str], pixels: int, width: int = _WIDTH) -> list[str]:
    """Names at an axis, as many as have room; the others are left out."""
    step = max(1, math.ceil(len(names) * pixels / width))
    return [literal(name) if i % step == 0 else "" for i, name in enumerate(names)]


def _height(n_rows: int) -> int:
    """Pixels of a heat map with so many rows."""
    return min(max(11 * n_rows, 200), 900) + _ROOM
