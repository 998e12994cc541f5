"""What a card says: taken from a result once, for the pictures and the files that go with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import PurePath

import polars as pl

from ppldelta.analysis.density import Density
from ppldelta.analysis.references import references
from ppldelta.analysis.steps import Ladder, Standing
from ppldelta.cards.drawing import shown
from ppldelta.family import Family, ModelFacts
from ppldelta.reporting import references as of_references
from ppldelta.reporting import sentences, short_names, theme
from ppldelta.reporting.densities import Densities
from ppldelta.reporting.order import ordered
from ppldelta.reporting.overview import Judged, of_families, overview
from ppldelta.reporting.rows import Row, number, overall_of, whole
from ppldelta.reporting.sentences import Piece
from ppldelta.reporting.units import Unit, is_within_noise, unit_of
from ppldelta.wording import numbers


@dataclass(frozen=True)
class CardModel:
    """A model on a card.

    Attributes:
        family: of the model.
        facts: what is known of it.
        name: the shortest that tells it from the others, not escaped.
        color: the light one of the report.
        rows: of `schema.MODELS` with every token weighing the same: all documents, and each category.
        equal: whether it lies inside the noise floor.
        mark: its name at its mark. With several families it lacks what all models of its family share.
        again: whether another model has its colour too; its mark has a dark rim.
    """

    family: Family
    facts: ModelFacts
    name: str
    color: str
    rows: list[Row]
    equal: bool
    mark: str
    again: bool = False

    @property
    def rim(self) -> str:
        """The colour of its mark's rim."""
        return "ink" if self.again else "surface"

    @property
    def quant(self) -> bool:
        """Whether it is a quant of its reference."""
        return self.facts.kind == "quant"

    @property
    def overall(self) -> Row:
        """The row of all documents."""
        return overall_of(self.rows)

    @property
    def judged(self) -> Judged:
        """The model as sentences take it, under the name that it has on the card."""
        rows = [{**row, "model": self.name} for row in self.rows]
        return Judged(self.name, rows, self.quant, self.equal, unit_of([self.family]), self.family.name)


@dataclass(frozen=True, eq=False)
class Content:
    """All that cards and their files are made of.

    Attributes:
        families: of the result.
        documents: `schema.DOCUMENTS`.
        models: in the order of the families, in each as `reporting.order` says.
        version: of the ppldelta that draws.
        densities: of the documents.
        reference_pairs: `schema.REFERENCES`: how the references of several families predict the text they share, two by
            two.
        top_k: of each family that has them, by its name, how many of the most probable tokens stand at a place.
    """

    families: Sequence[Family]
    documents: pl.DataFrame
    models: Sequence[CardModel]
    version: str
    densities: Densities
    reference_pairs: pl.DataFrame
    top_k: Mapping[str, int]

    @cached_property
    def family_names(self) -> dict[str, str]:
        """A short name of each family, by its name."""
        return short_names.of_families({family.name: family.models for family in self.families})

    def of(self, family: Family) -> list[CardModel]:
        """The models of a family."""
        return [model for model in self.models if model.family.name == family.name]

    @property
    def unit(self) -> Unit:
        """Only bits per byte compare families, and spans of text."""
        return "bpb" if self.spans or (len(self.families) > 1 and self._bytes_known) else "nats"

    @property
    def spans(self) -> bool:
        """Whether some models are compared on spans of text (`align="bytes"`)."""
        return unit_of(self.families) == "bpb"

    @property
    def _bytes_known(self) -> bool:
        return all(numbers.known(number(model.overall, "gain_bpb")) for model in self.models)

    @property
    def only_quants(self) -> bool:
        """Whether the card tells of damage against size: all models are quants whose sizes are known."""
        return all(model.quant and numbers.known(number(model.overall, "size_bytes")) for model in self.models)

    @property
    def colors(self) -> dict[str, str]:
        """The colour of each name, for sentences."""
        return {model.name: model.color for model in self.models}

    @cached_property
    def headline(self) -> list[Piece]:
        """The verdict: of several families first which reference predicts the text better, then what changes do."""
        standings = self._standings
        judged = [
            replace(model.judged, unit=self.unit, standing=standings.get((model.family.name, model.facts.label)))
            for model in self.models
        ]
        which = of_references.finding(self.reference_pairs)
        return [*which, *of_families(judged)] if which else overview(judged)

    @property
    def _standings(self) -> dict[tuple[str, str], Standing]:
        """Where each quant of a single family stands among the others, under the names of the card."""
        if len(self.families) > 1:
            return {}
        names = {model.facts.label: model.name for model in self.models}
        sizes = {model.facts.label: model.facts.size_bytes for model in self.models if model.quant}
        standings = Ladder(self.documents, sizes).standings(self.unit)
        return {(self.families[0].name, label): each.renamed(names) for label, each in standings.items()}

    @cached_property
    def said(self) -> str:
        """The verdict as a text without colours."""
        return "".join(shown(piece.text) if piece.kind == "name" else piece.text for piece in self.headline)

    @property
    def reference(self) -> str:
        """What the models are compared with."""
        labels_of = dict.fromkeys(shown(family.ref.label) for family in self.families)
        return ", ".join(labels_of) if len(labels_of) < 4 else f"{len(labels_of)} models"

    @property
    def references(self) -> str:
        """The same with the word before it."""
        return f"Reference{'s' if len(self.families) > 1 else ''} {self.reference}"

    @property
    def made(self) -> str:
        """When, and by which release."""
        return " · ".join(filter(None, [self.date, f"ppldelta {self.version}"]))

    @property
    def source(self) -> str:
        """What was compared with what on what, and when, in one line."""
        return f"{self.references} · {self.corpus} · {self.made}"

    @property
    def corpus(self) -> str:
        """The corpus in a line: its folder, its documents, which of their tokens were scored, and how many.

        Several families share bytes, so of these the bytes are counted.
        """
        return self._corpus(brief=False)

    @property
    def brief_corpus(self) -> str:
        """The same without categories."""
        return self._corpus(brief=True)

    def _corpus(self, *, brief: bool) -> str:
        mine = {family.name: self.documents.filter(family=family.name) for family in self.families}
        documents = dict.fromkeys(_all(sentences.corpus(rows, brief=brief)) for rows in mine.values())
        scopes = dict.fromkeys(sentences.scope(family, mine[family.name]) for family in self.families)
        names = dict.fromkeys(PurePath(family.corpus).name for family in self.families if family.corpus)
        several = len(self.families) > 1
        scored = [whole(model.overall, "n_bytes" if several else "n_scored") or 0 for model in self.models]
        counts = dict.fromkeys((min(scored), max(scored)) if several else (max(scored),))
        what = "bytes" if several else "spans" if self.spans else "tokens"
        counted = f"{' to '.join(map(numbers.count, counts))} {what}"
        return ", ".join(filter(None, [*map(shown, names), *documents, *scopes, counted]))

    def corpus_of(self, family: Family) -> str:
        """Likewise of one family."""
        return replace(
            self, families=[family], models=self.of(family), reference_pairs=self.reference_pairs.clear()
        ).corpus

    @property
    def date(self) -> str | None:
        """The day of the run, of several the last; None if an older version saved them."""
        return max((shown(family.date) for family in self.families if family.date), default=None)

    def density(self, model: CardModel) -> Density | None:
        """Where the model's documents lie in the gain/loss plane."""
        return self.densities.of(model.family.name, model.facts.label, self.unit)


def _all(documents: str) -> str:
    return documents if documents.startswith("1 ") else f"all {documents}"


def take(
    families: Sequence[Family],
    documents: pl.DataFrame,
    models: pl.DataFrame,
    version: str,
    densities: Densities | None = None,
    *,
    tokens: pl.DataFrame | None = None,
) -> Content:
    """Takes a card's content from the frames of a result.

    Args:
        families: of the result, in its order.
        documents: `schema.DOCUMENTS`.
        models: `schema.MODELS`.
        version: of ppldelta.
        densities: of the same documents; by default made here.
        tokens: `schema.TOKENS`, which say whether the most probable tokens were asked for; None: they were not.
    """
    pairs = [(family, facts) for family in families for facts in family.cmp]
    names = _names(pairs)
    style = theme.Style.of(names, ())
    by_token = models.filter(weighting="tokens").partition_by("family", "model", as_dict=True)
    named = {(family.name, facts.label): name for (family, facts), name in zip(pairs, names, strict=True)}
    marks = short_names.in_families(named) if len(families) > 1 else named
    found = []
    for family, facts in ((each, facts) for each in families for facts in ordered(each)):
        name = named[family.name, facts.label]
        rows: list[Row] = list(by_token[family.name, facts.label].iter_rows(named=True))
        equal = is_within_noise(family, overall_of(rows))
        mark = marks[family.name, facts.label]
        found.append(CardModel(family, facts, name, style.colors[name], rows, equal, mark, name in style.again))
    densities = densities or Densities(documents)
    return Content(families, documents, found, version, densities, references(documents), _top_k(tokens))


def _top_k(tokens: pl.DataFrame | None) -> dict[str, int]:
    if tokens is None or "top_tokens_ref" not in tokens.columns:
        return {}
    most = tokens.group_by("family").agg(pl.col("top_tokens_ref").list.len().max().fill_null(0))
    return {family: n for family, n in most.iter_rows() if n}


def _names(pairs: Sequence[tuple[Family, ModelFacts]]) -> list[str]:
    """A short name for each model. Long labels lose the beginning and the end that all of them share. A family's name
    stands before its models' where that is shorter, or where two models would have one name."""
    short = short_names.trimmed([facts.label for _, facts in pairs])
    if max(map(len, short)) > short_names.LONGEST or len(set(short)) < len(short):
        families = {family.name: [facts.label for _, facts in group] for family, group in _by_family(pairs)}
        in_family = [name for names in families.values() for name in short_names.trimmed(names, longest=0)]
        before = short_names.of_families(families)
        named = [f"{before[family.name]} {name}" for (family, _), name in zip(pairs, in_family, strict=True)]
        if len(families) > 1 and len(set(named)) == len(named) and max(map(len, named)) < max(map(len, short)):
            return named
    if len(set(short)) == len(short):
        return short
    return [f"{family.name}/{facts.label}" for family, facts in pairs]


def _by_family(
    pairs: Sequence[tuple[Family, ModelFacts]],
) -> Iterator[tuple[Family, Sequence[tuple[Family, ModelFacts]]]]:
    for _, group in groupby(pairs, key=lambda pair: pair[0].name):
        found = list(group)
        yield found[0][0], found
