"""Colours, symbols and type of the report, light and dark, for figures, page and scripts.

Figures are built in light colours. The page turns them dark by exchanging each light colour for its dark one
(`DARK_OF_LIGHT`), so no light colour may have two roles. The model colours keep a contrast of 3:1 with their
background. Their order keeps the first ones far apart for colour-blind readers as well: each next one was chosen to be
as far as possible from its nearest neighbour in Oklab under simulated deficiencies (tests/test_figures.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import plotly.graph_objects as go

from ppldelta.reporting.blocks import Json

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "Liberation Sans", sans-serif'

CHROME = {  # role: (light, dark)
    "page": ("#f7f6f3", "#111316"),
    "surface": ("#fffffe", "#191c20"),
    "sunken": ("#f0eeea", "#22262b"),
    "ink": ("#1c1e21", "#eceae6"),
    "muted": ("#62666d", "#a2a7ae"),
    "line": ("#dddad4", "#343a41"),
    "grid": ("#eceae5", "#272c32"),
    "iso": ("#d6d3cc", "#3b424a"),
    "noise": ("#e9dcc3", "#453a26"),
    "better": ("#e7f1ec", "#17211f"),
    "accent": ("#1f5fa8", "#7db6f2"),
    "gain": ("#12805c", "#3fbf95"),  # green and purple: far apart for colour-blind readers as well
    "loss": ("#9a3d9e", "#d583d9"),
    "surprise": ("#b07a00", "#e0a83a"),
    "diverge": ("#c23b22", "#ff7a61"),
}

MODEL_COLORS = (  # (light, dark), in the order in which models take them
    ("#0072b2", "#4aa8f0"),
    ("#d55e00", "#ff8a3d"),
    ("#2c5c22", "#b4e6aa"),
    ("#41a19c", "#3d9e98"),
    ("#aa4f61", "#e5a2ac"),
    ("#ac7bf7", "#d2bff8"),
    ("#534a82", "#8a72e7"),
    ("#695e15", "#f9e03f"),
    ("#e87260", "#dd5847"),
    ("#5c239a", "#9a87bc"),
)

LIGHT = {role: pair[0] for role, pair in CHROME.items()}
DARK_OF_LIGHT = {light: dark for light, dark in (*CHROME.values(), *MODEL_COLORS)}


def variable(color: str) -> str:
    """The page's custom property that has a colour, light or dark as the page is.

    Args:
        color: a role of `CHROME`, or the light colour of a model.
    """
    if color in CHROME:
        return f"--{color}"
    return f"--m{[light for light, _ in MODEL_COLORS].index(color)}"


SHADES = (9, 18, 28, 39, 50, 61, 72)
"""Per cent of the colour behind a token, from the faintest shade to the strongest."""

DARK_SHADES = (10, 18, 26, 34, 41, 47, 52)
"""The same on a dark ground, where the text is light: on each shade it keeps a contrast of 4.5:1 here as well."""

DELTA_SHADES = (0.05, 0.15, 0.35, 0.75, 1.5, 3, 5)
"""Nats of |delta| at which each shade begins, the same for all documents."""

SURPRISAL_SHADES = (0.25, 0.5, 1, 2, 4, 7, 10)
"""Nats of surprisal at which each shade begins."""

KLD_SHADES = (0.005, 0.02, 0.06, 0.2, 0.6, 1.5, 4)
"""Nats of KL divergence at which each shade begins."""

SQUARE = 0.98
"""Height of a plane by its width in the page."""

ROW = 36
"""Pixels of a row in the table of documents: the script places rows by it, since only those in view exist."""

SYMBOLS = {  # plotly's name: the same mark as an SVG path in a box of 16 × 16, for the key in the page
    "circle": "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11z",
    "diamond": "M8 1l6 7-6 7-6-7z",
    "square": "M3 3h10v10H3z",
    "triangle-up": "M8 2l6.5 11.5h-13z",
    "x": "M4.5 2L8 5.5 11.5 2 14 4.5 10.5 8l3.5 3.5-2.5 2.5L8 10.5 4.5 14 2 11.5 5.5 8 2 4.5z",
    "star": "M8 1l1.9 4.7 5.1.4-3.9 3.3 1.2 5L8 11.7l-4.3 2.7 1.2-5L1 6.1l5.1-.4z",
    "cross": "M6 2h4v4h4v4h-4v4H6v-4H2V6h4z",
    "triangle-down": "M8 14L1.5 2.5h13z",
}


@dataclass(frozen=True)
class Style:
    """Which colour each model has and which symbol each category, the same in every figure.

    Attributes:
        colors: by model.
        symbols: by category.
        again: models whose colour another one had before; their marks have a dark rim, and their lines are dashed.
        quants: models whose own marks are squares, as on the card; those of their documents have a category's symbol.
    """

    colors: dict[str, str]
    symbols: dict[str, str]
    again: frozenset[str] = frozenset()
    quants: frozenset[str] = frozenset()

    @classmethod
    def of(cls, models: Iterable[str], categories: Iterable[str], first: int = 0) -> Style:
        """Hands out colours and symbols in the order given; beyond the last one they start again.

        Args:
            models: of one family, or of all.
            categories: of documents.
            first: models that had a colour before these.
        """
        names, numbered = tuple(SYMBOLS), dict(zip(models, itertools.count(first)))
        return cls(
            colors={model: MODEL_COLORS[i % len(MODEL_COLORS)][0] for model, i in numbered.items()},
            symbols={category: names[i % len(names)] for i, category in enumerate(categories)},
            again=frozenset(model for model, i in numbered.items() if i >= len(MODEL_COLORS)),
        )

    def css(self, model: str) -> str:
        """The classes of a model's colour in the page."""
        return f"m{variable(self.colors[model])[3:]}{' again' if model in self.again else ''}"


def for_scripts() -> dict[str, Json]:
    """What the page's scripts need to know of its look."""
    return {
        "colors": LIGHT,
        "dark_of_light": DARK_OF_LIGHT,
        "shades": SHADES,
        "delta_shades": DELTA_SHADES,
        "surprisal_shades": SURPRISAL_SHADES,
        "kld_shades": KLD_SHADES,
        "square": SQUARE,
        "row": ROW,
    }


@cache
def template() -> go.layout.Template:
    """The quiet look that all figures share, so that each figure says only what is its own; nobody may change it."""
    axis = dict(
        gridcolor=LIGHT["grid"],
        linecolor=LIGHT["line"],
        tickcolor=LIGHT["line"],
        tickfont=dict(color=LIGHT["muted"], size=12),
        title=dict(font=dict(color=LIGHT["ink"], size=13), standoff=10),
        zeroline=False,
        showline=True,
        ticks="outside",
        ticklen=4,
        automargin=True,
    )
    return go.layout.Template(
        layout=dict(
            font=dict(family=FONT, size=13, color=LIGHT["ink"]),
            paper_bgcolor=LIGHT["surface"],
            plot_bgcolor=LIGHT["surface"],
            margin=dict(l=12, r=18, t=18, b=12),
            hovermode="closest",
            hoverlabel=dict(
                bgcolor=LIGHT["surface"], align="left", font=dict(family=FONT, size=13, color=LIGHT["ink"])
            ),
            legend=dict(orientation="h", yanchor="bottom", y=1.02, xanchor="left", x=0, font=dict(size=12)),
            xaxis=axis,
            yaxis=axis,
        )
    )


def darkened(figure: go.Figure) -> go.Figure:
    """The same figure in the colours of a dark page."""
    return go.Figure(_dark(figure.to_plotly_json()))


def _dark(value: object, name: str = "") -> object:
    """With dark colours where light ones stand under a name of a colour: "#rrggbb", with transparency "#rrggbbaa"."""
    if isinstance(value, dict):
        return {key: _dark(each, key) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_dark(each, name) for each in value]
    if not isinstance(value, str) or not name.endswith(("color", "colorscale")):
        return value
    return DARK_OF_LIGHT.get(value[:7], value[:7]) + value[7:]
