"""The plane of prompts: their log-odds under the reference and under each model."""

from __future__ import annotations

from functools import partial

import plotly.graph_objects as go
import polars as pl

from ppldelta.contrasts import PREFERRED
from ppldelta.reporting import labels, plane
from ppldelta.reporting.hover import literal
from ppldelta.reporting.odds import quadrants, shown
from ppldelta.reporting.rows import Row, number, text
from ppldelta.reporting.theme import LIGHT, Style, template
from ppldelta.wording import numbers

_COUNTED = 6
"""Models whose prompts are counted in the corners of the plane; those of more would cover it."""

_HEIGHT = 560
"""Pixels: the plane has the page's whole width, and is no square."""

_LINE = 15
"""Pixels of a line in a corner."""

_BULLET = 13
"""Pixels of a bullet in the colour of a model; the number beside it has the colour of text, which can be read."""


def odds_plane(odds: pl.DataFrame, *, style: Style | None = None) -> go.Figure:
    """Log-odds of each prompt under the reference (x) and under the model (y), with the diagonal of no change.

    Args:
        odds: rows of `schema.ODDS` of one family, of one pair of labels.
        style: colours and symbols; by default in the order of the frame.
    """
    style = style or Style.of(labels.unique(odds, "model"), labels.unique(odds, "category"))
    figure = go.Figure(layout=dict(template=template(), height=_HEIGHT))
    known = odds.filter(pl.col("odds_ref").is_finite(), pl.col("odds_cmp").is_finite())
    values = [0.0, *known["odds_ref"], *known["odds_cmp"]]
    room = 0.08 * (max(values) - min(values)) or 1.0
    low, high = min(values) - room, max(values) + room
    label, against = known.select("label", "against").row(0) if len(known) else PREFERRED
    one, other = literal(label, 24), literal(against, 24)
    title = f"ln\N{NO-BREAK SPACE}P({one})\N{NO-BREAK SPACE}−\N{NO-BREAK SPACE}ln\N{NO-BREAK SPACE}P({other})"
    figure.update_xaxes(title=dict(text=f"<b>reference</b>, {title}, nats"), range=[low, high])
    figure.update_yaxes(title=dict(text=f"<b>model</b>, {title}, nats"), range=[low, high])
    plane.add_diagonal(figure, low - 9 * (high - low), high + 9 * (high - low))
    for axis in ("x", "y"):
        add = figure.add_vline if axis == "x" else figure.add_hline
        add(**{axis: 0.0}, line=dict(color=LIGHT["muted"], width=1), layer="below")
    _add_corners(figure, known, quadrants(label, against), style, (low, high))
    written = dict(zip(known["prompt"].unique(maintain_order=True), _written(known), strict=True))
    for (model,), rows in known.partition_by("model", maintain_order=True, as_dict=True).items():
        color = style.colors[str(model)]
        figure.add_trace(
            go.Scatter(
                x=rows["odds_ref"].to_list(),
                y=rows["odds_cmp"].to_list(),
                mode="markers",
                name=literal(str(model)),
                meta={"model": model, "marks": "prompts"},
                marker=dict(
                    color=color,
                    size=9,
                    opacity=0.85,
                    symbol=[style.symbols[category] for category in rows["category"]],
                    line=dict(color=LIGHT["surface"], width=1),
                ),
                customdata=[
                    [_hover(row, written[row["prompt"]]), row["documents"]] for row in rows.iter_rows(named=True)
                ],
                hovertemplate="%{customdata[0]}<extra></extra>",
                hoverlabel=dict(bordercolor=color),
            )
        )
    return figure


def _written(odds: pl.DataFrame) -> list[str]:
    return shown(odds["prompt"].unique(maintain_order=True).to_list())


def _add_corners(
    figure: go.Figure,
    odds: pl.DataFrame,
    names: dict[tuple[bool, bool], str],
    style: Style,
    ends: tuple[float, float],
) -> None:
    """The name of each quadrant in its corner, and how many prompts of each model stand there.

    The diagonal of no change runs through two of the plane's corners. Where their quadrants have room, the words stand
    at the line of even odds instead.
    """
    models = labels.unique(odds, "model")
    counts = {
        (model, *sides): n
        for model, *sides, n in odds.group_by("model", ref=pl.col("odds_ref") > 0, cmp=pl.col("odds_cmp") > 0)
        .len()
        .iter_rows()
    }
    counted = models if len(models) <= _COUNTED else []
    low, high = ends
    for (ref, cmp), name in names.items():
        room = 0.75 * _HEIGHT * abs(high if cmp else low) / (high - low)
        inside = ref == cmp and room > (len(counted) + 2) * _LINE
        down = cmp is not inside  # whether the words stand below where they begin
        side: dict[str, object] = dict(
            x=1 if ref else 0,
            y=0.0 if inside else int(cmp),
            xref="x domain",
            yref="y" if inside else "y domain",
            xanchor="right" if ref else "left",
            yanchor="top" if down else "bottom",
            showarrow=False,
        )
        n_lines = 1 + len(counted)
        for i in range(n_lines):
            line = i if down else n_lines - 1 - i
            yshift = (-1 if down else 1) * (4 + _LINE * line)
            beside = 6 if i == 0 else 6 + _BULLET
            add = partial(figure.add_annotation, **side, yshift=yshift, name=counted[i - 1] if i else None)
            if i:
                number = numbers.count(counts.get((counted[i - 1], ref, cmp), 0))
                color = style.colors[counted[i - 1]]
                add(text="●", xshift=-6 if ref else 6, font=dict(color=color, size=12))
                add(text=f"<b>{number}</b>", xshift=-beside if ref else beside, font=dict(color=LIGHT["ink"], size=13))
            else:
                add(text=name, xshift=-beside if ref else beside, font=dict(color=LIGHT["muted"], size=11))


def _hover(row: Row, prompt: str) -> str:
    """A row of `schema.ODDS`: prompt, model, log-odds of both and their change, what each label became."""
    digits = 2
    category = f" · {literal(text(row, 'category'))}" if text(row, "category") else ""
    group = literal(text(row, "group"), 60)
    said = literal(prompt, 60)
    lines = [f"<b>{said or group}</b>"]
    if said and text(row, "group") != prompt:
        lines.append(group)
    ref, cmp = (numbers.signed(number(row, f"odds_{which}"), digits) for which in ("ref", "cmp"))
    lines += [
        f"{literal(text(row, 'model'))}{category}",
        f"log-odds {ref} → {cmp} nats, change <b>{numbers.signed(number(row, 'change'), digits)}</b>",
    ]
    for role in ("label", "against"):
        ends = (numbers.fixed(number(row, f"logp_{role}_{which}"), digits) for which in ("ref", "cmp"))
        lines.append(f"ln P({literal(text(row, role), 24)}) {' → '.join(ends)}")
    return "<br>".join(lines)
