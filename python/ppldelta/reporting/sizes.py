"""The figure of quality against size: what does a gigabyte, or a bit per weight, buy?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import polars as pl

from ppldelta.family import ModelFacts
from ppldelta.reporting import hover, labels, lines, marks, short_names
from ppldelta.reporting.rows import Row, ends, number, text
from ppldelta.reporting.sketch import Sketch
from ppldelta.reporting.theme import LIGHT, Style
from ppldelta.wording import numbers

Measure = Literal["size_bytes", "bits_per_weight"]

_HIGH = 0.08  # of the largest damage: what a step must save for its rate to have room
_BESIDE = 0.21  # of the axis, which is what a rate takes: nearer to its beginning it stands on the right of its step

TITLES: dict[Measure, str] = {"size_bytes": "size of the tensors, GB", "bits_per_weight": "bits per weight"}
_SCALES: dict[Measure, float] = {"size_bytes": 1e-9, "bits_per_weight": 1.0}


Value = Literal["delta", "delta_bpb", "damage", "damage_bpb", "kld"]

_VALUES: dict[Value, str] = {
    "delta": "<b>net →</b> predicts better, nats per token",
    "delta_bpb": "<b>net →</b> predicts better, bits per byte",
    "damage": "<b>damage →</b> gain + loss, nats per token",
    "damage_bpb": "<b>damage →</b> gain + loss, bits per byte",
    "kld": "<b>KL divergence →</b> nats per token",
}


def value_against_size(
    models: pl.DataFrame,
    *,
    value: Value = "delta",
    measure: Measure = "size_bytes",
    reference: ModelFacts | None = None,
    front: Sequence[str] = (),
    style: Style | None = None,
) -> Sketch:
    """A value of every model against its size: delta (up is better), or damage or KL divergence (down is better).

    Args:
        models: rows of `schema.MODELS` of one family, category and weighting: one row per model.
        value: column of the models' values, nats per token, or with `_bpb` bits per byte.
        measure: size of the tensors, or bits per weight.
        reference: is drawn at 0 if its size, or its bits per weight, are known.
        front: models that no smaller one equals in the value (`analysis.front`), joined by a line.
        style: colours; by default in the order of the frame.
    """
    style = style or Style.of(labels.unique(models, "model"), ())
    scale = _SCALES[measure]
    if measure == "size_bytes" and max((value or 0 for value in models[measure]), default=0) < 1e9:
        scale, title = 1e-6, "size of the tensors, MB"
    else:
        title = TITLES[measure]
    placed = [
        (row, x * scale, y)
        for row in models.iter_rows(named=True)
        for x, y in [(number(row, measure), number(row, value))]
        if numbers.known(x) and numbers.known(y)
    ]
    of_reference: dict[Measure, float | None] = {}
    if reference is not None:
        of_reference = {"size_bytes": reference.size_bytes, "bits_per_weight": reference.bits_per_weight}
    own = [value * scale for value in [of_reference.get(measure)] if value is not None and numbers.known(value)]
    points = [*((at, 0.0) for at in own), *((x, y) for _, x, y in placed)]
    figure = Sketch()
    span = _span([x for x, _ in points])
    figure.update_xaxes(title=dict(text=title), **span)
    figure.update_yaxes(title=dict(text=_VALUES[value]))
    figure.add_hline(y=0, line=dict(color=LIGHT["ink"], width=1), layer="below")
    lines.add_front(figure, ((x, y, text(row, "model")) for row, x, y in placed), front, stepped=True)
    if placed and value.startswith("damage") and measure == "size_bytes":
        _add_rates(figure, [row for row, _, _ in placed if text(row, "model") in front], value, scale, span["range"])
    names = short_names.shorten([text(row, "model") for row, _, _ in placed])
    places = _places(points, ["reference"] * len(own) + names, [row for row, _, _ in placed], value)
    for at, where in zip(own, places, strict=False):
        shown = "reference" if where else ""
        figure.add_trace(marks.reference(at, says="%{x:.3~g}", label=shown, place=where or "top right"))
    for (row, x, y), name, where in zip(placed, names, places[len(own) :], strict=True):
        model, color = text(row, "model"), style.colors[text(row, "model")]
        figure.add_trace(
            marks.model(
                model,
                x,
                y,
                color=color,
                says=hover.size(row, value),
                label=name if where else "",
                place=where or "top right",
                whiskers_y=lines.whiskers(row, value, color),
            )
        )
    return figure


def _add_rates(figure: Sketch, front: Sequence[Row], value: Value, scale: float, axis: Sequence[float]) -> None:
    """Says at each high step of the front what it costs: so much less damage for so many bytes."""
    steps = sorted((number(row, "size_bytes") or 0.0, number(row, value) or 0.0, text(row, "model")) for row in front)
    values = [y for _, y, _ in steps]
    left = axis[0] + _BESIDE * (axis[1] - axis[0])
    for (x0, y0, smaller), (x, y, larger) in pairwise(steps):
        if y0 - y < _HIGH * max(values):
            continue
        figure.add_trace(
            dict(
                type="scatter",
                x=[x * scale],
                y=[(y0 + y) / 2],
                mode="text",
                text=[f"{numbers.signed(y - y0, numbers.decimals(y0 - y) - 1)} for {numbers.size(round(x - x0))}"],
                textposition="middle left" if x * scale > left else "middle right",
                textfont=dict(color=LIGHT["muted"], size=11),
                showlegend=False,
                hoverinfo="skip",
                meta={"model": larger, "above": smaller},
            )
        )


def _span(xs: Sequence[float]) -> dict[str, list[float]]:
    """From 0 where sizes are far from each other; where all lie close, from a little below the least."""
    if not xs:
        return {}
    low, high = min(xs), max(xs)
    room = 0.1 * (high - low) or 0.1 * high
    return dict(range=[low - room if low > 0.35 * high else 0, high + room])


def _places(
    points: Sequence[tuple[float, float]], names: Sequence[str], rows: Sequence[Row], value: str
) -> list[str | None]:
    """Where each name goes; None where it would cover another. Intervals of models count, the reference has none."""
    if not points:
        return []
    spans = [ends(row, value) for row in rows]
    whiskers = [(y, y) for _, y in points[: len(points) - len(rows)]]
    whiskers += [
        (low if numbers.known(low) else y, high if numbers.known(high) else y)
        for (low, high), (_, y) in zip(spans, points[len(points) - len(rows) :], strict=True)
    ]
    left, right = _span([x for x, _ in points])["range"]
    low, high = min(0.0, *(each for each, _ in whiskers)), max(0.0, *(each for _, each in whiskers))
    wide, tall = (right - left) or 1.0, 1.1 * (high - low) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        return (x - left) / wide, (y - low) / tall + 0.05

    placed = [at(x, y) for x, y in points]
    crosses = [
        (at(x, a)[0], at(x, a)[1], at(x, b)[0], at(x, b)[1]) for (x, _), (a, b) in zip(points, whiskers, strict=True)
    ]
    return labels.place(placed, names, crosses, (1.0, 1.0), below_zero=0.0, diagonal=False)
