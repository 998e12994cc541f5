"""The list of figures: `Result.figures`, the page and its scripts follow from it, and a new figure is one entry here.

`Description.of` decides where a figure is found. `Result.figures` and the page have the figures of each family and, if
there are several families, the one that they share. Only the page has a small figure for each category, and a figure of
the document that is open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Generic, Literal, TypeVar

import plotly.graph_objects as go

from ppldelta.reporting import contents, marks
from ppldelta.reporting.blocks import Json
from ppldelta.reporting.contents import AllFamilies, Styled
from ppldelta.reporting.convergence import NO_CURVE, convergence
from ppldelta.reporting.family_figures import FamilyFigures, shared_plane
from ppldelta.reporting.sketch import Sketch, bare
from ppldelta.reporting.units import AXES, UNITS, WEIGHTINGS, Axes, Choice, Unit, Weighting

Switch = Literal["unit", "axes", "weighting", "category"]
"""A control of the page. A figure that follows it by being another one is drawn for each of its positions."""

Section = Literal["models", "prompts", "documents", "tokens", "categories", "ratios"]
"""Where in the page a figure stands."""

Filling = Literal["deltas", "perplexities", "divergences", "selection", "curve"]
"""What the page's scripts draw into a figure: the documents at their gain and loss, at both perplexities, or at their
divergence and delta; what the selected documents alone say of each model; or the curve of the document that is open."""

MOST_SMALL_PLANES = 9
"""Categories that get a plane of their own; beyond that the switch, the table and the ratios have to do."""


Drawn = TypeVar("Drawn", bound=Styled)


@dataclass(frozen=True)
class Description(Generic[Drawn]):
    """One figure.

    Attributes:
        name: of the figure, in `Result.figures` and in the page.
        section: the section of the page in which it stands.
        title: what the page writes above it.
        label: what it shows, for those who do not see it.
        draw: makes it of a family (or of all of them) for a choice.
        switches: the controls of the page that it follows by being another figure.
        filling: what the scripts draw into it.
        drawable: whether there is anything to draw; if not, neither page nor `Result.figures` has it.
        shown: whether the page has a place for it.
        wide: whether it takes the page's whole width, beside others that do not.
        of: what one such figure is about; see the head of this module.
        by_kind: whether `Result.figures` has it only where the page has.
    """

    name: str
    section: Section
    title: str
    label: str
    draw: Callable[[Drawn, Choice], go.Figure | Sketch]
    switches: tuple[Switch, ...] = ()
    filling: Filling | None = None
    drawable: Callable[[Drawn], bool] = contents.always
    shown: Callable[[Drawn], bool] = contents.always
    wide: bool = False
    of: Literal["families", "family", "category", "document"] = "family"
    by_kind: bool = False

    def figure(self, made: Drawn, choice: Choice) -> go.Figure:
        """The figure for a choice, in which models that share a colour are told apart."""
        return marks.tell_apart(_figure(self.draw(made, choice)), made.style)

    def plain(self, made: Drawn, choice: Choice) -> dict[str, Json]:
        """The same as JSON, without the template that all share."""
        drawn = self.draw(made, choice)
        if isinstance(drawn, Sketch) and not made.style.again:  # else plotly has to say what is told apart
            marks.square_quants(drawn.traces, made.style)
            return drawn.plain()
        return bare(marks.tell_apart(_figure(drawn), made.style))

    @property
    def selectable(self) -> bool:
        """Whether it shows documents, of which the reader may select some."""
        return self.filling in ("deltas", "perplexities", "divergences")

    @property
    def follows(self) -> tuple[str, ...]:
        """The changes by a reader after which the page draws the figure again."""
        if self.of == "document":
            return ()
        filtered = ("category", "selection") if self.selectable else ()
        return tuple(dict.fromkeys((*self.switches, *filtered, *(["selection"] if self.filling else []), "hidden")))

    @property
    def whole(self) -> bool:
        """Whether it shows all documents whatever category is chosen. The page then says so."""
        return self.of == "family" and "category" not in self.follows

    def key(self, choice: Choice) -> str:
        """The name of the figure for one choice, in the page's data."""
        return "/".join([self.name, *choice.parts(self._parts)])

    def pattern(self, category: str | None = None) -> str:
        """The same name with switches in braces; the page puts the reader's choice of the moment in their place.

        Args:
            category: whose figure it is, if there is one for each category.
        """
        values = {switch: f"{{{switch}}}" for switch in self.switches}
        return "/".join([self.name, *(values.get(switch, f"={category}") for switch in self._parts)])

    def choices(self, categories: Sequence[str]) -> Iterator[Choice]:
        """Every choice for which the page needs a figure of its own."""
        units: Sequence[Unit] = list(UNITS) if "unit" in self.switches else [Choice().unit]
        spacings: Sequence[Axes] = list(AXES) if "axes" in self.switches else [Choice().axes]
        weightings: Sequence[Weighting] = list(WEIGHTINGS) if "weighting" in self.switches else [Choice().weighting]
        scopes: list[str | None] = [] if self.of == "category" else [None]
        if self.of == "category" or ("category" in self.switches and len(categories) > 1):
            scopes += categories
        return (Choice(*each) for each in product(units, spacings, weightings, scopes))

    @property
    def _parts(self) -> tuple[Switch, ...]:
        return (*self.switches, "category") if self.of == "category" else self.switches


def _figure(drawn: go.Figure | Sketch) -> go.Figure:
    return drawn.figure() if isinstance(drawn, Sketch) else drawn


FIGURES: tuple[Description[FamilyFigures], ...] = (
    Description(
        "models",
        "models",
        "Gain and loss",
        "Gain against loss of each model",
        lambda made, choice: made.models_plane(choice),
        switches=("unit", "axes", "weighting", "category"),
        filling="selection",
    ),
    Description(
        "documents",
        "documents",
        "Gain and loss",
        "Gain against loss of every document",
        lambda made, choice: made.documents_plane(choice),
        switches=("unit", "axes", "category"),
        filling="deltas",
    ),
    Description(
        "perplexities",
        "documents",
        "Perplexity, reference and model",
        "Perplexity of the reference against that of the model for every document",
        lambda made, _: made.perplexities(),
        filling="perplexities",
        drawable=contents.by_token,
    ),
    Description(
        "bits",
        "documents",
        "Bits per byte, reference and model",
        "Bits per byte of the reference against those of the model for every document",
        lambda made, _: made.perplexities(),
        filling="perplexities",
        drawable=contents.in_bits,
    ),
    Description(
        "ratios",
        "ratios",
        "",
        "Mean ratios of perplexities of each model",
        lambda made, _: made.mean_ratios(),
        drawable=contents.by_token,
    ),
    Description(
        "size",
        "models",
        "Quality against size",
        "Gain − loss of each model against its size",
        lambda made, choice: made.quality_against("size_bytes", choice),
        switches=("unit", "weighting", "category"),
        shown=contents.has_sizes,
    ),
    Description(
        "bits_per_weight",
        "models",
        "Quality against bits per weight",
        "Gain − loss of each model against its bits per weight",
        lambda made, choice: made.quality_against("bits_per_weight", choice),
        switches=("unit", "weighting", "category"),
        shown=contents.bits_differ,
    ),
    Description(
        "damage",
        "models",
        "Damage of quants against size",
        "Damage of each quant against its size",
        lambda made, choice: made.damage_against("damage", "size_bytes", choice),
        switches=("unit", "weighting", "category"),
        shown=contents.has_quants,
        by_kind=True,
    ),
    Description(
        "quant_divergence",
        "models",
        "KL divergence of quants against bits per weight",
        "KL divergence of each quant against its bits per weight",
        lambda made, choice: made.damage_against("kld", "bits_per_weight", choice),
        switches=("weighting", "category"),
        shown=contents.has_quant_divergence,
        by_kind=True,
    ),
    Description(
        "divergence",
        "models",
        "KL divergence",
        "Mean KL divergence of each model from the reference, and its tail",
        lambda made, choice: made.models_divergence(choice),
        switches=("weighting", "category"),
        drawable=contents.diverging,
    ),
    Description(
        "confidence",
        "models",
        "KL divergence by how sure the reference was",
        "Mean KL divergence of each model by the probability of the reference's most probable token",
        lambda made, _: made.divergence_by_confidence(),
        drawable=contents.has_confidence,
    ),
    Description(
        "document_divergence",
        "documents",
        "How much changed, and which way",
        "Gain − loss against mean KL divergence of every document",
        lambda made, _: made.documents_divergence(),
        filling="divergences",
        drawable=contents.diverging,
        wide=True,
    ),
    Description(
        "odds",
        "prompts",
        "Log-odds of each prompt, reference and model",
        "Log-odds of each prompt under the reference against those under the model",
        lambda made, choice: made.odds_plane(choice),
        switches=("category",),
        drawable=contents.has_odds,
    ),
    Description(
        "corpus_convergence",
        "documents",
        "How the numbers settle over the documents",
        "Running ratio of perplexities of all models along the documents, with intervals",
        lambda made, _: made.convergence(),
        wide=True,
    ),
    Description(
        "small",
        "categories",
        "",  # the category's name
        "Gain against loss of each model",
        lambda made, choice: made.small_plane(choice),
        switches=("unit", "axes", "weighting"),
        shown=lambda made: 1 < len(made.categories) <= MOST_SMALL_PLANES,
        of="category",
    ),
    Description(
        "convergence",
        "tokens",
        "How the document’s numbers settle",
        "Running ratio of perplexities and sum of deltas along the document",
        lambda made, _: convergence(NO_CURVE, bits=made.bits),
        filling="curve",
        of="document",
    ),
)
"""The figures of one family, in the order of `Result.figures`, and within each section in the order of the page."""

SHARED: Description[AllFamilies] = Description(
    "shared",
    "models",
    "Bits per byte",
    "Gain against loss of the models of all families",
    lambda all_, choice: shared_plane(all_.families, all_.models, choice),
    switches=("axes", "weighting", "category"),
    shown=lambda all_: len(all_.families) > 1,
    of="families",
)
"""The figure of several families."""
