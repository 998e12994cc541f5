"""What the page shows of each family: its models, their sentences, its figures and what else is known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from ppldelta.analysis.steps import Ladder
from ppldelta.family import Family, ModelFacts
from ppldelta.reporting import contents, sentences, theme
from ppldelta.reporting import kinds as kinds_of_tokens
from ppldelta.reporting import odds as of_prompts
from ppldelta.reporting.catalogue import Section
from ppldelta.reporting.family_figures import FamilyFigures
from ppldelta.reporting.head import Head
from ppldelta.reporting.page_figures import Plot
from ppldelta.reporting.rows import Row, text
from ppldelta.reporting.units import Choice, Unit


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


def make_head(family: Family, made: FamilyFigures, short: Mapping[tuple[str, str], str], headlined: bool) -> Head:
    """What is said of a family's models.

    Args:
        family: the family.
        made: its figures.
        short: as `short_names.in_families` gives them.
        headlined: as for `Head`.
    """
    sizes = {each.label: each.size_bytes for each in family.cmp if each.kind == "quant"}
    names = {model: short[family.name, model] for model in family.models}
    return Head(family, made.models, Ladder(made.documents, sizes), names=names, headlined=headlined)


def make_section(
    index: int,
    family: Family,
    made: FamilyFigures,
    short: Mapping[tuple[str, str], str],
    plots: dict[Section, list[Plot]],
    odds_models: pl.DataFrame,
) -> FamilySection:
    """Puts together what the page shows of a family.

    Args:
        index: its number.
        family: the family.
        made: its figures.
        short: as `short_names.in_families` gives them.
        plots: where its figures stand.
        odds_models: as `Result.odds_models`.
    """
    return FamilySection(
        index=index,
        name=family.name,
        identity=family.ref.sha256 or family.ref.label,
        reference=family.ref,
        corpus=sentences.corpus(made.documents),
        n_scored=max(made.rows(Choice())["n_scored"].to_list(), default=0),
        n_bytes=max(made.rows(Choice())["n_bytes"].to_list(), default=0),
        spans=family.align == "bytes",
        models=[ShownModel(model, short[family.name, model], made.style.css(model)) for model in family.models],
        categories=[{"name": each, "path": theme.SYMBOLS[made.style.symbols[each]]} for each in made.categories],
        plots=plots,
        judged=made.judged,
        prompts=[
            (made.style.css(text(row, "model")), text(row, "model"), of_prompts.finding(row))
            for row in _of_all_groups(odds_models, family.name)
        ],
        kinds=[sentences.marked(f"`{each.label}`: {each.kind_reason}") for each in family.cmp if each.kind_reason],
        left_out=[sentences.marked(sentence) for sentence in contents.left_out(made)],
    )


def told_kinds(
    kinds: pl.DataFrame, sections: Sequence[FamilySection], unit: Unit
) -> list[tuple[FamilySection, list[tuple[ShownModel, list[sentences.Piece]]]]]:
    """Of each family that has texts the colour of each model and its sentence on what changed."""
    found: list[tuple[FamilySection, list[tuple[ShownModel, list[sentences.Piece]]]]] = []
    for section in sections:
        of_model = [(m, kinds.filter(family=section.name, model=m.label).to_dicts()) for m in section.models]
        said = [(model, kinds_of_tokens.finding(rows, unit)) for model, rows in of_model if rows]
        found += [(section, said)] if said else []
    return found


def _of_all_groups(odds_models: pl.DataFrame, family: str) -> Sequence[Row]:
    return odds_models.filter(pl.col("category").is_null(), family=family).to_dicts()
