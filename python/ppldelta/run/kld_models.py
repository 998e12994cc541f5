"""Models that the package's llama-perplexity compares with a `.kld` file, and what is refused before it begins.

The tool needs no text: the file has the tokens. What it knows of the model's vocabulary is its size, so that here the
model's own tokenizer is asked whether the tokens can be its own.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ppldelta.engine.loaded import default_threads
from ppldelta.engine.native import Build, ModelInfo
from ppldelta.engine.remote import RemoteModel
from ppldelta.engine.tool import run_tool
from ppldelta.errors import ModelError, PpldeltaError, TokenizerMismatchError
from ppldelta.models.fitness import Kind, kind_of
from ppldelta.records.kld import KldFile
from ppldelta.records.rows import Values
from ppldelta.records.signed import DTYPE, read_records
from ppldelta.run import checks
from ppldelta.run.settings import Settings
from ppldelta.text.documents import Document
from ppldelta.wording.names import printable

TOOL = "llama-perplexity"
_SAMPLE = 16384
_ADAPTER_FLAGS: dict[Kind, str] = {"LoRA": "--lora-scaled", "control vector": "--control-vector-scaled"}
_OTHERS, _OTHERS_PART = 8, 0.02
"""Tokens that need not come back from their text, and which part of all beside them.

Of 16,384 tokens of the demo's corpus all come back from their text with the vocabulary that split it (the demo's,
SmolLM2's, Gemma 3's), and 64 to 93 % if their numbers are changed: words of another vocabulary are words too.
"""


def refuse_settings(file: KldFile, settings: Settings, executor: Executor | None) -> None:
    """
    Raises:
        PpldeltaError: an argument that means nothing for this file.
    """
    shown = f"`{printable(file.path)}`"
    if settings.windows not in (None, "perplexity"):
        raise PpldeltaError(
            f"`windows` must be 'perplexity' with a `.kld` file, got '{settings.windows}': {shown} holds the "
            "second half of each chunk",
            hint="leave `windows` (`--windows`) out",
        )
    if settings.n_ctx not in (None, file.n_ctx):
        raise PpldeltaError(
            f"`n_ctx` is {file.n_ctx:,} in {shown}, got {settings.n_ctx:,}", hint="leave `n_ctx` (`-c`) out"
        )
    if settings.max_windows is not None:
        raise PpldeltaError(
            f"`max_windows` is for documents, and {shown} has chunks, of which all are compared",
            hint="leave `max_windows` (`--chunks`) out",
        )
    if settings.align != "tokens":
        raise PpldeltaError(
            f"`align` must be 'tokens' with a `.kld` file, got '{settings.align}': {shown} holds the log-probabilities "
            "of its own tokens",
            hint="leave `align` (`--align`) out, or name the reference's GGUF and a corpus",
        )
    for name in ("top_k", "noise_floor"):
        if getattr(settings, name):
            raise PpldeltaError(
                f"`{name}` needs the reference as a model, and {shown} holds its log-probabilities alone",
                hint=f"leave `{name}` (`--{name.replace('_', '-')}`) out, or name the reference's GGUF and a corpus",
            )
    if executor is not None:
        raise PpldeltaError(
            f"`executor` evaluates models elsewhere, and {shown} is compared on this machine",
            hint="leave `executor` (`--dask`) out",
        )


def refuse_model(model: RemoteModel, file: KldFile) -> ModelInfo:
    """What a model says of itself, if it can be compared with the file.

    Raises:
        ModelError: it cannot be loaded, its log-probabilities are not those of the next token, or the tool cannot be
            told of an adapter.
        TokenizerMismatchError: its vocabulary has another size, or splits texts into other tokens.
    """
    for each in model.source.adapters:
        if any(character in os.path.abspath(each.path) for character in ',:"\n'):
            raise ModelError(
                f"llama-perplexity cannot be told of the adapter `{printable(each.path)}`: it takes commas, colons, "
                "quotes and line breaks in a path for something else",
                hint="give the file or its folder another name",
            )
    info = model.info
    checks.refuse_unscorable(info, model.label)
    shown = f"`{printable(model.label)}`"
    if info.n_vocab != file.n_vocab:
        raise TokenizerMismatchError(
            f"{shown} has a vocabulary of {info.n_vocab:,} tokens, and `{printable(file.path)}` was made with one of "
            f"{file.n_vocab:,}",
            hint="compare models of one family, and write the file with one of them",
        )
    tokens = file.tokens.reshape(-1)[int(begins_with_bos(file, info)) :][:_SAMPLE]
    text = b"".join(model.pieces(tokens))
    again = model.tokenize([Document("tokens", "", text)])[0] if text else tokens[:0]
    n_same = sum((Counter(tokens.tolist()) & Counter(again.tolist())).values())
    if len(tokens) - n_same > _OTHERS + _OTHERS_PART * len(tokens):
        raise TokenizerMismatchError(
            f"{shown} splits texts into other tokens than the model that `{printable(file.path)}` was made with: of "
            f"the file's first {len(tokens):,} tokens {100 * n_same / len(tokens):.0f} % come back from their text",
            hint="compare models of one family, and write the file with one of them",
        )
    return info


def begins_with_bos(file: KldFile, info: ModelInfo) -> bool:
    """Whether the file's first token is the model's BOS, which is not of the text."""
    return info.add_bos and info.bos is not None and int(file.tokens[0, 0]) == info.bos


def other_bos(label: str, info: ModelInfo, file: KldFile) -> list[str]:
    """A warning if the model begins each chunk with a BOS, and the file's model began its text with none."""
    if not info.add_bos or begins_with_bos(file, info):
        return []
    return [
        f"`{printable(label)}` puts a beginning-of-text token before each chunk, and the text of "
        f"`{printable(file.path)}` begins with none or another: its model read something else there."
    ]


@dataclass(frozen=True)
class Evaluated:
    """What the tool said of one model: `logp_cmp` and `kld` of each scored token, and the seconds that it took."""

    values: Values
    time_s: float


def evaluate(
    model: RemoteModel,
    file: KldFile,
    settings: Settings,
    build: Build,
    logp_ref: NDArray[np.float32],
    *,
    rpc: tuple[str, ...] = (),
    on_tokens: Callable[[int], object] = lambda n_tokens: None,
) -> Evaluated:
    """Runs the tool on one model; its records go to a file in a folder for temporary files, and are removed.

    Args:
        model: which one.
        file: the reference's.
        settings: `threads`, `n_gpu_layers` and `n_ubatch` count.
        build: what evaluates.
        logp_ref: of the scored tokens, as the file has them, by which the records are known to be of this file.
        rpc: servers whose devices are used.
        on_tokens: called several times a second with the tokens that were read since the last call.

    Raises:
        ModelError: the tool fails or is ended.
        RecordsError: what it wrote is damaged.
        PpldeltaError: there is no room for the records.
    """
    started = time.perf_counter()
    try:
        folder = tempfile.TemporaryDirectory(prefix="ppldelta-")
    except OSError as error:
        raise PpldeltaError(
            f"cannot make a folder for the tool's records: {error.strerror}",
            hint="set the variable `TMPDIR` to a folder that exists and can be written to, and start again",
        ) from error
    with folder as name:
        path = Path(name) / "records.npy"
        flags = _flags(model, file, settings, build, path, rpc)
        n_seen = n_told = 0

        def on_bytes(n_bytes: int) -> None:
            nonlocal n_seen, n_told
            n_seen += n_bytes
            n_read = min(n_seen // DTYPE.itemsize * file.n_ctx // file.n_scored, file.tokens.size)  # it has a head too
            on_tokens(n_read - n_told)
            n_told = n_read

        run_tool(TOOL, flags, label=model.label, doing="evaluating", written=path, on_bytes=on_bytes)
        records = read_records(path)
    if not np.array_equal(records["token"], file.targets.reshape(-1)) or not np.allclose(
        records["logp_ref"], logp_ref, rtol=0, atol=1e-5
    ):
        raise ModelError(
            f"{TOOL} compared `{printable(model.label)}` with other values than `{printable(file.path)}` held before",
            hint="the file was changed meanwhile; start again",
        )
    values: Values = {name: np.ascontiguousarray(records[name]) for name in ("logp_cmp", "kld")}
    return Evaluated(values, time.perf_counter() - started)


def _flags(
    model: RemoteModel, file: KldFile, settings: Settings, build: Build, path: Path, rpc: tuple[str, ...]
) -> list[str]:
    """With a batch of one chunk, as `score` evaluates: the tool's default packs several and moves the last digits."""
    n_ctx, layers = str(file.n_ctx), settings.n_gpu_layers
    flags = ["-m", os.path.abspath(model.source.path), "-c", n_ctx, "-b", n_ctx, "-ub", str(settings.n_ubatch)]
    flags += ["-t", str(settings.threads or default_threads()), "--kl-divergence"]
    flags += ["--kl-divergence-base", os.path.abspath(file.path), "--signed-deltas", str(path)]
    if not build.on_gpu(layers):
        flags += ["-ngl", "0", "--device", "none"]  # a device that holds no layer would multiply all the same
    else:
        flags += ["-ngl", "all" if layers is None or layers < 0 else str(layers)]
    for each in model.source.adapters:
        flags += [_ADAPTER_FLAGS[kind_of(each.path)], f"{os.path.abspath(each.path)}:{each.scale!r}"]
    return flags + (["--rpc", ",".join(rpc)] if rpc else [])
