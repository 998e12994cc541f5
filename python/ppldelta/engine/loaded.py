"""Models that stay loaded in a worker between its tasks, as many as its memory allows."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from enum import Enum, auto
from pathlib import Path

import loky

from ppldelta.engine import content, native
from ppldelta.engine.native import Model, Scorer
from ppldelta.errors import ModelError
from ppldelta.models.references import model_files
from ppldelta.wording.names import printable


@dataclass(frozen=True)
class ModelFile:
    """A model as a worker needs to know it; equal only where the files on disk are the same.

    Attributes:
        path: the GGUF file (of several, the first), absolute.
        n_gpu_layers: layers on the GPU; None for all where there is a GPU.
        sizes: bytes of each of its files, as the caller found them.
        times_ns: the modification time of each of its files, as the caller found them; empty where `sha256` says more.
        sha256: its content (`models.identity.content_hash`), for a worker that may be another machine; None for one
            that sees the caller's files.
    """

    path: Path
    n_gpu_layers: int | None
    sizes: tuple[int, ...]
    times_ns: tuple[int, ...]
    sha256: str | None = None

    @classmethod
    def of(cls, path: Path, n_gpu_layers: int | None) -> ModelFile:
        path = Path(os.path.abspath(path))
        return cls(path, n_gpu_layers, content.sizes(path), _times_ns(path))

    def elsewhere(self, sha256: str) -> ModelFile:
        """The same for a worker that may be another machine."""
        return replace(self, times_ns=(), sha256=sha256)

    @property
    def size_bytes(self) -> int:
        return sum(self.sizes)

    def refuse_other(self) -> None:
        """Compares what is under the path here with what the caller found there.

        Raises:
            ModelError: what is under the path here is not what the caller found.
        """
        if self.sha256 is not None:
            content.refuse_other(self.path, self.sizes, self.sha256)
        elif (content.sizes(self.path), _times_ns(self.path)) != (self.sizes, self.times_ns):
            raise ModelError(
                f"the model file `{printable(self.path)}` has changed since the run began", hint="start the run again"
            )


def _times_ns(path: Path) -> tuple[int, ...]:
    return tuple(part.stat().st_mtime_ns for part in model_files(path) if part.exists())


@dataclass(frozen=True, kw_only=True)
class ContextSize:
    """What a context is made from (see `native.Scorer`); `threads` may be None for the worker's physical cores."""

    n_ctx: int
    n_ubatch: int
    threads: int | None
    n_outputs_max: int
    n_seq_max: int


class Weights(Enum):
    """Whether a model is loaded with its weights, or only with what tokenizes."""

    NOT_NEEDED = auto()
    WHERE_THEY_FIT = auto()
    """It will be evaluated later: with them, if there is memory for them beside the models that are loaded now."""
    NEEDED = auto()


class _Loaded:
    """A model and its last context.

    A context is used again only for the same size: models with two sets of RoPE factors (LongRoPE) choose between them
    by the size of the context, so that in a larger one the same window would get other numbers.
    """

    def __init__(self, file: ModelFile, weights: bool) -> None:
        self.model = Model(file.path, n_gpu_layers=file.n_gpu_layers, vocab_only=not weights)
        self.size_bytes = self.model.info.size_bytes if weights else 0
        self._scorer: tuple[ContextSize, Scorer] | None = None

    def scorer(self, size: ContextSize) -> Scorer:
        if self._scorer is None or self._scorer[0] != size:
            self._scorer = None  # its memory first
            threads = size.threads or loky.cpu_count(only_physical_cores=True)
            self._scorer = size, Scorer(self.model, **asdict(replace(size, threads=threads)))
        return self._scorer[1]

    def drop_scorer(self) -> None:
        self._scorer = None


class Models:
    """The models used last, as many as `most_bytes` of tensors allow, and always the current one.

    Only the current one has a context. Of models of which only the vocabulary is loaded, the last one stays. On a GPU,
    whose memory is not known here and where too little of it may end the process, only the current model stays.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.n_loads = 0  # of weights
        self._kept: OrderedDict[ModelFile, _Loaded] = OrderedDict()
        self._vocabulary: tuple[ModelFile, _Loaded] | None = None

    def get(self, file: ModelFile, weights: Weights) -> _Loaded:
        """A model with its weights, or one that at least tokenizes.

        Raises:
            ModelError: it cannot be loaded, or its files are no longer those that the caller found.
        """
        if file in self._kept:
            for other in self._others(file):
                self._kept[other].drop_scorer()
            self._kept.move_to_end(file)
            return self._kept[file]
        if weights is not Weights.NEEDED and self._vocabulary and self._vocabulary[0] == file:
            return self._vocabulary[1]
        file.refuse_other()
        self._vocabulary = None
        most_bytes = 0 if native.on_gpu(file.n_gpu_layers) else self.most_bytes
        fits = self._kept_bytes + file.size_bytes <= most_bytes
        if weights is Weights.NOT_NEEDED or (weights is Weights.WHERE_THEY_FIT and not fits):
            loaded = _Loaded(file, weights=False)
            self._vocabulary = file, loaded
            return loaded
        for other in self._others(file):  # oldest first
            self._kept[other].drop_scorer()
            if self._kept_bytes + file.size_bytes > most_bytes:
                del self._kept[other]
        loaded = self._kept[file] = _Loaded(file, weights=True)
        self.n_loads += 1
        return loaded

    @property
    def _kept_bytes(self) -> int:
        return sum(kept.size_bytes for kept in self._kept.values())

    def _others(self, file: ModelFile) -> Iterator[ModelFile]:
        return (other for other in list(self._kept) if other != file)
