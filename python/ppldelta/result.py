"""What a run gives: frames, a summary, a folder on disk, a report. Nothing here needs the models again.

What draws is imported where it is used: plotly and jinja2 take as long to import as all the rest.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from ppldelta import _core, schema
from ppldelta.analysis.metrics import document_metrics, model_metrics
from ppldelta.errors import ResultError
from ppldelta.report.budget import BUDGET, DEFAULT_VIEWS
from ppldelta.report.payload import make_payload
from ppldelta.saving import prepare_folder, write_whole
from ppldelta.surroundings import need_threads_of_polars
from ppldelta.text.names import as_utf8

if TYPE_CHECKING:
    from ppldelta.report.gallery import Figures

FORMAT = 1
"""Version of the folder that `Result.save` writes, in `run.json`."""

FRAMES = {
    "tokens": schema.TOKENS,
    "documents": schema.DOCUMENTS,
    "models": schema.MODELS,
    "pieces": schema.PIECES,
    "texts": schema.TEXTS,
}
"""The frames of a result, which are its files too."""

_ADDED_LATER = {"texts"}
"""Frames that older folders of the same format lack; they are empty then."""


@dataclass(frozen=True, repr=False, eq=False)
class Result:
    """Comparisons with one reference, or with several (a family each).

    Attributes:
        tokens: a row per scored token and model, columns of `schema.TOKENS`; log-probabilities in nats.
        documents: a row per document and model, columns of `schema.DOCUMENTS`.
        models: a row per model, category (null: all documents) and weighting, columns of `schema.MODELS`.
        pieces: the bytes of each token that occurs in the documents, columns of `schema.PIECES`.
        texts: all tokens of each document, scored or not, columns of `schema.TEXTS`; empty where an older version
            saved the result.
        families: for each family its name, `ref` and `cmp` (what was known of the model files), and signature.
        warnings: what the reader of the numbers should know, in sentences.
        folder: where the result was loaded from; None for a fresh one.
    """

    tokens: pl.DataFrame
    documents: pl.DataFrame
    models: pl.DataFrame
    pieces: pl.DataFrame
    texts: pl.DataFrame
    families: list[dict[str, Any]]
    warnings: list[str] = field(default_factory=list)
    folder: str | None = None

    @property
    def signature(self) -> str:
        """Versions and settings that determine the numbers; a line per family where they differ."""
        return "\n".join(dict.fromkeys(str(family["signature"]) for family in self.families))

    @property
    def summary(self) -> pl.DataFrame:
        """The token-weighted values of each model over all documents: the table that `repr` shows."""
        columns = ["family"] if len(self.families) > 1 else []
        columns += ["model", "n_documents", "n_scored", "ppl_ref", "ppl_cmp", "gain", "loss", "delta"]
        columns += ["gain_bpb", "loss_bpb"]
        return self.models.filter(pl.col("category").is_null(), pl.col("weighting") == "tokens").select(columns)

    @property
    def figures(self) -> Figures:
        """The report's figures as plotly figures, by name: ``result.figures["models"]`` and so on."""
        from ppldelta.report.gallery import Figures

        return Figures(self.families, self.documents, self.models, self.tokens)

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
        need_threads_of_polars()
        from ppldelta.report.folder import remove_stale
        from ppldelta.report.render import render_report

        path = Path(path)
        folder = path.suffix.lower() not in (".html", ".htm")
        payload = make_payload(
            tokens=self.tokens,
            documents=self.documents,
            pieces=self.pieces,
            texts=self.texts,
            families=self.families,
            n_views=tokens,
            budget=None if folder else BUDGET,
        )
        page = render_report(
            documents=self.documents,
            models=self.models,
            families=self.families,
            signature=self.signature,
            warnings=self.warnings,
            version=_core.__version__,
            payload=payload,
            folder=folder,
        )
        for name, text in page.files.items():
            write_whole(path / name, text.encode())
        index = path / "index.html" if folder else path
        write_whole(index, page.html.encode())
        if folder:
            remove_stale(path, keep=page.files)
        return index

    def save(self, folder: str | os.PathLike[str], *, tokens: int | Literal["all"] = DEFAULT_VIEWS) -> Path:
        """Writes `report.html`, the frames as parquet, and `run.json` into a folder, and returns it.

        Everything is written beside the folder's own files first and takes their place at the end, `run.json` last:
        a full disk or an interrupt leaves an older result whole, or a folder that `load` refuses.

        Args:
            folder: is made where it is not there.
            tokens: documents that can be read token by token in `report.html`, as in `report`.

        Raises:
            ResultError: something cannot be written.
            PpldeltaError: as `report`.
        """
        need_threads_of_polars()
        folder = prepare_folder(folder)
        run = {
            "format": FORMAT,
            "ppldelta": _core.__version__,
            "families": self.families,
            "warnings": self.warnings,
        }
        try:
            with tempfile.TemporaryDirectory(prefix=".ppldelta-", dir=folder) as name:
                fresh = Path(name)
                for frame in FRAMES:
                    getattr(self, frame).write_parquet(fresh / f"{frame}.parquet")
                self.report(fresh / "report.html", tokens=tokens)
                (fresh / "run.json").write_bytes(json.dumps(run, indent=2, ensure_ascii=False).encode() + b"\n")
                (folder / "run.json").unlink(missing_ok=True)
                for frame in FRAMES:
                    (fresh / f"{frame}.parquet").replace(folder / f"{frame}.parquet")
                (fresh / "report.html").replace(folder / "report.html")
                (fresh / "run.json").replace(folder / "run.json")
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ResultError(
                f"cannot write to `{folder}`: {error}", hint="free some space or name another folder"
            ) from error
        return folder

    def __repr__(self) -> str:
        references = ", ".join(f"`{family['ref']['label']}`" for family in self.families)
        with pl.Config(
            tbl_rows=-1,
            tbl_cols=-1,
            tbl_width_chars=160,
            tbl_hide_dataframe_shape=True,
            tbl_hide_column_data_types=True,
            float_precision=4,
            thousands_separator=",",
            tbl_formatting="UTF8_BORDERS_ONLY",
            tbl_cell_numeric_alignment="RIGHT",
        ):
            table = str(self.summary)
        note = "gain, loss, delta: nats per token; *_bpb: bits per byte; every token weighs the same"
        return f"Compared with {references}:\n{table}\n{note}"

    def _repr_html_(self) -> str:
        return self.summary._repr_html_()


def make_result(
    tokens: pl.DataFrame,
    pieces: pl.DataFrame,
    corpus: pl.DataFrame,
    texts: pl.DataFrame,
    families: list[dict[str, Any]],
    warnings: list[str],
) -> Result:
    """Computes the frames of documents and models from token records.

    Args:
        tokens: columns of `schema.TOKENS`.
        pieces: columns of `schema.PIECES`, for every token that occurs in `tokens`.
        corpus: columns of `schema.CORPUS`, for every document that occurs in `tokens`.
        texts: columns of `schema.TEXTS`, for the same documents.
        families: a dict per family with `family`, `ref`, `cmp` (label, size_bytes, bits_per_weight, n_params …)
            and `signature`.
        warnings: sentences for the reader.
    """
    documents = document_metrics(tokens, pieces, corpus)
    columns = ("size_bytes", "bits_per_weight", "n_params")
    facts = pl.DataFrame(
        [
            {"family": family["family"], "model": cmp["label"], **{column: cmp[column] for column in columns}}
            for family in families
            for cmp in family["cmp"]
        ],
        schema={"family": pl.String(), "model": pl.String(), **{column: schema.MODELS[column] for column in columns}},
    )
    return Result(tokens, documents, model_metrics(documents, facts), pieces, texts, families, warnings)


def load(folder: str | os.PathLike[str]) -> Result:
    """Reads what `Result.save` wrote.

    Raises:
        ResultError: the folder holds no result, a damaged one, or one of a newer format.
        PpldeltaError: this process is a fork that cannot use polars.
    """
    need_threads_of_polars()
    folder = Path(folder)
    for name in ("run.json", *(f"{name}.parquet" for name in FRAMES if name not in _ADDED_LATER)):
        if not (folder / name).is_file():
            raise ResultError(
                f"`{folder}` holds no result: there is no `{name}`",
                hint="name a folder that `ppldelta score -o` or `Result.save` wrote",
            )
    try:
        run = json.loads((folder / "run.json").read_bytes())
        if run["format"] > FORMAT:
            raise ResultError(
                f"`{folder}` was written in format {run['format']}; this version reads up to {FORMAT}",
                hint="upgrade ppldelta",
            )
        families, warnings = run["families"], run["warnings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultError(f"`{folder / 'run.json'}` is damaged: {error!r}", hint="score again") from error
    frames = {name: _read_frame(folder, name) for name in FRAMES}
    return Result(**frames, families=families, warnings=warnings, folder=as_utf8(os.path.abspath(folder)))


def _read_frame(folder: Path, name: str) -> pl.DataFrame:
    """One of the frames, with exactly the columns that its schema names."""
    path = folder / f"{name}.parquet"
    if name in _ADDED_LATER and not path.exists():
        return pl.DataFrame(schema=FRAMES[name])
    try:
        frame = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ResultError(f"`{path}` is damaged: {error}", hint="score again") from error
    for column, dtype in FRAMES[name].items():
        found = frame.schema.get(column)
        if found != dtype:
            raise ResultError(
                f"`{path}` needs a column `{column}` of {dtype}, got {found or 'none'}", hint="score again"
            )
    return frame.select(list(FRAMES[name]))


def report(
    results: Iterable[Result] | Result,
    path: str | os.PathLike[str],
    *,
    tokens: int | Literal["all"] = DEFAULT_VIEWS,
) -> Path:
    """Writes one report of several results, a family each, and returns the path of its page.

    Args:
        results: one or several; families of one name are told apart by what differs, such as corpus or settings.
        path: one file or a folder, as in `Result.report`.
        tokens: documents that can be read token by token, all families together, as in `Result.report`.

    Raises:
        ResultError: no result is given, or a file cannot be written.
        PpldeltaError: as `Result.report`.
    """
    need_threads_of_polars()
    results = [results] if isinstance(results, Result) else list(results)
    if not results:
        raise ResultError("no result is given", hint="name at least one saved result")
    from ppldelta.merging import merge

    return merge(results).report(path, tokens=tokens)
