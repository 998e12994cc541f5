"""What the page holds of divergences, decoded again and held against the frames it was made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from helpers import synthetic
from helpers.blocks import decode
from ppldelta.analysis.spans import best_spans
from ppldelta.reporting.alternatives import TOP_STEP
from ppldelta.reporting.blocks import encode
from ppldelta.reporting.payload import Payload, make_payload
from ppldelta.reporting.payload_divergence import ENTROPY_STEP, KLD_POWER
from ppldelta.wording import numbers

MADE = synthetic.make(n_documents=31, n_models=3, kld=True)
PLAIN = synthetic.make(n_documents=31, n_models=3)
MODELS = MADE["families"][0].models


def payload_of(made: dict[str, Any], **more: Any) -> Payload:
    frames = {name: made[name] for name in ("tokens", "documents", "pieces", "texts", "families")}
    return make_payload(**{**frames, **more})


def block(payload: Payload, name: str) -> dict[str, Any]:
    return decode(encode(payload.blocks[name]))[1]


def records_of(made: dict[str, Any], document: str, model: str) -> pl.DataFrame:
    return made["tokens"].filter(pl.col("document") == document, pl.col("model") == model).sort("pos")


def decoded(steps: Any) -> Any:
    """The divergences, as the page decodes them."""
    step = np.asarray(steps, np.float64) - 1
    return np.where(step < 0, 0, (100 + step % 900) * 10.0 ** (step // 900 + KLD_POWER - 2))


def check_detail(payload: Payload, made: dict[str, Any], i: int, k: int) -> None:
    """One document's block against the frame, each value within its stated error."""
    family = made["families"][i]
    name = block(payload, f"f{i}.documents")["names"][k]
    detail = block(payload, f"f{i}.k{k}")
    n = len(block(payload, f"f{i}.d{k}")["nll_ref"])
    entropy_ref = detail["entropy_ref"].astype(np.int64)
    for m, model in enumerate(family.models):
        rows = records_of(made, name, model).filter(pl.col("family") == family.name)
        mine = {
            field: detail[field].reshape(-1, n)[m].astype(np.float64) for field in ("kld", "same", "rank", "entropy")
        }
        if rows["kld"].null_count() == len(rows):
            assert (mine["kld"] == 65535).all() and (mine["same"] == 2).all() and (mine["rank"] == 0).all()
            continue
        kld = rows["kld"].cast(pl.Float64).to_numpy()
        assert list(map(numbers.significant, decoded(mine["kld"]))) == [
            numbers.significant(each) for each in np.where(kld < 10.0**KLD_POWER, 0, kld)
        ]
        assert mine["same"].tolist() == rows["same_top"].cast(pl.Int8).to_list()
        assert mine["rank"].tolist() == rows["rank_cmp"].to_list()
        assert detail["rank_ref"].tolist() == rows["rank_ref"].to_list()
        assert np.abs(entropy_ref * ENTROPY_STEP - rows["entropy_ref"].to_numpy()).max() <= 0.51 * ENTROPY_STEP
        entropy = (entropy_ref + mine["entropy"]) * ENTROPY_STEP
        assert np.abs(entropy - rows["entropy_cmp"].to_numpy()).max() <= 0.51 * ENTROPY_STEP


def test_all_comes_back() -> None:
    payload = payload_of(MADE)
    entry = payload.index["families"][0]
    assert entry["details"] == sorted(entry["token_documents"]) == list(range(31))
    for k in entry["details"]:
        check_detail(payload, MADE, 0, k)
    numbers = block(payload, "f0.documents")
    for field, column in (("kld", "kld"), ("n_same", "same_top")):
        values = numbers[field].reshape(3, -1)
        for row in MADE["documents"].iter_rows(named=True):
            m, k = MODELS.index(row["model"]), numbers["names"].index(row["document"])
            value = values[m, k] / row["n_scored"] if column == "same_top" else values[m, k]
            assert value == pytest.approx(row[column], rel=1e-6)


def test_a_result_without_divergences_has_the_blocks_that_it_had() -> None:
    plain, more = payload_of(PLAIN), payload_of(MADE)
    assert "divergence_steps" not in plain.index and "details" not in plain.index["families"][0]
    assert not [name for name in plain.blocks if name.startswith("f0.k")]
    assert {"kld", "n_same"} & block(plain, "f0.documents").keys() == set()
    assert set(block(plain, "f0.passages")["passages"][0]) == {"best", "worst"}
    assert plain.blocks["f0.totals"] == more.blocks["f0.totals"], "divergences move nothing else"
    for ours, theirs in zip(*(block(each, "f0.passages")["passages"] for each in (plain, more)), strict=True):
        assert ours["best"] == theirs["best"] and ours["worst"] == theirs["worst"]


def test_passages_and_tokens_that_diverge_most() -> None:
    payload = payload_of(MADE)
    names = block(payload, "f0.documents")["names"]
    for model, lists in zip(MODELS, block(payload, "f0.passages")["passages"], strict=True):
        records = pl.concat([records_of(MADE, name, model) for name in names])
        kld, pos = records["kld"].to_numpy(), records["pos"].to_numpy().astype(int)
        largest = np.sort(kld)[::-1][:12]
        np.testing.assert_allclose([each["sum"] for each in lists["tail"]], largest, atol=1e-6)
        for each in lists["tail"]:
            row = records_of(MADE, names[each["document"]], model).filter(pos=each["start"])
            assert row["kld"][0] == pytest.approx(each["sum"], abs=1e-6) and each["start"] == each["end"]
        document = np.concatenate([np.full(len(records_of(MADE, name, model)), k) for k, name in enumerate(names)])
        starts = np.diff(1000 * document + pos, prepend=-5) != 1
        sums = [each["sum"] for each in lists["divergent"]]
        assert sums == sorted(sums, reverse=True)
        spans = best_spans(kld - np.float32(kld.mean(dtype=np.float64)), starts)
        listed = sorted(lists["divergent"], key=lambda each: (each["document"], each["start"]))
        for each, span in zip(listed, sorted(spans, key=lambda span: span.first), strict=True):
            begun, ended = pos[span.first] - each["start"], each["end"] - pos[span.last]  # the rest of a character
            assert begun in (-1, 0, 1) and ended in (-1, 0, 1)
            assert each["sum"] == pytest.approx(kld[span.first - begun : span.last + ended + 1].sum(), rel=1e-5)
        assert {each["n"] for each in lists["divergent"]} != {64}, "a passage ends where it is no worse than usual"


def test_documents_of_the_lists_get_a_view() -> None:
    made = synthetic.make(n_documents=60, n_models=2, n_tokens=40, kld=True)
    payload = payload_of(made, n_views=1)
    listed = {
        each["document"]
        for lists in block(payload, "f0.passages")["passages"]
        for way in ("divergent", "tail")
        for each in lists[way]
    }
    entry = payload.index["families"][0]
    assert listed <= set(entry["token_documents"]) and entry["details"] == sorted(entry["token_documents"])


def test_token_views_come_first_and_divergences_take_the_room_that_is_left() -> None:
    whole = payload_of(MADE)
    size = sum(len(encode(each)) for each in whole.blocks.values())
    details = sum(len(encode(each)) for name, each in whole.blocks.items() if name.startswith("f0.k"))
    payload = payload_of(MADE, budget=size - details // 2)
    entry = payload.index["families"][0]
    assert payload.index["token_views"]["included"] == 31
    assert 0 < len(entry["details"]) < 31
    assert sum(len(encode(each)) for each in payload.blocks.values()) <= size - details // 2
    assert payload_of(MADE, budget=0, n_views="all").index["families"][0]["details"] == list(range(31))


def test_a_comparison_without_divergences_beside_others() -> None:
    lacks = pl.col("model") == MODELS[1]
    pair = ("kld", "same_top", "rank_ref", "rank_cmp", "entropy_ref", "entropy_cmp")
    nothing = [pl.when(lacks).then(None).otherwise(pl.col(name)).alias(name) for name in pair]
    tokens = MADE["tokens"].with_columns(nothing)
    documents = MADE["documents"].with_columns(nothing[:2])
    made = {**MADE, "tokens": tokens, "documents": documents}
    payload = payload_of(made)
    for k in payload.index["families"][0]["details"]:
        check_detail(payload, made, 0, k)
    assert np.isnan(block(payload, "f0.documents")["kld"].reshape(3, -1)[1]).all()
    lists = block(payload, "f0.passages")["passages"]
    assert lists[1]["divergent"] == lists[1]["tail"] == [] and lists[0]["tail"]


def test_values_out_of_range() -> None:
    kld = np.resize(
        [0.0, 1e-12, 1e-8, 9.96e-5, 9.94e-5, 9.994e-4, 0.5, 8.2013, 9.9951, 40.0, 1e4], len(MADE["tokens"])
    ).astype(np.float32)
    made = {**MADE, "tokens": MADE["tokens"].with_columns(kld=pl.Series(kld))}
    payload = payload_of(made)
    for k in payload.index["families"][0]["details"]:
        check_detail(payload, made, 0, k)


def test_several_families_of_which_one_has_divergences() -> None:
    other = synthetic.make(n_documents=9, n_models=1, family="other", seed=5)
    made = {name: pl.concat([MADE[name], other[name]]) for name in ("tokens", "documents", "pieces", "texts")}
    made["families"] = MADE["families"] + other["families"]
    payload = payload_of(made)
    first, second = payload.index["families"]
    assert len(first["details"]) == 31 and "details" not in second
    for k in first["details"]:
        check_detail(payload, made, 0, k)


def test_the_most_probable_tokens_of_both_models_come_along() -> None:
    made = synthetic.with_top(MADE)
    payload = payload_of(made)
    known = dict(MADE["pieces"].select("token", "piece").iter_rows())
    names = block(payload, "f0.documents")["names"]
    for k in (0, 7, 30):
        check_detail(payload, made, 0, k)
        detail = block(payload, f"f0.k{k}")
        n = len(detail["rank_ref"])
        top, nll = detail["top"].reshape(4, n, 3), detail["top_nll"].reshape(4, n, 3) * TOP_STEP
        for m, model in enumerate(MODELS):
            rows = records_of(made, names[k], model)
            for who, side in ((0, "ref"), (m + 1, "cmp")):
                texts = [
                    [known[token].decode("utf-8", "backslashreplace") for token in each]
                    for each in rows[f"top_tokens_{side}"]
                ]
                assert [[detail["words"][place] for place in each] for each in top[who].tolist()] == texts
                wanted = -np.array(rows[f"top_logp_{side}"].to_list())
                assert np.abs(nll[who] - wanted).max() <= 0.51 * TOP_STEP


def test_of_most_probable_tokens_some_may_lack_or_have_unknown_bytes() -> None:
    made = synthetic.with_top(MADE)
    columns = [name for name in made["tokens"].columns if name.startswith("top_")]
    lacks = pl.col("model") == MODELS[0]
    tokens = made["tokens"].with_columns(
        pl.when(lacks).then(None).otherwise(pl.col(name)).alias(name) for name in columns
    )
    tokens = tokens.with_columns(top_tokens_cmp=pl.col("top_tokens_cmp").list.eval(pl.element() + 1_000_000))
    payload = payload_of({**made, "tokens": tokens})
    detail = block(payload, "f0.k3")
    n = len(detail["rank_ref"])
    top = detail["top"].reshape(4, n, 3)
    assert (top[1] == len(detail["words"])).all() and (top[0] < len(detail["words"])).all()
    assert detail["words"][top[2, 0, 0]].startswith("token 100")
    assert "words" not in block(payload_of(MADE), "f0.k3")
