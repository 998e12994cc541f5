"""A reference and its comparisons in lockstep: the records of pairs, from the store where it has them, else computed.

One reference and m comparisons cost m + 1 passes. The log-probabilities that come with them are those of a plain run,
to the last bit, and are stored as its are; `evaluation` goes on from there.
"""

from __future__ import annotations

import dataclasses
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ppldelta.console.progress import Meter, meter
from ppldelta.engine import native
from ppldelta.engine.native import ModelInfo
from ppldelta.engine.shards import PairedShard, Shard
from ppldelta.errors import LeftOut, ModelError, ProcessLostError
from ppldelta.pairs import record
from ppldelta.run import paired
from ppldelta.run.checks import refuse_any_not_finite
from ppldelta.run.job import Job, Participant
from ppldelta.run.values import Values
from ppldelta.store.store import Part
from ppldelta.text.many import Batches
from ppldelta.text.ragged import Ragged
from ppldelta.wording.names import counted, printable

MOST_ROWS = 512
"""Of a batch of windows that share a prefix, at most so many rows of logits are kept at a time, or one window's."""


@dataclass
class Lockstep:
    """What lockstep gave; nothing of it where it was not asked for.

    Attributes:
        logp: log-probabilities of the windows that the models share, as far as they were evaluated, by the models'
            content.
        times: seconds of each model, by its content.
        infos: what each model says of itself, by its content.
        pairs: records of pairs with the reference, of type `pairs.record`, by a comparison's content.
        failures: what a comparison failed with, by its label.
        warnings: sentences for the reader.
    """

    logp: dict[str, Values[np.float32]] = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)
    infos: dict[str, ModelInfo] = field(default_factory=dict)
    pairs: dict[str, Values[np.void]] = field(default_factory=dict)
    failures: dict[str, ModelError] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def add(self, other: Lockstep) -> None:
        """Notes what else was evaluated, where it is not known yet; seconds add up."""
        for sha256, values in other.logp.items():
            self.logp.setdefault(sha256, values).put_known(values)
        self.times |= {sha256: self.times.get(sha256, 0.0) + time_s for sha256, time_s in other.times.items()}

    def note(self, model: Participant, shard: Shard) -> None:
        """Notes log-probabilities of a model that has the reference's windows."""
        sha256, starts = model.sha256, model.tokenization.windows.targets.starts
        if sha256 not in self.logp:
            self.logp[sha256] = Values(starts, model.keys.first, np.float32)
        self.logp[sha256].put(shard.at, shard.logp, shard.kernels)
        self.times[sha256] = self.times.get(sha256, 0.0) + float(shard.times_s.sum())

    def records(self, comparison: Participant) -> NDArray[np.void] | None:
        """Those of all scored tokens in the order of the windows; None where the pair has none."""
        found = self.pairs.get(comparison.sha256) if comparison.shares else None
        return found.of_all if found is not None and found.known.all() else None


def in_lockstep(work: Job) -> Lockstep:
    """Compares all comparisons of a job with its reference, where the store does not have that.

    A comparison that fails is named in the failures, and the others go on.

    Raises:
        ModelError: the reference fails, or the rows of one of its windows take more memory than there is for them.
        StoreError: the store fails; what is in it stays.
    """
    found = Lockstep()
    reference, *comparisons = work.models
    top_k, starts = work.settings.top_k, reference.tokenization.windows.targets.starts
    lacking = np.zeros((len(comparisons), len(reference.keys)), np.bool_)
    for each, lacks in zip(comparisons, lacking, strict=True):
        if not _is_comparable(each, reference, found):
            continue
        if each.sha256 not in found.pairs:
            found.pairs[each.sha256] = Values(starts, each.keys.first, record(top_k))
            if work.store:
                paired.read(work.store, each.pair_keys(reference), top_k, found.pairs[each.sha256])
        lacks[each.missing(found.pairs[each.sha256].known).at] = True
    for group, at in _groups(lacking):  # the reference reads each window once
        if going := [comparisons[k] for k in group if comparisons[k].label not in found.failures]:
            _evaluate(work, reference, going, at, found)
    return found


def _groups(lacking: NDArray[np.bool_]) -> list[tuple[list[int], NDArray[np.int64]]]:
    """The comparisons that lack the same windows, and these windows, ascending; first the group with the first window.

    Args:
        lacking: whether each comparison lacks each window, shape [n_comparisons, n_windows].
    """
    some = np.flatnonzero(lacking.any(axis=0))
    if not len(some):
        return []
    packed = np.packbits(lacking[:, some], axis=0)
    _, first, which = np.unique(packed, axis=1, return_index=True, return_inverse=True)
    return [
        (np.flatnonzero(lacking[:, some[first[k]]]).tolist(), some[which.ravel() == k])
        for k in np.argsort(first).tolist()
    ]


def _is_comparable(comparison: Participant, reference: Participant, found: Lockstep) -> bool:
    """Whether both have the same tokens and vocabularies of one size; else a warning says that they have not."""
    if not comparison.shares:
        text = (
            f"`{printable(comparison.label)}` has another tokenizer than the reference, and no KL divergence from it: "
            "it is left out there."
        )
        found.warnings.append(LeftOut(text, "divergence", comparison.label))
        return False
    n_ref, n_cmp = reference.n_vocab, comparison.n_vocab
    if n_ref != n_cmp:
        text = (
            f"`{printable(comparison.label)}` has a vocabulary of {n_cmp:,} entries, the reference one of {n_ref:,}, "
            "which have no KL divergence: it is left out."
        )
        found.warnings.append(LeftOut(text, "divergence", comparison.label))
    return n_ref == n_cmp


def _evaluate(
    work: Job, reference: Participant, comparisons: list[Participant], at: NDArray[np.int64], found: Lockstep
) -> None:
    """Evaluates some windows under a reference and comparisons; what a comparison fails with goes into the failures."""
    batches = reference.tokenization.batches_of(at).split(MOST_ROWS)
    reference.model.refuse_too_many_rows(int(batches.n_scored.max()), reference.n_vocab)
    what = comparisons[0].label if len(comparisons) == 1 else counted(len(comparisons), "comparison")
    n_tokens = int(batches.n_fed.sum()) * (1 + len(comparisons))
    try:
        with meter(f"{reference.label} and {what}", n_tokens, "token", visible=work.progress) as shown:
            _evaluate_batches(work, [reference, *comparisons], batches, found, shown)
    except ProcessLostError as error:
        if len(comparisons) == 1:
            found.failures[comparisons[0].label] = error
            return
        for each in comparisons:  # alone, so that only the one that ends the process is left out
            if len(left := at[~found.pairs[each.sha256].known[at]]):
                _evaluate(work, reference, [each], left, found)


def _evaluate_batches(work: Job, models: list[Participant], batches: Batches, found: Lockstep, shown: Meter) -> None:
    reference, *comparisons = models
    store = work.store
    known_right = store.notes.trusted(native.release()) if store else frozenset()
    context, top_k = work.settings.context, work.settings.top_k
    shards = reference.model.score_pairs(
        [each.model for each in comparisons], batches, context, shown.update, known_right, top_k
    )
    with closing(shards):
        for shard in shards:
            parts: dict[tuple[object, ...], Part] = {}  # models of one content give the same
            for i, model in enumerate(models):
                if model.label in found.failures:
                    continue
                try:
                    parts |= {part[0].common.settings: part for part in _parts(work, models, i, shard, found)}
                except ModelError as error:
                    if model is reference:
                        raise
                    found.failures[model.label] = error
            if store:
                for part in shard.models:
                    if isinstance(part, Shard) and not part.trusted <= known_right:
                        store.notes.trust(native.release(), part.trusted)
                        known_right |= part.trusted
                store.put(parts.values())


def _parts(work: Job, models: list[Participant], i: int, shard: PairedShard, found: Lockstep) -> list[Part]:
    """What model i gave, as the store keeps it; it is noted in `found`.

    Raises:
        ModelError: the model has failed, or its logits are not finite.
    """
    model, part, info = models[i], shard.models[i], shard.infos[i]
    if isinstance(part, ModelError):
        raise part
    at, logp, name_of = part.at, part.logp, model.tokenization.windows.name_of
    refuse_any_not_finite(logp, at, model.label, name_of)
    engine = work.engine(model, part.kernels)
    if info is not None and model.sha256 not in found.infos:
        found.infos[model.sha256] = info
        if work.store:
            work.store.notes.describe(model.sha256, native.release(), dataclasses.asdict(info))
    found.note(model, part)
    parts: list[Part] = [(model.keys.taken(at).having(engine=engine), logp, part.times_s)]
    if i > 0:
        records: Ragged[np.void] = Ragged.of(shard.pairs[i - 1].values(), record(work.settings.top_k))
        refuse_any_not_finite(Ragged(records.values["kld"], records.starts), at, model.label, name_of)
        found.pairs[model.sha256].put(at, records, "")
        parts += paired.parts(model.pair_keys(models[0]).taken(at).having(engine=engine), records)
    return parts
