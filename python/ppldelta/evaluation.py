"""One model on all windows of a job: from the store what it has already, the rest evaluated and stored."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ppldelta.engine import native
from ppldelta.engine.native import ModelInfo
from ppldelta.engine.plan import PlannedWindow
from ppldelta.errors import ModelError
from ppldelta.job import Job, ModelJob
from ppldelta.models.references import ModelReference
from ppldelta.progress import meter
from ppldelta.text.names import as_utf8, counted, printable


@dataclass(frozen=True)
class Evaluation:
    """One model's log-probabilities: float32 in nats, those of all scored tokens in the order of the job's windows."""

    reference: ModelReference
    sha256: str
    info: ModelInfo
    logp: NDArray[np.float32]
    time_s: float

    def entry(self) -> dict[str, object]:
        """What `run.json` says of the model."""
        return {
            "label": self.reference.label,
            "path": as_utf8(self.reference.path),
            "sha256": self.sha256,
            "bits_per_weight": self.info.bits_per_weight,
            **dataclasses.asdict(self.info),
            "time_s": round(self.time_s, 3),
        }


def evaluate(model: ModelJob, work: Job) -> Evaluation:
    """Log-probabilities of one model on all windows: from the store where it has them, else evaluated and stored.

    Raises:
        ModelError: llama.cpp fails, its process is ended, or the model's logits are not finite.
        StoreError: the store fails; what is in it stays.
    """
    store, windows = work.store, work.windows
    known = store.get(model.keys) if store else {}
    n_known = sum(key in known for key in model.keys)
    todo = model.missing(known)
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
        with closing(model.model.score([windows[i] for i in todo], work.size, shown.update)) as shards:
            for shard in shards:
                rows = []
                for at, values, window_s in shard:
                    i = todo[at]
                    _refuse_not_finite(values, model.label, windows[i])
                    rows.append((model.keys[i], values, window_s))
                    known[model.keys[i]] = values
                    time_s += window_s
                if store:
                    store.put_many(rows)
    logp = np.concatenate([known[key] for key in model.keys])
    return Evaluation(model.model.reference, model.sha256, info, logp, time_s)


def _refuse_not_finite(logp: NDArray[np.float32], label: str, window: PlannedWindow) -> None:
    if n_bad := int(np.count_nonzero(~np.isfinite(logp))):
        raise ModelError(
            f"`{printable(label)}` gives log-probabilities that are not finite "
            f"({n_bad} of {counted(len(logp), 'token')} in a window of `{printable(window.document_name)}`)",
            hint="the weights hold NaN or overflow in this quantisation; try another file of the model",
        )
