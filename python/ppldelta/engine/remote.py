"""A model whose weights are in a worker, as the caller sees it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence, Set
from contextlib import closing
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from ppldelta.engine import worker
from ppldelta.engine.chats import ChatFacts, Rendered
from ppldelta.engine.loaded import ContextSize, PinnedSource, Weights
from ppldelta.engine.native import Build, ModelInfo
from ppldelta.engine.recognition import Recognition
from ppldelta.engine.session import Session
from ppldelta.engine.shards import PairedShard, Shard, shard_of, shards
from ppldelta.engine.trusted import Trust
from ppldelta.errors import ModelError
from ppldelta.models.identity import content_hash
from ppldelta.models.references import LabelledSource
from ppldelta.models.source import ModelSource
from ppldelta.text.document import Document, Message
from ppldelta.text.many import Batches
from ppldelta.text.ragged import Ragged
from ppldelta.text.special import Spelt
from ppldelta.text.windows import Batch

_SHARD_S = 2.0
"""Seconds of evaluation in a shard: what a dead worker loses, and what the store commits at once.

A commit of less would write more around the values than the values are.
"""
_PAIRED_SHARD_S = 10.0
"""Seconds of each model in lockstep: making another model's context takes some tenths of one."""
_FIRST_PAIRED_TOKENS = 2048
"""In the first shard, before it is known how long that takes."""
_SHARD_BYTES = 2**20
"""Bytes of text that are tokenized in one task."""


class RemoteModel:
    """A model whose weights are where it is evaluated. Nothing is loaded there before it is needed.

    Args:
        session: where it is evaluated.
        model: its label and source.
        n_gpu_layers: layers on the GPU; None for all if there is a GPU.
        content: gives the hash of its content. Only workers on other machines need that, and it is asked for once; by
            default the model's files are read.
    """

    def __init__(
        self,
        session: Session,
        model: LabelledSource,
        *,
        n_gpu_layers: int | None = None,
        content: Callable[[], str] | None = None,
    ) -> None:
        self._model = model
        self._session = session
        self._found = PinnedSource.of(model.source, n_gpu_layers)
        self._content = content or partial(content_hash, model.source)
        self._described: worker.Described | None = None
        self.load_s = 0.0
        """Seconds that it took to load the model, the longest time of `look` and `load`."""

    def with_layers(self, n_gpu_layers: int) -> RemoteModel:
        """The same model with so many layers on the GPU."""
        return RemoteModel(self._session, self._model, n_gpu_layers=n_gpu_layers, content=self._content)

    @property
    def label(self) -> str:
        """What the user calls the model."""
        return self._model.label

    @property
    def source(self) -> ModelSource:
        """What the model is."""
        return self._model.source

    @cached_property
    def _pinned(self) -> PinnedSource:
        """The model as the workers need to know it.

        Raises:
            ModelError: the workers are on other machines, and a file cannot be read here.
        """
        return self._found if self._session.local else self._found.elsewhere(self._content())

    @property
    def info(self) -> ModelInfo:
        """What the model says of itself; loads its vocabulary if nothing is loaded yet.

        Some of it (file type, sizes) is known only if the weights are loaded, as they are after `load`.
        """
        return self._describe(Weights.NOT_NEEDED).info

    @property
    def build(self) -> Build:
        """What the worker is built from."""
        return self._describe(Weights.NOT_NEEDED).build

    def look(self) -> ModelInfo:
        """What the model says of itself; loads it with its weights if memory allows, since `load` will follow.

        Raises:
            ModelError: as `load`.
        """
        return self._describe(Weights.WHERE_THEY_FIT).info

    def load(self) -> ModelInfo:
        """Loads the weights if they are not there yet.

        Raises:
            ModelError: llama.cpp cannot load the file; the message carries its reason.
        """
        self._described = None
        return self._describe(Weights.NEEDED).info

    def _describe(self, weights: Weights) -> worker.Described:
        if self._described is None:
            started = time.perf_counter()
            described = self._session.call(worker.describe, self._pinned, weights, label=self.label, doing="loading")
            self.load_s = max(self.load_s, time.perf_counter() - started)
            self._described = described
        return self._described

    def tokenize(
        self, documents: Sequence[Document], on_bytes: Callable[[int], object] = lambda n_bytes: None
    ) -> Ragged[np.int32]:
        """Tokens of each document, shape [n_tokens], without the BOS that the vocabulary may add.

        llama.cpp takes 0.2 to 0.4 s of one core for each MB, and some 30 bytes of memory for each byte of a document,
        which it splits in one piece: two halves of a text may have other tokens than the whole.

        Args:
            documents: any.
            on_bytes: called with the bytes of text that were split since the last call; if the worker is local,
                several times a second, also with 0.

        Raises:
            ModelError: the tokenizer fails.
        """
        tokens: dict[int, Ragged[np.int32]] = {}
        done = self._session.stream(
            worker.tokenize,
            shards([len(document.text) for document in documents], lambda: _SHARD_BYTES),
            lambda shard: (self._pinned, shard.start, [_as_read(documents[i]) for i in shard]),
            label=self.label,
            doing="tokenizing for",
            names=[document.name for document in documents],
            on_tokens=on_bytes,  # no token is evaluated: with 0
        )
        for shard, values in done:
            tokens[shard.start] = values
            on_bytes(sum(len(documents[i].text) for i in shard))
        return Ragged.joined([tokens[start] for start in sorted(tokens)], np.int32)

    def chat_facts(self) -> ChatFacts:
        """What the model says of chats."""
        return self._session.call(worker.chat_facts, self._pinned, label=self.label, doing="reading")

    def render(
        self,
        template: str,
        chats: Sequence[Sequence[Message]],
        names: Sequence[str],
        on_chats: Callable[[int], object] = lambda n_chats: None,
    ) -> list[Rendered | str]:
        """Each chat as a text, or why it is none (`chats.Chats.render`).

        Args:
            template: in Jinja.
            chats: at least two messages each.
            names: the document of each.
            on_chats: called with the number of chats that were rendered since the last call.

        Raises:
            ModelError: the template cannot be parsed.
        """
        texts: list[Rendered | str] = [""] * len(chats)
        done = self._session.stream(
            worker.render,
            shards([sum(len(message.content) for message in chat) for chat in chats], lambda: _SHARD_BYTES),
            lambda shard: (self._pinned, shard.start, template, chats[shard.start : shard.stop]),
            label=self.label,
            doing="rendering for",
            names=names,
        )
        for shard, values in done:
            texts[shard.start : shard.stop] = values
            on_chats(len(values))
        return texts

    def pieces(self, tokens: NDArray[np.int32]) -> list[bytes]:
        """The bytes of each token; one character may be spread over several tokens."""
        return self._session.call(worker.pieces, self._pinned, tokens, label=self.label, doing="reading")

    def recognise(self, comparison: RemoteModel) -> Recognition:
        """Whether another model is a quant of this one.

        Raises:
            ModelError: a file cannot be read, or the worker's process is ended.
        """
        return self._session.call(
            worker.recognised, self._pinned, comparison._pinned, label=comparison.label, doing="recognising"
        )

    def score(
        self,
        batches: Sequence[Batch],
        size: ContextSize,
        on_tokens: Callable[[int], object] = lambda n_tokens: None,
        known: Set[Trust] = frozenset(),
        best: bool = False,
    ) -> Generator[Shard, None, None]:
        """Log-probabilities of each window's targets.

        Args:
            batches: some of this model's.
            size: of the context.
            on_tokens: called with the number of tokens evaluated since the last call, several times a second where
                the worker is local, else after each shard.
            known: kernels that need no check.
            best: whether to say as well what is most probable at each place.

        Yields:
            Shards as they are done: those that flash attention evaluates come first, else in the order of the batches.

        Raises:
            ModelError: a kernel that the model needs is wrong, llama.cpp fails, or the worker's process is ended.
        """
        packed = Batches.of(batches).by_context()
        n_fed = packed.n_fed.tolist()
        most_tokens = 1
        done = self._session.stream(
            worker.score,
            shards(n_fed, lambda: most_tokens),
            lambda shard: (self._pinned, size, shard.start, packed[shard.start : shard.stop], known, best),
            label=self.label,
            doing="evaluating",
            names=packed.names,
            on_tokens=on_tokens,
        )
        with closing(done):
            for shard, scored in done:
                n_shard = sum(n_fed[item] for item in shard)
                if not self._session.local:
                    on_tokens(n_shard)
                most_tokens = int(n_shard / max(scored.time_s, 1e-6) * _SHARD_S)
                yield shard_of(scored, packed[shard.start : shard.stop])

    def refuse_too_many_rows(self, n_rows: int, n_vocab: int) -> None:
        """
        Raises:
            ModelError: the worker keeps fewer rows of logits at a time than a batch has.
        """
        self._session.call(worker.refuse_too_many_rows, n_rows, n_vocab, label=self.label, doing="evaluating")

    def score_pairs(
        self,
        comparisons: Sequence[RemoteModel],
        batches: Sequence[Batch],
        size: ContextSize,
        on_tokens: Callable[[int], object] = lambda n_tokens: None,
        known: Set[Trust] = frozenset(),
        top_k: int = 0,
        sizes: Sequence[ContextSize] = (),
    ) -> Generator[PairedShard, None, None]:
        """Evaluates this model and comparisons with it in lockstep; the arguments are as for `score`.

        The records have the `top_k` best tokens of both, at most as many as the vocabulary has. `sizes` are those of
        each comparison's context, by default this model's. Where models do not fit into memory together, each shard
        loads them again, so that one is longer than `score`'s.

        Yields:
            Shards as they are done.

        Raises:
            ProcessLostError: the worker's process is ended; by which model is not known.
            ModelError: this model fails, or a batch has more rows than memory is for.
        """
        n_models = 1 + len(comparisons)
        packed = Batches.of(batches).by_context()
        n_fed = packed.n_fed.tolist()
        most_tokens = _FIRST_PAIRED_TOKENS
        done = self._session.stream(
            worker.score_pairs,
            shards(n_fed, lambda: most_tokens),
            lambda shard: (
                *(self._pinned, [each._pinned for each in comparisons], [size, *(sizes or [size] * len(comparisons))]),
                *(shard.start, packed[shard.start : shard.stop], known, top_k),
            ),
            label=comparisons[0].label if n_models == 2 else self.label,
            doing="comparing" if n_models == 2 else "comparing with",
            names=packed.names,
            on_tokens=on_tokens,
        )
        with closing(done):
            for shard, paired in done:
                n_shard = sum(n_fed[item] for item in shard)
                if not self._session.local:
                    on_tokens(n_shard * n_models)
                most_tokens = int(n_shard / max(paired.time_s / n_models, 1e-6) * _PAIRED_SHARD_S)
                some = packed[shard.start : shard.stop]
                at = some.at.tolist()
                yield PairedShard(
                    [each if isinstance(each, ModelError) else shard_of(each, some) for each in paired.models],
                    [dict(zip(at, records, strict=True)) if records else {} for records in paired.pairs],
                    paired.infos,
                )


def _as_read(document: Document) -> bytes | Spelt:
    """A document's text as the tokenizer is to read it."""
    return Spelt(document.text, document.plain) if document.special else document.text
