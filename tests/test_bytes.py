"""`align="bytes"` from text to result: models with other tokenizers on the same spans of text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import ppldelta
from helpers import tiny_models
from ppldelta import demo, schema
from ppldelta.run import tokenization

CODE = demo.COMPARISONS[0]
NAMES = ("prose/the_waiting_room.txt", "multilingual/ja_ame_no_asa.txt", "code/token_bucket.py")
TEXTS = {name: (demo.CORPUS / name).read_text(encoding="utf-8") for name in NAMES}
MERGES = ("h e", "i n", "o u", "r e", "a n", "Ġ a", "e d", "ou r")
OTHER, SAME = "other", CODE.stem


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose tokens are bytes and some pairs of them, and whose texts begin with a token."""
    return tiny_models.write(tmp_path_factory.mktemp("models") / "other.gguf", "llama", merges=MERGES, bos=True)


def score(cmp: list[Path], **settings: object) -> ppldelta.Result:
    known = {"windows": "every", "n_ctx": 512, "align": "bytes", "progress": False, **settings}
    return ppldelta.score(TEXTS, demo.REFERENCE, cmp, **known)


@pytest.fixture(scope="module")
def result(other: Path) -> ppldelta.Result:
    return score([other, CODE], store=None)


@pytest.fixture(scope="module")
def by_tokens() -> ppldelta.Result:
    return score([CODE], align="tokens", store=None)


def of(result: ppldelta.Result, model: str, frame: str = "tokens") -> pl.DataFrame:
    return result.frames[frame].filter(pl.col("model") == model)


def test_the_reference_s_own_tokenizer_gives_what_it_gives_by_token(
    result: ppldelta.Result, by_tokens: ppldelta.Result
) -> None:
    assert of(result, SAME).equals(by_tokens.tokens)
    assert of(result, SAME, "documents").equals(by_tokens.documents)
    assert of(result, SAME, "models").equals(by_tokens.models)


def test_another_tokenizer_s_totals_are_those_of_its_own_run(other: Path, result: ppldelta.Result) -> None:
    """A run in which it is the reference gives each token; the spans hold all but the document's first."""
    alone = ppldelta.score(TEXTS, other, {"again": other}, windows="every", n_ctx=512, store=None, progress=False)
    for name in NAMES:
        spans = of(result, OTHER).filter(pl.col("document") == name)
        tokens = alone.tokens.filter(pl.col("document") == name, pl.col("byte_start") >= spans["byte_start"].min())
        assert spans["n_tokens_cmp"].sum() == len(tokens)
        assert spans["logp_cmp"].sum() == pytest.approx(tokens["logp_ref"].sum(), rel=1e-5)


def test_spans_cover_the_bytes_that_both_scored_once(result: ppldelta.Result) -> None:
    for name in NAMES:
        rows = of(result, OTHER).filter(pl.col("document") == name)
        start, end = rows["byte_start"].to_numpy(), rows["byte_end"].to_numpy()
        assert np.array_equal(start[1:], end[:-1]) and (end > start).all()
        assert end[-1] == len(TEXTS[name].encode())
        # the reference has no token before the text's first, which it cannot score
        assert start[0] == of(result, SAME).filter(pl.col("document") == name)["byte_start"][0]
        n_bytes = of(result, OTHER, "documents").filter(pl.col("document") == name)["n_bytes"][0]
        assert n_bytes == end[-1] - start[0]


def test_some_spans_hold_several_tokens_of_each(result: ppldelta.Result) -> None:
    rows = of(result, OTHER)
    assert (rows["n_tokens_ref"] > 1).any() and (rows["n_tokens_cmp"] > 1).any()
    assert rows["logp_ref"].sum() == pytest.approx(of(result, SAME)["logp_ref"].sum(), rel=1e-5)


def test_by_token_it_is_refused_and_the_hint_names_the_way_out(other: Path) -> None:
    with pytest.raises(ppldelta.TokenizerMismatchError, match=r"--align bytes"):
        score([other], align="tokens", store=None)


def test_the_second_half_of_windows_counts_where_both_scored_it(other: Path) -> None:
    found = score([other], windows="perplexity", n_ctx=64, store=None)
    rows = of(found, OTHER)
    assert 0 < len(rows) < len(of(score([other], store=None), OTHER))
    assert rows["logp_ref"].is_finite().all() and (rows["logp_cmp"] < 0).all()


def test_no_divergence_between_other_tokens(other: Path) -> None:
    found = score([other, CODE], kld=True, n_ctx=256, max_windows=1, store=None)
    assert found.left_out["divergence"] == [OTHER]
    assert of(found, OTHER)["kld"].null_count() == len(of(found, OTHER))
    assert of(found, SAME)["kld"].null_count() == 0
    assert any("another tokenizer" in warning for warning in found.warnings)


def test_a_text_that_does_not_survive_is_left_out_for_this_comparison(
    other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a tokenizer normalised the Japanese text."""
    known = tokenization.bounds_of_each

    def bounds(texts: list[bytes], *rest: object) -> list[object]:
        found = zip(texts, known(texts, *rest), strict=True)
        return [None if text == TEXTS[NAMES[1]].encode() else each for text, each in found]

    monkeypatch.setattr(tokenization, "bounds_of_each", bounds)
    found = score([other, CODE], max_windows=1, store=None)
    assert sorted(of(found, OTHER, "documents")["document"]) == sorted({*NAMES} - {NAMES[1]})
    assert sorted(of(found, SAME, "documents")["document"]) == sorted(NAMES)
    assert found.left_out == {"document": [NAMES[1]]}
    (warning,) = (each for each in found.warnings if "is compared without" in each)
    assert "`other` is compared without 1 document, whose text does not survive" in warning and NAMES[1] in warning
    assert set(found.differences["metric"]) == set(), "spans and tokens have no difference"
    monkeypatch.setattr(tokenization, "bounds_of_each", lambda texts, *_: [None] * len(texts))
    with pytest.raises(ppldelta.ModelError, match="another tokenizer than the reference, and no document"):
        score([other], max_windows=1, store=None)


def test_the_store_has_the_windows_of_both(other: Path, tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    first = score([other], store=store)
    plan = ppldelta.plan(TEXTS, demo.REFERENCE, [other], windows="every", n_ctx=512, align="bytes", store=store)
    assert [each.n_fed for each in plan.models] == [0, 0]
    assert [each.n_windows for each in plan.models] == [each.n_stored for each in plan.models]
    assert plan.models[0].n_windows < plan.models[1].n_windows, "bytes are more tokens"
    assert score([other], store=store).tokens.equals(first.tokens)
    alone = ppldelta.plan(TEXTS, other, {"again": other}, windows="every", n_ctx=512, store=store)
    assert alone.models[0].n_fed == 0, "its own runs find what it gave as a comparison"


def test_a_saved_result_says_it_and_an_older_one_is_by_token(result: ppldelta.Result, tmp_path: Path) -> None:
    loaded = ppldelta.load(result.save(tmp_path / "out"))
    assert loaded.families[0].align == "bytes"
    assert loaded.tokens.equals(result.tokens)
    assert set(schema.ADDED_LATER["tokens"]) >= {"n_tokens_ref", "n_tokens_cmp"}
