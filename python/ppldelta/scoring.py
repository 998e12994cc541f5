"""The main job: documents × models → token records.

Every model is asked first whether it splits the documents into the reference's tokens, before any time is spent
on evaluating; then one model after the other is loaded, evaluated on the same windows, and let go.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import loky
import numpy as np
import polars as pl
from numpy.typing import NDArray
from tqdm.auto import tqdm

from ppldelta import _core, schema
from ppldelta.engine.native import Model, ModelInfo, Scorer
from ppldelta.engine.plan import PlannedDocument, Settings, check_comparison, load_scorable, plan_documents
from ppldelta.errors import ModelError, PpldeltaError
from ppldelta.models.identity import content_hash
from ppldelta.models.references import ModelLike, ModelReference, resolve, resolve_many, unique_labels
from ppldelta.result import Result, make_result
from ppldelta.text.documents import Files, load_documents
from ppldelta.text.windows import RULES, default_n_ctx

logger = logging.getLogger(__name__)

DEFAULT_N_UBATCH = 128


@dataclass(frozen=True)
class Evaluation:
    """One model's log-probabilities: an array of shape [n_scored] (float32, nats) for each planned document."""

    reference: ModelReference
    info: ModelInfo
    logp: list[NDArray[np.float32]]
    time_s: float

    def entry(self) -> dict[str, object]:
        """What `run.json` says of the model."""
        info = dataclasses.asdict(self.info)
        return {
            "label": self.reference.label,
            "path": os.fspath(self.reference.path),
            "sha256": content_hash(self.reference.path),
            "bits_per_weight": self.info.bits_per_weight,
            **info,
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
        progress: show a bar with tokens/s and the time left for each model, on stderr.

    Returns:
        A `Result` with the frames `tokens`, `documents` and `models`.

    Raises:
        CorpusError: no document matched, or none is long enough to score.
        ModelError: a model cannot be found, loaded or evaluated. A comparison that fails is left out with a warning
            as long as another one is there.
        TokenizerMismatchError: a comparison splits a document into other tokens than the reference does.
        PpldeltaError: an argument is out of its range.
    """
    if windows not in RULES:
        raise PpldeltaError(f"`windows` must be one of {', '.join(map(repr, RULES))}, not {windows!r}")
    for name, value, least in (
        ("n_ctx", n_ctx, 4),
        ("max_windows", max_windows, 1),
        ("n_ubatch", n_ubatch, 1),
        ("threads", threads, 1),
    ):
        if value is not None and value < least:
            raise PpldeltaError(f"`{name}` must be at least {least}, not {value}")

    reference, *comparisons = _resolve_all(ref, cmp)
    documents, warnings = load_documents(files)

    model = load_scorable(reference, n_gpu_layers)
    settings = Settings(
        windows=windows,
        n_ctx=n_ctx or default_n_ctx(model.info.n_ctx_train),
        max_windows=max_windows,
        n_gpu_layers=n_gpu_layers,
        n_ubatch=n_ubatch,
        threads=threads or loky.cpu_count(only_physical_cores=True),
    )
    if settings.n_ctx > model.info.n_ctx_train:
        warnings.append(
            f"n_ctx is {settings.n_ctx}, but `{reference.label}` was trained on contexts of {model.info.n_ctx_train} "
            "tokens: what lies beyond says little about the models."
        )
    planned, too_short = plan_documents(documents, model, settings)
    warnings += too_short
    for comparison in comparisons:
        warnings += check_comparison(comparison, planned, reference, model)

    evaluation = _evaluate(model, reference, planned, settings, progress)
    del model
    evaluations = []
    failures: list[ModelError] = []
    for comparison in comparisons:
        try:
            evaluations.append(
                _evaluate(load_scorable(comparison, n_gpu_layers), comparison, planned, settings, progress)
            )
        except ModelError as error:
            logger.error("%s", error)
            failures.append(error)
    if not evaluations:
        raise failures[0]
    warnings += [f"`{error.message}`: this model is left out." for error in failures]

    return _assemble(planned, evaluation, evaluations, settings, warnings)


def _resolve_all(ref: ModelLike, cmp: object) -> list[ModelReference]:
    """The reference and the comparisons, with labels that tell all of them apart."""
    reference, comparisons = resolve(ref), resolve_many(cmp)  # type: ignore[arg-type]
    given = set(cmp) if isinstance(cmp, Mapping) else set()
    if reference.label in given:  # a label that the user chose stays; the reference's own is the one to change
        reference = ModelReference(f"{reference.path.resolve().parent.name}/{reference.label}", reference.path)
    return unique_labels([reference, *comparisons])


def _evaluate(
    model: Model, reference: ModelReference, planned: list[PlannedDocument], settings: Settings, progress: bool
) -> Evaluation:
    """Log-probabilities of one model on all windows.

    Raises:
        ModelError: llama.cpp fails, or the model's logits are not finite.
    """
    longest = max(len(window.tokens) for plan in planned for window in plan.windows)
    scorer = Scorer(model, n_ctx=longest, n_ubatch=settings.n_ubatch, threads=settings.threads)
    logp: list[NDArray[np.float32]] = []
    started = time.perf_counter()
    with tqdm(
        total=sum(plan.n_fed for plan in planned),
        desc=reference.label,
        unit="tok",
        unit_scale=True,
        disable=not progress,
        dynamic_ncols=True,
    ) as bar:
        for plan in planned:
            values = np.concatenate([scorer.score(window, bar.update) for window in plan.windows])
            if not np.isfinite(values).all():
                n_bad = int(np.count_nonzero(~np.isfinite(values)))
                raise ModelError(
                    f"`{reference.label}` gives log-probabilities that are not finite "
                    f"({n_bad} of {len(values)} tokens in `{plan.document.name}`)",
                    hint="the weights hold NaN or overflow in this quantisation; try another file of the model",
                )
            logp.append(values)
    return Evaluation(reference, model.info, logp, time.perf_counter() - started)


def _assemble(
    planned: list[PlannedDocument],
    ref: Evaluation,
    cmps: list[Evaluation],
    settings: Settings,
    warnings: list[str],
) -> Result:
    """Token records and what belongs to them, from the arrays of all models."""
    family = ref.reference.label
    n_scored = [len(values) for values in ref.logp]
    names = pl.Series("document", [plan.document.name for plan in planned], dtype=schema.NAMES)
    document = names.gather(np.repeat(np.arange(len(planned), dtype=np.uint32), n_scored))
    pos = np.concatenate([window.pos for plan in planned for window in plan.windows])
    token = np.concatenate([window.targets for plan in planned for window in plan.windows])
    logp_ref = np.concatenate(ref.logp)

    frames = []
    for cmp in cmps:
        logp_cmp = np.concatenate(cmp.logp)
        frames.append(
            pl.DataFrame(
                {
                    "document": document,
                    "pos": pos,
                    "token": token,
                    "logp_ref": logp_ref,
                    "logp_cmp": logp_cmp,
                    "delta": logp_cmp - logp_ref,
                }
            ).with_columns(
                pl.lit(family, dtype=schema.NAMES).alias("family"),
                pl.lit(cmp.reference.label, dtype=schema.NAMES).alias("model"),
            )
        )
    tokens = pl.concat(frames).select(pl.col(name).cast(dtype) for name, dtype in schema.TOKENS.items())

    # pieces come from the vocabulary alone, so the weights need not be loaded again
    occurring = np.unique(np.concatenate([plan.tokens for plan in planned])).astype(np.int32)
    pieces = pl.DataFrame(
        {
            "family": [family] * len(occurring),
            "token": occurring,
            "piece": Model(ref.reference.path, vocab_only=True).pieces(occurring),
        },
        schema=schema.PIECES,
    )
    corpus = pl.DataFrame(
        [
            {
                "family": family,
                "document": plan.document.name,
                "category": plan.document.category,
                "n_tokens": len(plan.tokens),
            }
            for plan in planned
        ],
        schema=schema.CORPUS,
    )
    run = {
        "family": family,
        "ref": ref.entry(),
        "cmp": [cmp.entry() for cmp in cmps],
        "signature": settings.signature(),
        "system": _core.system_info(),
        "devices": _core.devices(),
        "n_fed": sum(plan.n_fed for plan in planned),
    }
    return make_result(tokens, pieces, corpus, [run], warnings)
