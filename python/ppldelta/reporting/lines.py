"""Lines that several figures draw: the whiskers of an interval, and the one along a front."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ppldelta.reporting.rows import Row, ends, number
from ppldelta.reporting.sketch import Sketch
from ppldelta.reporting.theme import LIGHT
from ppldelta.reporting.units import Axes, spaced
from ppldelta.wording import numbers


def whiskers(row: Row, column: str, color: str, axes: Axes = "linear") -> dict[str, object]:
    """The error bar of a value with ``*_low`` and ``*_high``; invisible if there is no interval."""
    (low, high), middle = ends(row, column), number(row, column)
    if not (numbers.known(low) and numbers.known(high) and numbers.known(middle)):
        return dict(visible=False)
    return dict(
        type="data",
        symmetric=False,
        array=[spaced(high, axes) - spaced(middle, axes)],
        arrayminus=[spaced(middle, axes) - spaced(low, axes)],
        color=color,
        thickness=1.5,
        width=0,
    )


def add_front(
    figure: Sketch, marks: Iterable[tuple[float, float, str]], front: Sequence[str], *, stepped: bool = False
) -> None:
    """Joins the models of a front from left to right, if there are several.

    Args:
        figure: to draw on.
        marks: x, y and model of every mark.
        front: the models to join.
        stepped: whether the line goes to the right first and then up, instead of straight.
    """
    steps = sorted(mark for mark in marks if mark[2] in front)
    if len(steps) < 2:
        return
    shape = dict(shape="hv") if stepped else {}
    figure.add_trace(
        dict(
            type="scatter",
            x=[x for x, _, _ in steps],
            y=[y for _, y, _ in steps],
            customdata=[[None, model] for _, _, model in steps],  # family and model, for the page
            mode="lines",
            line=dict(color=LIGHT["muted"], width=1.5, dash="1px,3px", **shape),
            name="front",
            showlegend=False,
            hoverinfo="skip",
            meta={"front": True},
        )
    )
