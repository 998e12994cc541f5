"""The figure of quality against size: what does a gigabyte, or a bit per weight, buy?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import plotly.graph_objects as go
import polars as pl

from ppldelta.family import ModelFacts
from ppldelta.reporting import hover, labels, lines, marks
from ppldelta.reporting.rows import number, text
from ppldelta.reporting.theme import LIGHT, Style, template
from ppldelta.wording import numbers

Measure = Literal["size_bytes", "bits_per_weight"]

TITLES: dict[Measure, str] = {"size_bytes": "size of the tensors, GB", "bits_per_weight": "bits per weight"}
_SCALES: dict[Measure, float] = {"size_bytes": 1e-9, "bits_per_weight": 1.0}


Value = Literal["delta", "delta_bpb", "damage", "kld"]

_VALUES: dict[Value, str] = {
    "delta": "<b>delta →</b> predicts better, nats per token",
    "delta_bpb": "<b>delta →</b> predicts better, bits per byte",
    "damage": "<b>damage →</b> gain + loss, nats per token",
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
) -> go.Figure:
    """A value of every model against its size: delta (up is better), or damage or KL divergence (down is better).

    Args:
        models: rows of `schema.MODELS` of one family, category and weighting: one row per model.
        value: column of the models' values, nats per token, or `delta_bpb`, bits per byte.
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
    figure = go.Figure(layout=dict(template=template()))
    figure.update_xaxes(title=dict(text=title), rangemode="tozero" if value.startswith("delta") else "normal")
    figure.update_yaxes(title=dict(text=_VALUES[value]))
    figure.add_hline(y=0, line=dict(color=LIGHT["ink"], width=1), layer="below")
    placed = [
        (row, x * scale, y)
        for row in models.iter_rows(named=True)
        for x, y in [(number(row, measure), number(row, value))]
        if numbers.known(x) and numbers.known(y)
    ]
    lines.add_front(figure, ((x, y, text(row, "model")) for row, x, y in placed), front, stepped=True)
    of_reference: dict[Measure, float | None] = {}
    if reference is not None:
        of_reference = {"size_bytes": reference.size_bytes, "bits_per_weight": reference.bits_per_weight}
    own = [value * scale for value in [of_reference.get(measure)] if value is not None and numbers.known(value)]
    points = [*((x, y) for _, x, y in placed), *((at, 0.0) for at in own)]
    largest = max((x for x, _ in points), default=1.0)
    for at in own:
        side = "left" if at > 0.5 * largest else "right"
        figure.add_trace(
            marks.reference(
                at, says="%{x:.3~g}", label="reference", place=f"{'top' if value == 'delta' else 'bottom'} {side}"
            )
        )
    names = labels.shorten([text(row, "model") for row, _, _ in placed])
    for (row, x, y), name in zip(placed, names, strict=True):
        model, color = text(row, "model"), style.colors[text(row, "model")]
        figure.add_trace(
            marks.model(
                model,
                x,
                y,
                color=color,
                says=hover.size(row, value),
                label=name,
                place=_side(x, y, points),
                whiskers_y=lines.whiskers(row, value, color),
            )
        )
    return figure


def _side(x: float, y: float, points: Sequence[tuple[float, float]]) -> str:
    """To the left of marks in the right half; above or below, away from the nearest mark of about that size."""
    largest = max(each for each, _ in points) or 1.0
    near = [other for at, other in points if abs(at - x) < 0.15 * largest and other != y]
    nearest = min(near, key=lambda other: abs(other - y), default=None)
    vertical = "top" if nearest is None or nearest < y else "bottom"
    return f"{vertical} {'left' if x > 0.5 * largest else 'right'}"
