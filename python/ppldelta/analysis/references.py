"""Which of several references predicts a text better: paired differences of bits per byte, document by document.

For the references a and b of two families on the same D documents, with B_d bytes and x_d bits in document d:

    difference = Σ (x_d(a) - x_d(b)) / Σ B_d        every byte weighs the same

with interval, p value and Holm's correction as in `differences`. Damage and gain say how far models are from their own
reference; only this compares families, and only on the same bytes.
"""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ppldelta.analysis.corrections import holm
from ppldelta.analysis.differences import EACH, enough, ratio_test
from ppldelta.analysis.uncertainty import LEVEL, N_RESAMPLES, SEED, Resamples
from ppldelta.schema import REFERENCES


def references(
    documents: pl.DataFrame, *, n_resamples: int = N_RESAMPLES, seed: int = SEED, level: float = LEVEL
) -> pl.DataFrame:
    """Paired differences between the references of every two families, over all documents and each category.

    Args:
        documents: `schema.DOCUMENTS`. Only documents of both families are compared; two families that scored other
            bytes of one of them have no row.
        n_resamples: resamples of the bootstrap at least.
        seed: seed of the bootstrap.
        level: confidence of the intervals, between 0 and 1.

    Returns:
        A frame with exactly `schema.REFERENCES`: pairs in the order of `documents`, each once, then category (first
        null: all documents; an only category has no row). No row with one family. Interval and p values are null where
        fewer than `uncertainty.DOCUMENTS_MIN` documents are shared.

    Raises:
        PpldeltaError: `n_resamples` is below 1.
    """
    read = {
        str(family): rows.unique("document", keep="first", maintain_order=True)
        for (family,), rows in documents.group_by("family", maintain_order=True)
    }
    columns = ("document", "category", "n_bytes", "bpb_ref")
    found: list[dict[str, object]] = []
    pairs = list(itertools.combinations(read, 2))
    wanted = EACH * len(pairs) * (1 + documents["category"].n_unique())
    drawn: dict[int, Resamples] = {}
    for a, b in pairs:
        other = read[b].select("document", "n_bytes", "bpb_ref")
        both = read[a].select(columns).join(other, on="document", suffix="_b")
        both = both.filter(pl.col("bpb_ref").is_finite(), pl.col("bpb_ref_b").is_finite(), pl.col("n_bytes") > 0)
        if both.is_empty() or (both["n_bytes"] != both["n_bytes_b"]).any():
            continue
        categories = both["category"].unique().sort()
        for category in (None, *(categories if len(categories) > 1 else ())):
            rows = (both if category is None else both.filter(category=category)).sort("document")
            n = rows["n_bytes"].cast(pl.Float64()).to_numpy()
            bits = rows.select("bpb_ref", "bpb_ref_b").to_numpy() * n[:, None]
            most = enough(wanted, len(n), n_resamples)
            resamples = drawn.setdefault(most, Resamples(most, seed))
            ((difference, low, high, p),) = ratio_test(bits[:, :1] - bits[:, 1:], n, resamples, level, wanted)
            bpb_a, bpb_b = _means(bits, n)
            ends = {"low": low, "high": high, "p": p}
            found.append(
                {"family_a": a, "family_b": b, "category": category, "n_documents": len(n), "n_bytes": int(n.sum())}
                | {"bpb_a": bpb_a, "bpb_b": bpb_b, "difference": difference}
                | {name: None if np.isnan(value) else value for name, value in ends.items()}
            )
    frame = pl.DataFrame(found, schema=REFERENCES, infer_schema_length=None)
    corrected = holm(frame["p"].to_numpy().astype(np.float64)) if len(frame) else np.empty(0)
    return frame.with_columns(p_holm=pl.Series(corrected, dtype=pl.Float64()).fill_nan(None))


def _means(bits: NDArray[np.float64], n: NDArray[np.float64]) -> list[float]:
    return [float(each) for each in bits.sum(axis=0) / n.sum()]
