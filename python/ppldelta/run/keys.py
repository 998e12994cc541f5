"""What the store files windows under.

That is by what is in them, not by where they are: a text that has grown, or of which more windows are asked for, goes
on with those that are new. Only windows that share a batch depend on the others in it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from ppldelta.engine.native import Build, ModelInfo
from ppldelta.run.plan import PlannedDocument
from ppldelta.run.settings import ResolvedSettings
from ppldelta.store.store import Key, tokens_hash
from ppldelta.text.windows import PlannedWindow, Window


class Keys:
    """The keys of a job's windows, for any of its models.

    Args:
        settings: the same for all models.
        reference: what the reference says of itself.
        build: what evaluates them.
        windows: of all documents.
    """

    def __init__(
        self, settings: ResolvedSettings, reference: ModelInfo, build: Build, windows: Sequence[PlannedWindow]
    ) -> None:
        bos = reference.bos if reference.add_bos else None
        self._rule = f"{settings.windows}|n_ctx:{settings.n_ctx}|bos:{bos}"
        self._engine = engine_of(settings, build)
        own = [_hash(each.window) for each in windows]
        mates: dict[int, list[str]] = defaultdict(list)
        for each, digest in zip(windows, own, strict=True):
            mates[each.batch].append(digest)
        # windows that share a batch move one another's last digits, so what is in it belongs to the key
        self._digests = [
            digest
            if len(mates[each.batch]) == 1
            else hashlib.sha256("".join([digest, *mates[each.batch]]).encode()).hexdigest()
            for each, digest in zip(windows, own, strict=True)
        ]

    def of(self, sha256: str) -> list[Key]:
        """The key of each window for the model of this content, 64 hexadecimal digits."""
        return [Key(sha256, digest, self._rule, self._engine) for digest in self._digests]


def engine_of(settings: ResolvedSettings, build: Build) -> str:
    """What a window's numbers depend on beside model, window and rule (`Key.engine`)."""
    return str(settings.of_each_window().signature(build))


def corpus_hash(planned: Iterable[PlannedDocument]) -> str:
    """sha256 over texts and the tokens that the reference makes of them, as 64 hexadecimal digits.

    A model that splits these texts into these tokens need not be asked again; windows do not tell, since what is left
    over after the last one is in none.
    """
    whole = hashlib.sha256()
    for plan in planned:
        whole.update(hashlib.sha256(plan.document.text).digest() + bytes.fromhex(tokens_hash(plan.tokens)))
    return whole.hexdigest()


def _hash(window: Window) -> str:
    """`tokens_hash` of all that a window holds; where it lies in the text makes no difference."""
    return tokens_hash(np.concatenate([[window.first_output], window.tokens, window.targets]))
