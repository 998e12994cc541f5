"""All figures of a result by name, made when they are asked for: what notebooks and scripts take out.

A family's figures are ``models``, ``models_bpb``, ``documents``, ``documents_bpb``, ``perplexities``, ``ratios``,
``size`` and ``bits_per_weight``; of several families each key is ``family/name``, and ``shared`` sets the models of all
of them side by side in bits per byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import plotly.graph_objects as go
import polars as pl

from ppldelta.analysis.curves import running
from ppldelta.analysis.density import Density, density_grid
from ppldelta.analysis.front import gain_loss_front, size_delta_front
from ppldelta.errors import ResultError
from ppldelta.family import Family
from ppldelta.reporting import figures, labels, plane, theme
from ppldelta.reporting.convergence import convergence
from ppldelta.reporting.hover import COLUMNS
from ppldelta.reporting.plane import Unit
from ppldelta.reporting.ratios import mean_ratios
from ppldelta.reporting.sizes import Measure, quality_against_size

GRID = 64
"""Points along each axis of the densities: smooth at the width of a plane, and 20 kB for each contour."""


class FamilyFigures:
    """The figures of one family.

    Args:
        family: its name and models.
        documents: rows of `schema.DOCUMENTS`, of other families too.
        models: likewise of `schema.MODELS`.
    """

    def __init__(self, family: Family, documents: pl.DataFrame, models: pl.DataFrame) -> None:
        self.reference = family.ref
        self.documents = documents.filter(family=family.name)
        self.models = models.filter(family=family.name)
        self.categories = labels.unique(self.documents, "category")
        self.style = theme.Style.of(family.models, self.categories)

    def rows(self, weighting: str = "tokens", category: str | None = None) -> pl.DataFrame:
        """One row of `schema.MODELS` per model; category None stands for all documents."""
        return self.models.filter(_in(category), weighting=weighting)

    def models_plane(
        self, unit: Unit = "nats", weighting: str = "tokens", category: str | None = None, *, small: bool = False
    ) -> go.Figure:
        """Gain against loss of every model; `small` ones have one scale for all categories and no names."""
        rows = self.rows(weighting, category)
        gain, loss = COLUMNS[unit]
        return figures.models_plane(
            rows,
            unit=unit,
            reach=plane.limits(self.models.filter(weighting=weighting), unit=unit) if small else None,
            named=not small,
            front=() if small else rows.filter(pl.Series(gain_loss_front(rows[gain], rows[loss])))["model"].to_list(),
            style=self.style,
        )

    def documents_plane(self, unit: Unit = "nats", *, marks: bool = True) -> go.Figure:
        """Gain against loss of every document."""
        return figures.documents_plane(
            self.documents, unit=unit, densities=self._densities(unit), marks=marks, style=self.style
        )

    def perplexities(self, *, marks: bool = True) -> go.Figure:
        """Perplexity of the reference against that of the model for every document."""
        return figures.perplexities(self.documents, marks=marks, style=self.style)

    def ratios(self) -> go.Figure:
        """Mean ratios of perplexities."""
        return mean_ratios(self.models.filter(weighting="documents"), style=self.style)

    def size(
        self, measure: Measure = "size_bytes", weighting: str = "tokens", category: str | None = None
    ) -> go.Figure:
        """Quality against size or bits per weight."""
        rows = self.rows(weighting, category)
        front = rows.filter(pl.Series(size_delta_front(rows[measure], rows["delta"])))["model"].to_list()
        return quality_against_size(rows, measure=measure, reference=self.reference, front=front, style=self.style)

    def _densities(self, unit: Unit) -> dict[str, Density]:
        gain, loss = COLUMNS[unit]
        densities = {}
        for (model,), each in self.documents.group_by("model", maintain_order=True):
            finite = each.filter(pl.col(gain).is_finite() & pl.col(loss).is_finite())
            density = density_grid(finite[gain].to_numpy(), finite[loss].to_numpy(), n_grid=GRID)
            if density is not None:
                densities[model] = density
        return densities


def shared_plane(
    families: Sequence[Family], models: pl.DataFrame, weighting: str = "tokens", category: str | None = None
) -> go.Figure:
    """The models of all families in bits per byte, the unit that compares them; each against its own reference."""
    joined = {
        f"{family.name}/{model}": {"family": family.name, "model": model}
        for family in families
        for model in family.models
    }
    rows = models.filter(_in(category), weighting=weighting).with_columns(
        model=pl.concat_str("family", pl.lit("/"), "model")
    )
    front = rows.filter(pl.Series(gain_loss_front(rows["gain_bpb"], rows["loss_bpb"])))["model"].to_list()
    figure = figures.models_plane(rows, unit="bpb", front=front, style=theme.Style.of(joined, ()))
    for trace in figure.data:
        name = (trace.meta or {}).get("model")
        if name is not None:
            trace.meta = joined[name]
        elif (trace.meta or {}).get("front"):
            trace.customdata = [list(joined[name].values()) for _, name in trace.customdata]
    return figure


def _in(category: str | None) -> pl.Expr:
    return pl.col("category").is_null() if category is None else pl.col("category") == category


class Figures(Mapping[str, go.Figure]):
    """The figures of a result by name; see the head of this module. Each is made anew when it is asked for.

    Args:
        families: as in `Result.families`.
        documents: columns of `schema.DOCUMENTS`.
        models: columns of `schema.MODELS`.
        tokens: columns of `schema.TOKENS`.
    """

    def __init__(
        self, families: Sequence[Family], documents: pl.DataFrame, models: pl.DataFrame, tokens: pl.DataFrame
    ) -> None:
        self._tokens = tokens
        self._makers: dict[str, Callable[[], go.Figure]] = {}
        for family in families:
            one = FamilyFigures(family, documents, models)
            prefix = f"{family.name}/" if len(families) > 1 else ""
            self._makers |= {
                f"{prefix}models": one.models_plane,
                f"{prefix}models_bpb": partial(one.models_plane, "bpb"),
                f"{prefix}documents": one.documents_plane,
                f"{prefix}documents_bpb": partial(one.documents_plane, "bpb"),
                f"{prefix}perplexities": one.perplexities,
                f"{prefix}ratios": one.ratios,
                f"{prefix}size": one.size,
                f"{prefix}bits_per_weight": partial(one.size, "bits_per_weight"),
            }
        if len(families) > 1:
            self._makers["shared"] = partial(shared_plane, families, models)

    def __getitem__(self, name: str) -> go.Figure:
        if name not in self._makers:
            raise KeyError(f"there is no figure `{name}`; there are {', '.join(self._makers)}")
        return self._makers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def __repr__(self) -> str:
        return f"Figures({', '.join(self._makers)})"

    def convergence(self, document: str, model: str, family: str | None = None) -> go.Figure:
        """How the numbers of one document under one model settle, token by token.

        Args:
            document: its name.
            model: its label.
            family: its name, where several have such a document and model.

        Raises:
            ResultError: there are no such records.
        """
        chosen = (pl.col("document") == document) & (pl.col("model") == model)
        if family is not None:
            chosen &= pl.col("family") == family
        rows = self._tokens.filter(chosen)
        if rows.is_empty():
            raise ResultError(
                f"there are no tokens of `{document}` under `{model}`",
                hint="`result.documents` lists documents and models",
            )
        return convergence(running(rows))
