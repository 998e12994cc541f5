"""From frames to one self-contained page: no network, the same bytes for the same results.

The page is what lies in `page/`, plotly.js from the plotly package, and blocks of data: figures made here, numbers and
texts from `payload`. Its policy lets only scripts run whose hash it names, and nothing be loaded but a folder's own
data files. Names and texts are escaped by Jinja, in JSON by `script_json`, in plotly's texts by `hover.literal`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jinja2
import plotly.offline
import polars as pl
from markupsafe import Markup

from ppldelta.analysis import totals
from ppldelta.analysis.spans import LONGEST, MOST
from ppldelta.analysis.uncertainty import DOCUMENTS_MIN
from ppldelta.family import Family
from ppldelta.reporting import captions, csv_names, few, labels, plane, sentences, short_names, tables, theme
from ppldelta.reporting import odds as of_prompts
from ppldelta.reporting.blocks import Json, encode
from ppldelta.reporting.catalogue import FIGURES, SHARED
from ppldelta.reporting.contents import AllFamilies
from ppldelta.reporting.cover import Cover
from ppldelta.reporting.densities import Densities
from ppldelta.reporting.family import CONTEXT
from ppldelta.reporting.family_figures import FamilyFigures, numbered
from ppldelta.reporting.marks import OPACITIES, SIZES
from ppldelta.reporting.order import in_order
from ppldelta.reporting.page_figures import for_scripts, place_figures
from ppldelta.reporting.payload import Payload
from ppldelta.reporting.provenance import Provenance, resampling
from ppldelta.reporting.rows import Row, text
from ppldelta.reporting.scripts import SCRIPTS, policy, resource
from ppldelta.reporting.sections import make_head, make_section, told_kinds
from ppldelta.reporting.short import SHORT, short_rule
from ppldelta.reporting.units import (
    AXES,
    AXES_HELP,
    SHORT_UNITS,
    UNIT_HELP,
    WEIGHTING_HELP,
    WEIGHTINGS,
    Choice,
    Unit,
    unit_of,
)
from ppldelta.reporting.views import lengths, make_views
from ppldelta.wording import invisible, numbers, rules


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
    confidence: pl.DataFrame,
    odds: pl.DataFrame,
    odds_models: pl.DataFrame,
    kinds: pl.DataFrame,
    cover: Cover,
    origins: Sequence[Provenance],
    densities: Densities,
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
        confidence: as `Result.confidence`.
        odds: as `Result.odds`.
        odds_models: as `Result.odds_models`.
        kinds: as `Result.kinds`, which `payload` lists as well.
        cover: what the page begins with.
        origins: what repeats the numbers of each family.
        densities: of the documents.
        folder: keep the blocks of data out of the page, in files beside it that it loads when they are needed.
    """
    unit = unit_of(families)
    bits = unit == "bpb"
    makers = [
        FamilyFigures(
            family, documents, models, confidence, odds, filled=False, bits=bits, first=first, densities=densities
        )
        for family, first in zip(families, numbered(families), strict=True)
    ]
    drawn = [place_figures(FIGURES, made, i, made.categories) for i, made in enumerate(makers)]
    colors = {
        (each.name, m): made.style.css(m) for each, made in zip(families, makers, strict=True) for m in each.models
    }
    short = short_names.in_families(colors)
    ordered = in_order(models, families)
    headlined = len(colors) == 1  # the card's verdict is about that model
    heads = [make_head(family, made, short, headlined) for family, made in zip(families, makers, strict=True)]
    sections = [
        make_section(i, family, made, short, places, odds_models)
        for i, (family, made, (places, _)) in enumerate(zip(families, makers, drawn, strict=True))
    ]
    any_quants = any(family.quants for family in families)
    everything = AllFamilies(families, models, labels.unique(documents, "category"))
    units: list[Unit] = [each for each in SHORT_UNITS if _offered(each, models, bits)]
    views = make_views(
        heads,
        ordered,
        colors,
        units=units,
        categories=everything.categories,
        spans=bits,
        bytes_per_token=lengths(families),
    )
    shared, shared_block = place_figures([SHARED], everything, SHARED.name, everything.categories)
    own = {f"f{i}.figures": block for i, (_, block) in enumerate(drawn)}
    if shared[SHARED.section]:
        own[f"{SHARED.name}.figures"] = shared_block
    own["views"] = views.block
    blocks = {name: encode(block) for name, block in (own | payload.blocks).items()}
    rough = few.few(documents)
    index: dict[str, Json] = {
        **payload.index,
        "colors": [list(made.style.colors.values()) for made in makers],
        "classes": [[made.style.css(model) for model in made.style.colors] for made in makers],
        "short": [[short[family.name, model] for model in family.models] for family in families],
        "symbols": [[made.style.symbols[category] for category in made.categories] for made in makers],
        "figures": for_scripts(),
        "bits": bits,
        "choice": {"unit": unit, "axes": Choice().axes, "weighting": Choice().weighting},
        "units": {unit: text for unit, text in SHORT_UNITS.items()},
        "columns": tables.HELP,
        "csv": csv_names.for_scripts(bits=bits),
        "references": csv_names.facts_of_references(families),
        "quants": [list[Json](family.quants) for family in families],
        "look": theme.for_scripts(),
        "views": dict(views.follows),
        "iso": plane.ISO,
        "invisible": {
            "symbols": invisible.SYMBOLS,
            "joiners": [chr(c) for c in invisible.JOINERS],
            "selectors": [chr(c) for c in invisible.SELECTORS],
        },
        "few": {key: few.said(n) for key, n in rough.items()},
        "documents_min": DOCUMENTS_MIN,
        "passages": {"longest": LONGEST, "most": MOST, "most_tokens": totals.MOST, "context": CONTEXT},
        "marks": {"sizes": SIZES, "opacities": OPACITIES, "short": SHORT},
        "sources": {
            **{str(i): f"{captions.source(made)}; ppldelta {version}" for i, made in enumerate(makers)},
            SHARED.name: f"{captions.source_of_all(makers)}; ppldelta {version}",
        },
    }
    plotly_js, *scripts = (
        text.replace("\r\n", "\n") for text in (plotly.offline.get_plotlyjs(), *map(resource, SCRIPTS))
    )
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"count": numbers.count, "size": numbers.size, "params": numbers.params}
    environment.filters |= {"bytes_per_token": numbers.bytes_per_token}
    html = environment.from_string(resource("template.html")).render(
        sections=sections,
        cover=cover,
        origins=origins,
        resampling=resampling(),
        pictures={shape: Markup(picture) for shape, picture in cover.pictures.items()},
        outlines=Markup(cover.outlines),
        categories=everything.categories,
        shared=shared[SHARED.section],
        bits=bits,
        units=[(each, SHORT_UNITS[each], UNIT_HELP[each]) for each in units],
        weightings=[
            (each, text.replace("token", "byte" if bits else "token"), WEIGHTING_HELP[each])
            for each, text in WEIGHTINGS.items()
        ],
        axes=[(each, text, AXES_HELP[each]) for each, text in AXES.items()],
        interval=sentences.INTERVAL,
        longest_passage=LONGEST,
        short_rule=short_rule(bits) if (documents["n_scored"] < SHORT).any() else "",
        tables=views.tables,
        sentences=views.sentences,
        places={family.name: i for i, family in enumerate(families)},
        prompts=of_prompts.table(odds, colors, _links(makers, families, payload)),
        n_prompts=len(odds),
        odds_labels=of_prompts.labels_of(odds),
        kinds=told_kinds(kinds, sections, unit),
        noise=any(family.noise_floor for family in families),
        rules=[sentences.marked(note) for note in rules.notes((family.name, family.rule) for family in families)],
        signature=signature,
        n_judged=sum(section.judged for section in sections),
        any_quants=any_quants,
        warnings=[sentences.marked(each) for each in warnings if not rules.is_note(each)],
        notes=[sentences.marked(each) for each in warnings if rules.is_note(each)],
        few={key: few.said(n) for key, n in rough.items()},
        few_note=few.note(rough),
        version=version,
        theme=theme,
        css=Markup(resource("report.css")),
        plotly=Markup(plotly_js),
        scripts=[Markup(text) for text in scripts],
        policy=policy([plotly_js, *scripts], folder=folder),
        index=script_json(json.dumps(index, ensure_ascii=False)),
        blocks={} if folder else {name: Markup(text) for name, text in blocks.items()},
        folder=folder,
    )
    files = {f"data/{name}.js": f'ppldelta.put("{name}", "{text}");\n' for name, text in blocks.items()}
    return Page(html, files if folder else {})


def _links(makers: Sequence[FamilyFigures], families: Sequence[Family], payload: Payload) -> Callable[[Row], str]:
    """Where the page shows the completions of a row of `Result.odds`: the first that can be read token by token."""
    numbers_of = [{name: k for k, name in enumerate(labels.unique(made.documents, "document"))} for made in makers]
    places = {family.name: i for i, family in enumerate(families)}

    def link(row: Row) -> str:
        i = places[text(row, "family")]
        names = row["documents"]
        there = [numbers_of[i][name] for name in names] if isinstance(names, list) else []
        k = next((k for k in there if f"f{i}.d{k}" in payload.blocks), None)
        return "" if k is None else f"#read={i}.{k}.{families[i].models.index(text(row, 'model'))}"

    return link


def script_json(text: str) -> Markup:
    """JSON made safe for a ``<script>`` element, where no HTML escape is read but ``</script`` ends all."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _offered(unit: Unit, models: pl.DataFrame, bits: bool) -> bool:
    """Whether a reader may choose a unit: bits per byte where a text is known, nats where there are tokens."""
    return models["bpb_cmp"].null_count() < len(models) if unit == "bpb" else not bits
