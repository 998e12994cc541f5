"""One model on all windows of a job: from the store what it has already, the rest evaluated and stored."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ppldelta.console.progress import meter
from ppldelta.engine import native, trusted
from ppldelta.engine.native import ModelInfo
from ppldelta.errors import ModelError
from ppldelta.family import ModelFacts
from ppldelta.models.references import ModelReference
from ppldelta.run.job import Job, ModelJob
from ppldelta.text.windows import PlannedWindow
from ppldelta.wording.names import as_utf8, counted, printable


@dataclass(frozen=True)
class Evaluation:
    """One model's log-probabilities: float32 in nats, those of all scored tokens in the order of the job's windows."""

    reference: ModelReference
    sha256: str
    info: ModelInfo
    logp: NDArray[np.float32]
    time_s: float
    kernels: dict[str, int]
    """How many of the windows were computed by which kernels (`native.Build.kernels`)."""

    def entry(self) -> ModelFacts:
        """What the result says of the model."""
        info = self.info
        return ModelFacts(
            label=self.reference.label,
            path=as_utf8(self.reference.path),
            sha256=self.sha256,
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
            kernels=tuple(self.kernels),
            time_s=round(self.time_s, 3),
        )


def evaluate(model: ModelJob, work: Job) -> Evaluation:
    """Log-probabilities of one model on all windows: from the store where it has them, else evaluated and stored.

    Raises:
        ModelError: a kernel that the model needs is wrong, llama.cpp fails, its process is ended, or the model's
            logits are not finite.
        StoreError: the store fails; what is in it stays.
    """
    store, windows = work.store, work.windows
    known = store.get(model.keys) if store else {}
    n_known = sum(key in known for key in model.keys)
    todo = model.missing(known)
    kernels = dict.fromkeys(known, work.build.kernels)
    time_s = 0.0
    n_fed = work.n_fed
    with meter(
        model.label,
        n_fed,
        "token",
        initial=n_fed - sum(windows[i].n_fed for i in todo),
        visible=work.progress and bool(todo),  # the headline says what needs no evaluation
    ) as shown:
        if known:
            shown.note(f"{n_known} of {counted(len(windows), 'window')} from the store")
        info = model.info
        if todo or info is None:
            info = model.model.load()
            if store:
                store.describe(model.sha256, native.release(), dataclasses.asdict(info))
        known_right = trusted.remembered(store.database, native.release()) if store and todo else frozenset()
        with closing(
            model.model.score([windows[i] for i in todo], work.settings.context, shown.update, known_right)
        ) as shards:
            for shard in shards:
                if store and not shard.trusted <= known_right:
                    trusted.remember(store.database, native.release(), shard.trusted)
                    known_right |= shard.trusted
                engine = work.engine(shard.kernels)
                rows = []
                for at, values, window_s in shard.windows:
                    i = todo[at]
                    _refuse_not_finite(values, model.label, windows[i])
                    rows.append((dataclasses.replace(model.keys[i], engine=engine), values, window_s))
                    known[model.keys[i]] = values
                    kernels[model.keys[i]] = shard.kernels
                    time_s += window_s
                if store:
                    store.put_many(rows)
    logp = np.concatenate([known[key] for key in model.keys])
    computed = dict(Counter(kernels[key] for key in model.keys))
    return Evaluation(model.model.reference, model.sha256, info, logp, time_s, computed)


def other_kernels(evaluations: Iterable[Evaluation], work: Job) -> list[str]:
    """A warning if some of the numbers come from other kernels than those that the signature names."""
    here, n_windows = work.build.kernels, len(work.windows)
    others = [
        f"{n} of {counted(n_windows, 'window')} of `{printable(each.reference.label)}` by {kernels}"
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


def _refuse_not_finite(logp: NDArray[np.float32], label: str, window: PlannedWindow) -> None:
    if n_bad := int(np.count_nonzero(~np.isfinite(logp))):
        raise ModelError(
            f"`{printable(label)}` gives log-probabilities that are not finite "
            f"({n_bad} of {counted(len(logp), 'token')} in a window of `{printable(window.document_name)}`)",
            hint="the weights hold NaN or overflow in this quantisation; try another file of the model",
        )
