"""A job: documents and models that fit together, and what the store already has of them. Nothing is evaluated here.

Four steps lead there: read → plan → admit → locate. `scoring.score` and `dry_run.plan` both begin here, so that what a
dry run says is what a run does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ppldelta.console.progress import meter
from ppldelta.engine.native import Build, ModelInfo
from ppldelta.engine.remote import RemoteModel
from ppldelta.engine.session import Session
from ppldelta.errors import StoreError
from ppldelta.models.source import ModelSource
from ppldelta.run import cautions, checks, groups
from ppldelta.run.admission import Admission, Reading
from ppldelta.run.chats import as_texts, other_templates
from ppldelta.run.keys import Keys, corpus_hash, engine_of
from ppldelta.run.memory import Memory
from ppldelta.run.paired import complete
from ppldelta.run.request import Request
from ppldelta.run.settings import ResolvedSettings, Settings
from ppldelta.run.tokenization import Tokenization, tokenize
from ppldelta.store.hashes import Hashes
from ppldelta.store.keys import WindowKeys
from ppldelta.store.store import Store
from ppldelta.text.documents import Document, Files, load_documents
from ppldelta.text.many import Batches
from ppldelta.wording import numbers
from ppldelta.wording.names import counted, shown_type


@dataclass(frozen=True, eq=False)
class Participant:
    """One model of a job.

    Attributes:
        model: where it is evaluated.
        sha256: its content.
        settings: the reference's; of a model with a tokenization of its own, those resolved for it.
        tokenization: the documents as it reads them.
        keys: under which the store files each of its windows.
        stored: which of the windows need no evaluation, bool of shape [n_windows]; with `kld`, the pair's values of
            these are stored as well.
        info: what the model says of itself, if the store remembers that; then the weights need not be loaded.
        shares: whether its tokenization is the reference's.
    """

    model: RemoteModel
    sha256: str
    settings: ResolvedSettings
    tokenization: Tokenization
    keys: WindowKeys
    stored: NDArray[np.bool_]
    info: ModelInfo | None
    shares: bool

    @property
    def label(self) -> str:
        """What the user calls it."""
        return self.model.label

    @property
    def source(self) -> ModelSource:
        """What it is."""
        return self.model.source

    @property
    def n_vocab(self) -> int:
        """Entries of its vocabulary, which is loaded if the store does not remember that."""
        return (self.info or self.model.info).n_vocab

    @property
    def n_fed(self) -> int:
        """Tokens that it reads, with nothing in the store; of equal windows it reads one."""
        return int(self.missing(np.zeros(len(self.keys), np.bool_)).n_fed.sum())

    def pair_keys(self, reference: Participant) -> WindowKeys:
        """Under which the store files each window's comparison with a reference."""
        return self.keys.having(reference=reference.sha256)

    def missing(self, known: NDArray[np.bool_]) -> Batches:
        """What has to be evaluated: the windows whose values are not known; of equal windows only the first.

        Args:
            known: of each window whether its values are, and those of all that equal it; bool of shape [n_windows].
        """
        return self.tokenization.batches_of(np.flatnonzero(~known & (self.keys.first == np.arange(len(self.keys)))))

    @property
    def todo(self) -> Batches:
        """What has to be evaluated, given what the store had when the job was opened."""
        return self.missing(self.stored)


@dataclass(frozen=True, eq=False)
class Job:
    """Documents and models that fit together.

    Attributes:
        settings: the reference's.
        models: the reference first.
        build: what evaluates them.
        store: what was evaluated before; None if nothing is kept.
        warnings: sentences for the reader.
        progress: whether to show how far it is.
    """

    settings: ResolvedSettings
    models: list[Participant]
    build: Build
    store: Store | None
    warnings: list[str]
    progress: bool

    @property
    def reference(self) -> Participant:
        """The model that is the yardstick."""
        return self.models[0]

    def engine(self, model: Participant, kernels: str) -> str:
        """The part `Key.engine` of the keys under which the store files a model's windows of these kernels."""
        return engine_of(model.settings, replace(self.build, kernels=kernels))

    @property
    def headline(self) -> str:
        """What there is to do, in a line."""
        texts = self.reference.tokenization
        what = (
            f"{counted(len(texts.documents), 'document')}, {counted(texts.n_tokens, 'token')} "
            f"({numbers.bytes_per_token(texts.bytes_per_token)}), {counted(len(texts.windows), 'window')}"
        )
        todo = [each for each in self.models if each.todo]
        if not todo:
            return f"{what}; every model is in the store, nothing is left to evaluate"
        parts = [f"{len(todo)} of {counted(len(self.models), 'model')} to evaluate"]
        if n_partly := sum(bool(each.stored.any()) for each in todo):
            parts.append(f"{n_partly} of them partly in the store")
        if n_stored := len(self.models) - len(todo):
            parts.append(f"{n_stored} in the store")
        return f"{what}; {', '.join(parts)}"


@contextmanager
def opened(
    request: Request,
    session: Session,
    files: Files,
    *,
    store: str | os.PathLike[str] | bool | None,
    progress: bool,
) -> Iterator[Job]:
    """Makes the job, and refuses all that can be refused before the first window is evaluated.

    The store and the reading of hashes are closed at the end.

    Args:
        request: models and settings.
        session: where the models are evaluated.
        files: the corpus; it and the errors are described in `scoring.score`.
        store: where evaluations are kept.
        progress: whether to show how far it is.
    """
    with opened_store(store) as kept, Hashes([each.source for each in request.models], kept) as hashes:
        memory = Memory(kept, hashes, progress)
        documents, models, warnings = _read(files, request, session, memory)
        own_templates = request.settings.align == "bytes" and request.settings.chat_template is True
        chats = documents if own_templates and any(each.messages or each.prompt_bytes for each in documents) else []
        settings, tokenization, of_plan = _plan(documents, models[0], request.settings, progress)
        keys = Keys(settings, models[0].info, models[0].build, tokenization.batches, progress)
        corpus = corpus_hash(tokenization.documents) if kept else ""
        reading = Reading(settings, tokenization, keys)
        admitted, of_models = _admit(models[1:], Admission(request.settings, models[0], reading, corpus, memory, chats))
        of_models += other_templates([model for model, _ in admitted], settings.chat_template, own=bool(chats))
        located, of_content = _locate(admitted, corpus, memory)
        if settings.kld and kept:
            located = _with_pairs(located, kept, settings.top_k)
        warnings = request.warnings + warnings + of_plan + of_models + of_content
        yield Job(settings, located, models[0].build, kept, warnings, progress)


def opened_store(store: str | os.PathLike[str] | bool | None) -> AbstractContextManager[Store | None]:
    """The store that is to be used, if any."""
    if store is None or store is False:
        return nullcontext()
    if not isinstance(store, (bool, str, os.PathLike)):
        raise StoreError(f"`store` must be a path, True, or None, got {shown_type(store)}")
    return Store(None if isinstance(store, bool) else store)


def _read(
    files: Files, request: Request, session: Session, memory: Memory
) -> tuple[list[Document], list[RemoteModel], list[str]]:
    """The documents, the models, and warnings. The reference is known to be scorable, the comparisons not yet."""

    @contextmanager
    def shown(n_bytes: int) -> Iterator[Callable[[int], object]]:
        with meter("reading rows", n_bytes, "byte", brief=True, visible=memory.progress and n_bytes > 0) as bar:
            yield bar.update

    documents, warnings = load_documents(files, shown)
    models = [
        RemoteModel(
            session, each, n_gpu_layers=request.settings.n_gpu_layers, content=partial(memory.sha256, each.source)
        )
        for each in request.models
    ]
    reference = models[0]
    # A reference that was evaluated before may need no weights. For another one it would not help to load the
    # vocabulary alone: that takes as long, and the weights would be loaded afterwards.
    if not memory.description(memory.hashes.known(reference.source)):
        reference.load()
    checks.refuse_unscorable(reference.info, reference.label)
    return documents, models, warnings + checks.no_device(request.settings, reference.build)


def _plan(
    documents: list[Document], reference: RemoteModel, asked: Settings, progress: bool
) -> tuple[ResolvedSettings, Tokenization, list[str]]:
    """What the settings mean here, what is evaluated with them, and warnings."""
    settings = asked.resolve(reference.info, reference.build)
    with meter("rendering", len(documents), "chat", brief=True, visible=progress) as bar:
        texts = as_texts(documents, reference, settings.chat_template, bar.update)
    documents = texts.documents
    tokenization, too_short = tokenize(documents, reference, settings, progress)
    return (
        settings,
        tokenization,
        [
            *texts.warnings,
            *groups.incomplete(tokenization.texts),
            *groups.repeated(tokenization),
            *too_short,
            *cautions.not_spelt(reference.label, tokenization),
            *checks.beyond_training(reference.info, reference.label, tokenization.longest),
        ],
    )


def _admit(
    comparisons: Sequence[RemoteModel], admission: Admission
) -> tuple[list[tuple[RemoteModel, Reading]], list[str]]:
    """The reference and the comparisons that can be judged against it, and warnings, also of those left out.

    Raises:
        ModelError: none of the comparisons can be loaded or scored.
        TokenizerMismatchError: one of them splits a document into other tokens, and `align` is "tokens".
    """
    readings = [(each, admission.admit(each)) for each in comparisons]
    admitted = [(each, reading) for each, reading in readings if reading]
    if not admitted:
        raise admission.failures[0]
    return [(admission.reference, admission.reading), *admitted], admission.warnings + admission.cautions()


def _locate(
    models: list[tuple[RemoteModel, Reading]], corpus: str, memory: Memory
) -> tuple[list[Participant], list[str]]:
    """For each model what of its windows the store has, and warnings."""
    located = []
    for model, reading in models:
        sha256 = memory.sha256(model.source)
        mine = reading.keys.of(sha256)
        stored = memory.store.has(mine) if memory.store else np.zeros(len(mine), np.bool_)
        shares = reading is models[0][1]
        if memory.store and shares:
            memory.store.notes.note_checked(sha256, corpus)
        about = memory.description(sha256)
        located.append(Participant(model, sha256, reading.settings, reading.tokenization, mine, stored, about, shares))
    return located, checks.same_content((each.label, each.sha256) for each in located[1:])


def _with_pairs(models: list[Participant], store: Store, top_k: int) -> list[Participant]:
    """The same, where only that is stored which has the pair's values as well: the reference reads what others read.

    A comparison that has no divergence, since its tokens are others or its vocabulary has another size, needs none.
    """
    reference, *comparisons = models
    of_all = reference.stored
    found = []
    for each in comparisons:
        if not each.shares or each.n_vocab != reference.n_vocab:
            found.append(each)
            continue
        pairs = complete(store, each.pair_keys(reference), top_k)
        found.append(replace(each, stored=each.stored & pairs))
        of_all = of_all & pairs
    return [replace(reference, stored=of_all), *found]
