"""A reference and its comparisons in lockstep: the records of pairs, from the store where it has them, else computed.

One reference and m comparisons cost m + 1 passes. The log-probabilities that come with them are those of a plain run,
to the last bit, and are stored as its are; `evaluation` goes on from there.
"""

from __future__ import annotations

import dataclasses
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppldelta.console.progress import Meter, meter
from ppldelta.engine import native
from ppldelta.engine.native import ModelInfo
from ppldelta.engine.shards import PairedShard, Shard
from ppldelta.errors import LeftOut, ModelError, ProcessLostError
from ppldelta.run import paired
from ppldelta.run.checks import refuse_not_finite
from ppldelta.run.job import Job, Participant
from ppldelta.store.keys import Key
from ppldelta.text.many import Batches
from ppldelta.wording.names import counted, printable

MOST_ROWS = 512
"""Of a batch of windows that share a prefix, at most so many rows of logits are kept at a time, or one window's."""


@dataclass
class Lockstep:
    """What lockstep gave; nothing of it where it was not asked for.

    Attributes:
        logp: log-probabilities of windows that were evaluated, of any model.
        kernels: what computed them (`native.Build.kernels`).
        times: seconds of each model, by its content.
        infos: what each model says of itself, by its content.
        pairs: records of pairs, of type `pairs.record`.
        failures: what a comparison failed with, by its label.
        warnings: sentences for the reader.
    """

    logp: dict[Key, NDArray[np.float32]] = field(default_factory=dict)
    kernels: dict[Key, str] = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)
    infos: dict[str, ModelInfo] = field(default_factory=dict)
    pairs: dict[Key, NDArray[np.void]] = field(default_factory=dict)
    failures: dict[str, ModelError] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def add(self, other: Lockstep) -> None:
        """Notes what else was evaluated, where it is not known yet; seconds add up."""
        self.logp = other.logp | self.logp
        self.kernels = other.kernels | self.kernels
        self.times |= {sha256: self.times.get(sha256, 0.0) + time_s for sha256, time_s in other.times.items()}

    def records(self, comparison: Participant, reference: Participant) -> NDArray[np.void] | None:
        """Those of all scored tokens in the order of the windows; None where the pair has none."""
        keys = comparison.pair_keys(reference)
        return np.concatenate([self.pairs[key] for key in keys]) if self.pairs.keys() >= set(keys) else None


def in_lockstep(work: Job) -> Lockstep:
    """Compares all comparisons of a job with its reference, where the store does not have that.

    A comparison that fails is named in the failures, and the others go on.

    Raises:
        ModelError: the reference fails, or the rows of one of its windows take more memory than there is for them.
        StoreError: the store fails; what is in it stays.
    """
    found = Lockstep()
    reference, *comparisons = work.models
    lacking: dict[int, list[Participant]] = {}  # by window
    for each in comparisons:
        if not _is_comparable(each, reference, found):
            continue
        keys = each.pair_keys(reference)
        if work.store:
            found.pairs |= paired.stored(work.store, keys, work.settings.top_k)
        known = np.array([key in found.pairs for key in keys])
        for i in each.missing(known).at.tolist():
            lacking.setdefault(i, []).append(each)
    groups: dict[tuple[Participant, ...], list[int]] = {}  # the reference reads each window once
    for i in sorted(lacking):
        groups.setdefault(tuple(lacking[i]), []).append(i)
    for group, at in groups.items():
        if going := [each for each in group if each.label not in found.failures]:
            _evaluate(work, reference, going, at, found)
    return found


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
    work: Job, reference: Participant, comparisons: list[Participant], at: list[int], found: Lockstep
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
            keys = each.pair_keys(reference)
            if left := [i for i in at if keys[i] not in found.pairs]:
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
            rows: list[tuple[Key, NDArray[Any], float]] = []
            for i, model in enumerate(models):
                if model.label in found.failures:
                    continue
                try:
                    rows += _rows(work, models, i, shard, found)
                except ModelError as error:
                    if model is reference:
                        raise
                    found.failures[model.label] = error
            if store:
                for part in shard.models:
                    if isinstance(part, Shard) and not part.trusted <= known_right:
                        store.notes.trust(native.release(), part.trusted)
                        known_right |= part.trusted
                store.put_many(rows)


def _rows(
    work: Job, models: list[Participant], i: int, shard: PairedShard, found: Lockstep
) -> list[tuple[Key, NDArray[Any], float]]:
    """What model i gave, as rows of the store; it is noted in `found`.

    Raises:
        ModelError: the model has failed, or its logits are not finite.
    """
    model, part, info = models[i], shard.models[i], shard.infos[i]
    if isinstance(part, ModelError):
        raise part
    for at, logp, _ in part.windows:
        refuse_not_finite(logp, model.label, model.tokenization.document_of(at).name)
    engine = work.engine(model, part.kernels)
    rows: list[tuple[Key, NDArray[Any], float]] = []
    if info is not None and model.sha256 not in found.infos:
        found.infos[model.sha256] = info
        if work.store:
            work.store.notes.describe(model.sha256, native.release(), dataclasses.asdict(info))
    for at, logp, time_s in part.windows:
        found.logp[model.keys[at]] = logp
        found.kernels[model.keys[at]] = part.kernels
        found.times[model.sha256] = found.times.get(model.sha256, 0.0) + time_s
        rows.append((dataclasses.replace(model.keys[at], engine=engine), logp, time_s))
    if i > 0:
        keys = model.pair_keys(models[0])
        for at, records in shard.pairs[i - 1].items():
            refuse_not_finite(records["kld"], model.label, model.tokenization.document_of(at).name)
            found.pairs[keys[at]] = records
            rows += paired.rows(dataclasses.replace(keys[at], engine=engine), records)
    return rows
