"""What the page says of each model before its figures: a sentence each or, of many models, a row each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from ppldelta.analysis.steps import Ladder, Standing
from ppldelta.family import Family
from ppldelta.reporting import quants, sentences
from ppldelta.reporting.overview import Judged, verdict
from ppldelta.reporting.rows import Row, in_category, number, overall_of, text, whole
from ppldelta.reporting.sentences import Piece
from ppldelta.reporting.tables import HELP, Cell, Column, Table, deltas, made_of, names, with_interval
from ppldelta.reporting.units import Choice, is_within_noise, unit_of
from ppldelta.wording import numbers

MOST_SENTENCES = 4
"""Models of which each has a sentence; of more, each has a row of a table."""

_HELP = "What the numbers say in a few words; better and worse only where the interval leaves out 0"


class Head:
    """What is said of the models of one family.

    Args:
        family: the family.
        models: its rows of `schema.MODELS`.
        ladder: its quants by their size.
        names: short ones of its models, by label.
        headlined: whether the page begins with a card whose verdict is the sentence about its only model.
    """

    def __init__(
        self,
        family: Family,
        models: pl.DataFrame,
        ladder: Ladder,
        *,
        names: Mapping[str, str],
        headlined: bool,
    ) -> None:
        self.family = family
        self._headlined = headlined
        self.models = models
        self._names = names
        self._ladder = ladder

    def rows(self, model: str, choice: Choice) -> list[Row]:
        """A model's rows for a choice under its short name: of a category as if it were all there is."""
        rows = self.models.filter(model=model, weighting=choice.weighting)
        if choice.category is not None:
            rows = rows.filter(in_category(choice.category)).with_columns(category=pl.lit(None, pl.String))
        return [{**row, "model": self._names[model]} for row in rows.iter_rows(named=True)]

    def sentence(self, model: str, choice: Choice) -> list[Piece]:
        """The sentences about a model; nothing if it has no documents in the category."""
        rows = self.rows(model, choice)
        if not rows:
            return []
        overall = overall_of(rows)
        if self._headlined and choice == Choice(unit=unit_of([self.family])):
            told = quants.divergence(overall) if model in self.family.quants else sentences.divergence(rows)
            said = [*sentences.behind(overall, choice.unit, spans=self.family.align == "bytes"), *told]
        elif model in self.family.quants:
            said = quants.finding(rows, self._standing(model, choice), choice.unit, choice.category)
        else:
            said = [*sentences.finding(rows, choice.unit, choice.category), *sentences.divergence(rows)]
        if choice != Choice(unit=choice.unit):
            return said  # the noise floor is of all documents
        return [*said, *sentences.within_noise(self.family, overall)]

    def verdict(self, model: str, choice: Choice) -> tuple[str, str]:
        """A model in a few words, and more of it for a second line."""
        rows = self.rows(model, choice)
        row = overall_of(rows)
        equal = choice == Choice(unit=choice.unit) and is_within_noise(self.family, row)
        quant = model in self.family.quants
        if quant and not equal:
            return quants.verdict(rows, self._standing(model, choice), choice.unit)
        return verdict(Judged(self._names[model], rows, quant, equal, choice.unit)), ""

    def _standing(self, model: str, choice: Choice) -> Standing | None:
        standing = self._ladder.standings(choice.unit, choice.weighting, choice.category).get(model)
        return standing and standing.renamed(self._names)


def table(heads: Sequence[Head], models: pl.DataFrame, colors: Mapping[tuple[str, str], str], choice: Choice) -> Table:
    """A row for each model: a verdict, its net with the interval, damage, divergence and size, as far as there are any.

    Args:
        heads: of the families.
        models: `schema.MODELS`.
        colors: as for `tables.summary`.
        choice: unit, weighting and category.
    """
    rows = models.filter(in_category(choice.category), weighting=choice.weighting)
    of_family = {head.family.name: head for head in heads}

    def said(row: Row) -> Cell:
        short, more = of_family[text(row, "family")].verdict(text(row, "model"), choice)
        return Cell(short or more, short or more, more if short else "", "words")

    any_quants = any(head.family.quants for head in heads)
    *_, net, damage = deltas(rows, True, choice.unit)
    columns = [
        *names(rows, colors),
        Column("verdict", "", _HELP, said, "words", "verdict"),
        net,
        *([damage] if any_quants else []),
        *([with_interval("KL divergence", "nats/token", "kld", numbers.significant)] if rows["kld"].count() else []),
        *([_size()] if rows["size_bytes"].count() else []),
    ]
    return made_of(rows, columns)


def _size() -> Column:
    def cell(row: Row) -> Cell:
        size, bits = whole(row, "size_bytes"), number(row, "bits_per_weight")
        note = f"{numbers.fixed(bits, 2)} bits/weight" if numbers.known(bits) else ""
        return Cell(numbers.size(size), size, note)

    return Column("size", "tensors", HELP["size_bytes"], cell, name="size_bytes")
