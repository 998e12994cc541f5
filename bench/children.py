"""Functions that benchmarks run in a fresh Python (`harness.call`).

A file of their own: what it imports is part of what they cost, and `harness` imports more than ppldelta does.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

N_CTX = 512

Answer = list[dict[str, float]]
"""For each pair of file and comparison: n_scored, nll_ref, nll_cmp, gain, loss."""


def compare(ref: str, comparisons: list[str], files: list[str], threads: int) -> Answer:
    """What each file's comparison says, without a store."""
    import ppldelta

    settings = {"windows": "perplexity", "n_ctx": N_CTX, "threads": threads, "progress": False}
    documents = ppldelta.score(files, ref, comparisons, store=None, **settings).documents
    rows = {(row["document"], row["model"]): row for row in documents.iter_rows(named=True)}
    answers = [rows[Path(file).name, Path(cmp).stem] for file in files for cmp in comparisons]
    same = ("n_scored", "gain", "loss")
    return [
        {"nll_ref": math.log(row["ppl_ref"]), "nll_cmp": math.log(row["ppl_cmp"]), **{name: row[name] for name in same}}
        for row in answers
    ]


def in_lockstep(
    ref: str, comparisons: list[str], file: str, threads: int, settings: dict[str, int | bool]
) -> dict[str, Any]:
    """One text under a reference and comparisons: a hash over its log-probabilities, and what `settings` add."""
    import ppldelta

    tokens = ppldelta.score(
        file,
        ref,
        comparisons,
        windows="perplexity",
        n_ctx=N_CTX,
        threads=threads,
        store=None,
        progress=False,
        **settings,
    ).tokens
    digest = hashlib.sha256(tokens["logp_ref"].to_numpy().tobytes() + tokens["logp_cmp"].to_numpy().tobytes())
    return {
        "logp": digest.hexdigest(),
        "n_scored": len(tokens),
        "n_kld": tokens["kld"].count(),
        "kld": tokens["kld"].mean(),
        "n_best": int(tokens["top_tokens_cmp"].list.len().sum()),
    }


def imported() -> None:
    """Nothing but what `ppldelta.score` imports."""
    import ppldelta
    import ppldelta.run.frames

    _ = ppldelta.score


def compare_same(model: str, folder: str, n_ctx: int, threads: int) -> dict[str, Any]:
    """A model compared with itself: its size, and the tokens and the mean NLL of each document."""
    import ppldelta

    settings = {"windows": "perplexity", "n_ctx": n_ctx, "threads": threads, "progress": False}
    result = ppldelta.score(folder, model, model, store=None, **settings)
    documents = result.documents
    return {
        "size_bytes": result.families[0].ref.size_bytes,
        "n_tokens": dict(zip(documents["document"], documents["n_tokens"], strict=True)),
        "nll": dict(zip(documents["document"], documents["ppl_ref"].log(), strict=True)),
    }


def compare_stored(folder: str, ref: str, cmp: list[str], store: str, threads: int) -> dict[str, Any]:
    """A comparison with a store; the answer is a hash over every token's log-probabilities, by model."""
    import ppldelta

    settings = {"windows": "perplexity", "threads": threads, "progress": False}
    result = ppldelta.score(folder, ref, cmp, store=store, **settings)
    models = result.families[0].cmp
    parts = result.tokens.partition_by("model", maintain_order=True)
    digests = {
        model.label: hashlib.sha256(
            part["logp_ref"].to_numpy().tobytes() + part["logp_cmp"].to_numpy().tobytes()
        ).hexdigest()
        for model, part in zip(models, parts, strict=True)
    }
    evaluated = sum(model.time_s > 0 for model in [result.families[0].ref, *models])
    return {"digests": digests, "n_tokens": len(parts[0]), "n_evaluated": evaluated}
