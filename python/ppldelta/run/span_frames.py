"""Token records of a comparison whose tokens are others than the reference's: a row for each span of text."""

from __future__ import annotations

import numpy as np
import polars as pl

from ppldelta import schema
from ppldelta.run.common_spans import shared_documents
from ppldelta.run.evaluation import Evaluation
from ppldelta.text.alignment import sums
from ppldelta.text.ragged import Packer, Ragged

_COLUMNS = {
    "pos": np.uint32,
    "token": np.int32,
    "byte_start": np.uint32,
    "byte_end": np.uint32,
    "n_tokens_ref": np.uint32,
    "n_tokens_cmp": np.uint32,
    "logp_ref": np.float32,
    "logp_cmp": np.float32,
}


def span_records(ref: Evaluation, cmp: Evaluation) -> pl.DataFrame:
    """The spans that both models scored as a whole.

    Returns:
        The columns of `schema.TOKENS` that two models with other tokens have of a span, but for names of models.
    """
    of_ref, of_cmp = ref.participant.tokenization, cmp.participant.tokenization
    ref_pos, cmp_pos = (Ragged(each.windows.pos, each.scored) for each in (of_ref, of_cmp))
    ref_logp, cmp_logp = Ragged(ref.logp, of_ref.scored), Ragged(cmp.logp, of_cmp.scored)
    columns = {name: Packer[np.generic](dtype) for name, dtype in _COLUMNS.items()}
    for each in shared_documents(of_ref, of_cmp, of_cmp.places_in(of_ref)):
        spans, at = each.spans, each.scored
        assert each.ref_bounds is not None and spans is not None, "admission leaves the others out"
        first = spans.ref[at]
        values = {
            "pos": first.astype(np.uint32),
            "token": of_ref.documents.tokens[each.ref][first],
            "byte_start": each.ref_bounds[first],
            "byte_end": each.ref_bounds[spans.ref[at + 1]],
            "n_tokens_ref": np.diff(spans.ref)[at].astype(np.uint32),
            "n_tokens_cmp": np.diff(spans.cmp)[at].astype(np.uint32),
            "logp_ref": sums(spans.ref, ref_pos[each.ref], ref_logp[each.ref])[at],
            "logp_cmp": sums(spans.cmp, cmp_pos[each.cmp], cmp_logp[each.cmp])[at],
        }
        for name, packer in columns.items():
            packer.add(values[name])
    packed = {name: packer.packed() for name, packer in columns.items()}
    labels = pl.Series("document", [each.name for each in of_cmp.texts], dtype=schema.NAMES)
    document = np.repeat(np.arange(len(labels), dtype=np.uint32), packed["pos"].lengths)
    return pl.DataFrame([labels.gather(document), *(pl.Series(name, each.values) for name, each in packed.items())])
