"""What a run gives: frames, a summary, a folder on disk, a report. Nothing here needs the models again.

What draws is imported where it is used: plotly and jinja2 take as long to import as all the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import polars as pl

from ppldelta import _core, schema
from ppldelta.analysis.confidence import confidence
from ppldelta.analysis.differences import differences
from ppldelta.analysis.kind_sums import TextKinds, kinds, kinds_by_family
from ppldelta.analysis.metrics import document_metrics, model_metrics
from ppldelta.analysis.odds import log_odds, odds_of_models
from ppldelta.analysis.references import references
from ppldelta.analysis.tails import find_tails
from ppldelta.errors import names_left_out
from ppldelta.family import Family
from ppldelta.reporting.as_text import as_text, summary
from ppldelta.reporting.budget import DEFAULT_VIEWS
from ppldelta.saved import folder as saved
from ppldelta.saved.run_file import Run
from ppldelta.surroundings import need_threads_of_polars
from ppldelta.wording.names import as_utf8

if TYPE_CHECKING:
    from ppldelta.cards.content import Content
    from ppldelta.reporting.gallery import Figures


@dataclass(frozen=True, repr=False, eq=False)
class Result:
    """Comparisons with one reference, or with several (a family each).

    Attributes:
        tokens: a row per scored token (with `align="bytes"` per span of text) and model, columns of `schema.TOKENS`;
            log-probabilities in nats.
        documents: a row per document and model, columns of `schema.DOCUMENTS`.
        models: a row per model, category (null: all documents) and weighting, columns of `schema.MODELS`.
        pieces: the bytes of each token that occurs in the documents, columns of `schema.PIECES`.
        texts: all tokens of each document, scored or not, columns of `schema.TEXTS`; empty if an older version
            saved the result.
        families: of each its `name`, `ref` and `cmp` (what is known of the models, a `ModelFacts` each), `signature`
            and more (`ppldelta.family.Family`).
        warnings: what the reader of the numbers should know, in sentences.
        folder: where the result was loaded from; None for a fresh one.
        left_out: what of the given is not in the result: kind (`errors.LeftOut`) → names. The warnings
            say why; empty if an older version saved the result.
    """

    tokens: pl.DataFrame
    documents: pl.DataFrame
    models: pl.DataFrame
    pieces: pl.DataFrame
    texts: pl.DataFrame
    families: list[Family]
    warnings: list[str] = field(default_factory=list)
    folder: str | None = None
    left_out: dict[str, list[str]] = field(default_factory=dict)

    @property
    def frames(self) -> dict[str, pl.DataFrame]:
        """The frames by name, in the order of `saved.folder.FRAMES`."""
        return {
            "tokens": self.tokens,
            "documents": self.documents,
            "models": self.models,
            "pieces": self.pieces,
            "texts": self.texts,
        }

    @property
    def signature(self) -> str:
        """Versions and settings that determine the numbers; a line per family if they differ."""
        return "\n".join(dict.fromkeys(str(family.signature) for family in self.families))

    @property
    def summary(self) -> pl.DataFrame:
        """The token-weighted values of each model over all documents: the table that `repr` shows."""
        return summary(self.families, self._overall)

    @property
    def _overall(self) -> pl.DataFrame:
        return self.models.filter(pl.col("category").is_null(), pl.col("weighting") == "tokens")

    @cached_property
    def confidence(self) -> pl.DataFrame:
        """KL divergence and agreement by how sure the reference was, with intervals: columns of `schema.CONFIDENCE`.

        A row for each model and bin of the probability of the reference's most probable token; no row without `kld`.
        Computed when it is first asked for (`analysis.confidence` has formulas and bins).
        """
        return confidence(self.tokens)

    @cached_property
    def differences(self) -> pl.DataFrame:
        """Paired differences between every two comparisons of a family: columns of `schema.DIFFERENCES`.

        A row for each pair, category (null: all documents) and metric, with an interval, a p value and Holm's
        correction of it. Computed when it is first asked for (`analysis.differences` has formulas and sources).
        """
        return differences(self.documents)

    @cached_property
    def references(self) -> pl.DataFrame:
        """Which reference of several families predicts the text better: columns of `schema.REFERENCES`.

        A row for every two families that scored the same bytes, and each category (null: all documents), with a paired
        difference of bits per byte, its interval and p values; no row with one family (`analysis.references`).
        """
        return references(self.documents)

    @cached_property
    def odds(self) -> pl.DataFrame:
        """Log-odds of two labels of completions, such as `comply` and `refuse`: columns of `schema.ODDS`.

        A row for each comparison and group of documents that has completions of both labels; no row if no document
        has a group and a label. Computed when it is first asked for (`analysis.odds` has formulas and reasons).
        """
        return log_odds(self.tokens, self.documents, self.texts, self.pieces)

    @cached_property
    def odds_models(self) -> pl.DataFrame:
        """What `odds` says of each comparison, with intervals: columns of `schema.ODDS_MODELS`."""
        return odds_of_models(self.odds)

    @cached_property
    def kinds(self) -> pl.DataFrame:
        """What was gained and lost by the kind of the token, such as digits or indentation: columns of `schema.KINDS`.

        A row for each model and kind that it has; none without texts. Computed when it is first asked for
        (`analysis.kinds` has the rules, docs/kinds.md says what they are worth).
        """
        return kinds(self.tokens, self._text_kinds)

    @cached_property
    def _text_kinds(self) -> dict[str, TextKinds]:
        return kinds_by_family(self.texts, self.pieces)

    @property
    def figures(self) -> Figures:
        """The report's figures as plotly figures, by name: ``result.figures["models"]`` and so on."""
        from ppldelta.reporting.gallery import Figures

        return Figures(self.families, self.documents, self.models, self.tokens, self.confidence, self.odds)

    def report(self, path: str | os.PathLike[str], *, tokens: int | Literal["all"] = DEFAULT_VIEWS) -> Path:
        """Writes the interactive report, which needs no network, and returns the path of its page.

        Args:
            path: a name that ends in `.html` or `.htm` for one file that holds everything; any other for a folder with
                an `index.html`, which loads the data files beside it when they are needed, also from disk.
            tokens: how many documents can be read token by token: those with the largest |delta| under any model, as
                far as one file has room, and those with a passage that the report lists; or "all".

        Raises:
            ResultError: a file cannot be written.
            PpldeltaError: `tokens` is neither a number of documents nor "all", or this process is a fork that cannot
                use polars.
        """
        index = self._write_report(Path(path), tokens)
        self._reports.append(index)
        return index

    @cached_property
    def _reports(self) -> list[Path]:
        """Pages that were written, the last one last: a notebook names it."""
        return [] if self.folder is None else [Path(self.folder) / "report.html"]

    @property
    def _content(self) -> Content:
        from ppldelta.cards.content import take

        return take(self.families, self.documents, self.models, _core.__version__, tokens=self.tokens)

    def _write_report(self, path: Path, tokens: int | Literal["all"]) -> Path:
        need_threads_of_polars()
        from ppldelta.pages import write_report

        more = {"confidence": self.confidence, "odds": self.odds, "odds_models": self.odds_models, "kinds": self.kinds}
        return write_report(
            path,
            self.frames | more,
            self.families,
            signature=self.signature,
            warnings=self.warnings,
            version=_core.__version__,
            n_views=tokens,
            text_kinds=self._text_kinds,
        )

    def save(self, folder: str | os.PathLike[str], *, tokens: int | Literal["all"] = DEFAULT_VIEWS) -> Path:
        """Writes `report.html`, the frames as parquet, and `run.json` into a folder, and returns it.

        `run.json` holds the sha256 of each of the others and of its own content, which `load` and `verify` look at.

        Everything is written beside the folder's own files first and takes their place at the end, `run.json` last:
        a full disk or an interrupt leaves an older result whole, or a folder that `load` refuses.

        Args:
            folder: is made if it is not there.
            tokens: documents that can be read token by token in `report.html`, as in `report`.

        Raises:
            ResultError: something cannot be written.
            PpldeltaError: as `report`.
        """
        need_threads_of_polars()
        run = Run(_core.__version__, self.families, self.warnings, self.left_out)
        written = saved.write(folder, self.frames, run, lambda path: self._write_report(path, tokens))
        self._reports.append(written / "report.html")
        return written

    def card(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Writes one picture that says the result, and its numbers for model pages and scripts (docs/card.md).

        Args:
            folder: for `card.svg` and `card.png` (1200 × 675), `card-square.*` (1080 × 1080), both with `-dark`, and
                for `card.md`, `results.json` and `.eval_results/ppldelta.yaml`, whose paths are returned.

        Raises:
            ResultError: a file cannot be written.
            PpldeltaError: as `report`.
        """
        need_threads_of_polars()
        from ppldelta.cards.write import write_card

        return write_card(self._content, Path(folder))

    def __repr__(self) -> str:
        return as_text(self.families, self._overall, self.odds_models, reference_pairs=self.references)

    def _repr_html_(self) -> str:
        need_threads_of_polars()
        from ppldelta.cards.notebook import result_html

        return result_html(self._content, self.models, self._reports)


def make_result(
    tokens: pl.DataFrame,
    pieces: pl.DataFrame,
    corpus: pl.DataFrame,
    texts: pl.DataFrame,
    families: list[Family],
    warnings: list[str],
) -> Result:
    """Computes the frames of documents and models from token records.

    Args:
        tokens: columns of `schema.TOKENS`.
        pieces: columns of `schema.PIECES`, for every token that occurs in `tokens`.
        corpus: columns of `schema.CORPUS`, for every document that occurs in `tokens`.
        texts: columns of `schema.TEXTS`, for the same documents.
        families: one or several, of which `tokens` names all comparisons.
        warnings: sentences for the reader; a `LeftOut` among them also says what was left out.
    """
    tails = find_tails(tokens, corpus)
    documents = document_metrics(tokens, pieces, corpus, tails)
    return Result(
        tokens,
        documents,
        model_metrics(documents, schema.sizes(families), tails),
        pieces,
        texts,
        families,
        list(map(str, warnings)),
        left_out=names_left_out(warnings),
    )


def load(folder: str | os.PathLike[str]) -> Result:
    """Reads what `Result.save` wrote, and refuses it if a table or `run.json` is no longer what was saved.

    A folder of an older version, whose `run.json` holds no hashes, is read as it is. `verify` also looks at the report.

    Raises:
        ResultError: the folder holds no result, one that is not as it was saved, or one of a newer format.
        PpldeltaError: this process is a fork that cannot use polars.
    """
    need_threads_of_polars()
    frames, run = saved.read(Path(folder))
    return Result(
        **frames,
        families=run.families,
        warnings=run.warnings,
        folder=as_utf8(os.path.abspath(folder)),
        left_out=run.left_out,
    )


def report(
    results: Iterable[Result] | Result,
    path: str | os.PathLike[str],
    *,
    tokens: int | Literal["all"] = DEFAULT_VIEWS,
    same_bytes: bool = True,
) -> Path:
    """Writes one report of several results, a family each, and returns the path of its page.

    Args:
        results: one or several; families of one name are told apart by what differs, such as corpus or settings.
        path: one file or a folder, as in `Result.report`.
        tokens: documents that can be read token by token, all families together, as in `Result.report`.
        same_bytes: whether, of several families, only the bytes count that all of them scored; a warning in the report
            says how many they are. Without it, families with different tokenizers stand on different bytes.

    Raises:
        ResultError: no result is given, or a file cannot be written.
        PpldeltaError: as `Result.report`.
    """
    need_threads_of_polars()
    results = [results] if isinstance(results, Result) else list(results)
    from ppldelta.merging import merge

    return merge(results, same_bytes=same_bytes).report(path, tokens=tokens)
