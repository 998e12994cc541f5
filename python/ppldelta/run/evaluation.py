"""One model on all its windows: the store gives what it has already, the rest is evaluated and stored."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ppldelta.console.progress import meter
from ppldelta.engine import native
from ppldelta.engine.native import ModelInfo
from ppldelta.family import ModelFacts
from ppldelta.models.source import ModelSource
from ppldelta.run.checks import refuse_any_not_finite
from ppldelta.run.job import Job, Participant
from ppldelta.run.lockstep import Lockstep
from ppldelta.run.values import Values
from ppldelta.wording.names import as_utf8, counted, printable


@dataclass(frozen=True)
class Evaluation:
    """One model's log-probabilities: float32 in nats, those of all scored tokens in the order of its windows.

    Attributes:
        participant: the model and its windows.
        info: what the model says of itself.
        logp: the log-probabilities, shape [n_scored].
        pairs: records of the pair with the reference, of type `pairs.record`, where lockstep gave them.
        time_s: seconds that evaluating took; what the store had takes none.
        kernels: how many of the windows were computed by which kernels (`native.Build.kernels`).
    """

    participant: Participant
    info: ModelInfo
    logp: NDArray[np.float32]
    pairs: NDArray[np.void] | None
    time_s: float
    kernels: dict[str, int]

    @property
    def label(self) -> str:
        """The model's."""
        return self.participant.label

    def facts(self) -> ModelFacts:
        """What the result says of the model."""
        facts = facts_of(self.info, self.participant, self.participant.sha256, tuple(self.kernels), self.time_s)
        return dataclasses.replace(facts, bytes_per_token=self.participant.tokenization.bytes_per_token)


class Labelled(Protocol):
    """A model's label and source."""

    @property
    def label(self) -> str: ...

    @property
    def source(self) -> ModelSource: ...


def facts_of(info: ModelInfo, model: Labelled, sha256: str, kernels: tuple[str, ...], time_s: float) -> ModelFacts:
    """What a result says of a model, from what the model says of itself."""
    origin = model.source.origin
    return ModelFacts(
        label=model.label,
        path=as_utf8(model.source.path),
        sha256=sha256,
        bits_per_weight=info.bits_per_weight,
        architecture=info.architecture,
        name=info.name,
        file_type=info.file_type,
        n_vocab=info.n_vocab,
        n_ctx_train=info.n_ctx_train,
        n_params=info.n_params,
        size_bytes=info.size_bytes,
        bos=info.bos,
        eos=info.eos,
        add_bos=info.add_bos,
        add_eos=info.add_eos,
        recurrent=info.recurrent,
        causal=info.causal,
        kernels=kernels,
        time_s=round(time_s, 3),
        hub=origin.name if origin else None,
        hub_commit=origin.commit if origin else None,
        adapters=tuple(f"{as_utf8(each.path)}:{each.scale:g}" for each in model.source.adapters),
    )


def evaluate(participant: Participant, work: Job, before: Lockstep) -> Evaluation:
    """Log-probabilities of one model on all its windows: lockstep and the store give what they have, the rest is
    evaluated and stored.

    Raises:
        ModelError: a kernel that the model needs is wrong, llama.cpp fails, its process is ended, or the model's
            logits are not finite.
        StoreError: the store fails; what is in it stays.
    """
    store, keys, windows = work.store, participant.keys, participant.tokenization.windows
    values: Values[np.float32] = Values(windows.targets.starts, keys.first, np.float32)
    for at, logp in store.read(keys) if store else ():
        values.put(at, logp, work.build.kernels)
    n_known = int(values.known.sum())
    if participant.shares and participant.sha256 in before.logp:
        values.put_known(before.logp[participant.sha256])
    todo = participant.missing(values.known)
    time_s = before.times.get(participant.sha256, 0.0)
    n_fed = participant.n_fed
    with meter(
        participant.label,
        n_fed,
        "token",
        initial=n_fed - int(todo.n_fed.sum()),
        visible=work.progress and bool(todo),  # the headline says what needs no evaluation
    ) as shown:
        if values.known.any():
            shown.note(f"{n_known} of {counted(len(keys), 'window')} from the store")
        info = participant.info or before.infos.get(participant.sha256)
        if todo or info is None:
            info = participant.model.load()
            if store:
                store.notes.describe(participant.sha256, native.release(), dataclasses.asdict(info))
        known_right = store.notes.trusted(native.release()) if store and todo else frozenset()
        with closing(participant.model.score(todo, participant.settings.context, shown.update, known_right)) as shards:
            for shard in shards:
                if store and not shard.trusted <= known_right:
                    store.notes.trust(native.release(), shard.trusted)
                    known_right |= shard.trusted
                at, logp, times_s = shard.at, shard.logp, shard.times_s
                refuse_any_not_finite(logp, at, participant.label, windows.name_of)
                values.put(at, logp, shard.kernels)
                time_s += float(times_s.sum())
                if store:
                    engine = work.engine(participant, shard.kernels)
                    store.put([(keys.taken(at).having(engine=engine), logp, times_s)])
    pairs = before.records(participant)
    return Evaluation(participant, info, values.of_all, pairs, time_s, values.kernels)


def pieces_of(reference: Participant, evaluations: Iterable[Evaluation]) -> dict[int, bytes]:
    """The bytes of every token that occurs in the documents or among the best tokens of a model, ascending.

    Raises:
        ModelError: the reference, whose vocabulary says that, cannot be loaded.
    """
    texts = reference.tokenization
    pieces = dict(zip(texts.distinct_tokens.tolist(), texts.pieces, strict=True))
    best = [each.pairs[name].ravel() for each in evaluations if each.pairs is not None for name in _best_in(each.pairs)]
    if best:
        others = np.setdiff1d(np.concatenate(best), texts.distinct_tokens)
        pieces |= zip(others.tolist(), reference.model.pieces(others), strict=True)
    return dict(sorted(pieces.items()))


def _best_in(pairs: NDArray[np.void]) -> list[str]:
    """The fields of records that hold several tokens each."""
    return [name for name in pairs.dtype.names or () if name.startswith("top_tokens")]


def without_effect(reference: Evaluation, evaluations: Iterable[Evaluation]) -> list[str]:
    """A warning for each model with an adapter of scale 0, and for each comparison whose numbers are the reference's to
    the last bit, though adapters are applied."""
    unscaled = [
        f"`{printable(each.label)}` has an adapter of scale 0, which changes nothing."
        for each in (reference, *evaluations)
        if any(adapter.scale == 0 for adapter in each.participant.source.adapters)
    ]
    return unscaled + [
        f"`{printable(each.label)}` gives the reference's numbers to the last bit: what is applied to it changes "
        "nothing, or llama.cpp does not apply it to models of this architecture."
        for each in evaluations
        if any(adapter.scale for adapter in each.participant.source.adapters)
        and each.participant.source.adapters != reference.participant.source.adapters
        and np.array_equal(each.logp, reference.logp)
    ]


def other_kernels(evaluations: Iterable[Evaluation], work: Job) -> list[str]:
    """A warning if some of the numbers come from other kernels than those that the signature names."""
    here = work.build.kernels
    others = [
        f"{n} of {counted(len(each.participant.keys), 'window')} of `{printable(each.label)}` by {kernels}"
        for each in evaluations
        for kernels, n in each.kernels.items()
        if kernels != here
    ]
    if not others:
        return []
    return [
        f"Not all numbers come from the kernels of the signature, {here}: {'; '.join(others)}. What kernels round "
        "differently looks like gain and loss; evaluate all models on machines of one kind."
    ]
