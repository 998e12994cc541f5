"""A figure in the making: plain parts, of which plotly makes a figure for a notebook, and the page takes as they are.

plotly checks whatever it is given, and a trace several times. For the hundred figures of a page that takes half of the
time. A test compares these parts with plotly's own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping

import plotly.graph_objects as go

from ppldelta.reporting.blocks import Json
from ppldelta.reporting.theme import template

Part = dict[str, object]
"""A trace, shape or note, as plotly's JSON has it."""


class Sketch:
    """Takes parts as `go.Figure` does."""

    def __init__(self) -> None:
        self.traces: list[Part] = []
        self._layout: Part = {}
        self._axes: dict[str, Part] = {"xaxis": {}, "yaxis": {}}
        self._shapes: list[Part] = []
        self._notes: list[Part] = []

    def add_trace(self, trace: Part) -> None:
        """Adds a trace, over those before it."""
        self.traces.append(trace)

    def add_traces(self, traces: Iterable[Part]) -> None:
        """Adds several."""
        self.traces.extend(traces)

    def add_shape(self, **shape: object) -> None:
        """Adds a shape."""
        self._shapes.append(shape)

    def add_hline(self, y: float, **shape: object) -> None:
        """Adds a line from the left edge to the right one."""
        self.add_shape(type="line", x0=0, x1=1, xref="x domain", y0=y, y1=y, yref="y", **shape)

    def add_annotation(self, **note: object) -> None:
        """Adds a note."""
        self._notes.append(note)

    def update_xaxes(self, **more: object) -> None:
        """Says something of the x axis, in place of what was said of the same."""
        self._axes["xaxis"] |= more

    def update_yaxes(self, **more: object) -> None:
        """Likewise of the y axis."""
        self._axes["yaxis"] |= more

    def update_layout(self, **more: object) -> None:
        """Likewise of the whole."""
        self._layout |= more

    def figure(self) -> go.Figure:
        """The sketch as a plotly figure, with the template."""
        return go.Figure(data=self.traces, layout={"template": template(), **self._parts()})

    def plain(self) -> dict[str, Json]:
        """The figure as JSON, without the template that all share."""
        return {"data": [_plain(trace) for trace in self.traces], "layout": _plain(self._parts())}

    def _parts(self) -> Part:
        lists = (("shapes", self._shapes), ("annotations", self._notes))
        return {**self._layout, **{name: of for name, of in (*self._axes.items(), *lists) if of}}


def _plain(value: object) -> Json:
    """A part as plotly writes it: without entries that are None, and with null for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items() if each is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    raise TypeError(f"a figure cannot hold {value!r}")


def bare(figure: go.Figure) -> dict[str, Json]:
    """A figure as JSON, without the template that all share."""
    made: dict[str, dict[str, Json]] = json.loads(figure.to_json())
    made["layout"].pop("template", None)
    return dict(made)
