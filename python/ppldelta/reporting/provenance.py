"""What is needed to repeat a family's numbers: the command, the files with their hashes, and the settings in words.

No path of the machine that evaluated is told: files are named without their folders, and a document by its name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import PurePath

import polars as pl

from ppldelta.analysis.uncertainty import LEVEL, N_RESAMPLES, SEED
from ppldelta.family import Family, ModelFacts, Signature
from ppldelta.wording import numbers

MOST_DOCUMENTS = 200
"""Documents of which each is listed with a hash; of more, only their number is told."""


@dataclass(frozen=True)
class StoredFile:
    """A file: what it was in the run, its name, the sha256 of its content (None: unknown), and its size as a text."""

    role: str
    name: str
    sha256: str | None
    size: str


@dataclass(frozen=True)
class Provenance:
    """What repeats the numbers of a family.

    Attributes:
        family: its name.
        command: a line for a shell.
        models: files of the reference and of the comparisons; their size is that of the tensors.
        corpus: what the documents are in all.
        documents: each of them by name with the hash of its text, empty if there are more than `MOST_DOCUMENTS`.
        settings: each in plain words, and its name and value as the signature has them.
    """

    family: str
    command: str
    models: list[StoredFile]
    corpus: str
    documents: list[StoredFile]
    settings: list[tuple[str, str]]


def provenance(family: Family, frames: Mapping[str, pl.DataFrame], command: str) -> Provenance:
    """Puts together what the page's footer says of how a family's numbers were made.

    Args:
        family: whose numbers.
        frames: of a result, by name.
        command: the line that gives these numbers again.
    """
    models = [_model("reference", family.ref), *(_model("comparison", each) for each in family.cmp)]
    mine = frames["documents"].filter(family=family.name)
    n = mine["document"].n_unique()
    folder = f"{PurePath(family.corpus).name}, " if family.corpus else ""
    documents = _documents(family.name, frames) if n <= MOST_DOCUMENTS else []
    return Provenance(
        family=family.name,
        command=command,
        models=models,
        corpus=f"{folder}{numbers.count(n)} document{'' if n == 1 else 's'}",
        documents=documents,
        settings=in_words(family.signature),
    )


def resampling() -> str:
    """How the intervals of a page were computed."""
    return (
        f"{numbers.percent(LEVEL, 0)} intervals: {numbers.count(N_RESAMPLES)} resamples of whole documents, drawn by "
        f"NumPy’s default_rng with seed {SEED}"
    )


def model_name(facts: ModelFacts) -> str:
    """A model as the command line takes it, without the folders of a machine; its label if nothing else is known."""
    file = facts.label if facts.path is None else PurePath(facts.path).name
    return "+".join([facts.hub or file, *(PurePath(adapter).name for adapter in facts.adapters)])


def _model(role: str, facts: ModelFacts) -> StoredFile:
    return StoredFile(role, model_name(facts), facts.sha256, numbers.size(facts.size_bytes))


def _documents(family: str, frames: Mapping[str, pl.DataFrame]) -> list[StoredFile]:
    """The documents, with hash and size of each text that its tokens spell."""
    spelt = dict(frames["pieces"].filter(family=family).select("token", "piece").iter_rows())
    first = frames["tokens"].filter(pl.col("family") == family, pl.col("byte_start").is_not_null())
    first = first.unique("document", keep="first", maintain_order=True)
    known = dict(zip(first["document"].cast(pl.String), first.select("pos", "byte_start").iter_rows(), strict=True))
    found = []
    for document, tokens in frames["texts"].filter(family=family).select("document", "tokens").iter_rows():
        pieces = [spelt.get(token) or b"" for token in tokens]
        sha256, size = None, numbers.NONE
        if document in known:  # else the tokens do not spell the text
            pos, start = known[document]
            more = [0, *accumulate(map(len, pieces))][pos] - start  # a space that SentencePiece put before the text
            text = b"".join(pieces)[more:]
            sha256, size = hashlib.sha256(text).hexdigest(), numbers.size(len(text))
        found.append(StoredFile("document", document, sha256, size))
    return found


def _windows(rule: str, _: Signature) -> str:
    return {
        "every": "each token of a document is scored once",
        "perplexity": "only tokens in the second half of each window are scored, as llama-perplexity does",
    }.get(rule, "which tokens are scored")


def _max_windows(most: str, signature: Signature) -> str:
    if most == "all":
        return "all windows of each document are read"
    n_ctx = signature.get("n_ctx")
    of = f" of {n_ctx} tokens" if n_ctx else ""
    return f"first window{of} of each document only" if most == "1" else f"first {most} windows{of} of each document"


def _said(text: str) -> Callable[[str, Signature], str]:
    return lambda value, _: text.format(value)


_WORDS: dict[str, Callable[[str, Signature], str]] = {
    "ppldelta": _said("ppldelta’s version"),
    "llama.cpp": _said("commit of llama.cpp"),
    "patches": _said("hash of the patches to it"),
    "reference": _said("the reference is a file of log-probabilities that llama-perplexity wrote"),
    "tool": _said("the comparisons were read by llama-perplexity"),
    "windows": _windows,
    "n_ctx": _said("windows of {} tokens"),
    "max_windows": _max_windows,
    "n_batch": _said("batches of {} tokens"),
    "n_ubatch": _said("at most {} tokens are computed at once"),
    "n_outputs_max": _said("at most {} scored tokens in a micro-batch of a window that is evaluated alone"),
    "n_seq_max": lambda value, _: (
        "one window is evaluated at a time" if value == "1" else f"up to {value} windows are evaluated together"
    ),
    "kv": _said("type of the cache of keys and values"),
    "flash_attn": _said("flash attention where llama.cpp can, on the CPU not for completions"),
    "swa_full": lambda value, _: (
        f"layers with a sliding window keep {'the whole context' if value == 'true' else 'only what they look at'}"
    ),
    "n_gpu_layers": lambda value, _: (
        "no layers on a GPU" if value == "0" else "all layers on the GPU" if value == "all" else "layers on the GPU"
    ),
    "chat_template": lambda value, _: (
        "texts of chats are made by the reference’s own chat template"
        if value == "True"
        else "texts of chats are made by the template of a file"
    ),
    "backend": _said("what computed"),
    "kernels": _said("instructions of the processor that were used"),
}
"""What each part of a signature means, by its name; a part that has no words here is told by its name."""


def in_words(signature: Signature) -> list[tuple[str, str]]:
    """The parts of a signature: what each means, and its name with its value."""
    found = []
    for name, value in signature.items():
        meaning = _WORDS[name](value, signature) if name in _WORDS else name
        found.append((meaning, f"{name} {value}"))
    return found
