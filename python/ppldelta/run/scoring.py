"""The main job: documents × models → token records.

One model after the other is evaluated on the same windows, in a process of its own, or with `kld` all of them in
lockstep; what the store has already is taken from there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from typing import TYPE_CHECKING

from ppldelta.console.progress import line
from ppldelta.engine.rpc import endpoints
from ppldelta.engine.session import Session
from ppldelta.errors import ModelError
from ppldelta.models.references import ModelLike
from ppldelta.run import job
from ppldelta.run.checks import left_out
from ppldelta.run.evaluation import evaluate, other_kernels, pieces_of, without_effect
from ppldelta.run.kinds import recognised
from ppldelta.run.limits import DEFAULT_N_UBATCH
from ppldelta.run.lockstep import Lockstep, in_lockstep
from ppldelta.run.noise import NoiseFloor
from ppldelta.run.request import Request
from ppldelta.run.settings import Settings
from ppldelta.text.documents import Files, corpus_path

if TYPE_CHECKING:
    from ppldelta.result import Result


def score(
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
) -> Result:
    """Compares models with a reference, token by token, on real documents.

    Args:
        files: a folder, a glob, paths, or a mapping name → text. A document's category is its first folder. Each row of
            a `.jsonl`, `.ndjson` or `.parquet` file is a document (docs/prompts.md): a `text`, or a `prompt` with a
            `completion`, of which only the completion is scored, or `messages`. None if `ref` is a `.kld` file, which
            brings its own tokens: then each of its chunks is a document.
        ref: the reference: a GGUF file, or a name on the Hugging Face hub (`OWNER/REPO:Q8_0`, docs/hub.md), which is
            downloaded; a file that exists always wins. Or its log-probabilities in a `.kld` file (`llama-perplexity
            --save-all-logits`): rounded to 16 bits, and cut off 16 nats below each place's most probable token.
        cmp: one or several comparisons, or a mapping label → comparison. `"base.gguf+lora.gguf:0.8"` is a model with a
            LoRA or a control vector, here at scale 0.8; it shares the weights of the model without. Against a `.kld`
            file the package's llama-perplexity evaluates them, and of `kld`'s columns those that also need the
            comparison's whole distribution (same top token, its rank and entropy) stay null. Another `.kld` file of the
            same tokens needs no model and gives all of them; its tokens are shown as numbers, and bits per byte are
            null.
        windows: which tokens are scored: `every` scores each token of a document once, `perplexity` only those in the
            second half of each window, as llama-perplexity does; these have more text before them, so that its
            perplexities are mostly lower. By default `"every"`; a `.kld` file was made by the rule `"perplexity"`.
        n_ctx: most tokens that are evaluated together; by default min(8192, the reference's training context).
        max_windows: at most this many windows of each document (llama-perplexity's `--chunks`).
        n_ubatch: most tokens in a micro-batch. Its scored tokens (on the CPU at most 128) take n_vocab float32 logits
            each.
        threads: CPU threads; by default the number of physical cores of the machine that evaluates. If an executor
            has several worker processes on a machine, pass each one's share, or they get in each other's way.
        n_gpu_layers: layers to put on the GPU; by default all if there is a GPU.
        align: what is compared. `"tokens"`: the same tokens; a comparison that splits a document into others is
            refused. `"bytes"`: the same text. A comparison with another tokenizer then reads the documents in its own
            tokens, with its own rule for the beginning of a text, and the log-probabilities of both are added up over
            spans, the smallest stretches of text at whose ends both have a token boundary; gain and loss are told in
            bits per byte. A span counts where both scored all of it. Documents that such a tokenizer alters are left
            out for it. Comparisons with the reference's tokenizer keep their numbers: their spans are its tokens.
        kld: whether to give the KL divergence of each comparison from the reference, and what goes with it: same top
            token, rank of the token that came next, entropy. Reference and comparisons are then evaluated in lockstep,
            a block of windows under each, while the reference's logits of the block are in memory (at most a quarter
            of it, and 4 GiB). A comparison whose tokens are others, or whose vocabulary has another size, goes
            without.
        top_k: how many of the tokens that each model finds most probable at each place are kept, with their
            log-probabilities: at most 100. Any number but 0 implies `kld`.
        noise_floor: whether to measure how far the reference is from itself under changes that say nothing of it: a
            fourth, half and twice of the micro-batch, half of the threads, activations rounded to bfloat16, and if it
            is on a GPU the CPU and each window alone. That evaluates a sample again under each: eight windows, or 2 %
            of them if that is more, and at most 32,768 tokens. Comparisons that are no further from the reference are
            said to be equal to it. It begins with a self-check, which warns of a backend that computes wrong.
        kind: what the comparisons are. By default their weights tell (`"auto"`): `"quant"`, the reference's weights in
            other types, or `"finetune"`, which all else is called; `ModelFacts.kind_reason` says why. No number depends
            on it, but the report tells of quants in other words: damage against size, and no gain.
        chat_template: whether to make texts of chats (rows with `messages`), and of prompts with their completions, by
            the reference's own chat template, or by the one in the file that is named here: Jinja, run by llama.cpp's
            engine. The last message is the completion. Special tokens of the template are parsed, those that a
            message spells are not. With True and `align="bytes"`, a comparison whose file has another template reads
            what that one makes, and only the completions are compared.
        store: the SQLite file that keeps what was evaluated, window by window, so that no model is ever evaluated
            twice on the same tokens and an interrupted run goes on where it stopped. By default (True) one in the
            user's cache folder, or what the environment variable `PPLDELTA_STORE` names; None for no store.
        executor: where models are loaded and evaluated; by default a worker process on this machine, which keeps the
            models for the next call and ends when it is idle. Any other `concurrent.futures.Executor` will do, such as
            Dask's `client.get_executor()`. Its workers need the same ppldelta and the same model files under the same
            paths: each reads a file once to compare its hash, and a file of other content is refused. Start Dask's with
            `dask worker ADDRESS --nthreads 1 --memory-limit 0`: one evaluates one task at a time, and Dask would pause
            or end it for the memory that a model takes.
        rpc: `HOST:PORT` of a `ppldelta rpc-server` on another machine, or several, whose devices are used like GPUs of
            this one; by default what the environment variable `PPLDELTA_RPC` names. It goes with the default worker
            only. llama.cpp calls RPC a proof of concept, fragile and insecure: never run a server on an open network.
        progress: show tokens/s and the time left for each model on stderr: a bar, or if that is no terminal a line
            every ten seconds.

    Returns:
        A `Result` with the frames `tokens`, `documents` and `models`.

    Raises:
        CorpusError: no document matched, or none is long enough to score.
        ModelError: a model cannot be found, downloaded, read, or evaluated, or ended its worker process. A comparison
            that cannot be loaded or evaluated is left out with a warning, as long as another one is there.
        TokenizerMismatchError: a comparison splits a document into other tokens than the reference does, and `align` is
            "tokens".
        RecordsError: a `.kld` file cannot be read, is damaged, or two are not of the same tokens.
        StoreError: the store cannot be opened, read or written.
        PpldeltaError: an argument is out of its range, the working folder was removed, or this process was forked from
            one that had loaded polars.
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
        from ppldelta.run.from_records import score_kld  # here: it imports polars

        return score_kld(ref, cmp, settings, store=store, rpc=rpc, executor=executor, progress=progress)
    request = Request.of(ref, cmp, settings, progress)
    with Session(executor, endpoints(rpc)) as session:
        from ppldelta.run import frames  # here, while the worker process starts: polars takes about as long to import

        with job.opened(request, session, files, store=store, progress=progress) as work:
            if progress:
                line(work.headline)
            reference, *comparisons = work.models
            kinds = recognised(work)
            floor = NoiseFloor(work) if settings.noise_floor else None
            checked = floor.check() if floor else Lockstep()
            before = in_lockstep(work) if work.settings.kld else Lockstep()
            before.add(checked)
            evaluation = evaluate(reference, work, before)
            evaluations = []
            failures = []
            for comparison in comparisons:
                try:
                    if comparison.label in before.failures:
                        raise before.failures[comparison.label]
                    evaluations.append(evaluate(comparison, work, before))
                except ModelError as error:
                    failures.append((comparison.label, error))
            pieces = pieces_of(reference, evaluations)
            noise = floor.measure(evaluation.logp) if floor and evaluations else ()
    if not evaluations:
        raise failures[0][1]
    warnings = [*work.warnings, *before.warnings, *other_kernels([evaluation, *evaluations], work)]
    warnings += without_effect(evaluation, evaluations)
    warnings += [left_out(*failure) for failure in failures] + (floor.warnings if floor else [])
    return frames.as_result(work, evaluation, evaluations, pieces, corpus_path(files), warnings, kinds, noise)
