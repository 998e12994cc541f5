"""The empty gain/loss plane that documents and models are drawn on: axes, diagonal, lines of equal gain − loss.

Both axes reach equally far and are equally long, so that gain = loss stands at 45°. Spaced by square roots, coordinates
are roots (`units.spaced`) and ticks bear the values. What the page moves when it zooms to the models that are shown has
the name `ISO`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go
import polars as pl

from ppldelta.reporting import labels
from ppldelta.reporting.sketch import Sketch
from ppldelta.reporting.theme import LIGHT
from ppldelta.reporting.units import COLUMNS, UNITS, Axes, Unit, spaced
from ppldelta.wording import numbers

Limits = tuple[float, float]
"""A gain and a loss."""

BELOW_ZERO = 0.03
"""Share of an axis that lies below 0, so that marks on the axes are whole."""

ISO = "gain − loss"
"""Name of the lines of equal gain − loss, of their values, and of the diagonal's words."""

_STEPS = 24  # pieces of a line that square roots bend


def limits(frame: pl.DataFrame, *, unit: Unit = "nats", regions: Sequence[Limits] = ()) -> float:
    """How far the axes of a plane must reach to show all rows of `documents` or `models` with their intervals.

    `regions` says how far contours and the noise floor reach, which are to be whole as well.
    """
    names = [f"{column}{end}" for column in COLUMNS[unit] for end in ("", "_high")]
    columns = [frame[name] for name in names if name in frame.columns]
    largest = [each.filter(each.is_finite()).max() for each in columns if each.dtype.is_float()]
    values = [value for value in largest if isinstance(value, float)]
    values += [value for region in regions for value in region if numbers.known(value)]
    return (max(values, default=0.0) or 1.0) * 1.09


def empty(
    reach: float,
    unit: Unit,
    points: Sequence[tuple[float, float]],
    *,
    axes: Axes = "linear",
    judged: bool = True,
) -> Sketch:
    """A plane to draw on: axes that say where better and worse are, the half below the diagonal tinted.

    Args:
        reach: end of both axes.
        unit: nats per token, or bits per byte.
        points: gain and loss of the marks to come, which the diagonal's name keeps clear of.
        axes: how they are spaced.
        judged: False where all marks are of quants, for which no half of the plane is the better one.
    """
    end = spaced(reach, axes)
    far = 9 * end  # beyond what is shown, for those who zoom out
    at = [(spaced(x, axes), spaced(y, axes)) for x, y in points]
    named = labels.along_diagonal(at, (end, end)) * end
    figure = Sketch()
    ticks = _root_ticks(reach) if axes == "root" else {}
    shared = dict(range=[-BELOW_ZERO * end, end], constrain="domain", **ticks)
    figure.update_xaxes(
        title=dict(text=f"<b>gain →</b> predicts better, {UNITS[unit]}"), constraintoward="left", **shared
    )
    figure.update_yaxes(  # the title is turned, so that its arrow points up
        title=dict(text=f"<b>loss →</b> predicts worse, {UNITS[unit]}"),
        scaleanchor="x",
        scaleratio=1,
        constraintoward="bottom",
        **shared,
    )
    if judged:
        add_better_half(figure, 0, far, "better ↘")
    else:
        add_diagonal(figure, 0, far)
    figure.add_annotation(
        name=ISO,
        x=named,
        y=named,
        text="gain = loss",
        showarrow=False,
        yshift=9,
        xshift=-5,
        textangle=-45,
        font=dict(color=LIGHT["muted"], size=11),
    )
    return figure


def _root_ticks(reach: float) -> dict[str, object]:
    """Ticks at 0 and at 1, 2 and 5 times powers of ten, as many as have room below `reach`; for zooms, also above."""
    power = math.floor(math.log10(reach))
    values = [part * 10.0**each for each in range(min(power + 2, 307), power - 5, -1) for part in (5, 2, 1)]
    shown: list[float] = []
    for value in values:
        last = math.sqrt(shown[-1] / reach) if shown else math.inf
        here = math.sqrt(value / reach)
        if min(last - here, here) > 0.075:
            shown.append(value)
    shown = [0.0, *reversed(shown)]
    return dict(tickvals=[math.sqrt(value) for value in shown], ticktext=[f"{value:.9g}" for value in shown])


def add_better_half(figure: Sketch, near: float, far: float, words: str) -> None:
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


def add_noise_floor(figure: Sketch, floor: Limits | None, axes: Axes = "linear") -> None:
    """Adds the region in which nothing can be told from the reference, from 0 to the noise floor's gain and loss, with
    its name at the end of a pointer: the region may be too small to hold it.

    Args:
        figure: a plane to draw on.
        floor: gain and loss in the plane's unit; None draws nothing.
        axes: of the plane.
    """
    if floor is None or not all(map(numbers.known, floor)):
        return
    gain, loss = (spaced(value, axes) for value in floor)
    figure.add_shape(
        type="rect",
        name="noise floor",
        x0=0,
        y0=0,
        x1=gain,
        y1=loss,
        fillcolor=LIGHT["noise"],
        line=dict(color=LIGHT["muted"], width=1, dash="2px,2px"),
        layer="below",
    )
    figure.add_annotation(
        x=gain / 2,
        y=loss,
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


def add_diagonal(figure: go.Figure | Sketch, near: float, far: float) -> None:
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


def add_iso_lines(figure: Sketch, reach: float, axes: Axes = "linear") -> None:
    """Adds thin lines of equal gain − loss, with their values outside the plot, where each line leaves it."""
    step = _nice(reach / 3.5)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    small = dict(showarrow=False, font=dict(color=LIGHT["muted"], size=10))
    for k in range(-math.floor(reach / step), math.floor(reach / step) + 1):
        net = k * step
        start, end = max(0.0, net), min(reach, reach + net)
        if k == 0 or end - start < (0.12 if net > 0 else 0.26) * reach:
            continue
        along = [start + (end - start) * (i / _STEPS) ** 2 for i in range(_STEPS + 1)]  # denser where roots bend it
        at = [(spaced(x, axes), spaced(max(x - net, 0.0), axes)) for x in along]
        x, y = at[-1]
        line = dict(color=LIGHT["iso"], width=1)
        if axes == "linear":
            ends: dict[str, object] = dict(type="line", x0=at[0][0], y0=at[0][1], x1=x, y1=y)
        else:
            ends = dict(type="path", path="M" + "L".join(f"{each[0]:.6g},{each[1]:.6g}" for each in at))
        figure.add_shape(**ends, name=ISO, line=line, layer="below")
        right = net > 0  # else it leaves through the upper edge
        at_end = dict(xanchor="left", yanchor="middle") if right else dict(xanchor="center", yanchor="bottom")
        figure.add_annotation(**small, name=ISO, x=x, y=y, text=numbers.signed(net, digits), **at_end)
    corner = dict(x=0, y=1, xref="x domain", yref="y domain", xanchor="left", yanchor="bottom")
    figure.add_annotation(**small, text="gain − loss:", **corner)
    figure.update_layout(margin=dict(t=24, r=44))


def _nice(step: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not above `step`."""
    power = 10.0 ** math.floor(math.log10(step))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= step * (1 + 1e-9))
