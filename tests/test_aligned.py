"""Records side by side: the same whatever the order of the frame; what a model lacks is NaN."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from helpers import synthetic
from ppldelta import schema
from ppldelta.analysis.aligned import align
from ppldelta.errors import ResultError

MADE = synthetic.make(n_documents=7, n_models=3, n_tokens=40)
FAMILY = MADE["families"][0].name
MODELS = MADE["families"][0].models
NAMES = MADE["texts"]["document"].to_list()


def plain(records: pl.DataFrame, model: str, document: str) -> dict[int, tuple[int, float, float]]:
    chosen = records.filter(pl.col("model") == model, pl.col("document") == document)
    return {pos: rest for pos, *rest in chosen.select("pos", "token", "logp_ref", "delta").iter_rows()}


def check(records: pl.DataFrame, documents: list[str], models: list[str]) -> None:
    """Against the frame row by row."""
    aligned = align(records, FAMILY, models, documents)
    assert aligned.offsets[0] == 0 and aligned.offsets[-1] == len(aligned.pos)
    for k, document in enumerate(documents):
        rows = aligned.rows(k)
        by_model = [plain(records, model, document) for model in models]
        wanted = sorted(set().union(*by_model))
        pos = aligned.pos[rows].tolist()
        assert pos == wanted
        for row, place in enumerate(pos, rows.start):
            first = next(each[place] for each in by_model if place in each)
            assert [aligned.token[row], aligned.logp_ref[row]] == first[:2]
            deltas = [each[place][2] if place in each else np.nan for each in by_model]
            np.testing.assert_array_equal(aligned.delta[:, row], np.array(deltas, np.float32))
            assert aligned.document(row) == k
            assert aligned.starts[row] == (row == rows.start or pos[row - rows.start - 1] != place - 1)


def test_as_the_frame_says() -> None:
    check(MADE["tokens"], NAMES, MODELS)
    check(MADE["tokens"], sorted(NAMES, reverse=True), MODELS[::-1])


def test_the_order_of_the_records_is_nothing() -> None:
    check(MADE["tokens"].sample(fraction=1, shuffle=True, seed=1), NAMES, MODELS)


def test_what_a_model_lacks_is_nan() -> None:
    lacks = pl.col("model") == MODELS[0], pl.col("document") == NAMES[2]
    some = MADE["tokens"].filter(~(lacks[0] & lacks[1]), ~((pl.col("model") == MODELS[2]) & (pl.col("pos") % 5 == 0)))
    check(some, NAMES, MODELS)
    check(some, NAMES, [*MODELS, "unheard of"])


def test_nothing_gives_nothing() -> None:
    for tokens, family, models in (
        (pl.DataFrame(schema=schema.TOKENS), FAMILY, MODELS),
        (MADE["tokens"], "unheard of", MODELS),
        (MADE["tokens"], FAMILY, []),
    ):
        aligned = align(tokens, family, models, NAMES)
        assert aligned.delta.shape == (len(models), 0)
        assert aligned.offsets.tolist() == [0] * (len(NAMES) + 1)


def test_a_document_that_is_not_named_is_refused() -> None:
    with pytest.raises(ResultError, match=NAMES[3]):
        align(MADE["tokens"], FAMILY, MODELS, [name for name in NAMES if name != NAMES[3]])
