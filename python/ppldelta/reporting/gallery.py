"""All figures of a result by name, made when they are asked for: what notebooks and scripts take out.

The names are those of `catalogue.FIGURES`; a figure that the page has in both units stands here a second time, in bits
per byte, as ``models_bpb``. Of several families each name is ``family/name``, and ``shared`` sets the models of all of
them side by side.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from functools import partial

import plotly.graph_objects as go
import polars as pl

from ppldelta.analysis.curves import running
from ppldelta.errors import ResultError, UnknownFigureError
from ppldelta.family import Family
from ppldelta.reporting import captions, labels
from ppldelta.reporting.catalogue import FIGURES, SHARED, Description
from ppldelta.reporting.contents import AllFamilies
from ppldelta.reporting.convergence import convergence, of_models
from ppldelta.reporting.family_figures import FamilyFigures, numbered
from ppldelta.reporting.theme import Style, darkened
from ppldelta.reporting.units import UNITS, Choice, unit_of


def _captioned(described: Description[FamilyFigures], made: FamilyFigures, choice: Choice) -> go.Figure:
    """A figure with its title and its source: outside the page nothing else says what it is."""
    return captions.add(described.figure(made, choice), described.title or described.label, captions.source(made))


class Figures(Mapping[str, go.Figure]):
    """The figures of a result by name; see the head of this module. Each is made anew when it is asked for.

    Args:
        families: as in `Result.families`.
        documents: columns of `schema.DOCUMENTS`.
        models: columns of `schema.MODELS`.
        tokens: columns of `schema.TOKENS`.
        confidence: as `Result.confidence`; None if there is none.
        odds: as `Result.odds`; None if there is none.
    """

    def __init__(
        self,
        families: Sequence[Family],
        documents: pl.DataFrame,
        models: pl.DataFrame,
        tokens: pl.DataFrame,
        confidence: pl.DataFrame | None = None,
        odds: pl.DataFrame | None = None,
    ) -> None:
        self._tokens = tokens
        self._is_dark = False
        unit_of_all = unit_of(families)
        self._bits = unit_of_all == "bpb"
        self._makers: dict[str, Callable[[], go.Figure]] = {}
        self._styles: dict[str, Style] = {}
        for family, first in zip(families, numbered(families), strict=True):
            made = FamilyFigures(family, documents, models, confidence, odds, bits=self._bits, first=first)
            self._styles[family.name] = made.style
            prefix = f"{family.name}/" if len(families) > 1 else ""
            for each in FIGURES:
                if each.by_kind and not each.shown(made):
                    continue
                for unit in UNITS if "unit" in each.switches and not self._bits else [unit_of_all]:
                    end = "" if unit == unit_of_all else f"_{unit}"
                    if each.of == "family" and each.drawable(made):
                        self._makers[f"{prefix}{each.name}{end}"] = partial(_captioned, each, made, Choice(unit))
        everything = AllFamilies(families, models, ())
        if SHARED.shown(everything):
            names = ", ".join(family.ref.label for family in families)
            draw = partial(SHARED.figure, everything, Choice())
            self._makers[SHARED.name] = lambda: captions.add(draw(), SHARED.label, f"references {names}")

    def __getitem__(self, name: str) -> go.Figure:
        if name not in self._makers:
            near = difflib.get_close_matches(str(name), self._makers, n=1)
            there = f"there are {', '.join(f'`{each}`' for each in self._makers)}"
            hint = f"did you mean `{near[0]}`? {there}" if near else there
            raise UnknownFigureError(f"there is no figure `{name}`", hint=hint)
        figure = self._makers[name]()
        return darkened(figure) if self._is_dark else figure

    @property
    def dark(self) -> Figures:
        """The same figures for a dark ground, as the page has them in its dark colours."""
        dark = copy(self)
        dark._is_dark = True
        return dark

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def __repr__(self) -> str:
        return f"Figures({', '.join(self._makers)})"

    def convergence(self, document: str, model: str | None = None, family: str | None = None) -> go.Figure:
        """How the numbers of one document settle, token by token, under one model or all of them.

        Args:
            document: its name.
            model: its label; None for all models.
            family: its name, needed if several have such a document and model.

        Raises:
            ResultError: there are no such records.
        """
        chosen = pl.col("document") == document
        if model is not None:
            chosen &= pl.col("model") == model
        if family is not None:
            chosen &= pl.col("family") == family
        rows = self._tokens.filter(chosen)
        if rows.is_empty():
            raise ResultError(
                f"there are no tokens of `{document}`" + ("" if model is None else f" under `{model}`"),
                hint="`result.documents` lists documents and models",
            )
        if model is not None:
            figure = convergence(running(rows), bits=self._bits)
        else:
            if rows["family"].n_unique() > 1:
                raise ResultError(f"several families have `{document}`", hint="name one of them as `family`")
            rows = rows.with_columns(pl.col("model").cast(pl.String))
            curves = {label: running(rows.filter(model=label)) for label in labels.unique(rows, "model")}
            figure = of_models(curves, bits=self._bits, style=self._styles[str(rows["family"][0])])
        return darkened(figure) if self._is_dark else figure
