"""The keys under which the store files windows.

A window is filed by what is in it, not by where it is: if a text has grown, or if more of its windows are asked for,
only the new windows are evaluated. Only the key of a window that goes in side by side with others depends on them.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

from ppldelta.console.progress import watched
from ppldelta.engine.native import Build, ModelInfo
from ppldelta.run.settings import ResolvedSettings
from ppldelta.run.tokenized import TokenizedDocuments
from ppldelta.store.keys import N_BYTES, Key, WindowKeys, tokens_hash
from ppldelta.text.many import Batches, Windows
from ppldelta.text.windows import Batch


class Keys:
    """The keys of a tokenization's windows, for any model that shares it.

    Args:
        settings: the same for all models.
        reference: what the reference says of itself.
        build: what evaluates them.
        batches: the tokenization's, which hold all its windows.
        progress: whether to show how far it is.
    """

    def __init__(
        self,
        settings: ResolvedSettings,
        reference: ModelInfo,
        build: Build,
        batches: Sequence[Batch],
        progress: bool = False,
    ) -> None:
        bos = reference.bos if reference.add_bos else None
        self._rule = f"{settings.windows}|n_ctx:{settings.n_ctx}|bos:{bos}"
        self._engine = engine_of(settings, build)
        packed = Batches.of(batches)
        own = _hashes(packed.windows, progress)
        found = bytearray(len(own))
        for begin, end in zip(packed.starts[:-1].tolist(), packed.starts[1:].tolist(), strict=True):
            which, at = packed.which[begin:end].tolist(), packed.at[begin:end].tolist()
            digests = [own[N_BYTES * i : N_BYTES * (i + 1)] for i in which]
            # windows side by side move one another's last digits, so each key depends on the whole batch
            if len(which) > 1 and not packed.windows.prefix[which[0]]:
                digests = [_joined([each, *digests]) for each in digests]
            for i, digest in zip(at, digests, strict=True):
                found[N_BYTES * i : N_BYTES * (i + 1)] = digest
        self._digests = bytes(found)

    def of(self, sha256: str) -> WindowKeys:
        """The key of each window for the model of this content, 64 hexadecimal digits."""
        return WindowKeys.of(self._digests, Key(sha256, "", self._rule, self._engine))


def engine_of(settings: ResolvedSettings, build: Build) -> str:
    """What a window's numbers depend on beside model, window and rule (`Key.engine`)."""
    return str(settings.of_each_window().signature(build))


def corpus_hash(documents: TokenizedDocuments) -> str:
    """sha256 over texts and the tokens that the reference makes of them, as 64 hexadecimal digits.

    The store remembers under this hash which models split these texts into these tokens, so that they need not be asked
    again. The keys of windows cannot tell that, because the tokens after a document's last window are in no key.
    """
    whole = hashlib.sha256()
    for document, tokens in zip(documents.texts, documents.tokens, strict=True):
        whole.update(hashlib.sha256(document.text).digest() + tokens_hash(tokens))
    return whole.hexdigest()


def _joined(digests: list[bytes]) -> bytes:
    return hashlib.sha256("".join(each.hex() for each in digests).encode()).digest()


def _hashes(windows: Windows, progress: bool) -> bytes:
    """Of each window the sha256 over all that it holds, as little-endian int32; where it lies in the text makes no
    difference."""
    tokens, targets = (each.values.astype("<i4", copy=False) for each in (windows.tokens, windows.targets))
    starts, of_targets = windows.tokens.starts.tolist(), windows.targets.starts.tolist()
    found = bytearray()
    rules = zip(range(len(windows)), windows.prefix.tolist(), windows.flash.tolist(), strict=True)
    for i, prefix, flash in watched(rules, "hashing windows", len(windows), "window", visible=progress):
        mine, theirs = tokens[starts[i] : starts[i + 1]], targets[of_targets[i] : of_targets[i + 1]]
        first_output = len(mine) - len(theirs)
        # a prefix is below zero here, as no `first_output` is, and none has one token only
        marks = [*([] if flash else [-1]), *([-prefix] if prefix else []), first_output]
        head = struct.pack(f"<{len(marks)}i", *marks)
        found += hashlib.sha256(head + mine.tobytes() + theirs.tobytes()).digest()
    return bytes(found)
