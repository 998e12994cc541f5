"""From frames to one self-contained page: no network, the same bytes for the same results.

The page is what lies in `page/`, plotly.js from the plotly package, and blocks of data: figures made here, numbers and
texts from `payload`. Its policy lets only scripts run whose hash it names, and nothing be loaded but a folder's own
data files. Names and texts are escaped by Jinja, in JSON by `script_json`, in plotly's texts by `hover.literal`.
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

from ppldelta.family import Family, ModelFacts
from ppldelta.reporting import labels, sentences, tables, theme
from ppldelta.reporting.blocks import encode, pack
from ppldelta.reporting.convergence import convergence
from ppldelta.reporting.figures import MOST_SVG
from ppldelta.reporting.gallery import FamilyFigures, shared_plane
from ppldelta.reporting.payload import Payload
from ppldelta.reporting.sizes import Measure
from ppldelta.wording import numbers

MOST_SMALL_PLANES = 9
"""Categories that get a plane of their own; beyond that the switch, the table and the ratios have to do."""

SCRIPTS = (
    "blocks.js",
    "format.js",
    "state.js",
    "plots.js",
    "planes.js",
    "rows.js",
    "reader.js",
    "passages.js",
    "main.js",
)
"""The page's scripts, in the order in which they run."""

_SIZES: dict[Measure, tuple[str, str]] = {
    "size_bytes": ("size", "size"),
    "bits_per_weight": ("bits", "bits per weight"),
}
"""What quality is drawn against: the figure's name in the page, and in words."""

UNITS = ("nats", "bpb")
WEIGHTINGS = ("tokens", "documents")


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
    """

    id: str
    family: int | str
    figure: str
    title: str
    label: str
    height: int | None = None


@dataclass(frozen=True)
class FamilySection:
    """All that the page shows of one reference and the models judged against it."""

    index: int
    name: str
    identity: str
    reference: ModelFacts
    corpus: str
    n_scored: int
    models: list[dict[str, Any]]
    categories: list[dict[str, str]]
    plots: dict[str, list[Plot]]


@dataclass(frozen=True)
class Page:
    """The report: its HTML, and in the folder form the files that belong beside it, by relative path."""

    html: str
    files: dict[str, str]


def render_report(
    *,
    documents: pl.DataFrame,
    models: pl.DataFrame,
    families: Sequence[Family],
    signature: str,
    warnings: Sequence[str],
    version: str,
    payload: Payload,
    folder: bool = False,
) -> Page:
    """Puts the report together.

    Args:
        documents: `schema.DOCUMENTS`, one row per family, model and document.
        models: `schema.MODELS`, one row per family, model, category (null: all) and weighting.
        families: in the order of the page. Models take their colours in the order of ``cmp``.
        signature: what determines the numbers, as one line.
        warnings: what a reader must know before trusting the numbers, one sentence each.
        version: of ppldelta.
        payload: numbers and texts of documents and tokens.
        folder: keep the blocks of data out of the page, in files beside it that it loads when they are needed.
    """
    makers = [FamilyFigures(family, documents, models) for family in families]
    figures = [_figures(made) for made in makers]
    sections = [_section(i, *each) for i, each in enumerate(zip(families, makers, figures, strict=True))]
    colors = {(section.name, model["label"]): model["color"] for section in sections for model in section.models}
    several = len(families) > 1
    blocks = {f"f{i}.figures": _packed(drawn) for i, drawn in enumerate(figures)}
    if several:
        blocks["shared.figures"] = _shared(families, models, labels.unique(documents, "category"))
    blocks = {name: encode(block) for name, block in (blocks | payload.blocks).items()}
    listed = [
        {**one, "symbols": [made.style.symbols[category] for category in one["categories"]]}
        for one, made in zip(payload.index["families"], makers, strict=True)
    ]
    index = {**payload.index, "families": listed, "n_colors": len(theme.MODEL_COLORS)}
    scripts = [plotly.offline.get_plotlyjs(), *(_resource(name) for name in SCRIPTS)]
    scripts = [text.replace("\r\n", "\n") for text in scripts]
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"count": numbers.count, "size": numbers.size, "params": numbers.params}
    html = environment.from_string(_resource("template.html")).render(
        sections=sections,
        categories=labels.unique(documents, "category"),
        shared=_shared_plot() if several else None,
        curve=_CURVE,
        summary=tables.summary(models, colors),
        by_category=tables.by_category(models, colors),
        signature=signature,
        warnings=[sentences.marked(warning) for warning in warnings],
        version=version,
        theme=theme,
        css=Markup(_resource("report.css")),
        scripts=[Markup(text) for text in scripts],
        policy=_policy(scripts, folder=folder, webgl=any(made.documents.height > MOST_SVG for made in makers)),
        swap=script_json(json.dumps(theme.DARK_OF_LIGHT)),
        index=script_json(json.dumps(index, ensure_ascii=False)),
        blocks={} if folder else {name: Markup(text) for name, text in blocks.items()},
        folder=folder,
    )
    files = {f"data/{name}.js": f'ppldelta.put("{name}", "{text}");\n' for name, text in blocks.items()}
    return Page(html, files if folder else {})


def script_json(text: str) -> Markup:
    """JSON made safe for a ``<script>`` element, where no HTML escape is read but ``</script`` ends all."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _policy(scripts: Sequence[str], *, folder: bool, webgl: bool) -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts
    )
    beside = " 'self' file:" if folder else ""  # the data files; a page opened from disk has no origin to be 'self'
    beside += " 'unsafe-eval'" if webgl else ""  # plotly's WebGL layer (regl) compiles its drawing commands
    return (  # plotly sets style attributes and exports pictures by way of data: and blob: addresses
        f"default-src 'none'; script-src {hashes}{beside}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _resource(name: str) -> str:
    return resources.files("ppldelta.reporting").joinpath("page", name).read_text(encoding="utf-8")


def _section(index: int, family: Family, made: FamilyFigures, figures: dict[str, go.Figure]) -> FamilySection:
    by_token = made.models.filter(weighting="tokens")
    return FamilySection(
        index=index,
        name=family.name,
        identity=family.ref.sha256 or family.ref.label,
        reference=family.ref,
        corpus=sentences.corpus(made.documents),
        n_scored=made.rows()["n_scored"].max() or 0,
        models=[
            {
                "label": model,
                "color": f"m{i % len(theme.MODEL_COLORS)}",
                "finding": sentences.finding(by_token.filter(model=model).to_dicts()),
            }
            for i, model in enumerate(family.models)
        ],
        categories=[{"name": each, "path": theme.SYMBOLS[made.style.symbols[each]]} for each in made.categories],
        plots=_plots(index, made, figures["ratios"].layout.height),
    )


def _plots(i: int, made: FamilyFigures, ratios_height: int) -> dict[str, list[Plot]]:
    """The places of a family's figures, by section of the page."""
    models = [
        Plot(
            f"f{i}-models",
            i,
            "models/{unit}/{weighting}/{category}",
            "Gain and loss",
            "Gain against loss of each model",
        )
    ]
    for measure in _measures(made):
        key, title = _SIZES[measure]
        label = f"Mean delta of each model against its {title}"
        models.append(Plot(f"f{i}-{key}", i, f"{key}/{{weighting}}/{{category}}", f"Quality against {title}", label))
    documents = [
        Plot(f"f{i}-documents", i, "documents/{unit}", "Gain and loss", "Gain against loss of every document"),
        Plot(
            f"f{i}-perplexities",
            i,
            "perplexities",
            "Perplexity, reference and model",
            "Perplexity of the reference against that of the model for every document",
        ),
    ]
    categories = [
        Plot(
            f"f{i}-category-{n}",
            i,
            f"small/{{unit}}/{{weighting}}/={each}",
            each or "(none)",
            f"Gain against loss of each model on {each or 'no category'}",
        )
        for n, each in enumerate(made.categories if _split(made) else [])
    ]
    ratios = Plot(f"f{i}-ratios", i, "ratios", "", "Mean ratios of perplexities of each model", ratios_height)
    return {"models": models, "documents": documents, "categories": categories, "ratios": [ratios]}


_CURVE = Plot(
    "convergence",
    0,
    "convergence",
    "How the document’s numbers settle",
    "Running ratio of perplexities and sum of deltas along the document",
    330,
)


def _shared_plot() -> Plot:
    return Plot(
        "shared",
        "shared",
        "shared/{weighting}/{category}",
        "Bits per byte",
        "Gain against loss of the models of all families",
    )


def _split(made: FamilyFigures) -> bool:
    return 1 < len(made.categories) <= MOST_SMALL_PLANES


def _measures(made: FamilyFigures) -> list[Measure]:
    """What quality is drawn against: the size where it is known, bits per weight where models of several sizes differ
    in it; where all have as many parameters it would say the same as the size."""
    rows = made.rows()
    if not any(value is not None for value in rows["size_bytes"]):
        return []
    differ = rows["bits_per_weight"].n_unique() > 1 and rows["n_params"].n_unique() > 1
    return ["size_bytes", "bits_per_weight"] if differ else ["size_bytes"]


def _figures(made: FamilyFigures) -> dict[str, go.Figure]:
    """A family's figures by name, for every choice of unit, weighting and category."""
    scopes = [("", None), *((f"={each}", each) for each in made.categories if len(made.categories) > 1)]
    found = {"perplexities": made.perplexities(marks=False), "ratios": made.ratios()}
    found |= {f"documents/{unit}": made.documents_plane(unit, marks=False) for unit in UNITS}
    for weighting in WEIGHTINGS:
        for key, category in scopes:
            for unit in UNITS:
                found[f"models/{unit}/{weighting}/{key}"] = made.models_plane(unit, weighting, category)
                if category is not None and _split(made):
                    found[f"small/{unit}/{weighting}/{key}"] = made.models_plane(unit, weighting, category, small=True)
            for measure in _measures(made):
                found[f"{_SIZES[measure][0]}/{weighting}/{key}"] = made.size(measure, weighting, category)
    found["convergence"] = convergence(_NO_CURVE)
    return found


_NO_CURVE = pl.DataFrame(schema={"pos": pl.UInt32(), "delta_sum": pl.Float64(), "ppl_ratio": pl.Float64()})


def _shared(families: Sequence[Family], models: pl.DataFrame, categories: Sequence[str]) -> bytes:
    scopes = [("", None), *((f"={each}", each) for each in categories if len(categories) > 1)]
    return _packed(
        {
            f"shared/{weighting}/{key}": shared_plane(families, models, weighting, category)
            for weighting in WEIGHTINGS
            for key, category in scopes
        }
    )


def _packed(figures: dict[str, go.Figure]) -> bytes:
    """Figures as one block; the template that all share stands there once."""
    parts = {}
    for name, figure in figures.items():
        parts[name] = json.loads(figure.to_json())
        parts[name]["layout"].pop("template", None)
    bare = json.loads(go.Figure(layout=dict(template=theme.template())).to_json())
    return pack([("figures", "json", parts), ("template", "json", bare["layout"]["template"])])
