"""The main job: documents × models → token records.

One model after the other is evaluated on the same windows, in a process of its own; what the store has already is
taken from there.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from tqdm.auto import tqdm

from ppldelta import job, schema
from ppldelta.engine import native
from ppldelta.engine.native import ModelInfo
from ppldelta.engine.plan import PlannedDocument
from ppldelta.errors import ModelError
from ppldelta.job import DEFAULT_N_UBATCH, Job, ModelJob
from ppldelta.models.references import ModelLike, ModelReference
from ppldelta.result import Result, make_result
from ppldelta.text.documents import Files, corpus_path
from ppldelta.text.names import as_utf8, counted, printable


@dataclass(frozen=True)
class Evaluation:
    """One model's log-probabilities: an array of shape [n_scored] (float32, nats) for each planned document."""

    reference: ModelReference
    sha256: str
    info: ModelInfo
    logp: list[NDArray[np.float32]]
    time_s: float

    def entry(self) -> dict[str, object]:
        """What `run.json` says of the model."""
        return {
            "label": self.reference.label,
            "path": as_utf8(self.reference.path),
            "sha256": self.sha256,
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
        ModelError: a model cannot be found, read, or evaluated, or ended its worker process. A comparison that
            cannot be loaded or evaluated is left out with a warning, as long as another one is there.
        TokenizerMismatchError: a comparison splits a document into other tokens than the reference does.
        StoreError: the store cannot be opened, read or written.
        PpldeltaError: an argument is out of its range.
    """
    with job.opened(
        files,
        ref,
        cmp,
        n_ctx=n_ctx,
        windows=windows,
        max_windows=max_windows,
        n_gpu_layers=n_gpu_layers,
        n_ubatch=n_ubatch,
        threads=threads,
        store=store,
        executor=executor,
        progress=progress,
    ) as work:
        if progress:
            tqdm.write(work.headline, file=sys.stderr)
        reference, *comparisons = work.models
        evaluation = _evaluate(reference, work)
        evaluations = []
        failures = []
        for comparison in comparisons:
            try:
                evaluations.append(_evaluate(comparison, work))
            except ModelError as error:
                failures.append(error)
    if not evaluations:
        raise failures[0]
    warnings = [*work.warnings, *(f"{failure.message}; this model is left out." for failure in failures)]

    planned = work.planned
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
        "ref": evaluation.entry(),
        "cmp": [each.entry() for each in evaluations],
        "signature": work.settings.signature(work.build),
        "system": work.build.system,
        "devices": list(work.build.devices),
        "corpus": corpus_path(files),
        "n_fed": sum(plan.n_fed for plan in planned),
    }
    return make_result(tokens, work.pieces, corpus, texts, [family], warnings)


def _evaluate(model: ModelJob, work: Job) -> Evaluation:
    """Log-probabilities of one model on all windows: from the store where it has them, else evaluated and stored.

    Raises:
        ModelError: llama.cpp fails, its process is ended, or the model's logits are not finite.
        StoreError: the store fails; what is in it stays.
    """
    store, planned = work.store, work.planned
    known = store.get(model.keys) if store else {}
    logp = [known.get(key, np.empty(0, np.float32)) for key in model.keys]
    todo = [i for i, key in enumerate(model.keys) if key not in known]
    time_s = 0.0
    n_fed = [plan.n_fed for plan in planned]
    with tqdm(
        total=sum(n_fed),
        initial=sum(n_fed) - sum(n_fed[i] for i in todo),
        desc=model.label,
        unit="tok",
        unit_scale=True,
        disable=not (work.progress and todo),  # the headline says what needs no evaluation
        dynamic_ncols=True,
    ) as bar:
        if known:
            bar.set_postfix_str(f"{len(planned) - len(todo)} of {counted(len(planned), 'document')} from the store")
        info = model.info
        if todo or info is None:
            info = model.model.load()
            if store:
                store.describe(model.sha256, native.release(), dataclasses.asdict(info))
        with closing(model.model.score([planned[i] for i in todo], work.size, bar.update)) as shards:
            for shard in shards:
                rows = []
                for at, values, document_s in shard:
                    i = todo[at]
                    _refuse_not_finite(values, model.label, planned[i])
                    rows.append((model.keys[i], values, document_s))
                    logp[i] = values
                    time_s += document_s
                if store:
                    store.put_many(rows)
    return Evaluation(model.model.reference, model.sha256, info, logp, time_s)


def _refuse_not_finite(logp: NDArray[np.float32], label: str, plan: PlannedDocument) -> None:
    if n_bad := int(np.count_nonzero(~np.isfinite(logp))):
        raise ModelError(
            f"`{label}` gives log-probabilities that are not finite "
            f"({n_bad} of {counted(len(logp), 'token')} in `{printable(plan.document.name)}`)",
            hint="the weights hold NaN or overflow in this quantisation; try another file of the model",
        )


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
