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

from ppldelta.analysis.spans import LONGEST, MOST
from ppldelta.analysis.steps import Ladder
from ppldelta.family import Family, ModelFacts
from ppldelta.reporting import captions, contents, csv_names, labels, plane, sentences, tables, theme
from ppldelta.reporting import kinds as kinds_of_tokens
from ppldelta.reporting import odds as of_prompts
from ppldelta.reporting.blocks import Json, encode
from ppldelta.reporting.catalogue import FIGURES, SHARED, Section
from ppldelta.reporting.contents import AllFamilies
from ppldelta.reporting.cover import Cover
from ppldelta.reporting.densities import Densities
from ppldelta.reporting.family_figures import FamilyFigures, numbered
from ppldelta.reporting.head import Head
from ppldelta.reporting.marks import OPACITIES, SIZES
from ppldelta.reporting.page_figures import Plot, for_scripts, place_figures
from ppldelta.reporting.payload import Payload
from ppldelta.reporting.provenance import Provenance, resampling
from ppldelta.reporting.rows import Row, text
from ppldelta.reporting.scripts import SCRIPTS, policy, resource
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
from ppldelta.reporting.views import make_views
from ppldelta.wording import invisible, numbers, rules


@dataclass(frozen=True)
class ShownModel:
    """A model on the page: its label, a shorter one for buttons, and the class of its colour."""

    label: str
    short: str
    color: str


@dataclass(frozen=True)
class FamilySection:
    """All that the page shows of one reference and the models judged against it."""

    index: int
    name: str
    identity: str
    reference: ModelFacts
    corpus: str
    n_scored: int
    n_bytes: int
    spans: bool
    models: list[ShownModel]
    categories: list[dict[str, str]]
    plots: dict[Section, list[Plot]]
    judged: bool
    prompts: list[tuple[str, str, list[sentences.Piece]]]
    kinds: list[list[sentences.Piece]]
    left_out: list[list[sentences.Piece]]


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
    confidence: pl.DataFrame | None = None,
    odds: pl.DataFrame | None = None,
    odds_models: pl.DataFrame | None = None,
    kinds: pl.DataFrame | None = None,
    cover: Cover | None = None,
    origins: Sequence[Provenance] = (),
    densities: Densities | None = None,
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
        confidence: as `Result.confidence`; None if there is none.
        odds: as `Result.odds`; None if there is none.
        odds_models: as `Result.odds_models`, likewise.
        kinds: as `Result.kinds`, which `payload` lists as well; None if there is none.
        cover: what the page begins with; None for a title alone.
        origins: what repeats the numbers of each family; empty for the signature alone.
        densities: of the documents; by default made here.
        folder: keep the blocks of data out of the page, in files beside it that it loads when they are needed.
    """
    unit = unit_of(families)
    bits = unit == "bpb"
    known = densities or Densities(documents)
    makers = [
        FamilyFigures(
            family, documents, models, confidence, odds, filled=False, bits=bits, first=first, densities=known
        )
        for family, first in zip(families, numbered(families), strict=True)
    ]
    drawn = [place_figures(FIGURES, made, i, made.categories) for i, made in enumerate(makers)]
    colors = {
        (each.name, m): made.style.css(m) for each, made in zip(families, makers, strict=True) for m in each.models
    }
    headlined = cover is not None and len(colors) == 1
    heads = [_head(family, made, headlined) for family, made in zip(families, makers, strict=True)]
    sections = [
        _section(i, family, made, places, odds_models)
        for i, (family, made, (places, _)) in enumerate(zip(families, makers, drawn, strict=True))
    ]
    any_quants = any(family.quants for family in families)
    everything = AllFamilies(families, models, labels.unique(documents, "category"))
    units: list[Unit] = [each for each in SHORT_UNITS if _offered(each, models, bits)]
    views = make_views(
        heads,
        models,
        colors,
        units=units,
        categories=everything.categories,
        spans=bits,
        bytes_per_token=_bytes_per_token(families),
    )
    shared, shared_block = place_figures([SHARED], everything, SHARED.name, everything.categories)
    own = {f"f{i}.figures": block for i, (_, block) in enumerate(drawn)}
    if shared[SHARED.section]:
        own[f"{SHARED.name}.figures"] = shared_block
    own["views"] = views.block
    blocks = {name: encode(block) for name, block in (own | payload.blocks).items()}
    index: dict[str, Json] = {
        **payload.index,
        "colors": [list(made.style.colors.values()) for made in makers],
        "classes": [[made.style.css(model) for model in made.style.colors] for made in makers],
        "symbols": [[made.style.symbols[category] for category in made.categories] for made in makers],
        "figures": for_scripts(),
        "bits": bits,
        "choice": {"unit": unit, "axes": Choice().axes, "weighting": Choice().weighting},
        "units": {unit: text for unit, text in SHORT_UNITS.items()},
        "columns": tables.HELP,
        "csv_units": csv_names.for_scripts(bits=bits),
        "look": theme.for_scripts(),
        "views": dict(views.follows),
        "iso": plane.ISO,
        "invisible": {
            "symbols": invisible.SYMBOLS,
            "joiners": [chr(c) for c in invisible.JOINERS],
            "selectors": [chr(c) for c in invisible.SELECTORS],
        },
        "stretches": {"longest": LONGEST, "most": MOST},
        "marks": {"sizes": SIZES, "opacities": OPACITIES, "short": SHORT},
        "sources": {
            **{str(i): f"{captions.source(made)}; ppldelta {version}" for i, made in enumerate(makers)},
            SHARED.name: f"each against its own reference; ppldelta {version}",
        },
    }
    scripts = [plotly.offline.get_plotlyjs(), *(resource(name) for name in SCRIPTS)]
    scripts = [text.replace("\r\n", "\n") for text in scripts]
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
        pictures={} if cover is None else {shape: Markup(picture) for shape, picture in cover.pictures.items()},
        outlines="" if cover is None else Markup(cover.outlines),
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
        prompts=of_prompts.table(
            makers[0].odds.clear() if odds is None else odds, colors, _links(makers, families, payload)
        ),
        n_prompts=0 if odds is None else len(odds),
        kinds=_kinds(kinds, sections, unit),
        noise=any(family.noise_floor for family in families),
        rules=[sentences.marked(note) for note in rules.notes((family.name, family.rule) for family in families)],
        signature=signature,
        n_judged=sum(section.judged for section in sections),
        any_quants=any_quants,
        warnings=[sentences.marked(warning) for warning in warnings],
        version=version,
        theme=theme,
        css=Markup(resource("report.css")),
        scripts=[Markup(text) for text in scripts],
        policy=policy(scripts, folder=folder),
        index=script_json(json.dumps(index, ensure_ascii=False)),
        blocks={} if folder else {name: Markup(text) for name, text in blocks.items()},
        folder=folder,
    )
    files = {f"data/{name}.js": f'ppldelta.put("{name}", "{text}");\n' for name, text in blocks.items()}
    return Page(html, files if folder else {})


def _kinds(
    kinds: pl.DataFrame | None, sections: Sequence[FamilySection], unit: Unit
) -> list[tuple[FamilySection, list[tuple[ShownModel, list[sentences.Piece]]]]]:
    """Of each family that has texts the colour of each model and its sentence on what changed."""
    found: list[tuple[FamilySection, list[tuple[ShownModel, list[sentences.Piece]]]]] = []
    if kinds is None:
        return found
    for section in sections:
        of_model = [(m, kinds.filter(family=section.name, model=m.label).to_dicts()) for m in section.models]
        said = [(model, kinds_of_tokens.finding(rows, unit)) for model, rows in of_model if rows]
        found += [(section, said)] if said else []
    return found


def _bytes_per_token(families: Sequence[Family]) -> dict[tuple[str, str], float | None]:
    """Of each comparison, by family and model; of none where all tokens of the page are equally long."""
    every = [each.bytes_per_token for family in families for each in (family.ref, *family.cmp)]
    if len({each for each in every if each is not None}) < 2:
        return {}
    return {(family.name, each.label): each.bytes_per_token for family in families for each in family.cmp}


def _of_all_groups(odds_models: pl.DataFrame, family: str) -> Sequence[Row]:
    return odds_models.filter(pl.col("category").is_null(), family=family).to_dicts()


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


def _head(family: Family, made: FamilyFigures, headlined: bool) -> Head:
    sizes = {each.label: each.size_bytes for each in family.cmp if each.kind == "quant"}
    return Head(family, made.models, Ladder(made.documents, sizes), headlined=headlined)


def _section(
    index: int, family: Family, made: FamilyFigures, plots: dict[Section, list[Plot]], odds_models: pl.DataFrame | None
) -> FamilySection:
    return FamilySection(
        index=index,
        name=family.name,
        identity=family.ref.sha256 or family.ref.label,
        reference=family.ref,
        corpus=sentences.corpus(made.documents),
        n_scored=max(made.rows(Choice())["n_scored"].to_list(), default=0),
        n_bytes=max(made.rows(Choice())["n_bytes"].to_list(), default=0),
        spans=family.align == "bytes",
        models=[
            ShownModel(model, short, made.style.css(model))
            for model, short in zip(family.models, labels.trimmed(family.models), strict=True)
        ],
        categories=[{"name": each, "path": theme.SYMBOLS[made.style.symbols[each]]} for each in made.categories],
        plots=plots,
        judged=made.judged,
        prompts=[
            (made.style.css(text(row, "model")), text(row, "model"), of_prompts.finding(row))
            for row in ([] if odds_models is None else _of_all_groups(odds_models, family.name))
        ],
        kinds=[sentences.marked(f"`{each.label}`: {each.kind_reason}") for each in family.cmp if each.kind_reason],
        left_out=[sentences.marked(sentence) for sentence in contents.left_out(made)],
    )
