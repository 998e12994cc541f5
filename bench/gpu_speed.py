"""Claims about speed on a model of real size: micro-batches, the logits' way over host memory, packing, llama-bench."""

from __future__ import annotations

import json
import subprocess
import time
from itertools import product

import numpy as np

import floor
from gpu_device import Device, rate, threads, windows
from ppldelta import _core
from ppldelta.engine.native import Model, Scorer
from ppldelta.run.batches import shared_batches
from ppldelta.run.limits import DEFAULT_N_UBATCH, N_SEQ_MAX_GPU

MOST_OVER_FORWARD = 1.03
"""The most that scoring may cost, in times of decoding alone with the same output rows."""


def _sizes(on: Device) -> tuple[int, list[int], float]:
    """Tokens of a window, micro-batches to try, and seconds for each."""
    return (256, [64, 128], 0.2) if on.rehearsal else (2048, [128, 256, 512, 1024, 2048], 1.0)


def micro_batches(on: Device) -> None:
    """Tokens per second by n_ubatch and n_outputs_max, against decoding the same with logits left where they are."""
    n_ctx, n_ubatches, least_s = _sizes(on)
    on.use()
    started = time.perf_counter()
    model = Model(on.model())
    on.say("written and loaded", f"{model.info.size_bytes / 1e9:.2f} GB in {time.perf_counter() - started:.1f} s")
    found: dict[tuple[str, int, int], float] = {}
    forward: dict[tuple[str, int], float] = {}
    for rule, scored in (("every", 1.0), ("perplexity", 0.5)):
        texts = windows(4, n_ctx, model.info.n_vocab, scored=scored)
        for n_ubatch in n_ubatches:
            decoder = floor.Decoder(
                on.model(), n_ctx=n_ctx, n_ubatch=n_ubatch, threads=threads(), n_outputs_max=n_ubatch, keep=False
            )
            steps = [decoder.steps(each) for each in texts]
            forward[rule, n_ubatch] = rate(decoder.run, steps, n_ctx, least_s)
            decoder.close()
            for n_outputs_max in sorted({min(128, n_ubatch), n_ubatch}):
                scorer = Scorer(model, n_ctx=n_ctx, n_ubatch=n_ubatch, threads=threads(), n_outputs_max=n_outputs_max)
                found[rule, n_ubatch, n_outputs_max] = rate(scorer.score, texts, n_ctx, least_s)
                del scorer  # its memory first
    for (rule, n_ubatch, n_outputs_max), speed in found.items():
        share = 1 - speed / forward[rule, n_ubatch]
        on.say(
            f"{rule}, n_ubatch {n_ubatch}, n_outputs_max {n_outputs_max}",
            f"{speed:.0f} tokens/s; decoding alone {forward[rule, n_ubatch]:.0f}; "
            f"the logits' way and the log-softmax take {share:.0%} of the time",
            data={"tokens_per_s": speed, "forward_tokens_per_s": forward[rule, n_ubatch], "share": share},
        )
    for rule in ("every", "perplexity"):
        best = max((key for key in found if key[0] == rule), key=lambda key: found[key])
        default = found[rule, DEFAULT_N_UBATCH, DEFAULT_N_UBATCH] if not on.rehearsal else found[rule, 128, 128]
        on.say(
            f"{rule}: best n_ubatch and n_outputs_max",
            f"{best[1]} and {best[2]}, {found[best] / default:.2f} times the default's speed",
        )
        on.at_most(
            f"{rule}: time over decoding alone at its own best",
            max(value for key, value in forward.items() if key[0] == rule) / found[best],
            "",
            MOST_OVER_FORWARD,
            meaningless=on.rehearsal,
        )


def host(on: Device) -> None:
    """What the host's part of a row of logits costs, so that the way over the bus can be told from it."""
    n_vocab, n_rows = (16384, 64) if on.rehearsal else (151936, 1024)
    logits = np.random.default_rng(0).standard_normal((n_rows, n_vocab), np.float32)
    targets = np.zeros(n_rows, np.int32)
    for n in sorted({1, threads()}):
        speed = rate(lambda n: _core.log_softmax(logits, targets, n), [n], n_rows, 0.5)
        on.say(
            f"log-softmax of rows of {n_vocab} on the host, {n} threads",
            f"{speed:.0f} rows/s, {speed * n_vocab * 4 / 1e9:.1f} GB/s",
            data={"rows_per_s": speed},
        )


def packing(on: Device) -> None:
    """Short documents: tokens per second alone and in shared batches, by length."""
    least_s = 0.2 if on.rehearsal else 1.0
    lengths, n_documents = ((16, 32), 16) if on.rehearsal else ((32, 64, 128, 256, 512), 256)
    on.use()
    model = Model(on.model())
    contexts = [(1, DEFAULT_N_UBATCH), (8, DEFAULT_N_UBATCH), *product((32, 128), (DEFAULT_N_UBATCH, 1024))]
    found: dict[tuple[int, int, int], float] = {}
    for n_seq_max, n_ubatch in contexts:
        scorer = Scorer(model, n_ctx=8192, n_ubatch=n_ubatch, threads=threads(), n_seq_max=n_seq_max)
        for length in lengths:
            texts = windows(n_documents, length, model.info.n_vocab)
            batches = shared_batches([[length]] * n_documents, n_seq_max=n_seq_max, n_ctx=8192)
            groups = [[t for t, at in zip(texts, batches, strict=True) if at == b] for b in range(max(batches) + 1)]
            full = [group for group in groups if len(group) == len(groups[0])]
            found[length, n_seq_max, n_ubatch] = rate(scorer.score_together, full, len(full[0]) * length, least_s)
        del scorer
    for length in lengths:
        alone = found[length, 1, DEFAULT_N_UBATCH]
        row = {f"n_seq_max {n}, n_ubatch {u}": found[length, n, u] for n, u in contexts[1:]}
        shown = ", ".join(f"{name}: {speed / alone:.2f} x" for name, speed in row.items())
        gained = found[length, N_SEQ_MAX_GPU, DEFAULT_N_UBATCH] / alone
        on.say(
            f"documents of {length} tokens, in batches against alone ({alone:.0f} tokens/s)",
            shown,
            None if on.rehearsal else gained >= 1,
            limit="at least 1 x with 32 at the default n_ubatch",
            data={"alone": alone, **row},
        )


def llama_bench(on: Device) -> None:
    """Tokens per second against llama-bench's prompt processing, which computes one row of logits per prompt."""
    n_ctx, n_ubatches, least_s = _sizes(on)
    if on.llama_bench is None:
        on.say("speed against llama-bench", "llama-bench was not built", None)
        return
    flags = f"-p {n_ctx} -n 0 -b {n_ctx} -r 2 -t {threads()} -o json".split()
    command = [on.llama_bench, "-m", on.model(), *flags]
    command += ["-ub", ",".join(map(str, n_ubatches)), *(["--rpc", on.rpc] if on.rpc else [])]
    said = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=on.deadline - time.time())
    if said.returncode:
        on.say("speed against llama-bench", f"it ended with {said.returncode}: {said.stderr.strip()[-300:]}", None)
        return
    theirs = {int(row["n_ubatch"]): float(row["avg_ts"]) for row in json.loads(said.stdout)}
    on.use()
    model = Model(on.model())
    for n_ubatch, speed in theirs.items():
        scorer = Scorer(model, n_ctx=n_ctx, n_ubatch=n_ubatch, threads=threads())
        ours = {}
        for name, scored in (("one token", 0.0), ("half", 0.5), ("all", 1.0)):
            texts = windows(4, n_ctx, model.info.n_vocab, scored=scored)
            ours[name] = rate(scorer.score, texts, n_ctx, least_s)
        on.say(
            f"llama-bench -p {n_ctx} -ub {n_ubatch}: {speed:.0f} tokens/s; ours over it",
            ", ".join(f"{value / speed:.2f} with {name} scored" for name, value in ours.items()),
            data={"llama_bench": speed, **ours},
        )
        del scorer
