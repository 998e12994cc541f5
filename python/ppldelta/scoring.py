"""The main job: documents × models → token records.

Every model is asked first whether it splits the documents into the reference's tokens, before any time is spent
on evaluating; then one model after the other is evaluated on the same windows, in a process of its own.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

import loky
import numpy as np
import polars as pl
from numpy.typing import NDArray
from tqdm.auto import tqdm

from ppldelta import schema
from ppldelta.engine.native import ModelInfo
from ppldelta.engine.plan import (
    PlannedDocument,
    Settings,
    beyond_training,
    check_comparison,
    plan_documents,
    refuse_unscorable,
)
from ppldelta.engine.remote import RemoteModel, Session
from ppldelta.engine.store import Key, Store, tokens_hash
from ppldelta.engine.worker import ContextSize
from ppldelta.errors import ModelError
from ppldelta.models.identity import content_hash
from ppldelta.models.references import ModelLike, ModelReference, model_files, resolve, resolve_many, unique_labels
from ppldelta.result import Result, make_result
from ppldelta.text.documents import Files, corpus_path, load_documents
from ppldelta.text.names import as_utf8, printable

DEFAULT_N_UBATCH = 128


@dataclass(frozen=True)
class Evaluation:
    """One model's log-probabilities: an array of shape [n_scored] (float32, nats) for each planned document."""

    reference: ModelReference
    info: ModelInfo
    logp: list[NDArray[np.float32]]
    time_s: float

    def entry(self, sha256: str) -> dict[str, object]:
        """What `run.json` says of the model."""
        return {
            "label": self.reference.label,
            "path": as_utf8(self.reference.path),
            "sha256": sha256,
            "bits_per_weight": self.info.bits_per_weight,
            **dataclasses.asdict(self.info),
            "time_s": round(self.time_s, 3),
        }


def score(
    files: Files,
    ref: ModelLike,
    cmp: ModelLike | Iterable[ModelLike] | Mapping[str, ModelLike],
    *,
    n_ctx: int | None = None,
    windows: str = "perplexity",
    max_windows: int | None = None,
    n_gpu_layers: int | None = None,
    n_ubatch: int = DEFAULT_N_UBATCH,
    threads: int | None = None,
    store: str | os.PathLike[str] | bool | None = True,
    executor: Executor | None = None,
    progress: bool = True,
) -> Result:
    """Compares models with a reference, token by token, on real documents.

    Args:
        files: a folder, a glob, paths, or a mapping name → text. A document's category is its first folder.
        ref: the reference, a GGUF file.
        cmp: one or several comparisons, or a mapping label → GGUF file.
        n_ctx: most tokens that are evaluated together; by default min(8192, the reference's training context).
        windows: which tokens are scored. `"perplexity"` scores the second half of every window of `n_ctx` tokens, as
            llama-perplexity does; `"every"` scores every token of a document exactly once.
        max_windows: at most this many windows of each document (llama-perplexity's `--chunks`).
        n_gpu_layers: layers to put on the GPU; by default all where a GPU backend is built in.
        n_ubatch: tokens evaluated at once. More needs more memory (n_ubatch × n_vocab float32 logits).
        threads: CPU threads; by default the number of physical cores.
        store: the SQLite file that keeps what was evaluated, document by document, so that no model is ever evaluated
            twice on the same tokens and an interrupted run goes on where it stopped. By default (True) one in the
            user's cache folder, or what the environment variable `PPLDELTA_STORE` names; None for no store.
        executor: where models are loaded and evaluated; by default a worker process on this machine, which keeps the
            models for the next call and ends when it is idle. Any other `concurrent.futures.Executor` will do, such as
            Dask's `client.get_executor()`; its workers must find the model files under the same paths.
        progress: show a bar with tokens/s and the time left for each model, on stderr.

    Returns:
        A `Result` with the frames `tokens`, `documents` and `models`.

    Raises:
        CorpusError: no document matched, or none is long enough to score.
        ModelError: a model cannot be found, read, or evaluated, or ended its worker process. A comparison that fails
            while it is evaluated is left out with a warning, as long as another one is there.
        TokenizerMismatchError: a comparison splits a document into other tokens than the reference does.
        StoreError: the store cannot be opened, read or written.
        PpldeltaError: an argument is out of its range.
    """
    settings = Settings(
        windows=windows,
        n_ctx=n_ctx,
        max_windows=max_windows,
        n_gpu_layers=n_gpu_layers,
        n_ubatch=n_ubatch,
        threads=loky.cpu_count(only_physical_cores=True) if threads is None else threads,
    )
    reference, *comparisons = unique_labels([resolve(ref), *resolve_many(cmp)])
    with Session(executor) as session, _opened(store) as kept:
        documents, warnings = load_documents(files)

        # all that can be refused is refused before the first window is evaluated
        model = session.model(reference, n_gpu_layers=n_gpu_layers)
        model.load()
        refuse_unscorable(model.info, reference.label)
        settings = settings.for_model(model.info)
        planned, too_short = plan_documents(documents, model, settings)
        warnings += too_short + beyond_training(model.info, reference.label, planned)
        judged = [session.model(comparison, n_gpu_layers=n_gpu_layers) for comparison in comparisons]
        for comparison, candidate in zip(comparisons, judged, strict=True):
            warnings += check_comparison(comparison, candidate, planned, reference, model)
        hashes = _hashes([reference, *comparisons], kept, progress)
        pieces = _pieces(model, planned, reference.label)

        keys = _Keys(settings, model, planned)
        evaluation = _evaluate(model, planned, settings, kept, keys.of(hashes[reference.path]), progress)
        evaluations = []
        failures = []
        for candidate in judged:
            mine = keys.of(hashes[candidate.reference.path])
            try:
                evaluations.append(_evaluate(candidate, planned, settings, kept, mine, progress))
            except ModelError as error:
                failures.append(error)
    if not evaluations:
        raise failures[0]
    warnings += [f"{failure.message}; this model is left out." for failure in failures]

    tokens = _token_records(planned, evaluation, evaluations)
    corpus = pl.DataFrame(
        {
            "family": [reference.label] * len(planned),
            "document": [plan.document.name for plan in planned],
            "category": [plan.document.category for plan in planned],
            "n_tokens": [len(plan.tokens) for plan in planned],
        },
        schema=schema.CORPUS,
    )
    texts = pl.DataFrame(
        {
            "family": corpus["family"],
            "document": corpus["document"],
            "tokens": pl.Series([plan.tokens for plan in planned], dtype=schema.TEXTS["tokens"]),
        },
        schema=schema.TEXTS,
    )
    family = {
        "family": reference.label,
        "ref": evaluation.entry(hashes[reference.path]),
        "cmp": [each.entry(hashes[each.reference.path]) for each in evaluations],
        "signature": settings.signature(model.build),
        "system": model.build.system,
        "devices": list(model.build.devices),
        "corpus": corpus_path(files),
        "n_fed": sum(plan.n_fed for plan in planned),
    }
    return make_result(tokens, pieces, corpus, texts, [family], warnings)


def _opened(store: str | os.PathLike[str] | bool | None) -> AbstractContextManager[Store | None]:
    """The store that is to be used, if any."""
    if store is None or store is False:
        return nullcontext()
    return Store(None if store is True else store)


class _Keys:
    """What the store files each document under."""

    def __init__(self, settings: Settings, model: RemoteModel, planned: list[PlannedDocument]) -> None:
        bos = model.info.bos if model.info.add_bos else None
        self._windows = f"{settings.windows}|n_ctx:{settings.n_ctx}|max_windows:{settings.max_windows}|bos:{bos}"
        self._engine = settings.signature(model.build)
        self._tokens = [tokens_hash(plan.tokens) for plan in planned]

    def of(self, sha256: str) -> list[Key]:
        """The keys of all documents for the model of this content."""
        return [Key(sha256, tokens, self._windows, self._engine) for tokens in self._tokens]


def _hashes(references: list[ModelReference], store: Store | None, progress: bool) -> dict[Path, str]:
    """Content hash of each model file, read once where two labels share it."""
    paths = list(dict.fromkeys(reference.path for reference in references))
    total = sum(part.stat().st_size for path in paths for part in model_files(path) if part.exists())
    with tqdm(
        total=total, desc="reading the models", unit="B", unit_scale=True, disable=not progress, leave=False, delay=1
    ) as bar:
        read = store.content_hash if store else content_hash
        return {path: read(path, bar.update) for path in paths}


def _pieces(model: RemoteModel, planned: list[PlannedDocument], family: str) -> pl.DataFrame:
    """The bytes of every token that occurs, as `schema.PIECES`."""
    tokens = np.unique(np.concatenate([plan.tokens for plan in planned]))
    return pl.DataFrame(
        {"family": [family] * len(tokens), "token": tokens, "piece": model.pieces(tokens)}, schema=schema.PIECES
    )


def _evaluate(
    model: RemoteModel,
    planned: list[PlannedDocument],
    settings: Settings,
    store: Store | None,
    keys: list[Key],
    progress: bool,
) -> Evaluation:
    """Log-probabilities of one model on all windows: from the store where it has them, else evaluated and stored.

    Raises:
        ModelError: llama.cpp fails, its process is ended, or the model's logits are not finite.
        StoreError: the store fails; what is in it stays.
    """
    label = model.reference.label
    info = model.load()
    # not the longest window's length: a document's numbers must not depend on the documents around it
    size = ContextSize(settings.n_ctx, settings.n_ubatch, settings.threads)
    known = store.get(keys) if store else {}
    logp = [known.get(key, np.empty(0, np.float32)) for key in keys]
    todo = [i for i, key in enumerate(keys) if key not in known]
    time_s = 0.0
    with (
        tqdm(
            total=sum(plan.n_fed for plan in planned),
            initial=sum(plan.n_fed for plan, key in zip(planned, keys, strict=True) if key in known),
            desc=label,
            unit="tok",
            unit_scale=True,
            disable=not progress,
            dynamic_ncols=True,
        ) as bar,
        closing(model.score([planned[i] for i in todo], size, bar.update)) as scored,
    ):
        if known:
            bar.set_postfix_str(f"{len(keys) - len(todo)} of {len(keys)} documents from the store")
        for at, values, document_s in scored:
            i = todo[at]
            if not np.isfinite(values).all():
                n_bad = int(np.count_nonzero(~np.isfinite(values)))
                raise ModelError(
                    f"`{label}` gives log-probabilities that are not finite "
                    f"({n_bad} of {len(values)} tokens in `{printable(planned[i].document.name)}`)",
                    hint="the weights hold NaN or overflow in this quantisation; try another file of the model",
                )
            if store:
                store.put(keys[i], values, document_s)
            logp[i] = values
            time_s += document_s
    return Evaluation(model.reference, info, logp, time_s)


def _token_records(planned: list[PlannedDocument], ref: Evaluation, cmps: list[Evaluation]) -> pl.DataFrame:
    """One row per model and scored token, as `schema.TOKENS`."""
    n_scored = [len(values) for values in ref.logp]
    names = pl.Series("document", [plan.document.name for plan in planned], dtype=schema.NAMES)
    document = names.gather(np.repeat(np.arange(len(planned), dtype=np.uint32), n_scored))
    pos = np.concatenate([window.pos for plan in planned for window in plan.windows])
    token = np.concatenate([window.targets for plan in planned for window in plan.windows])
    logp_ref = np.concatenate(ref.logp)

    frames = []
    for cmp in cmps:
        logp_cmp = np.concatenate(cmp.logp)
        columns = {
            "document": document,
            "pos": pos,
            "token": token,
            "logp_ref": logp_ref,
            "logp_cmp": logp_cmp,
            "delta": logp_cmp - logp_ref,
        }
        frames.append(
            pl.DataFrame(columns).with_columns(
                pl.lit(ref.reference.label, dtype=schema.NAMES).alias("family"),
                pl.lit(cmp.reference.label, dtype=schema.NAMES).alias("model"),
            )
        )
    return pl.concat(frames).select(pl.col(name).cast(dtype) for name, dtype in schema.TOKENS.items())
