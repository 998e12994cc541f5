"""The planes of documents and models: finished frames in, a figure in the making out (`sketch`).

Each function draws the rows of one family, computes nothing but the layout, and works alone in a notebook. The page
sets several figures side by side, with one legend for all; there each trace is known by ``meta = {"model": …}``.
Names come from files, and plotly reads a little HTML in its texts, so every name goes through `literal`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl

from ppldelta.reporting import hover, labels, lines, marks, plane, short_names
from ppldelta.reporting.hover import literal
from ppldelta.reporting.plane import Limits
from ppldelta.reporting.rows import Row, ends, number, text
from ppldelta.reporting.sketch import Part, Sketch
from ppldelta.reporting.theme import Style
from ppldelta.reporting.units import COLUMNS, Axes, Unit, spaced
from ppldelta.wording import numbers

if TYPE_CHECKING:
    from ppldelta.analysis.density import Density

MOST_OBSTACLES = 2000
"""Marks that the diagonal's name is kept clear of."""


def documents_plane(
    documents: pl.DataFrame,
    *,
    unit: Unit = "nats",
    axes: Axes = "linear",
    densities: Mapping[str, Density] | None = None,
    filled: bool = True,
    floor: Limits | None = None,
    judged: bool = True,
    style: Style | None = None,
) -> Sketch:
    """Gain against loss of every document: one colour per model, one symbol per category.

    Args:
        documents: rows of `schema.DOCUMENTS` of one family.
        unit: nats per token, or bits per byte.
        axes: how they are spaced.
        densities: model → highest-density regions in the same unit, drawn over the points.
        filled: False leaves the marks of the documents out, for the page, which fills them in itself.
        floor: gain and loss in the same unit that the reference has against itself (`Family.noise_floor`).
        judged: False where all models are quants, for which no half of the plane is the better one.
        style: colours and symbols; by default in the order of the frame.
    """
    style = style or Style.of(labels.unique(documents, "model"), labels.unique(documents, "category"))
    gain, loss = COLUMNS[unit]
    some = documents.head(MOST_OBSTACLES).select(gain, loss).rows()
    points = [(x, y) for x, y in some if numbers.known(x) and numbers.known(y)]
    densities = densities or {}
    regions = [density.reach for density in densities.values()]
    reach = plane.limits(documents, unit=unit, regions=[*regions, floor] if floor else regions)
    figure = plane.empty(reach, unit, points, axes=axes, judged=judged)
    plane.add_noise_floor(figure, floor, axes)
    for trace in marks.documents(documents, (gain, loss), filled=filled, style=style, unit=unit, axes=axes):
        figure.add_trace(trace)
    for model, density in densities.items():
        figure.add_traces(_contours(model, density, style.colors[model], axes))
    return figure


def perplexities(
    documents: pl.DataFrame, *, filled: bool = True, bits: bool = False, style: Style | None = None
) -> Sketch:
    """Perplexity of the reference (x) against that of the model (y) for every document, with the diagonal.

    Args:
        documents: rows of `schema.DOCUMENTS` of one family.
        filled: False leaves the marks of the documents out, for the page, which fills them in itself.
        bits: whether bits per byte are drawn instead.
        style: colours and symbols; by default in the order of the frame.
    """
    style = style or Style.of(labels.unique(documents, "model"), labels.unique(documents, "category"))
    names, what = (("bpb_ref", "bpb_cmp"), "bits per byte") if bits else (("ppl_ref", "ppl_cmp"), "perplexity")
    values = [math.log10(value) for name in names for value in documents[name] if numbers.known(value) and value > 0]
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.05 * (high - low) or 0.1
    ends = [low - room, high + room]
    figure = Sketch()
    ticks = plane.decimal_ticks(ends[0], ends[1], span=high - low)
    axis = dict(type="log", range=ends, tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    figure.update_xaxes(title=dict(text=f"{what} of the reference"), **axis)
    figure.update_yaxes(title=dict(text=f"{what} of the model"), **axis)
    plane.add_better_half(figure, 10 ** (low - 3), 10 ** (high + 3), "model predicts better ↘")
    for trace in marks.documents(documents, names, filled=filled, style=style, unit="bpb" if bits else "nats"):
        figure.add_trace(trace)
    return figure


def models_plane(
    models: pl.DataFrame,
    *,
    unit: Unit = "nats",
    axes: Axes = "linear",
    reach: float | None = None,
    named: bool = True,
    short: Mapping[str, str] | None = None,
    front: Sequence[str] = (),
    floor: Limits | None = None,
    judged: bool = True,
    style: Style | None = None,
) -> Sketch:
    """Gain against loss of every model with 95 % intervals as crosses, the reference at (0, 0).

    Args:
        models: rows of `schema.MODELS` of one family, category and weighting: one row per model.
        unit: nats per token, or bits per byte.
        axes: how they are spaced.
        reach: end of both axes, for planes that are read side by side; by default that of the rows.
        named: whether the names stand at the marks.
        short: what stands there for each model; by default its name without what all share.
        front: models that no other beats in both gain and loss (`analysis.front`), joined by a line.
        floor: gain and loss in the same unit that the reference has against itself (`Family.noise_floor`).
        judged: as for `documents_plane`.
        style: colours; by default in the order of the frame.
    """
    style = style or Style.of(labels.unique(models, "model"), ())
    reach = reach or plane.limits(models, unit=unit, regions=[floor] if floor else [])
    gain, loss = COLUMNS[unit]
    placed = [
        (row, x, y)
        for row in models.iter_rows(named=True)
        for x, y in [(number(row, gain), number(row, loss))]
        if numbers.known(x) and numbers.known(y)
    ]
    points = [(x, y) for _, x, y in placed]
    figure = plane.empty(reach, unit, points, axes=axes, judged=judged)
    plane.add_iso_lines(figure, reach, axes)
    plane.add_noise_floor(figure, floor, axes)
    steps = ((spaced(x, axes), spaced(y, axes), text(row, "model")) for row, x, y in placed)
    lines.add_front(figure, steps, front)
    end = spaced(reach, axes)
    full = [text(row, "model") for row, _, _ in placed]
    names = short_names.shorten(full) if short is None else [short[name] for name in full]
    places = labels.place(
        [(0.0, 0.0), *((spaced(x, axes), spaced(y, axes)) for x, y in points)],
        ["reference", *names],
        [(0.0, 0.0, 0.0, 0.0), *(_cross(row, (gain, x), (loss, y), axes) for row, x, y in placed)],
        (end, end),
        below_zero=plane.BELOW_ZERO,
    )
    figure.add_trace(
        marks.reference(
            0,
            says="gains nothing, loses nothing",
            label="\N{NO-BREAK SPACE}reference\N{NO-BREAK SPACE}",
            place=places[0] or "middle right",
            named=named,
        )
    )
    for (row, x, y), name, where in zip(placed, names, places[1:], strict=True):
        model, color = text(row, "model"), style.colors[text(row, "model")]
        figure.add_trace(
            marks.model(
                model,
                spaced(x, axes),
                spaced(y, axes),
                color=color,
                says=hover.model(row, unit),
                label=name if where else "",
                place=where or "top right",
                named=named,
                whiskers_x=lines.whiskers(row, gain, color, axes),
                whiskers_y=lines.whiskers(row, loss, color, axes),
            )
        )
    return figure


def _contours(model: str, density: Density, color: str, axes: Axes) -> list[Part]:
    """The outlines of one model's highest-density regions, over the marks: the inner one strong, the outer one thin."""
    traces: list[Part] = []
    for i, rings in enumerate(density.outlines.values()):
        x: list[float | None] = []
        y: list[float | None] = []
        for ring in rings:
            x += [*(float(f"{spaced(at, axes):.4g}") for at, _ in [*ring, ring[0]]), None]  # closed, then a gap
            y += [*(float(f"{spaced(at, axes):.4g}") for _, at in [*ring, ring[0]]), None]
        traces.append(
            dict(
                type="scatter",
                x=x,
                y=y,
                mode="lines",
                fill="toself",
                fillcolor=color + "14",
                line=dict(color=color, width=2.2 if i else 1.3),
                name=literal(model),
                legendgroup=model,
                showlegend=False,
                hoverinfo="skip",
                meta={"model": model, "contour": True},
            )
        )
    return traces


def _cross(row: Row, gain: tuple[str, float], loss: tuple[str, float], axes: Axes) -> labels.Box:
    """What the intervals of a mark cover, its columns given with their values; the mark alone if it has none."""
    (left, right), (low, high) = (
        (start, end) if numbers.known(start) and numbers.known(end) else (middle, middle)
        for (start, end), middle in ((ends(row, column), value) for column, value in (gain, loss))
    )
    return spaced(left, axes), spaced(low, axes), spaced(right, axes), spaced(high, axes)
