"""The dry run: what a job holds, what of it the store has, and how long the rest will take, measured.

The time comes from a probe: each model that has something to evaluate is loaded, as the run would load it, and reads
the beginning of what it has not read yet, more and more of it until that takes half a second. Other signs mislead: a
Q2_K file is a third as large as a Q8_0 and no faster. The probe's results are thrown away.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace

import numpy as np

from ppldelta.console.progress import meter
from ppldelta.engine.loaded import ContextSize
from ppldelta.engine.rpc import endpoints
from ppldelta.engine.session import Session
from ppldelta.errors import ModelError, PpldeltaError, names_left_out
from ppldelta.models.references import ModelLike
from ppldelta.run import job
from ppldelta.run.checks import left_out
from ppldelta.run.job import Job, Participant
from ppldelta.run.limits import DEFAULT_N_UBATCH
from ppldelta.run.noise import NoiseFloor
from ppldelta.run.plans import Forecast, Plan
from ppldelta.run.request import Request
from ppldelta.run.settings import Settings
from ppldelta.text.documents import Files
from ppldelta.text.many import Batches
from ppldelta.text.windows import Batch, Window

_PROBE_TOKENS = 64
_PROBE_S = 0.5


def plan(
    files: Files | None,
    ref: ModelLike,
    cmp: ModelLike | Iterable[ModelLike] | Mapping[str, ModelLike],
    *,
    windows: str | None = None,
    n_ctx: int | None = None,
    max_windows: int | None = None,
    n_ubatch: int = DEFAULT_N_UBATCH,
    threads: int | None = None,
    n_gpu_layers: int | None = None,
    align: str = "tokens",
    kld: bool = False,
    top_k: int = 0,
    noise_floor: bool = False,
    kind: str = "auto",
    chat_template: bool | str = False,
    store: str | os.PathLike[str] | bool | None = True,
    rpc: str | Iterable[str] | None = None,
    executor: Executor | None = None,
    progress: bool = True,
) -> Plan:
    """What `score` would do with the same arguments, and how long that would take; nothing is scored.

    Every check that `score` makes beforehand is made, and models that have something to evaluate are loaded and timed.
    The store gets only the hashes of model files, and which models split the texts as the reference does.

    Returns:
        A `Plan`; `print` shows it.

    Raises:
        PpldeltaError: as `score`. A comparison that fails in the probe is named in the plan's warnings.
    """
    settings = Settings(
        windows=windows,
        n_ctx=n_ctx,
        max_windows=max_windows,
        n_ubatch=n_ubatch,
        threads=threads,
        n_gpu_layers=n_gpu_layers,
        align=align,
        kld=kld,
        top_k=top_k,
        noise_floor=noise_floor,
        kind=kind,
        chat_template=chat_template,
    )
    if files is None:
        raise PpldeltaError(
            "a dry run needs a corpus, got None: what a `.kld` file as the reference will take is not foreseen",
            hint="name documents, and models to evaluate on them, or leave the dry run out",
        )
    request = Request.of(ref, cmp, settings, progress)
    with (
        Session(executor, endpoints(rpc)) as session,
        job.opened(request, session, files, store=store, progress=progress) as work,
        meter("measuring", len(work.models), "model", brief=True, visible=progress) as shown,
    ):
        models, warnings = [], list(work.warnings)
        for model in work.models:
            unmeasured = _unmeasured(model)
            try:
                models.append(_measured(unmeasured, model, work) if model.todo else unmeasured)
            except ModelError as error:
                if model is work.models[0]:
                    raise
                warnings.append(left_out(model.label, error, "a run would leave this model out"))
                models.append(unmeasured)
            shown.update(1)
        n_fed_noise, time_noise_s = _noise(work, models[0]) if settings.noise_floor else (None, 0.0)
        texts = work.reference.tokenization
        return Plan(
            n_documents=len(texts.documents),
            n_tokens=texts.n_tokens,
            bytes_per_token=texts.bytes_per_token,
            n_windows=len(texts.windows),
            n_fed=work.reference.n_fed,
            n_scored=texts.n_scored,
            longest=texts.longest,
            n_ctx=work.settings.n_ctx,
            windows=work.settings.windows,
            models=models,
            store=work.store.path if work.store else None,
            warnings=list(map(str, warnings)),
            left_out=names_left_out(warnings),
            n_fed_noise=n_fed_noise,
            time_noise_s=time_noise_s,
            align=work.settings.align,
        )


def _noise(work: Job, reference: Forecast) -> tuple[int, float]:
    """Tokens and seconds of the noise floor; a reference that has nothing else to evaluate is measured for it.

    Raises:
        ModelError: the reference cannot be loaded or evaluated.
    """
    floor = NoiseFloor(work)
    if not floor.n_fed:
        return 0, 0.0
    tokens_per_s = reference.tokens_per_s or probe(work.reference, floor.batches, work.settings.context)
    return floor.n_fed, floor.n_fed / tokens_per_s


def _unmeasured(model: Participant) -> Forecast:
    return Forecast(
        label=model.label,
        path=model.source.path,
        size_bytes=model.source.size_bytes,
        n_windows=len(model.keys),
        n_stored=int(model.stored.sum()),
        n_fed=int(model.todo.n_fed.sum()),
    )


def _measured(unmeasured: Forecast, model: Participant, work: Job) -> Forecast:
    """
    Raises:
        ModelError: the model cannot be loaded or evaluated.
    """
    model.model.load()
    tokens_per_s = probe(model, model.todo, model.settings.context)
    return replace(unmeasured, load_s=model.model.load_s, tokens_per_s=tokens_per_s)


def probe(model: Participant, batches: Sequence[Batch], size: ContextSize) -> float:
    """Tokens that a model reads per second, measured on the first of some windows.

    Raises:
        ModelError: it cannot be evaluated.
    """
    n_tokens, n_all = _PROBE_TOKENS, int(Batches.of(batches).n_fed.sum())
    while True:
        some = beginning(batches, n_tokens)
        time_s = sum(window_s for shard in model.model.score(some, size) for _, _, window_s in shard.windows)
        if time_s >= _PROBE_S or n_tokens >= n_all:
            return sum(batch.n_fed for batch in some) / time_s
        n_tokens *= 4


def beginning(batches: Sequence[Batch], n_tokens: int) -> list[Batch]:
    """The first windows, `n_tokens` in all. The last one is cut short, and keeps its share of scored rows."""
    some = []
    for batch in batches:
        if not n_tokens:
            break
        windows = []
        for window in batch.windows[:1] if batch.shared else batch.windows:
            if n := min(window.n_fed, n_tokens):
                windows.append(_cut(window, n))
            n_tokens -= n
        if windows:
            some.append(replace(batch, at=batch.at[: len(windows)], windows=tuple(windows)))
    return some


def _cut(window: Window, n: int) -> Window:
    if n == len(window.tokens):
        return window
    first = window.first_output * n // len(window.tokens)
    following = np.append(window.tokens[1:], window.targets[-1])  # what follows each token, scored or not
    return Window(window.tokens[:n], first, following[first:n], np.arange(first, n, dtype=np.uint32))
