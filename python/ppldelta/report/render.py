"""From frames to one self-contained HTML file: no network, the same bytes for the same results.

The page is template.html, report.css and report.js, plotly.js from the plotly package, and the figures as
JSON. Its content security policy lets only those scripts run whose hash it names, and loads nothing from
anywhere; names and texts are escaped by Jinja, in JSON by `script_json`, in plotly's texts by `hover.literal`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
import plotly.graph_objects as go
import plotly.offline
import polars as pl
from markupsafe import Markup

from ppldelta.analysis.density import density_grid
from ppldelta.report import figures, numbers, plane, sentences, tables, theme
from ppldelta.report.hover import COLUMNS, UNITS

MOST_SMALL_PLANES = 9
"""Categories that get a plane of their own; beyond that the table and the ratios have to do."""

GRID = 64
"""Points along each axis of the densities: smooth at the width of a plane, and 20 kB for each contour."""


@dataclass(frozen=True)
class Plot:
    """A figure in the page: what it is called, what is above it, and its JSON for the script."""

    id: str
    title: str
    label: str
    json: Markup
    height: int | None


@dataclass(frozen=True)
class FamilySection:
    """All that the page shows of one reference and the models judged against it."""

    index: int
    name: str
    reference: dict[str, Any]
    corpus: str
    n_scored: int
    models: list[dict[str, Any]]
    categories: list[dict[str, str]]
    models_planes: list[Plot]
    documents_planes: list[Plot]
    category_planes: list[Plot]
    ratios: Plot


def render_report(
    *,
    documents: pl.DataFrame,
    models: pl.DataFrame,
    families: Sequence[dict[str, Any]],
    signature: str,
    warnings: Sequence[str],
    version: str,
) -> str:
    """Puts the report together.

    Args:
        documents: `schema.DOCUMENTS`, one row per family, model and document.
        models: `schema.MODELS`, one row per family, model, category (null: all) and weighting.
        families: in the order of the page, each ``{"family": name, "ref": model, "cmp": [model, …]}``; a
            model is ``{"label", "architecture", "size_bytes", "n_params", …}``, of which only the label must
            be there. Models take their colours in the order of ``cmp``.
        signature: what determines the numbers, as one line.
        warnings: what a reader must know before trusting the numbers, one sentence each.
        version: of ppldelta.

    Returns:
        The HTML of the whole page, to be written as UTF-8.
    """
    sections = [_section(i, family, documents, models) for i, family in enumerate(families)]
    colors = {(section.name, model["label"]): model["color"] for section in sections for model in section.models}
    scripts = {
        "plotly": plotly.offline.get_plotlyjs(),
        "report": _resource("report.js"),
    }
    scripts = {name: text.replace("\r\n", "\n") for name, text in scripts.items()}
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"count": numbers.count, "size": numbers.size, "params": numbers.params}
    return environment.from_string(_resource("template.html")).render(
        sections=sections,
        summary=tables.summary(models, colors),
        by_category=tables.by_category(models, colors),
        signature=signature,
        warnings=[sentences.marked(warning) for warning in warnings],
        version=version,
        theme=theme,
        css=Markup(_resource("report.css")),
        scripts={name: Markup(text) for name, text in scripts.items()},
        policy=_policy(scripts.values()),
        swap=script_json(json.dumps(theme.DARK_OF_LIGHT)),
    )


def script_json(text: str) -> Markup:
    """JSON made safe for a ``<script>`` element, where no HTML escape is read but ``</script`` ends all."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _policy(scripts: Sequence[str]) -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts
    )
    return (  # plotly sets style attributes and exports pictures by way of data: and blob: addresses
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _resource(name: str) -> str:
    return resources.files("ppldelta.report").joinpath(name).read_text(encoding="utf-8")


def _section(index: int, family: dict[str, Any], documents: pl.DataFrame, models: pl.DataFrame) -> FamilySection:
    name = family["family"]
    rows = documents.filter(family=name)
    by_model = models.filter(family=name)
    by_token = by_model.filter(weighting="tokens")
    names = [model["label"] for model in family["cmp"]]
    categories = rows["category"].unique(maintain_order=True).to_list()
    style = theme.Style.of(names, categories)

    def plot(key: str, title: str, label: str, figure: go.Figure) -> Plot:
        return Plot(f"f{index}-{key}", title, label, script_json(figure.to_json()), figure.layout.height)

    units = (("nats", UNITS["nats"]), ("bpb", UNITS["bpb"]))
    overall = by_token.filter(pl.col("category").is_null())
    reach = plane.limits(by_token, unit="nats")
    split = 1 < len(categories) <= MOST_SMALL_PLANES
    return FamilySection(
        index=index,
        name=name,
        reference={"architecture": None, "n_params": None, "size_bytes": None, **family["ref"]},
        corpus=sentences.corpus(rows),
        n_scored=overall["n_scored"].max() or 0,
        models=[
            {
                **model,
                "color": f"m{i % len(theme.MODEL_COLORS)}",
                "finding": sentences.finding(by_token.filter(model=model["label"]).to_dicts()),
            }
            for i, model in enumerate(family["cmp"])
        ],
        categories=[{"name": each, "path": theme.SYMBOLS[style.symbols[each]]} for each in categories],
        models_planes=[
            plot(
                f"models-{unit}",
                words.capitalize(),
                f"Gain against loss of each model, {words}",
                figures.models_plane(overall, unit=unit, style=style),
            )
            for unit, words in units
        ],
        documents_planes=[
            plot(
                f"documents-{unit}",
                words.capitalize(),
                f"Gain against loss of every document, {words}",
                figures.documents_plane(rows, unit=unit, densities=_densities(rows, unit), style=style),
            )
            for unit, words in units
        ],
        category_planes=[
            plot(
                f"category-{i}",
                each or "(none)",
                f"Gain against loss of each model on {each or 'no category'}",
                figures.models_plane(by_token.filter(category=each), reach=reach, named=False, style=style),
            )
            for i, each in enumerate(categories if split else [])
        ],
        ratios=plot(
            "ratios",
            "",
            "Mean ratios of perplexities of each model",
            figures.mean_ratios(by_model.filter(weighting="documents"), style=style),
        ),
    )


def _densities(rows: pl.DataFrame, unit: str) -> dict[str, Any]:
    gain, loss = COLUMNS[unit]
    densities = {}
    for (model,), each in rows.group_by("model", maintain_order=True):
        finite = each.filter(pl.col(gain).is_finite() & pl.col(loss).is_finite())
        density = density_grid(finite[gain].to_numpy(), finite[loss].to_numpy(), n_grid=GRID)
        if density is not None:
            densities[model] = density
    return densities
