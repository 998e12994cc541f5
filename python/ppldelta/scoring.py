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
from ppldelta.errors import CorpusError, ModelError, PpldeltaError, TokenizerMismatchError
from ppldelta.models.identity import content_hash
from ppldelta.models.references import ModelLike, ModelReference, resolve, resolve_many, unique_labels
from ppldelta.result import Result, make_result
from ppldelta.text.documents import Document, load_documents
from ppldelta.text.windows import RULES, Window, default_n_ctx, plan_windows

logger = logging.getLogger(__name__)

DEFAULT_N_UBATCH = 128


@dataclass(frozen=True)
class Settings:
    """What determines the numbers and the memory, the same for the reference and all its comparisons."""

    windows: str
    n_ctx: int
    max_windows: int | None
    n_gpu_layers: int | None
    n_ubatch: int
    threads: int

    def signature(self) -> str:
        """Everything that determines the numbers beside models and documents, in one line."""
        parts = {
            "ppldelta": _core.__version__,
            "llama.cpp": _core.llama_cpp_commit,
            "patches": _core.patches_hash,
            "windows": self.windows,
            "n_ctx": self.n_ctx,
            "max_windows": self.max_windows or "all",
            "n_ubatch": self.n_ubatch,
            "kv": "f16",
            "flash_attn": "auto",
            "n_gpu_layers": "all"
            if self.n_gpu_layers is None and _core.supports_gpu_offload()
            else self.n_gpu_layers or 0,
            "backend": "+".join(name.split(":")[0] for name in _core.devices()),
        }
        return "|".join(f"{key}:{value}" for key, value in parts.items())


@dataclass(frozen=True)
class PlannedDocument:
    """A document with its tokens (int32, without BOS) and the windows in which they are evaluated."""

    document: Document
    tokens: NDArray[np.int32]
    windows: list[Window]

    @property
    def n_fed(self) -> int:
        """Tokens that the model reads."""
        return sum(len(window.tokens) for window in self.windows)


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
    files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | Mapping[str, str | bytes],
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

    model = _load_for_scoring(reference, n_gpu_layers)
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
    planned = _plan(documents, model, settings, warnings)
    for comparison in comparisons:
        _check_tokens(comparison, planned, reference)

    evaluation = _evaluate(model, reference, planned, settings, progress)
    del model
    evaluations = []
    failures: list[ModelError] = []
    for comparison in comparisons:
        try:
            evaluations.append(
                _evaluate(_load_for_scoring(comparison, n_gpu_layers), comparison, planned, settings, progress)
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


def _load_for_scoring(reference: ModelReference, n_gpu_layers: int | None) -> Model:
    """Loads a model and refuses kinds whose log-probabilities are not those of the next token."""
    model = Model(reference.path, n_gpu_layers=n_gpu_layers)
    if model.info.has_encoder:
        raise ModelError(
            f"`{reference.label}` is an encoder or encoder-decoder model ({model.info.architecture}), "
            "which has no left-to-right perplexity",
            hint="use a decoder-only language model",
        )
    if model.info.add_eos:
        raise ModelError(
            f"the vocabulary of `{reference.label}` adds an end-of-text token to every text, "
            "so that a document's end would be part of its score",
            hint="set `tokenizer.ggml.add_eos_token` to false with gguf-py's gguf_set_metadata.py",
        )
    return model


def _plan(documents: list[Document], model: Model, settings: Settings, warnings: list[str]) -> list[PlannedDocument]:
    """Tokens and windows of every document; those from which nothing can be scored are named and left out."""
    planned, too_short = [], []
    for document in documents:
        tokens = model.tokenize(document.text)
        windows = plan_windows(
            tokens,
            rule=settings.windows,
            n_ctx=settings.n_ctx,
            bos=model.info.bos if model.info.add_bos else None,
            max_windows=settings.max_windows,
        )
        if windows:
            planned.append(PlannedDocument(document, tokens, windows))
        else:
            too_short.append(f"`{document.name}` ({len(tokens)} tokens)")
    if not planned:
        raise CorpusError(
            f"no document is long enough to score: {_some(too_short)}",
            hint="a document needs at least three tokens; `windows='every'` scores the shortest texts",
        )
    if too_short:
        warnings.append(f"Too short to score, left out: {_some(too_short)}.")
    return planned


def _some(names: list[str], most: int = 5) -> str:
    """A list for people: the first few names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _check_tokens(comparison: ModelReference, planned: list[PlannedDocument], reference: ModelReference) -> None:
    """Raises `TokenizerMismatchError` at the first document that the comparison splits into other tokens."""
    model = Model(comparison.path, vocab_only=True)
    for plan in planned:
        tokens = model.tokenize(plan.document.text)
        n = min(len(tokens), len(plan.tokens))
        differ = np.flatnonzero(tokens[:n] != plan.tokens[:n])
        if not len(differ) and len(tokens) == len(plan.tokens):
            continue
        at = int(differ[0]) if len(differ) else n
        raise TokenizerMismatchError(
            f"`{comparison.label}` splits `{plan.document.name}` into other tokens than the reference "
            f"`{reference.label}`: {len(tokens)} instead of {len(plan.tokens)}, the first difference at token {at}",
            hint="compare models of one family; across families compare each with its own reference, in bits per byte",
        )


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
