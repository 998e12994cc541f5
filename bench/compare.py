"""Our side of `bench_two_processes.py`, which runs in a fresh Python: what it imports is part of its cost."""

from __future__ import annotations

import math
from pathlib import Path

N_CTX = 512

Answer = list[dict[str, float]]
"""For each pair of file and comparison: n_scored, nll_ref, nll_cmp, gain, loss."""


def ours(ref: str, comparisons: list[str], files: list[str], threads: int) -> Answer:
    """The same by `ppldelta.score`; called in a fresh Python."""
    import ppldelta

    settings = {"n_ctx": N_CTX, "threads": threads, "progress": False}
    documents = ppldelta.score(files, ref, comparisons, store=None, **settings).documents
    rows = {(row["document"], row["model"]): row for row in documents.iter_rows(named=True)}
    answers = [rows[Path(file).name, Path(cmp).stem] for file in files for cmp in comparisons]
    same = ("n_scored", "gain", "loss")
    return [
        {"nll_ref": math.log(row["ppl_ref"]), "nll_cmp": math.log(row["ppl_cmp"]), **{name: row[name] for name in same}}
        for row in answers
    ]
