"""The figures of one family, and the one that several share: which rows each draws, with which densities and fronts."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
import polars as pl

from ppldelta.analysis.density import Density, density_grid
from ppldelta.analysis.front import gain_loss_front, size_delta_front
from ppldelta.family import Family
from ppldelta.reporting import divergence, figures, labels, plane, ratios, sizes, theme
from ppldelta.reporting.sizes import Measure
from ppldelta.reporting.units import COLUMNS, Choice, Unit

GRID = 64
"""Points along each axis of the densities: smooth at the width of a plane, and 20 kB for each contour."""


class FamilyFigures:
    """The figures of one family.

    Args:
        family: its name and models.
        documents: rows of `schema.DOCUMENTS`, of other families too.
        models: likewise of `schema.MODELS`.
        confidence: likewise of `Result.confidence`; None if there is none.
        filled: False leaves the marks of documents out, for the page, which fills them in itself.
    """

    def __init__(
        self,
        family: Family,
        documents: pl.DataFrame,
        models: pl.DataFrame,
        confidence: pl.DataFrame | None = None,
        *,
        filled: bool = True,
    ) -> None:
        self.reference = family.ref
        self.noise = _noise_of(family)
        self.confidence = None if confidence is None else confidence.filter(family=family.name)
        self.documents = documents.filter(family=family.name)
        self.models = models.filter(family=family.name)
        self.categories = labels.unique(self.documents, "category")
        self.style = theme.Style.of(family.models, self.categories)
        self.filled = filled

    def rows(self, choice: Choice) -> pl.DataFrame:
        """One row of `schema.MODELS` per model."""
        return self.models.filter(_in(choice.category), weighting=choice.weighting)

    def models_plane(self, choice: Choice) -> go.Figure:
        """Gain against loss of every model."""
        rows = self.rows(choice)
        gain, loss = COLUMNS[choice.unit]
        front = rows.filter(pl.Series(gain_loss_front(rows[gain], rows[loss])))["model"].to_list()
        return figures.models_plane(
            rows, unit=choice.unit, front=front, noise=self._noise_in(choice.unit), style=self.style
        )

    def small_plane(self, choice: Choice) -> go.Figure:
        """Gain against loss of every model in one category, without names; all categories have one scale."""
        reach = plane.limits(self.models.filter(weighting=choice.weighting), unit=choice.unit)
        return figures.models_plane(self.rows(choice), unit=choice.unit, reach=reach, named=False, style=self.style)

    def documents_plane(self, unit: Unit) -> go.Figure:
        """Gain against loss of every document."""
        return figures.documents_plane(
            self.documents,
            unit=unit,
            densities=self._densities(unit),
            noise=self._noise_in(unit),
            filled=self.filled,
            style=self.style,
        )

    def perplexities(self) -> go.Figure:
        """Perplexity of the reference against that of the model for every document."""
        return figures.perplexities(self.documents, filled=self.filled, style=self.style)

    def mean_ratios(self) -> go.Figure:
        """Mean ratios of perplexities."""
        return ratios.mean_ratios(self.models.filter(weighting="documents"), style=self.style)

    def quality_against(self, measure: Measure, choice: Choice) -> go.Figure:
        """Quality against size or bits per weight."""
        rows = self.rows(choice)
        front = rows.filter(pl.Series(size_delta_front(rows[measure], rows["delta"])))["model"].to_list()
        return sizes.quality_against_size(
            rows, measure=measure, reference=self.reference, front=front, style=self.style
        )

    @property
    def diverging(self) -> bool:
        """Whether any model has divergences."""
        return self.models["kld"].count() > 0

    def models_divergence(self, choice: Choice) -> go.Figure:
        """Mean divergence of every model, and its tail."""
        return divergence.models_divergence(self.rows(choice), noise=self.noise.get("kld"), style=self.style)

    def documents_divergence(self) -> go.Figure:
        """Delta against divergence of every document."""
        return divergence.documents_divergence(self.documents, filled=self.filled, style=self.style)

    def divergence_by_confidence(self) -> go.Figure:
        """Mean divergence by how sure the reference was."""
        frame = self.models.clear() if self.confidence is None else self.confidence
        return divergence.confidence(frame, style=self.style)

    def _noise_in(self, unit: Unit) -> tuple[float, float] | None:
        """Gain and loss of the noise floor in a unit; None if it was not measured."""
        if not {"gain", "loss"} <= self.noise.keys():
            return None
        gain, loss = COLUMNS[unit]
        rows = self.rows(Choice()).filter(pl.col("gain") + pl.col("loss") > 0)
        scale = 1.0 if rows.is_empty() else float((rows[gain] + rows[loss])[0] / (rows["gain"] + rows["loss"])[0])
        return scale * self.noise["gain"], scale * self.noise["loss"]

    def _densities(self, unit: Unit) -> dict[str, Density]:
        gain, loss = COLUMNS[unit]
        densities = {}
        for (model,), each in self.documents.group_by("model", maintain_order=True):
            finite = each.filter(pl.col(gain).is_finite() & pl.col(loss).is_finite())
            density = density_grid(finite[gain].to_numpy(), finite[loss].to_numpy(), n_grid=GRID)
            if density is not None:
                densities[str(model)] = density
        return densities


def shared_plane(families: Sequence[Family], models: pl.DataFrame, choice: Choice) -> go.Figure:
    """The models of all families in bits per byte, the unit that compares them; each against its own reference.

    The unit that the reader has chosen makes no difference here.
    """
    joined = {
        f"{family.name}/{model}": {"family": family.name, "model": model}
        for family in families
        for model in family.models
    }
    rows = models.filter(_in(choice.category), weighting=choice.weighting).with_columns(
        model=pl.concat_str("family", pl.lit("/"), "model")
    )
    gain, loss = COLUMNS["bpb"]
    front = rows.filter(pl.Series(gain_loss_front(rows[gain], rows[loss])))["model"].to_list()
    figure = figures.models_plane(rows, unit="bpb", front=front, style=theme.Style.of(joined, ()))
    for trace in figure.data:
        name = (trace.meta or {}).get("model")
        if name is not None:
            trace.meta = joined[name]
        elif (trace.meta or {}).get("front"):
            trace.customdata = [list(joined[name].values()) for _, name in trace.customdata]
    return figure


def _noise_of(family: Family) -> dict[str, float]:
    """Nats per token of `gain`, `loss` and `kld` by which another setting moves the reference, as far as measured."""
    floor = getattr(family, "noise_floor", None)
    values = {name: getattr(floor, name, None) for name in ("gain", "loss", "kld")}
    return {name: value for name, value in values.items() if isinstance(value, float)}


def _in(category: str | None) -> pl.Expr:
    return pl.col("category").is_null() if category is None else pl.col("category") == category
