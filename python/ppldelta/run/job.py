"""A job before anything is evaluated: documents × models, all checked, and what the store has of it already.

`scoring.score` and `planning.plan` both begin here, so that what a dry run says is what a run does.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ppldelta.console.progress import Meter, meter
from ppldelta.engine import native
from ppldelta.engine.native import Build, ModelInfo
from ppldelta.engine.remote import RemoteModel
from ppldelta.engine.session import Session
from ppldelta.errors import LeftOut, ModelError, StoreError
from ppldelta.models.references import ModelLike, ModelReference, resolve, resolve_many, unique_labels
from ppldelta.run.keys import Keys, corpus_hash, engine_of
from ppldelta.run.plan import (
    PlannedDocument,
    beyond_training,
    check_tokens,
    other_bos,
    plan_batches,
    plan_documents,
    refuse_unscorable,
)
from ppldelta.run.settings import ResolvedSettings, Settings
from ppldelta.store.hashes import Hashes
from ppldelta.store.store import Key, Store
from ppldelta.surroundings import need_threads_of_polars, need_working_folder
from ppldelta.text.documents import Document, Files, load_documents
from ppldelta.text.windows import PlannedWindow
from ppldelta.wording.names import counted, printable, shown_type


@dataclass(frozen=True, eq=False)
class ModelJob:
    """One model of a job.

    Attributes:
        model: where it is evaluated.
        path: its file.
        sha256: its content.
        keys: what the store files each planned window under.
        stored: which of them it has.
        info: what it says of itself, where the store remembers that; the weights need not be loaded then.
    """

    model: RemoteModel
    path: Path
    sha256: str
    keys: list[Key]
    stored: set[Key]
    info: ModelInfo | None

    @property
    def label(self) -> str:
        return self.model.reference.label

    @property
    def todo(self) -> list[int]:
        """Indices of the planned windows that have to be evaluated."""
        return self.missing(self.stored)

    def missing(self, known: Container[Key]) -> list[int]:
        """Indices of the planned windows that are not known, of equal ones the first."""
        first: dict[Key, int] = {}
        for i, key in enumerate(self.keys):
            if key not in known:
                first.setdefault(key, i)
        return list(first.values())


@dataclass(frozen=True, eq=False)
class Job:
    """Documents and models that fit together.

    Attributes:
        settings: the same for all models.
        planned: the documents with their tokens and windows.
        windows: those of all documents.
        distinct_tokens: every token that occurs in them, once, int32 of shape [n].
        pieces: the bytes of each of those.
        models: the reference first.
        build: what evaluates them.
        store: what was evaluated before; None where nothing is kept.
        warnings: sentences for the reader.
        progress: whether to show how far it is.
    """

    settings: ResolvedSettings
    planned: list[PlannedDocument]
    windows: list[PlannedWindow]
    distinct_tokens: NDArray[np.int32]
    pieces: list[bytes]
    models: list[ModelJob]
    build: Build
    store: Store | None
    warnings: list[str]
    progress: bool

    def engine(self, kernels: str) -> str:
        """What the store files windows under that these kernels computed (`Key.engine`)."""
        return engine_of(self.settings, replace(self.build, kernels=kernels))

    @property
    def n_fed(self) -> int:
        """Tokens that a model reads, with nothing in the store: equal windows once."""
        return sum({key: window.n_fed for key, window in zip(self.models[0].keys, self.windows, strict=True)}.values())

    @property
    def headline(self) -> str:
        """What there is to do, in a line."""
        n_tokens = sum(len(plan.tokens) for plan in self.planned)
        what = (
            f"{counted(len(self.planned), 'document')}, {counted(n_tokens, 'token')}, "
            f"{counted(len(self.windows), 'window')}"
        )
        todo = [each for each in self.models if each.todo]
        if not todo:
            return f"{what}; every model is in the store, nothing is left to evaluate"
        parts = [f"{len(todo)} of {counted(len(self.models), 'model')} to evaluate"]
        if n_partly := sum(bool(each.stored) for each in todo):
            parts.append(f"{n_partly} of them partly in the store")
        if n_stored := len(self.models) - len(todo):
            parts.append(f"{n_stored} in the store")
        return f"{what}; {', '.join(parts)}"


@dataclass(frozen=True)
class Request:
    """What is asked for, as far as it can be checked without a model: the models are files, the reference first."""

    settings: Settings
    models: list[ModelReference]

    @classmethod
    def of(
        cls,
        ref: ModelLike,
        cmp: ModelLike | Iterable[ModelLike] | Mapping[str, ModelLike],
        settings: Settings,
    ) -> Request:
        """The arguments and the errors are those of `scoring.score`."""
        need_threads_of_polars()
        need_working_folder()
        return cls(settings, unique_labels([resolve(ref), *resolve_many(cmp)]))


@contextmanager
def opened(
    request: Request,
    session: Session,
    files: Files,
    *,
    store: str | os.PathLike[str] | bool | None,
    progress: bool,
) -> Iterator[Job]:
    """Refuses all that can be refused before the first window is evaluated; what is open is closed at the end.

    Args:
        request: models and settings.
        session: where the models are evaluated.
        files: the corpus; it and the errors are described in `scoring.score`.
        store: where evaluations are kept.
        progress: whether to show how far it is.
    """
    with _store(store) as kept, Hashes([reference.path for reference in request.models], kept) as hashes:
        yield _prepared(files, request.models, request.settings, session, kept, hashes, progress)


def _store(store: str | os.PathLike[str] | bool | None) -> AbstractContextManager[Store | None]:
    """The store that is to be used, if any."""
    if store is None or store is False:
        return nullcontext()
    if not isinstance(store, (bool, str, os.PathLike)):
        raise StoreError(f"`store` must be a path, True, or None, got {shown_type(store)}")
    return Store(None if store is True else store)


def _prepared(
    files: Files,
    references: list[ModelReference],
    asked: Settings,
    session: Session,
    store: Store | None,
    hashes: Hashes,
    progress: bool,
) -> Job:
    documents, warnings = load_documents(files)
    models = [
        RemoteModel(
            session,
            reference,
            n_gpu_layers=asked.n_gpu_layers,
            content=partial(hashes.wait_visibly, reference.path, progress),
        )
        for reference in references
    ]
    (reference, *comparisons), (model, *judged) = references, models

    # A model that was evaluated before needs no weights, as far as is known yet; for another one the vocabulary alone
    # would take as long to load and then be loaded again.
    if not _described(hashes.known(reference.path), store):
        model.load()
    refuse_unscorable(model.info, reference.label)
    warnings += _no_device(asked, model.build)
    settings = asked.resolve(model.info, model.build)
    with _tokenizing(documents, progress) as bar:
        planned, too_short = plan_documents(documents, model, settings, bar.update)
    warnings += too_short + beyond_training(model.info, reference.label, planned)
    distinct_tokens = np.unique(np.concatenate([plan.tokens for plan in planned]))
    pieces = model.pieces(distinct_tokens)
    windows = plan_batches(planned, settings)
    keys = Keys(settings, model.info, model.build, windows)
    corpus = corpus_hash(planned) if store else ""

    failures, readable = [], [model]
    for comparison, candidate in zip(comparisons, judged, strict=True):
        sha256 = hashes.known(comparison.path)
        info = _described(sha256, store)
        wanted = set(keys.of(sha256)) if info else set()
        all_stored = bool(info) and store.known(wanted) == wanted
        if not all_stored or not store.is_checked(sha256, corpus):
            try:
                info = candidate.info if all_stored else candidate.look()
                refuse_unscorable(info, comparison.label)
            except ModelError as error:  # such as a damaged file; the others go on
                failures.append((comparison.label, error))
                continue
            with _tokenizing([plan.document for plan in planned], progress) as bar:
                check_tokens(comparison, candidate, planned, reference, model, bar.update)
        warnings += beyond_training(info, comparison.label, planned)
        warnings += other_bos(comparison, info, reference, model.info)
        readable.append(candidate)
    if len(readable) == 1:
        raise failures[0][1]
    warnings += [left_out(*failure) for failure in failures]

    jobs = []
    for each in readable:
        path = each.reference.path
        sha256 = hashes.wait_visibly(path, progress)
        mine = keys.of(sha256)
        stored = store.known(mine) if store else set()
        if store:
            store.note_checked(sha256, corpus)
        jobs.append(ModelJob(each, path, sha256, mine, stored, _described(sha256, store)))
    warnings += _same_content(jobs[1:])
    return Job(settings, planned, windows, distinct_tokens, pieces, jobs, model.build, store, warnings, progress)


def _tokenizing(documents: list[Document], progress: bool) -> AbstractContextManager[Meter]:
    """Shows how far one model is with splitting texts; within a long text it shows only that time passes."""
    n_bytes = sum(len(document.text) for document in documents)
    return meter("tokenizing", n_bytes, "byte", brief=True, visible=progress)


def left_out(label: str, failure: ModelError, what: str = "this model is left out") -> LeftOut:
    """A warning about a comparison that failed while the others go on."""
    text = f"{failure.message}; {what}" + (f" (hint: {failure.hint})." if failure.hint else ".")
    return LeftOut(text, "comparison", label)


def _no_device(asked: Settings, where: Build) -> list[str]:
    """A warning where a build for GPUs finds none, unless none is wanted."""
    if where.gpu or asked.n_gpu_layers == 0 or not where.idle:
        return []
    because = f" ({where.idle_because})" if where.idle_because else ""
    return [
        f"This build is for {' and '.join(where.idle)}, but finds no device{because}, and evaluates on the CPU. "
        "Is the driver installed, and is the device visible (CUDA_VISIBLE_DEVICES, the container's settings)? "
        "`n_gpu_layers=0` (`-ngl 0`) means the CPU without this warning."
    ]


def _same_content(jobs: list[ModelJob]) -> list[str]:
    """A warning for each comparison that is another one under a second name."""
    first: dict[str, str] = {}
    return [
        f"`{printable(each.label)}` has the same content as `{printable(before)}`; one of them is enough."
        for each in jobs
        if (before := first.setdefault(each.sha256, each.label)) != each.label
    ]


def _described(sha256: str | None, store: Store | None) -> ModelInfo | None:
    """What a model of this content says of itself, where the store remembers that."""
    fields = store.description(sha256, native.release()) if store and sha256 else None
    try:
        return ModelInfo(**fields) if fields else None
    except TypeError:  # another development state of this version knew other fields
        return None
