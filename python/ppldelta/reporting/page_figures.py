"""The figures of the page: where each stands, the block that holds them, and what the scripts need to know of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import plotly.graph_objects as go

from ppldelta.reporting import theme
from ppldelta.reporting.blocks import Json, pack
from ppldelta.reporting.catalogue import FIGURES, SHARED, Description, Drawn, Section


@dataclass(frozen=True)
class Plot:
    """A place for a figure in the page.

    Attributes:
        id: of the element, and the name of pictures that are saved.
        family: whose figures: the family's number, or "shared".
        figure: the figure's name; the page puts the unit, weighting and category of the moment into its braces.
        title: what stands above it.
        label: what it shows, for those who do not see it.
        height: in pixels; None for a plane, which is about square.
        wide: whether it takes the whole width, beside others that do not.
    """

    id: str
    family: int | str
    figure: str
    title: str
    label: str
    height: int | None = None
    wide: bool = False


def place_figures(
    descriptions: Iterable[Description[Drawn]], made: Drawn, family: int | str, categories: Sequence[str]
) -> tuple[dict[Section, list[Plot]], bytes]:
    """The places of some figures, by section of the page, and the block with all figures for them.

    Args:
        descriptions: of the figures.
        made: what the figures are drawn from.
        family: the family's number, or "shared".
        categories: of the documents.
    """
    places: dict[Section, list[Plot]] = {section: [] for section in get_args(Section)}
    drawn: dict[str, dict[str, Json]] = {}
    for each in descriptions:
        if each.drawable(made) and each.shown(made):
            own = {each.key(choice): each.plain(made, choice) for choice in each.choices(categories)}
            places[each.section].extend(_places(each, family, categories, _height(next(iter(own.values())))))
            drawn |= own
    return places, _packed(drawn)


def _places(
    described: Description[Drawn], family: int | str, categories: Sequence[str], height: int | None
) -> list[Plot]:
    name, title, label = described.name, described.title, described.label
    if described.of == "category":
        return [
            Plot(
                f"f{family}-category-{n}",
                family,
                described.pattern(category),
                category or "(none)",
                f"{label} on {category or 'no category'}",
                height,
            )
            for n, category in enumerate(categories)
        ]
    identity = f"f{family}-{name}" if described.of == "family" else name
    return [Plot(identity, family, described.pattern(), title, label, height, described.wide)]


def _height(figure: Mapping[str, Json]) -> int | None:
    layout = figure["layout"]
    height = layout.get("height") if isinstance(layout, Mapping) else None
    return height if isinstance(height, int) else None


def _packed(figures: dict[str, dict[str, Json]]) -> bytes:
    """Figures as one block; the template that all share stands there once."""
    return pack([("figures", "json", figures), ("template", "json", shared_template())])


def shared_template() -> Json:
    """The template as JSON."""
    made: Json = json.loads(go.Figure(layout=dict(template=theme.template())).to_json())["layout"]["template"]
    return made


def for_scripts() -> dict[str, Json]:
    """By name of a figure, what the page's scripts do with it; see `catalogue.Description`."""
    return {**_described(FIGURES), **_described([SHARED])}


def _described(descriptions: Iterable[Description[Drawn]]) -> dict[str, Json]:
    return {
        each.name: {
            "follows": each.follows,
            "filling": each.filling,
            "selectable": each.selectable,
            "whole": each.whole,
        }
        for each in descriptions
    }
