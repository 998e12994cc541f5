"""Other settings under which a reference should say the same: what its noise floor is measured with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ppldelta.engine.loaded import ContextSize, default_threads
from ppldelta.engine.native import Build, ModelInfo
from ppldelta.run.keys import Keys, engine_of
from ppldelta.run.settings import ResolvedSettings, Settings
from ppldelta.store.keys import Key
from ppldelta.text.many import Batches
from ppldelta.text.windows import Batch


@dataclass(frozen=True)
class Variant:
    """The run's settings with a change.

    Attributes:
        change: for people; empty for the run's own settings.
        settings: with the change, as far as settings say it.
        also: what the store's keys say of it beside the settings.
        bf16: whether each layer's output is rounded to bfloat16.
    """

    change: str
    settings: ResolvedSettings
    also: str = ""
    bf16: bool = False

    @property
    def context(self) -> ContextSize:
        """What a worker makes a context from."""
        return replace(self.settings.context, bf16=self.bf16)

    def batches(self, batches: Sequence[Batch]) -> list[Batch]:
        """Batches of the run as they are evaluated here: whole, or each window alone if that moves its numbers."""
        if self.settings.n_seq_max > 1:
            return list(batches)
        found: list[Batch] = []
        for batch in batches:
            if batch.shared:
                found.append(batch)
            else:
                pairs = zip(batch.at, batch.windows, strict=True)
                found += [Batch(batch.document, (at,), (window,)) for at, window in pairs]
        return found

    def engine(self, build: Build) -> str:
        """`Key.engine` of its values."""
        return engine_of(self.settings, build) + self.also

    def keys(self, info: ModelInfo, build: Build, batches: Sequence[Batch], sha256: str) -> dict[int, Key]:
        """The keys of the reference's windows, by their indices.

        Args:
            info: what the reference says of itself.
            build: what evaluates it.
            batches: some of the run's.
            sha256: the reference's content.
        """
        some = Batches.of(self.batches(batches))
        by_themselves = replace(some, at=np.arange(len(some.at)))
        keys = Keys(self.settings, info, build, by_themselves).of(sha256)
        return dict(zip(some.at.tolist(), keys.having(engine=keys.common.engine + self.also), strict=True))


def variants(settings: ResolvedSettings, info: ModelInfo, build: Build, sampled: Sequence[Batch]) -> list[Variant]:
    """The changes that can move something.

    A fourth, half and twice of the micro-batch, as far as the longest batch is cut in another way by it; half of the
    threads; activations in bfloat16; the CPU if layers are on a GPU; and each window alone if some share a batch.

    Args:
        settings: the run's.
        info: what the reference says of itself.
        build: what evaluates it.
        sampled: batches that are evaluated again.
    """
    asked = Settings(
        windows=settings.windows,
        n_ctx=settings.n_ctx,
        max_windows=settings.max_windows,
        n_ubatch=settings.n_ubatch,
        threads=settings.threads,
        n_gpu_layers=settings.n_gpu_layers,
    )
    longest = max(max(each.n_fed for each in batch.windows) if batch.shared else batch.n_fed for batch in sampled)
    found = []
    for n_ubatch in (settings.n_ubatch // 4, settings.n_ubatch // 2, 2 * settings.n_ubatch):
        if 4 <= n_ubatch <= 2**16 and longest > min(n_ubatch, settings.n_ubatch):
            found.append(Variant(f"n_ubatch {n_ubatch}", replace(asked, n_ubatch=n_ubatch).resolve(info, build)))
    n_threads = settings.threads or default_threads()
    threads = n_threads // 2 if n_threads > 1 else 2
    found.append(Variant(f"threads {threads}", replace(settings, threads=threads), f"|threads:{threads}"))
    found.append(Variant("activations in bfloat16", settings, "|activations:bf16", bf16=True))
    if build.on_gpu(settings.n_gpu_layers):
        found.append(Variant("on the CPU", replace(asked, n_gpu_layers=0).resolve(info, build)))
    if any(len(batch.at) > 1 and not batch.shared for batch in sampled):
        found.append(Variant("each window alone", replace(settings, n_seq_max=1)))
    return found
