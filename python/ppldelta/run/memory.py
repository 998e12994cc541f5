"""What is known of a model before anything of it is loaded."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any

from ppldelta.engine import native
from ppldelta.engine.native import ModelInfo
from ppldelta.models.source import ModelSource
from ppldelta.store.hashes import Hashes
from ppldelta.store.keys import WindowKeys
from ppldelta.store.store import Store


@dataclass(frozen=True, eq=False)
class Memory:
    """What is known of the models of a run without loading them, and where that is looked up.

    Attributes:
        store: what was found out before; None if nothing is kept.
        hashes: content hashes of the run's models.
        progress: whether to show how far the reading of files is.
    """

    store: Store | None
    hashes: Hashes
    progress: bool

    def sha256(self, source: ModelSource) -> str:
        """The hash of a model's content; its files may have to be read for it."""
        return self.hashes.wait_visibly(source, self.progress)

    def description(self, sha256: str | None) -> ModelInfo | None:
        """What a model of this content says of itself; None if the store does not remember it.

        Another development state of the same version may have kept other fields: those that are unknown here are left
        out. If one is missing that has no default, the description is not used.
        """
        known = self.store.notes.description(sha256, native.release()) if self.store and sha256 else None
        if known is None or not known.keys() >= {each.name for each in fields(ModelInfo) if each.default is MISSING}:
            return None
        values: dict[str, Any] = {each.name: known[each.name] for each in fields(ModelInfo) if each.name in known}
        return ModelInfo(**values)

    def has_all(self, keys: WindowKeys) -> bool:
        """Whether the store has all of these windows."""
        return self.store is not None and bool(self.store.has(keys).all())

    def is_checked(self, sha256: str, corpus: str) -> bool:
        """Whether a model is known to split the documents as the reference does."""
        return self.store is not None and self.store.notes.is_checked(sha256, corpus)
