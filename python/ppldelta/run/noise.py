"""The noise floor: the reference against itself, on a sample, under settings that say nothing of the model.

What is closer to the reference than it is to itself cannot be told from it. One of these evaluations also comes first
of all: a backend under which the reference is far from itself computes wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppldelta.console.progress import Meter, meter
from ppldelta.engine import native
from ppldelta.engine.remote import RemoteModel
from ppldelta.engine.shards import Shard
from ppldelta.engine.trusted import Trust
from ppldelta.errors import ModelError
from ppldelta.family import Noise
from ppldelta.run.checks import refuse_not_finite
from ppldelta.run.job import Job
from ppldelta.run.lockstep import MOST_ROWS, Lockstep
from ppldelta.run.sample import sample
from ppldelta.run.variants import Variant, variants
from ppldelta.store.keys import Key
from ppldelta.text.ragged import Ragged
from ppldelta.text.windows import Batch
from ppldelta.wording.names import printable

BROKEN = 0.25
"""Mean |delta| of a batch, in nats per token, from which on a backend is said to compute wrong.

Another micro-batch did 0.029 at most to a text of Gemma 3 270M in Q4_K_M, and 0.023 to one of SmolLM2-135M in Q8_0;
activations in bfloat16 did 0.141 and 0.091 (demo's corpus, two cores with AMX, 2026-11-28). A graph whose rows are not
those that were asked for is some nats off.
"""


@dataclass(eq=False)
class NoiseFloor:
    """A job's noise floor, in the making.

    Attributes:
        work: the job.
        batches: the sample.
        variants: the changes.
        known: values of windows, the reference's log-probabilities and its pairs with itself, by their keys.
        warnings: sentences for the reader.
    """

    work: Job
    batches: list[Batch] = field(init=False)
    variants: list[Variant] = field(init=False)
    known: dict[Key, NDArray[Any]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        work, texts = self.work, self.work.reference.tokenization
        self._info = work.reference.info or work.reference.model.info
        self.batches = sample(texts.batches, [each.category for each in texts.texts])
        self.variants = variants(work.settings, self._info, work.build, self.batches)
        self._own = Variant("", work.settings)
        self._keys = {each: self._keys_of(each) for each in [self._own, *self.variants]}
        if work.store:
            wanted = [keys[i] for keys in self._keys.values() for batch in self.batches for i in batch.at]
            if work.settings.kld:
                wanted += [self._pair_key(each, i) for each in self.variants for b in self.batches for i in b.at]
            self.known |= work.store.get(wanted)

    @property
    def n_fed(self) -> int:
        """Tokens that the reference has to read for it, beside those of the run itself."""
        alone = [each for each in self.variants if not self._in_lockstep(each)]
        n_fed = sum(batch.n_fed for each in alone for batch in self._missing(each))
        together, batches = self._unpaired()
        return n_fed + (1 + len(together)) * sum(batch.n_fed for batch in batches) * bool(together)

    def check(self) -> Lockstep:
        """Evaluates the sample's first batch under the run's settings and under the first change, and warns if the two
        are far from each other.

        Returns:
            What the run need not evaluate again.

        Raises:
            ModelError: the reference fails under the run's settings.
            StoreError: the store fails.
        """
        other, first = self.variants[0], self.batches[:1]
        found = Lockstep()
        todo = [(each, self._missing(each, first)) for each in (self._own, other)]
        n_fed = sum(batch.n_fed for _, batches in todo for batch in batches)
        with meter("self-check", n_fed, "token", brief=True, visible=self.work.progress) as shown:
            self._evaluate(*todo[0], shown, found)
            try:
                self._evaluate(*todo[1], shown)
            except ModelError as error:
                self._give_up(other, error)
                return found
        if (mean := float(np.abs(self._delta(other, first)).mean())) > BROKEN:
            label, document = printable(self.work.reference.label), printable(first[0].document)
            self.warnings.append(
                f"`{label}` is {mean:.2f} nats per token from itself with {other.change} in `{document}`. More than "
                f"{BROKEN:g} is no rounding: this backend computes wrong, and so are the numbers. `ppldelta doctor` "
                "may say which kernel does."
            )
        return found

    def measure(self, logp: NDArray[np.float32]) -> tuple[Noise, ...]:
        """Evaluates the sample under every change. One that fails is named in the warnings.

        Args:
            logp: the reference's log-probabilities of all scored tokens, in the order of its windows.

        Raises:
            StoreError: the store fails.
        """
        values, keys = Ragged(logp, self.work.reference.tokenization.windows.targets.starts), self._keys[self._own]
        self.known |= {keys[i]: values[i] for batch in self.batches for i in batch.at}
        with meter("noise floor", self.n_fed, "token", visible=self.work.progress and self.n_fed > 0) as shown:
            together, batches = self._unpaired()
            if together:
                try:
                    self._evaluate_pairs(together, batches, shown)
                except ModelError as error:
                    for each in together:
                        self._give_up(each, error)
            for each in list(self.variants):
                try:
                    self._evaluate(each, self._missing(each), shown)
                except ModelError as error:
                    self._give_up(each, error)
        return tuple(map(self._noise, self.variants))

    def _noise(self, variant: Variant) -> Noise:
        delta = self._delta(variant, self.batches).astype(np.float64)
        pairs = [self.known.get(self._pair_key(variant, i)) for batch in self.batches for i in batch.at]
        kld = [each["kld"] for each in pairs if each is not None]
        return Noise(
            change=variant.change,
            gain=float(np.maximum(delta, 0).mean()),
            loss=float(np.maximum(-delta, 0).mean()),
            kld=max(float(np.concatenate(kld).astype(np.float64).mean()), 0.0) if len(kld) == len(pairs) else None,
            delta_max=float(np.abs(delta).max()),
            n_scored=len(delta),
            n_bytes=self.work.reference.tokenization.n_bytes(self.batches),
        )

    def _delta(self, variant: Variant, batches: Sequence[Batch]) -> NDArray[np.float32]:
        """The changed reference's log-probabilities less its own, of all scored tokens of some batches."""
        own, other = (
            np.concatenate([self.known[self._keys[each][i]] for batch in batches for i in batch.at], dtype=np.float32)
            for each in (self._own, variant)
        )
        return np.subtract(other, own)

    def _keys_of(self, variant: Variant) -> dict[int, Key]:
        """The keys of the sample's windows, by their indices."""
        return variant.keys(self._info, self.work.build, self.batches, self.work.reference.sha256)

    def _pair_key(self, variant: Variant, i: int, kernels: str | None = None) -> Key:
        """Under which a window's comparison of the reference with itself is filed: both settings determine it, so that
        no run of the same model under other settings as its own comparison has this key."""
        build = replace(self.work.build, kernels=kernels or self.work.build.kernels)
        engine = f"{variant.engine(build)}|beside:{self._own.engine(build)}"
        return replace(self._keys[variant][i], engine=engine, reference=self.work.reference.sha256)

    def _missing(self, variant: Variant, batches: Sequence[Batch] | None = None) -> list[Batch]:
        """Those of the sample, or some of it, as the change has them, which hold a window whose values are unknown."""
        keys, some = self._keys[variant], variant.batches(self.batches if batches is None else batches)
        return [batch for batch in some if any(keys[i] not in self.known for i in batch.at)]

    def _in_lockstep(self, variant: Variant) -> bool:
        """Whether the change leaves the batches as they are, and divergences are wanted."""
        return self.work.settings.kld and variant.settings.n_seq_max == self.work.settings.n_seq_max

    def _unpaired(self) -> tuple[list[Variant], list[Batch]]:
        """Changes that lack pairs with the unchanged reference, and the batches in which one of them does."""
        lacking = {
            (each, k)
            for each in self.variants
            if self._in_lockstep(each)
            for k, batch in enumerate(self.batches)
            if any(self._pair_key(each, i) not in self.known for i in batch.at)
        }
        some = [each for each in self.variants if any(each is variant for variant, _ in lacking)]
        return some, [batch for k, batch in enumerate(self.batches) if any(k == at for _, at in lacking)]

    def _model(self, variant: Variant) -> RemoteModel:
        """The reference, where the change has it."""
        model, n_gpu_layers = self.work.reference.model, variant.settings.n_gpu_layers
        return model if n_gpu_layers == self.work.settings.n_gpu_layers else model.with_layers(n_gpu_layers)

    def _evaluate(self, variant: Variant, batches: list[Batch], shown: Meter, found: Lockstep | None = None) -> None:
        """Evaluates batches under a change; with `found`, notes there what the run need not evaluate again.

        `found` is only for the run's own settings: its values are filed by the model's content, so that those of a
        change would take the place of the reference's.

        Raises:
            ModelError: the reference fails, or its logits are not finite.
        """
        if not batches:
            return
        with closing(self._model(variant).score(batches, variant.context, shown.update, self._trusted())) as shards:
            for shard in shards:
                self._take(variant, shard)
                if found is not None:
                    found.note(self.work.reference, shard)

    def _evaluate_pairs(self, some: list[Variant], batches: list[Batch], shown: Meter) -> None:
        """Evaluates batches under the run's settings and under changes in lockstep.

        Raises:
            ModelError: the reference fails under the run's settings, or its process is ended.
        """
        shards = self._model(self._own).score_pairs(
            [self._model(each) for each in some],
            [part for batch in batches for part in batch.split(MOST_ROWS)],
            self._own.context,
            shown.update,
            self._trusted(),
            sizes=[each.context for each in some],
        )
        with closing(shards):
            for shard in shards:
                for variant, part, pairs in zip(some, shard.models[1:], shard.pairs, strict=True):
                    if variant not in self.variants:
                        continue
                    if isinstance(part, ModelError):
                        self._give_up(variant, part)
                    else:
                        self._take(variant, part, pairs)

    def _take(self, variant: Variant, shard: Shard, pairs: dict[int, NDArray[np.void]] | None = None) -> None:
        """Notes what a shard gave, and stores it.

        Raises:
            ModelError: it is not finite.
        """
        work, rows = self.work, list[tuple[Key, NDArray[Any], float]]()
        engine = variant.engine(replace(work.build, kernels=shard.kernels))
        for i, logp, time_s in shard.windows:
            document = work.reference.tokenization.document_of(i).name
            refuse_not_finite(logp, work.reference.label, document)
            rows.append((replace(self._keys[variant][i], engine=engine), logp, time_s))
            self.known[self._keys[variant][i]] = logp
        for i, records in (pairs or {}).items():
            rows.append((self._pair_key(variant, i, shard.kernels), records, 0.0))
            self.known[self._pair_key(variant, i)] = records
        if work.store:
            work.store.notes.trust(native.release(), shard.trusted)
            work.store.put_many(rows)

    def _trusted(self) -> frozenset[Trust]:
        """Kernels that need no check."""
        store = self.work.store
        return store.notes.trusted(native.release()) if store else frozenset()

    def _give_up(self, variant: Variant, error: ModelError) -> None:
        """A change under which the reference fails is left out, and the others go on."""
        self.variants = [each for each in self.variants if each is not variant]
        self.warnings.append(f"The noise floor is measured without {variant.change}: {error.message}.")
