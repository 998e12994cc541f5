"""Continuations' values, from the store where it has them, else evaluated and stored."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ppldelta.console.progress import meter
from ppldelta.engine import native
from ppldelta.engine.remote import RemoteModel
from ppldelta.likelihood.encoding import Encoded
from ppldelta.run.batches import make_batches
from ppldelta.run.checks import refuse_not_finite
from ppldelta.run.keys import Keys, engine_of
from ppldelta.run.settings import ResolvedSettings
from ppldelta.store.keys import Key
from ppldelta.store.store import Store
from ppldelta.text.many import Batches, Windows
from ppldelta.text.windows import completion_windows
from ppldelta.wording.names import counted


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model gives one continuation.

    Attributes:
        logp: of each of its tokens, float32 in nats.
        best: what is most probable at each place, of type `pairs.BEST`.
        n_context: tokens before the first of them that were read.
    """

    logp: NDArray[np.float32]
    best: NDArray[np.void]
    n_context: int


@dataclass(frozen=True, eq=False)
class Evaluator:
    """A model with what decides its numbers and where they are kept.

    Attributes:
        model: where it is evaluated.
        sha256: its content.
        settings: resolved for it.
        store: what was evaluated before; None if nothing is kept.
        progress: whether to show how far it is.
    """

    model: RemoteModel
    sha256: str
    settings: ResolvedSettings
    store: Store | None
    progress: bool

    def answers(self, encoded: Sequence[Encoded]) -> list[Answer]:
        """The values of continuations. Of equal ones one is evaluated, and a context that several share once.

        Raises:
            ModelError: a kernel that the model needs is wrong, llama.cpp fails, its process is ended, or the model's
                logits are not finite.
            StoreError: the store fails; what is in it stays.
        """
        of_each = [
            completion_windows(each.tokens, n_prompt=each.n_context, n_ctx=self.settings.n_ctx, bos=None)
            for each in encoded
        ]
        windows = Windows.of((f"request {i}", each) for i, each in enumerate(of_each))
        batches = make_batches(windows, n_seq_max=self.settings.n_seq_max, n_ctx=self.settings.n_ctx)
        keys = list(Keys(self.settings, self.model.info, self.model.build, batches).of(self.sha256)) if batches else []
        logp, best = self._values(batches, keys)
        found, at = [], 0
        for some in of_each:
            mine = keys[at : at + len(some)]
            at += len(some)
            found.append(
                Answer(
                    np.concatenate([logp[key] for key in mine]),
                    np.concatenate([best[key] for key in mine]),
                    some[0].first_output + 1,
                )
            )
        return found

    def _values(
        self, batches: Batches, keys: list[Key]
    ) -> tuple[dict[Key, NDArray[np.float32]], dict[Key, NDArray[np.void]]]:
        """Of each key the log-probabilities and what is most probable."""
        store = self.store
        logp = store.get(keys) if store else {}
        best = {replace(key, top_k=0): each for key, each in store.get(map(_of_best, keys)).items()} if store else {}
        first: dict[Key, int] = {}
        for i, key in enumerate(keys):
            if key not in logp or key not in best:
                first.setdefault(key, i)
        todo = batches.only(np.array(list(first.values()), np.int64))
        n_known = sum(key not in first for key in keys)
        n_fed = int(batches.n_fed.sum())
        done = n_fed - int(todo.n_fed.sum())
        visible = self.progress and bool(todo)
        with meter(self.model.label, n_fed, "token", initial=done, visible=visible) as shown:
            if n_known:
                shown.note(f"{n_known} of {counted(len(keys), 'window')} from the store")
            if todo:
                info = self.model.load()
                if store:
                    store.notes.describe(self.sha256, native.release(), dataclasses.asdict(info))
            known_right = store.notes.trusted(native.release()) if store and todo else frozenset()
            with closing(self.model.score(todo, self.settings.context, shown.update, known_right, best=True)) as shards:
                for shard in shards:
                    if store and not shard.trusted <= known_right:
                        store.notes.trust(native.release(), shard.trusted)
                        known_right |= shard.trusted
                    engine = engine_of(self.settings, replace(self.model.build, kernels=shard.kernels))
                    rows: list[tuple[Key, NDArray[np.float32] | NDArray[np.void], float]] = []
                    for i, values, window_s in shard.windows:
                        refuse_not_finite(values, self.model.label, batches.windows.name_of(i))
                        logp[keys[i]], best[keys[i]] = values, shard.best[i]
                        key = replace(keys[i], engine=engine)
                        rows += [(key, values, window_s), (_of_best(key), shard.best[i], 0.0)]
                    if store:
                        store.put_many(rows)
        return logp, best


def _of_best(key: Key) -> Key:
    """The key of what is most probable at each place of a window."""
    return replace(key, top_k=1)
