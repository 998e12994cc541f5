"""The figures of one family, and the one that several share: which rows each draws, with which densities and fronts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import cast

import plotly.graph_objects as go
import polars as pl

from ppldelta.analysis.curves import running_documents
from ppldelta.analysis.density import Density
from ppldelta.analysis.front import gain_loss_front, pareto_front, size_delta_front
from ppldelta.family import Family
from ppldelta.reporting import (
    convergence,
    divergence,
    figures,
    labels,
    plane,
    prompts,
    ratios,
    short_names,
    sizes,
    theme,
)
from ppldelta.reporting.densities import Densities
from ppldelta.reporting.plane import Limits
from ppldelta.reporting.rows import in_category
from ppldelta.reporting.sizes import Measure, Value
from ppldelta.reporting.sketch import Sketch
from ppldelta.reporting.units import COLUMNS, Choice, Unit
from ppldelta.schema import ODDS


class FamilyFigures:
    """The figures of one family.

    Args:
        family: its name and models.
        documents: rows of `schema.DOCUMENTS`, of other families too.
        models: likewise of `schema.MODELS`.
        confidence: likewise of `Result.confidence`; None if there is none.
        odds: likewise of `Result.odds`.
        filled: False leaves the marks of documents out, for the page, which fills them in itself.
        bits: whether all is told in bits per byte (`units.unit_of`).
        first: models of the families before this one, whose colours these do not take.
        densities: of the same documents; by default made here.
    """

    def __init__(
        self,
        family: Family,
        documents: pl.DataFrame,
        models: pl.DataFrame,
        confidence: pl.DataFrame | None = None,
        odds: pl.DataFrame | None = None,
        *,
        filled: bool = True,
        bits: bool = False,
        first: int = 0,
        densities: Densities | None = None,
    ) -> None:
        self.name = family.name
        self.reference = family.ref
        self.date = family.date
        self._noise = family.noise_floor
        self.quants = family.quants
        self.confidence = None if confidence is None else confidence.filter(family=family.name)
        self.odds = pl.DataFrame(schema=ODDS) if odds is None else odds.filter(family=family.name)
        self.documents = documents.filter(family=family.name)
        self.models = models.filter(family=family.name)
        self.categories = labels.unique(self.documents, "category")
        style = theme.Style.of(family.models, self.categories, first)
        self.style = replace(style, quants=frozenset(self.quants))
        self.filled = filled
        self.bits = bits
        self._align = family.align
        self._all_densities = densities or Densities(self.documents)
        self.judged = len(self.quants) < len(family.models)
        """Whether there is a model that may be better than the reference: not among quants alone."""

    def rows(self, choice: Choice) -> pl.DataFrame:
        """One row of `schema.MODELS` per model."""
        return self.models.filter(in_category(choice.category), weighting=choice.weighting)

    def floor(self, unit: Unit) -> Limits | None:
        """Gain and loss of the noise floor; in bits per byte for as many bytes as a token of the documents has."""
        if self._noise is None:
            return None
        if unit == "nats":
            return self._noise.gain, self._noise.loss
        if self._align == "bytes":
            return self._noise.bits_per_byte
        n_scored, n_bytes = self.rows(Choice()).select("n_scored", "n_bytes").row(0)
        per_byte = n_scored / n_bytes / math.log(2) if n_bytes else math.nan
        return self._noise.gain * per_byte, self._noise.loss * per_byte

    def models_plane(self, choice: Choice) -> Sketch:
        """Gain against loss of every model."""
        rows = self.rows(choice)
        gain, loss = COLUMNS[choice.unit]
        changed = self.without_quants(rows)  # a quant that gains and loses more than another is not unbeaten
        front = changed.filter(pl.Series(gain_loss_front(changed[gain], changed[loss])))["model"].to_list()
        floor = self.floor(choice.unit)
        return figures.models_plane(
            rows,
            unit=choice.unit,
            axes=choice.axes,
            front=front,
            floor=floor,
            judged=self.judged,
            style=self.style,
        )

    def small_plane(self, choice: Choice) -> Sketch:
        """Gain against loss of every model in one category, without names; all categories have one scale."""
        reach = plane.limits(self.models.filter(weighting=choice.weighting), unit=choice.unit)
        return figures.models_plane(
            self.rows(choice),
            unit=choice.unit,
            axes=choice.axes,
            reach=reach,
            named=False,
            floor=self.floor(choice.unit),
            judged=self.judged,
            style=self.style,
        )

    def documents_plane(self, choice: Choice) -> Sketch:
        """Gain against loss of every document; the page draws contours of those of one category."""
        unit = choice.unit
        return figures.documents_plane(
            self.documents,
            unit=unit,
            axes=choice.axes,
            densities=self._densities(unit, choice.category),
            filled=self.filled,
            floor=self.floor(unit),
            judged=self.judged,
            style=self.style,
        )

    def perplexities(self) -> Sketch:
        """Perplexity of the reference against that of the model for every document; or bits per byte of both."""
        return figures.perplexities(self.documents, filled=self.filled, bits=self.bits, style=self.style)

    def convergence(self) -> go.Figure:
        """How the numbers of all models settle along the documents."""
        curve = running_documents(self.documents, bits=self.bits)
        return convergence.corpus(curve, bits=self.bits, style=self.style)

    def mean_ratios(self) -> go.Figure:
        """Mean ratios of perplexities."""
        return ratios.mean_ratios(self.models.filter(weighting="documents"), style=self.style)

    def quality_against(self, measure: Measure, choice: Choice) -> Sketch:
        """Quality against size or bits per weight: delta of the models that are no quants."""
        rows = self.without_quants(self.rows(choice))
        value: Value = "delta_bpb" if self.bits or choice.unit == "bpb" else "delta"
        front = rows.filter(pl.Series(size_delta_front(rows[measure], rows[value])))["model"].to_list()
        return sizes.value_against_size(
            rows, value=value, measure=measure, reference=self.reference, front=front, style=self.style
        )

    def damage_against(self, value: Value, measure: Measure, choice: Choice) -> Sketch:
        """The quants' damage, in the unit of the choice, or their KL divergence against size or bits per weight."""
        rows = self.quant_rows(choice)
        if value == "damage" and (self.bits or choice.unit == "bpb"):
            value = "damage_bpb"
        front = rows.filter(pl.Series(pareto_front(rows[measure], rows[value])))["model"].to_list()
        return sizes.value_against_size(
            rows, value=value, measure=measure, reference=self.reference, front=front, style=self.style
        )

    def quant_rows(self, choice: Choice) -> pl.DataFrame:
        """Those of `rows` that are of quants."""
        return self.rows(choice).filter(pl.col("model").is_in(self.quants))

    def without_quants(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Those of some rows that are of no quants."""
        return rows.filter(~pl.col("model").is_in(self.quants))

    @property
    def diverging(self) -> bool:
        """Whether any model has divergences."""
        return self.models["kld"].count() > 0

    def models_divergence(self, choice: Choice) -> go.Figure:
        """Mean divergence of every model, and its tail."""
        noise = self._noise.kld if self._noise else None
        return divergence.models_divergence(self.rows(choice), noise=noise, style=self.style)

    def documents_divergence(self) -> go.Figure:
        """Delta against divergence of every document."""
        return divergence.documents_divergence(self.documents, filled=self.filled, style=self.style)

    def divergence_by_confidence(self) -> go.Figure:
        """Mean divergence by how sure the reference was."""
        frame = self.models.clear() if self.confidence is None else self.confidence
        return divergence.confidence(frame, style=self.style)

    def odds_plane(self, choice: Choice) -> go.Figure:
        """Log-odds of every prompt under the reference and under each model."""
        rows = self.odds if choice.category is None else self.odds.filter(category=choice.category)
        return prompts.odds_plane(rows, style=self.style)

    def _densities(self, unit: Unit, category: str | None) -> dict[str, Density]:
        models = labels.unique(self.documents, "model")
        found = {model: self._all_densities.of(self.name, model, unit, category) for model in models}
        return {model: density for model, density in found.items() if density is not None}


def numbered(families: Sequence[Family]) -> list[int]:
    """For each family how many models the families before it have (`FamilyFigures`, ``first``)."""
    return [0, *accumulate(len(family.models) for family in families)][: len(families)]


def style_of_all(families: Sequence[Family]) -> theme.Style:
    """Colours of the models of several families, by ``family/model``: those that they have in their families."""
    style = theme.Style.of([f"{family.name}/{model}" for family in families for model in family.models], ())
    return replace(style, quants=frozenset(f"{each.name}/{quant}" for each in families for quant in each.quants))


def shared_plane(families: Sequence[Family], models: pl.DataFrame, choice: Choice) -> Sketch:
    """The models of all families in bits per byte, the unit that compares them; each against its own reference.

    The unit that the reader has chosen makes no difference here.
    """
    joined = {
        f"{family.name}/{model}": {"family": family.name, "model": model}
        for family in families
        for model in family.models
    }
    rows = models.filter(in_category(choice.category), weighting=choice.weighting).with_columns(
        model=pl.concat_str("family", pl.lit("/"), "model")
    )
    gain, loss = COLUMNS["bpb"]
    quants = [f"{family.name}/{model}" for family in families for model in family.quants]
    changed = rows.filter(~pl.col("model").is_in(quants))
    front = changed.filter(pl.Series(gain_loss_front(changed[gain], changed[loss])))["model"].to_list()
    judged = len(quants) < len(joined)
    style = style_of_all(families)
    named = short_names.of_families({family.name: family.models for family in families})
    short = {
        f"{family.name}/{model}": short_names.crop(
            name if name.startswith(family.name) else f"{named[family.name]} {name}"
        )
        for family in families
        for model, name in zip(family.models, short_names.trimmed(family.models, longest=0), strict=True)
    }
    figure = figures.models_plane(
        rows, unit="bpb", axes=choice.axes, short=short, front=front, judged=judged, style=style
    )
    for trace in figure.traces:
        about = trace.get("meta")
        if not isinstance(about, dict):
            continue
        if "model" in about:
            trace["meta"] = joined[about["model"]]
        elif about.get("front"):
            pairs = cast("list[tuple[None, str]]", trace["customdata"])
            trace["customdata"] = [list(joined[name].values()) for _, name in pairs]
    return figure
