"""The keys under which the store files windows.

A window is filed by what is in it, not by where it is: if a text has grown, or if more of its windows are asked for,
only the new windows are evaluated. Only the key of a window that goes in side by side with others depends on them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from ppldelta.engine.native import Build, ModelInfo
from ppldelta.run.settings import ResolvedSettings
from ppldelta.run.tokenization import TokenizedDocument
from ppldelta.store.store import Key, tokens_hash
from ppldelta.text.windows import Batch, Window


class Keys:
    """The keys of a tokenization's windows, for any model that shares it.

    Args:
        settings: the same for all models.
        reference: what the reference says of itself.
        build: what evaluates them.
        batches: the tokenization's, which hold all its windows.
    """

    def __init__(
        self, settings: ResolvedSettings, reference: ModelInfo, build: Build, batches: Sequence[Batch]
    ) -> None:
        bos = reference.bos if reference.add_bos else None
        self._rule = f"{settings.windows}|n_ctx:{settings.n_ctx}|bos:{bos}"
        self._engine = engine_of(settings, build)
        found: dict[int, str] = {}
        for batch in batches:
            own = [_hash(window) for window in batch.windows]
            # windows side by side move one another's last digits, so each key depends on the whole batch
            alone = len(own) == 1 or batch.shared
            found |= zip(batch.at, own if alone else [_joined([each, *own]) for each in own], strict=True)
        self._digests = [found[i] for i in range(len(found))]

    def of(self, sha256: str) -> list[Key]:
        """The key of each window for the model of this content, 64 hexadecimal digits."""
        return [Key(sha256, digest, self._rule, self._engine) for digest in self._digests]


def pair_keys(keys: Sequence[Key], reference: str) -> list[Key]:
    """The keys under which a comparison's records with a reference are filed; `reference` is the content's sha256."""
    return [replace(key, reference=reference) for key in keys]


def engine_of(settings: ResolvedSettings, build: Build) -> str:
    """What a window's numbers depend on beside model, window and rule (`Key.engine`)."""
    return str(settings.of_each_window().signature(build))


def corpus_hash(documents: Iterable[TokenizedDocument]) -> str:
    """sha256 over texts and the tokens that the reference makes of them, as 64 hexadecimal digits.

    The store remembers under this hash which models split these texts into these tokens, so that they need not be asked
    again. The keys of windows cannot tell that, because the tokens after a document's last window are in no key.
    """
    whole = hashlib.sha256()
    for each in documents:
        whole.update(hashlib.sha256(each.document.text).digest() + bytes.fromhex(tokens_hash(each.tokens)))
    return whole.hexdigest()


def _joined(digests: list[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _hash(window: Window) -> str:
    """`tokens_hash` of all that a window holds; where it lies in the text makes no difference."""
    prefix = [-window.prefix] if window.prefix else []  # below zero, as no `first_output` is
    flash = [] if window.flash else [-1]  # no prefix has only one token
    return tokens_hash(np.concatenate([flash, prefix, [window.first_output], window.tokens, window.targets]))
