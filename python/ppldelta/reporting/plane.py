"""The empty gain/loss plane that documents and models are drawn on: axes, diagonal, lines of equal gain − loss."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go
import polars as pl

from ppldelta.reporting import labels
from ppldelta.reporting.theme import LIGHT, template
from ppldelta.reporting.units import COLUMNS, UNITS, Unit
from ppldelta.wording import numbers

Limits = tuple[float, float]
"""Largest gain and largest loss that a plane shows."""

BELOW_ZERO = 0.03
"""Share of an axis that lies below 0, so that marks on the axes are whole."""


def limits(frame: pl.DataFrame, *, unit: Unit = "nats", regions: Sequence[Limits] = ()) -> Limits:
    """How far the axes of a plane must reach to show all rows of `documents` or `models` with their intervals.

    The shorter axis is at least half as long as the other, so that the diagonal stays readable. `regions` says how
    far contours and the noise floor reach, which are to be whole as well.
    """
    reach = []
    for i, column in enumerate(COLUMNS[unit]):
        names = [name for name in (column, f"{column}_high") if name in frame.columns]
        values = [value for name in names for value in frame[name] if numbers.known(value)]
        values += [region[i] for region in regions if numbers.known(region[i])]
        reach.append(max(values, default=0.0))
    longest = max(reach) or 1.0
    return max(reach[0], longest / 2) * 1.09, max(reach[1], longest / 2) * 1.09


def empty(reach: Limits, unit: Unit, points: Sequence[tuple[float, float]], *, judged: bool = True) -> go.Figure:
    """A plane to draw on: axes that say where better and worse are, the half below the diagonal tinted.

    Args:
        reach: ends of the axes.
        unit: nats per token, or bits per byte.
        points: gain and loss of the marks to come, which the diagonal's name keeps clear of.
        judged: False where all marks are of quants, for which no half of the plane is the better one.
    """
    x_end, y_end = reach
    corner = min(reach)
    far = 9 * max(reach)  # beyond what is shown, for those who zoom out
    named = labels.along_diagonal(points, reach) * corner
    figure = go.Figure(layout=dict(template=template()))
    figure.update_xaxes(
        title=dict(text=f"<b>gain →</b> predicts better, {UNITS[unit]}"), range=[-BELOW_ZERO * x_end, x_end]
    )
    figure.update_yaxes(  # the title is turned, so that its arrow points up
        title=dict(text=f"<b>loss →</b> predicts worse, {UNITS[unit]}"), range=[-BELOW_ZERO * y_end, y_end]
    )
    if judged:
        add_better_half(figure, 0, far, "best ↘")
    else:
        add_diagonal(figure, 0, far)
    figure.add_annotation(
        x=named,
        y=named,
        text="gain = loss",
        showarrow=False,
        yshift=9,
        textangle=-math.degrees(math.atan2(x_end, y_end)),
        font=dict(color=LIGHT["muted"], size=11),
    )
    return figure


def add_better_half(figure: go.Figure, near: float, far: float, words: str) -> None:
    """Tints the half below the diagonal, where y is smaller than x, draws the diagonal, and names the corner.

    Args:
        figure: to draw on.
        near: where the diagonal begins, on both axes.
        far: where it ends, beyond what is shown.
        words: in the lower right corner.
    """
    figure.add_shape(
        type="path",
        path=f"M{near},{near} L{far},{far} L{far},{near} Z",
        fillcolor=LIGHT["better"],
        line=dict(width=0),
        layer="below",
    )
    add_diagonal(figure, near, far)
    figure.add_annotation(
        x=1,
        y=0,
        xref="x domain",
        yref="y domain",
        xanchor="right",
        yanchor="bottom",
        yshift=10,
        text=words,
        showarrow=False,
        font=dict(color=LIGHT["muted"], size=11),
    )


def add_noise_floor(figure: go.Figure, floor: Limits | None) -> None:
    """Adds the region in which nothing can be told from the reference, from 0 to the noise floor's gain and loss, with
    its name at the end of a pointer: the region may be too small to hold it.

    Args:
        figure: a plane to draw on.
        floor: gain and loss in the plane's unit; None draws nothing.
    """
    if floor is None or not all(map(numbers.known, floor)):
        return
    figure.add_shape(
        type="rect",
        name="noise floor",
        x0=0,
        y0=0,
        x1=floor[0],
        y1=floor[1],
        fillcolor=LIGHT["noise"],
        line=dict(color=LIGHT["muted"], width=1, dash="2px,2px"),
        layer="below",
    )
    figure.add_annotation(
        x=floor[0] / 2,
        y=floor[1],
        text="noise floor",
        showarrow=True,
        arrowhead=0,
        arrowwidth=1,
        arrowcolor=LIGHT["muted"],
        ax=0,
        ay=-34,
        xanchor="left",
        font=dict(color=LIGHT["muted"], size=10),
    )


def add_diagonal(figure: go.Figure, near: float, far: float) -> None:
    """Draws the diagonal from `near` to `far` on both axes."""
    figure.add_shape(
        type="line",
        x0=near,
        y0=near,
        x1=far,
        y1=far,
        line=dict(color=LIGHT["muted"], width=1, dash="4px,3px"),
        layer="below",
    )


def decimal_ticks(low: float, high: float, span: float) -> list[float]:
    """Ticks of a logarithmic axis from 10^low to 10^high, the more to a decade the fewer decades the values span."""
    parts = (1, 1.5, 2, 3, 5, 7) if span < 1 else (1, 2, 5) if span < 2.5 else (1,)
    return [part * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for part in parts]


def add_iso_lines(figure: go.Figure, reach: Limits) -> None:
    """Adds thin lines of equal gain − loss, with their values outside the plot, where each line leaves it."""
    x_end, y_end = reach
    step = _nice(max(reach) / 3.5)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    for k in range(-math.floor(y_end / step), math.floor(x_end / step) + 1):
        net = k * step
        start, end = max(0.0, net), min(x_end, y_end + net)
        if k == 0 or end - start < (0.12 if net > 0 else 0.26) * x_end:
            continue
        figure.add_shape(
            type="line",
            x0=start,
            y0=start - net,
            x1=end,
            y1=end - net,
            line=dict(color=LIGHT["iso"], width=1),
            layer="below",
        )
        right = x_end <= y_end + net
        figure.add_annotation(
            x=end,
            y=end - net,
            text=numbers.signed(net, digits),
            showarrow=False,
            xanchor="left" if right else "center",
            yanchor="middle" if right else "bottom",
            font=dict(color=LIGHT["muted"], size=10),
        )
    figure.add_annotation(
        x=0,
        y=1,
        xref="x domain",
        yref="y domain",
        xanchor="left",
        yanchor="bottom",
        text="gain − loss:",
        showarrow=False,
        font=dict(color=LIGHT["muted"], size=10),
    )
    figure.update_layout(margin=dict(t=24, r=44))


def _nice(step: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not above `step`."""
    power = 10.0 ** math.floor(math.log10(step))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= step * (1 + 1e-9))
