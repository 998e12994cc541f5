"""Models that stay loaded in a worker between its tasks, as many as its memory allows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from enum import Enum, auto

import loky

from ppldelta.engine import content, native
from ppldelta.engine.chats import Chats
from ppldelta.engine.native import Model, Scorer
from ppldelta.errors import ModelError
from ppldelta.models.source import ModelSource
from ppldelta.wording.names import printable


@dataclass(frozen=True)
class PinnedSource:
    """A model as the caller found it on disk; a worker loads exactly that or refuses.

    Attributes:
        source: the model, under absolute paths.
        n_gpu_layers: layers on the GPU; None for all if there is a GPU.
        sizes: bytes of each of its files, as the caller found them.
        times_ns: the modification time of each of its files, as the caller found them; empty if `sha256` says more.
        sha256: its content (`models.identity.content_hash`), for a worker that may be another machine; None for one
            that sees the caller's files.
    """

    source: ModelSource
    n_gpu_layers: int | None
    sizes: tuple[int, ...]
    times_ns: tuple[int, ...]
    sha256: str | None = None

    @classmethod
    def of(cls, source: ModelSource, n_gpu_layers: int | None) -> PinnedSource:
        """The model as it is found now."""
        source = source.absolute()
        return cls(source, n_gpu_layers, content.sizes(source), _times_ns(source))

    def without_adapters(self) -> PinnedSource:
        """The model to which its adapters are applied; its hash stays that of both."""
        n = len(self.source.parts)
        plain = replace(self.source, adapters=())
        return replace(self, source=plain, sizes=self.sizes[:n], times_ns=self.times_ns[:n])

    def elsewhere(self, sha256: str) -> PinnedSource:
        """The same for a worker that may be another machine."""
        return replace(self, times_ns=(), sha256=sha256)

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(self.sizes)

    def refuse_other(self) -> None:
        """Compares what is under the paths here with what the caller found there.

        Raises:
            ModelError: what is there is not what the caller found.
        """
        if self.sha256 is not None:
            content.refuse_other(self.source, self.sizes, self.sha256)
        elif (content.sizes(self.source), _times_ns(self.source)) != (self.sizes, self.times_ns):
            raise ModelError(
                f"the model file `{printable(self.source.path)}` has changed since the run began",
                hint="start the run again",
            )


def _times_ns(source: ModelSource) -> tuple[int, ...]:
    return tuple(file.stat().st_mtime_ns for file in source.files if file.exists())


@dataclass(frozen=True, kw_only=True)
class ContextSize:
    """What a context is made from (see `native.Scorer`); `threads` may be None for the worker's physical cores."""

    n_ctx: int
    n_ubatch: int
    threads: int | None
    n_outputs_max: int
    n_seq_max: int
    bf16: bool = False


def default_threads() -> int:
    """The physical cores of this machine."""
    return int(loky.cpu_count(only_physical_cores=True))


class Weights(Enum):
    """Whether a model is loaded with its weights, or only with what tokenizes."""

    NOT_NEEDED = auto()
    WHERE_THEY_FIT = auto()
    """The model will be evaluated later. Its weights are loaded now if memory has room for them beside the others."""
    NEEDED = auto()


class _Loaded:
    """A model and its last context.

    A context is used again only for the same size: models with two sets of RoPE factors (LongRoPE) choose between them
    by the size of the context, so that in a larger one the same window would get other numbers.

    Raises:
        ModelError: llama.cpp cannot load the file.
    """

    def __init__(self, pinned: PinnedSource, weights: bool) -> None:
        self.model = Model(pinned.source.path, n_gpu_layers=pinned.n_gpu_layers, vocab_only=not weights)
        self.size_bytes = self.model.info.size_bytes if weights else 0
        self.chats = Chats(self.model)
        self._scorer: tuple[ContextSize, PinnedSource, Scorer] | None = None

    def scorer(self, size: ContextSize, pinned: PinnedSource) -> Scorer:
        """A context of this size with the adapters that a source has; it takes the place of the last one."""
        if self._scorer is None or self._scorer[:2] != (size, pinned):
            self._scorer = None  # its memory first
            threads = size.threads or default_threads()
            numbers = asdict(replace(size, threads=threads))
            self._scorer = size, pinned, Scorer(self.model, **numbers, adapters=pinned.source.adapters)
        return self._scorer[2]

    def drop_scorer(self) -> None:
        """Frees the context's memory; the weights stay."""
        self._scorer = None


class OnShelf:
    """A model as the shelf gives it: weights that models with other adapters may share, and its own adapters.

    Args:
        loaded: the weights.
        pinned: the model.
    """

    def __init__(self, loaded: _Loaded, pinned: PinnedSource) -> None:
        self.model = loaded.model
        """Without adapters; it tokenizes as the model does, and says the same of itself."""
        self.chats = loaded.chats
        """What the model makes of chats."""
        self._loaded, self._pinned = loaded, pinned

    def scorer(self, size: ContextSize) -> Scorer:
        """A context of this size, which takes the place of the last one on these weights.

        Raises:
            ModelError: see `Scorer`.
        """
        return self._loaded.scorer(size, self._pinned)


class Shelf:
    """The models used last, as many as `most_bytes` of tensors allow, and always the current one.

    Only the current one has a context, unless the caller has counted the others' (`beside`). Of models of which only
    the vocabulary is loaded, the last one stays. On a GPU only the current model stays: how much memory the GPU has is
    not known here, and too little of it may end the process.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._kept: OrderedDict[PinnedSource, _Loaded] = OrderedDict()
        self._vocabulary: tuple[PinnedSource, _Loaded] | None = None

    def get(self, pinned: PinnedSource, weights: Weights, *, beside: bool = False) -> OnShelf:
        """A model with its weights, or one that at least tokenizes.

        Models that differ in adapters share their weights; on another machine only those of one content do.

        Args:
            pinned: the model.
            weights: whether it needs them.
            beside: whether the contexts of the other models stay, as long as their weights do.

        Raises:
            ModelError: it cannot be loaded, or its files are no longer those that the caller found.
        """
        if not pinned.source.adapters:
            return OnShelf(self._get(pinned, pinned, weights, beside), pinned)
        pinned.refuse_other()
        return OnShelf(self._get(pinned.without_adapters(), pinned, weights, beside), pinned)

    def _get(self, pinned: PinnedSource, whole: PinnedSource, weights: Weights, beside: bool) -> _Loaded:
        """The weights of a model; `whole` is the model with its adapters, whose hash `pinned` bears."""
        if pinned in self._kept:
            self._drop_scorers(pinned, beside)
            self._kept.move_to_end(pinned)
            return self._kept[pinned]
        if weights is not Weights.NEEDED and self._vocabulary and self._vocabulary[0] == pinned:
            return self._vocabulary[1]
        whole.refuse_other()
        self._vocabulary = None
        most_bytes = 0 if native.on_gpu(pinned.n_gpu_layers) else self.most_bytes
        fits = self._kept_bytes + pinned.size_bytes <= most_bytes
        if weights is Weights.NOT_NEEDED or (weights is Weights.WHERE_THEY_FIT and not fits):
            loaded = _Loaded(pinned, weights=False)
            self._vocabulary = pinned, loaded
            return loaded
        self._drop_scorers(pinned, beside)
        for other in self._others(pinned):  # oldest first
            if self._kept_bytes + pinned.size_bytes > most_bytes:
                del self._kept[other]
        loaded = self._kept[pinned] = _Loaded(pinned, weights=True)
        return loaded

    @property
    def _kept_bytes(self) -> int:
        return sum(kept.size_bytes for kept in self._kept.values())

    def _drop_scorers(self, pinned: PinnedSource, beside: bool) -> None:
        for other in () if beside else self._others(pinned):
            self._kept[other].drop_scorer()

    def _others(self, pinned: PinnedSource) -> Iterator[PinnedSource]:
        return (other for other in list(self._kept) if other != pinned)
