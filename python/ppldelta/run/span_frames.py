"""Token records of a comparison whose tokens are others than the reference's: a row for each span of text."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ppldelta import schema
from ppldelta.run.common_spans import common_spans
from ppldelta.run.evaluation import Evaluation
from ppldelta.run.tokenized import TokenizedDocument
from ppldelta.text.alignment import sums, whole

Scored = dict[str, tuple[TokenizedDocument, NDArray[np.uint32], NDArray[np.float32]]]


def span_records(ref: Evaluation, cmp: Evaluation) -> pl.DataFrame:
    """The spans that both models scored as a whole.

    Returns:
        The columns of `schema.TOKENS` that two models with other tokens have of a span, but for names of models.
    """
    of_ref, of_cmp = ref.participant.tokenization, cmp.participant.tokenization
    theirs = _scored(ref)
    names: list[str] = []
    parts: list[dict[str, NDArray[np.generic]]] = []
    for name, (document, pos, logp) in _scored(cmp).items():
        own, own_pos, own_logp = theirs[name]
        ref_bounds = of_ref.bounds(own)
        spans = common_spans(of_ref, own, of_cmp, document)
        assert ref_bounds is not None and spans is not None, "admission leaves the others out"
        at = np.flatnonzero(whole(spans.ref, own_pos) & whole(spans.cmp, pos))
        first = spans.ref[at]
        names.append(name)
        parts.append(
            {
                "pos": first.astype(np.uint32),
                "token": own.tokens[first],
                "byte_start": ref_bounds[first],
                "byte_end": ref_bounds[spans.ref[at + 1]],
                "n_tokens_ref": np.diff(spans.ref)[at].astype(np.uint32),
                "n_tokens_cmp": np.diff(spans.cmp)[at].astype(np.uint32),
                "logp_ref": sums(spans.ref, own_pos, own_logp)[at],
                "logp_cmp": sums(spans.cmp, pos, logp)[at],
            }
        )
    lengths = [len(part["pos"]) for part in parts]
    labels = pl.Series("document", names, dtype=schema.NAMES)
    return pl.DataFrame(
        [
            labels.gather(np.repeat(np.arange(len(names), dtype=np.uint32), lengths)),
            *(pl.Series(name, np.concatenate([part[name] for part in parts])) for name in parts[0]),
        ]
    )


def _scored(evaluation: Evaluation) -> Scored:
    """By the name of each document: it, which of its tokens were scored, and their log-probabilities."""
    documents = evaluation.participant.tokenization.documents
    pos = [each.pos for each in documents]
    logp = np.split(evaluation.logp, np.cumsum([len(each) for each in pos])[:-1])
    scored = zip(documents, pos, logp, strict=True)
    return {each.document.name: (each, own_pos, own_logp) for each, own_pos, own_logp in scored}
