"""A figure in the making: plain parts, of which plotly makes a figure at the end.

plotly looks at all that it is given, and at a trace several times on its way into a figure; for parts that come one by
one, that takes three times as long as for all of them at once.
"""

from __future__ import annotations

from collections.abc import Iterable

import plotly.graph_objects as go

from ppldelta.reporting.theme import template

Part = dict[str, object]
"""A trace, shape or note, as plotly's JSON has it."""


class Sketch:
    """Takes parts as `go.Figure` does.

    Args:
        layout: what is said of the whole.
    """

    def __init__(self, **layout: object) -> None:
        self._layout = layout
        self._axes: dict[str, Part] = {"xaxis": {}, "yaxis": {}}
        self._traces: list[Part] = []
        self._shapes: list[Part] = []
        self._notes: list[Part] = []

    def add_trace(self, trace: Part) -> None:
        """Adds a trace, over those before it."""
        self._traces.append(trace)

    def add_traces(self, traces: Iterable[Part]) -> None:
        """Adds several."""
        self._traces.extend(traces)

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
        """The figure."""
        parts: Part = {"template": template(), **self._layout, **{name: of for name, of in self._axes.items() if of}}
        parts |= {name: of for name, of in (("shapes", self._shapes), ("annotations", self._notes)) if of}
        return go.Figure(data=self._traces, layout=parts)
