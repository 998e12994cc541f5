"""What a figure says of itself when it stands alone: its title, and what was compared on what."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from ppldelta.reporting import sentences
from ppldelta.reporting.family_figures import FamilyFigures
from ppldelta.reporting.hover import literal
from ppldelta.reporting.theme import LIGHT, template
from ppldelta.reporting.units import Choice
from ppldelta.wording import numbers

_ROOM = 58
"""Pixels of a title with its source."""

_LEGEND = 30
"""Pixels of a legend below it."""


def source(made: FamilyFigures) -> str:
    """The reference of a family, its documents, what was scored of them, and when; a plain text."""
    dates = [made.date] if made.date else []
    return "; ".join([f"reference {', '.join([made.reference.label, _scored(made, made.bits)])}", *dates])


def source_of_all(makers: Sequence[FamilyFigures]) -> str:
    """The same for several families, whose numbers are in bits per byte."""
    references = dict.fromkeys(made.reference.label for made in makers)
    scored = dict.fromkeys(_scored(made, bits=True) for made in makers)
    dates = [made.date for made in makers if made.date]
    parts = [f"references {', '.join(references)}, each for its own models", *scored, *([max(dates)] if dates else [])]
    return "; ".join(parts)


def _scored(made: FamilyFigures, bits: bool) -> str:
    rows = made.rows(Choice())
    n = max(rows["n_bytes" if bits else "n_scored"].to_list(), default=0)
    return f"{sentences.corpus(made.documents)}, {numbers.count(n)} {'bytes' if bits else 'tokens'}"


def add(figure: go.Figure, title: str, said: str) -> go.Figure:
    """Puts a title and a source line above a figure, and returns it; what is drawn keeps its size.

    Args:
        figure: is changed.
        title: as the page writes it.
        said: what `source` gives.
    """
    layout = figure.layout
    top = layout.margin.t if layout.margin.t is not None else template().layout.margin.t
    room = _ROOM + (_LEGEND if sum(trace.showlegend is not False for trace in figure.data) > 1 else 0)
    figure.update_layout(
        margin=dict(t=top + room),
        title=dict(
            text=f"<b>{literal(title, 90)}</b>",
            font=dict(size=16, color=LIGHT["ink"]),
            subtitle=dict(text=literal(said, 110), font=dict(size=12, color=LIGHT["muted"])),
            x=0,
            xref="container",
            xanchor="left",
            y=1,
            yref="container",
            yanchor="top",
            pad=dict(l=14, t=14),
        ),
    )
    if layout.height is not None:
        figure.update_layout(height=layout.height + room)
    return figure
