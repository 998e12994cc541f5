"""The payload decoded again and held against the frames it was made of."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from helpers import facts, synthetic
from helpers.blocks import decode
from ppldelta import schema
from ppldelta.analysis.spans import Span, best_spans
from ppldelta.errors import PpldeltaError, ResultError
from ppldelta.reporting import passages
from ppldelta.reporting.blocks import encode
from ppldelta.reporting.budget import BUDGET
from ppldelta.reporting.payload import Payload, make_payload
from ppldelta.reporting.short import SHORT

EVIL = "</script><script>alert(1)</script>\u2028\x00"
MADE = synthetic.make(n_documents=31, n_models=3, rename={"code/00000.txt": EVIL, "model-1": f"m{EVIL}"})


def payload_of(made: dict[str, Any], **more: Any) -> Payload:
    frames = {name: made[name] for name in ("tokens", "documents", "pieces", "texts", "families")}
    return make_payload(**{**frames, **more})


def block(payload: Payload, name: str) -> dict[str, Any]:
    return decode(encode(payload.blocks[name]))[1]


def check_view(payload: Payload, made: dict[str, Any], i: int, k: int) -> None:
    """One document token by token, against the frame of records and the text."""
    family = made["families"][i]
    name, models = family.name, family.models
    document = block(payload, f"f{i}.documents")["names"][k]
    header, view = decode(encode(payload.blocks[f"f{i}.d{k}"]))
    table = block(payload, f"f{i}.pieces")
    pieces = [
        table["bytes"][begin:end].tobytes()
        for begin, end in zip(table["offset"][:-1], table["offset"][1:], strict=True)
    ]
    known = dict(made["pieces"].filter(family=name).select("token", "piece").iter_rows())
    text = made["texts"].filter(family=name, document=document)["tokens"]
    records = made["tokens"].filter(pl.col("family") == name, pl.col("document") == document)
    mine = [records.filter(pl.col("model") == model).sort("pos") for model in models]
    pos = np.unique(records["pos"].to_numpy())
    shown = np.concatenate([np.arange(s, s + n) for s, n in zip(view["start"], view["length"], strict=True)])
    assert shown.tolist() == pos.tolist()
    assert header["complete"] is bool(len(text))
    if len(text):
        assert [pieces[token] for token in view["token"]] == [known[token] for token in text[0]]
    else:
        token = dict(records.select("pos", "token").iter_rows())
        assert [pieces[each] for each in view["token"]] == [known[token[each]] for each in pos.tolist()]
    starts = view["start"].astype(int)
    assert (starts[1:] > starts[:-1] + view["length"][:-1]).all(), "runs are as long as they can be"

    first = {p: logp for each in reversed(mine) for p, logp in each.select("pos", "logp_ref").iter_rows()}
    nll = -np.array([first[p] for p in pos.tolist()], np.float64)
    coarse = view["nll_ref"] == 65535
    assert (coarse == ~np.isfinite(nll)).all()
    nll = np.minimum(nll, 65534 / 2048)
    assert np.abs(view["nll_ref"] / 2048 - nll)[~coarse].max(initial=0) <= 0.5 / 2048 + 1e-9
    delta = view["delta"].reshape(len(models), len(pos))
    for m, each in enumerate(mine):
        wanted = np.full(len(pos), np.nan)
        wanted[np.searchsorted(pos, each["pos"].to_numpy())] = each["delta"].to_numpy()
        none = ~np.isfinite(wanted)
        assert ((delta[m] == -32768) == none).all()
        clipped = np.clip(wanted, -32767 / 1024, 32767 / 1024)
        assert np.abs(delta[m] / 1024 - clipped)[~none].max(initial=0) <= 0.5 / 1024 + 1e-9


def check(payload: Payload, made: dict[str, Any]) -> None:
    """Everything in a payload, against the frames."""
    json.dumps(payload.index, allow_nan=False)
    names = set()
    for i, (entry, family) in enumerate(zip(payload.index["families"], made["families"], strict=True)):
        rows = made["documents"].filter(family=family.name)
        models = family.models
        numbers = block(payload, f"f{i}.documents")
        assert entry["name"] == family.name and entry["models"] == models
        assert numbers["names"] == rows["document"].unique(maintain_order=True).to_list()
        assert entry["n_documents"] == len(numbers["names"])
        shape = (len(models), len(numbers["names"]))
        gain, loss = (numbers[name].reshape(shape) for name in ("gain", "loss"))
        seen = np.zeros(shape, bool)
        for row in rows.iter_rows(named=True):
            m, k = models.index(row["model"]), numbers["names"].index(row["document"])
            seen[m, k] = True
            for name in ("n_tokens", "n_scored", "n_bytes"):
                assert numbers[name][k] == row[name]
            assert entry["categories"][numbers["category"][k]] == row["category"]
            ppl_cmp = np.exp(numbers["nll_ref"][k] - (gain[m, k] - loss[m, k]))
            got = np.exp(numbers["nll_ref"][k]), ppl_cmp, gain[m, k], loss[m, k]
            wanted = row["ppl_ref"], row["ppl_cmp"], row["gain"], row["loss"]
            np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=1e-7)
        assert np.isnan(gain[~seen]).all() and np.isnan(loss[~seen]).all()

        views = [k for k in range(shape[1]) if f"f{i}.d{k}" in payload.blocks]
        assert sorted(entry["token_documents"]) == views
        delta = [rows.filter(document=numbers["names"][k])["delta"].abs().max() for k in entry["token_documents"]]
        assert delta == sorted(delta, reverse=True)
        for k in views:
            check_view(payload, made, i, k)
        names |= {f"f{i}.{name}" for name in ("documents", "passages", "totals", "pieces", *(f"d{k}" for k in views))}
    assert payload.blocks.keys() == names
    views = payload.index["token_views"]
    assert views["included"] == sum(len(entry["token_documents"]) for entry in payload.index["families"])
    assert views["included"] <= views["wanted"]


def test_all_comes_back() -> None:
    payload = payload_of(MADE)
    check(payload, MADE)
    assert payload.index["families"][0]["complete"] is True
    assert payload.index["token_views"] == {"wanted": 31, "included": 31}
    assert block(payload, "f0.documents")["names"][0] == EVIL


def test_the_same_frames_give_the_same_bytes() -> None:
    assert payload_of(MADE) == payload_of(MADE)


def test_passages_are_those_of_the_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    most, cut, whole = 250, 0, 0  # a passage has at most 64 tokens, which are far fewer than 4000 characters here
    for module in ("family", "passages"):
        monkeypatch.setattr(f"ppldelta.reporting.{module}.TEXT", most)
    payload = payload_of(MADE)
    names = block(payload, "f0.documents")["names"]
    known = dict(MADE["pieces"].select("token", "piece").iter_rows())
    texts = dict(MADE["texts"].select("document", "tokens").iter_rows())
    models = payload.index["families"][0]["models"]
    for model, listed in zip(models, block(payload, "f0.passages")["passages"], strict=True):
        records = MADE["tokens"].filter(pl.col("model") == model)
        order = [records.filter(pl.col("document") == name) for name in names]
        records = pl.concat(order)
        pos, place = records["pos"].to_numpy().astype(int), np.repeat(np.arange(len(names)), list(map(len, order)))
        starts = np.diff(1000 * place + pos, prepend=-5) != 1
        piece = [known[token] for token in records["token"]]
        for key, sign in (("best", 1), ("worst", -1)):
            spans = best_spans(sign * records["delta"].to_numpy(), starts)
            assert len(listed[key]) == len(spans) == 12
            for got, span in zip(listed[key], spans, strict=True):
                first, last = span.first, span.last
                while first and not starts[first] and 0x80 <= piece[first][0] < 0xC0:
                    first -= 1
                while last + 1 < len(pos) and not starts[last + 1] and 0x80 <= piece[last + 1][0] < 0xC0:
                    last += 1
                assert (got["document"], got["start"], got["end"]) == (place[first], pos[first], pos[last])
                assert got["n"] == got["end"] - got["start"] + 1
                assert got["sum"] == pytest.approx(float(records["delta"][first : last + 1].sum()), abs=1e-4)
                tokens = texts[names[got["document"]]]
                parts = tokens[: got["start"]], tokens[got["start"] : got["end"] + 1], tokens[got["end"] + 1 :]
                before, text, after = (b"".join(known[t] for t in part).decode("utf-8", "replace") for part in parts)
                assert (got["before"], got["text"], got["after"]) == (before[-60:], text[:most], after[:60])
                shown = "".join(each for each, _ in got["parts"])
                assert text.startswith(shown)
                cut += shown != text
                whole += shown == text
                if shown == text:
                    assert sum(value for _, value in got["parts"]) == pytest.approx(got["sum"], abs=0.05)
                else:
                    assert len(shown.encode()) > most
    assert cut and whole


@pytest.mark.parametrize(
    ("tokens", "kept"),
    [
        ([b"\xb0", "а да".encode(), b"!"], (1, 2)),  # begins with the rest of a character that was not scored
        ([b"a", "д".encode()[:1], "д".encode()[1:], b"b"], (1, 2)),  # the rest is scored
        ([b"a", b" b", "日".encode()[:1], "日".encode()[1:2]], (0, 1)),  # the rest is not
        ([b"\xf0", b"\x9f"], (0, 0)),  # nothing else is left
    ],
)
def test_passages_begin_and_end_at_whole_characters(tokens: list[bytes], kept: tuple[int, int]) -> None:
    rows, starts = np.arange(len(tokens)), np.arange(len(tokens)) == 0
    family = SimpleNamespace(
        records=SimpleNamespace(of_model=lambda m: (rows, starts)), spelt=lambda m, row: tokens[row]
    )
    span = Span(1, 1, 0.0) if tokens[-1] == b"b" else Span(0, len(tokens) - 1, 0.0)
    found = passages._whole(family, 0, span, np.zeros(len(tokens), np.float32))
    assert (found.first, found.last) == kept


def test_the_page_opens_under_the_model_that_changed_its_first_document_most() -> None:
    (family,) = payload_of(MADE).index["families"]
    names = MADE["documents"]["document"].unique(maintain_order=True)
    rows = MADE["documents"].filter(document=names[family["token_documents"][0]]).sort(pl.col("delta").abs())
    assert family["models"][family["opens"]] == rows["model"][-1]


def test_equal_passages_of_several_places_are_one() -> None:
    """Six documents that are one another's copies."""
    made = synthetic.make(n_documents=1, n_models=1)
    names = [f"code/{k}.txt" for k in range(6)]
    copies = {
        name: pl.concat(
            [made[name].with_columns(document=pl.lit(each).cast(made[name].schema["document"])) for each in names]
        )
        for name in ("tokens", "documents", "texts")
    }
    alone, listed = (block(payload_of(each), "f0.passages")["passages"][0] for each in (made, {**made, **copies}))
    for way in ("best", "worst"):
        assert [each["text"] for each in listed[way]] == [each["text"] for each in alone[way]][: len(listed[way])]
        assert listed[way][0]["times"] == 6 and alone[way][0]["times"] == 1


def test_totals_are_those_of_the_corpus() -> None:
    payload = payload_of(MADE)
    known = dict(MADE["pieces"].select("token", "piece").iter_rows())
    for model, listed in zip(
        payload.index["families"][0]["models"], block(payload, "f0.totals")["totals"], strict=True
    ):
        delta = pl.col("delta").cast(pl.Float64)
        sums = (
            MADE["tokens"]
            .filter(pl.col("model") == model)
            .group_by("token")
            .agg(
                n=pl.len(),
                documents=pl.col("document").n_unique(),
                sum=delta.sum(),
                gain=delta.clip(0).sum(),
                loss=-delta.clip(None, 0).sum(),
            )
        )
        by_token = {row["token"]: row for row in sums.iter_rows(named=True)}
        for key, descending in (("gained", True), ("lost", False)):
            wanted = sums.sort("sum", descending=descending).head(50)["token"].to_list()
            assert [entry["token"] for entry in listed[key]] == wanted
            for entry in listed[key]:
                assert entry.pop("text") == known[entry["token"]].decode("utf-8", "backslashreplace")
                assert entry == pytest.approx(by_token[entry["token"]], abs=1e-6)


def test_documents_of_large_delta_and_of_passages_get_a_view() -> None:
    made = synthetic.make(n_documents=60, n_models=2, n_tokens=40)
    payload = payload_of(made, n_views=5)
    check(payload, made)
    largest = made["documents"].group_by("document").agg(pl.col("delta").abs().max()).sort("delta", descending=True)
    names = block(payload, "f0.documents")["names"]
    passages = {
        span["document"]
        for model in block(payload, "f0.passages")["passages"]
        for spans in model.values()
        for span in spans
    }
    wanted = {names.index(name) for name in largest["document"][:5]} | passages
    assert set(payload.index["families"][0]["token_documents"]) == wanted
    assert payload.index["token_views"] == {"wanted": len(wanted), "included": len(wanted)}
    everything = payload_of(made, n_views="all", budget=0)
    assert len(everything.index["families"][0]["token_documents"]) == 60
    assert payload_of(made, n_views=0).index["token_views"] == {"wanted": 0, "included": 0}


def test_a_budget_leaves_views_out_and_says_so() -> None:
    whole = payload_of(MADE)
    size = sum(len(encode(each)) for each in whole.blocks.values())
    payload = payload_of(MADE, budget=size * 3 // 4)
    check(payload, MADE)
    views = payload.index["token_views"]
    assert views["wanted"] == 31 and 0 < views["included"] < 31
    assert sum(len(encode(each)) for each in payload.blocks.values()) <= size * 3 // 4
    nothing = payload_of(MADE, budget=0)
    check(nothing, MADE)
    assert nothing.index["token_views"] == {"wanted": 31, "included": 0}
    assert BUDGET < 25e6 - 5e6


@pytest.mark.parametrize("lacking", [slice(None), slice(3, 8)])
def test_without_texts_the_scored_tokens_are_shown(lacking: slice) -> None:
    lost = MADE["texts"]["document"].to_list()[lacking]
    made = {**MADE, "texts": MADE["texts"].filter(~pl.col("document").is_in(lost))}
    payload = payload_of(made)
    check(payload, made)
    assert payload.index["families"][0]["complete"] is False
    whole = block(payload_of(MADE), "f0.passages")["passages"]
    for model, all_known in zip(block(payload, "f0.passages")["passages"], whole, strict=True):
        for span, known in zip(model["best"] + model["worst"], all_known["best"] + all_known["worst"], strict=True):
            assert span["text"] == known["text"]
            assert known["before"].endswith(span["before"].lstrip("\ufffd"))
            assert known["after"].startswith(span["after"].rstrip("\ufffd"))


def test_values_out_of_range() -> None:
    n = len(MADE["tokens"])
    delta = np.resize([np.nan, np.inf, -np.inf, 40.0, -40.0, 31.999, 0.0], n).astype(np.float32)
    nll = np.resize([0.0, 31.999, 31.9998, 40.0, np.inf, np.nan], n).astype(np.float32)
    made = {**MADE, "tokens": MADE["tokens"].with_columns(delta=pl.Series(delta), logp_ref=pl.Series(-nll))}
    payload = payload_of(made)
    for k in payload.index["families"][0]["token_documents"]:
        check_view(payload, made, 0, k)


def test_models_without_some_or_all_documents() -> None:
    model, gone = MADE["families"][0].models[2], MADE["texts"]["document"][4]
    family = replace(MADE["families"][0], cmp=(*MADE["families"][0].cmp, facts.model("nothing scored")))
    lacks = (pl.col("model") == model) & (pl.col("document") == gone)
    made = {
        **MADE,
        "families": [family],
        "tokens": MADE["tokens"].filter(~lacks),
        "documents": MADE["documents"].filter(~lacks),
    }
    payload = payload_of(made)
    check(payload, made)
    assert block(payload, "f0.passages")["passages"][3] == {"best": [], "worst": []}
    assert block(payload, "f0.totals")["totals"][3] == {"gained": [], "lost": []}


def test_nothing_at_all() -> None:
    empty = {name: pl.DataFrame(schema=getattr(schema, name.upper())) for name in ("tokens", "documents")}
    empty |= {name: pl.DataFrame(schema=getattr(schema, name.upper())) for name in ("pieces", "texts")}
    families = [facts.family("a"), facts.family("b", cmp=[facts.model("m")])]
    payload = payload_of({**empty, "families": families})
    check(payload, {**empty, "families": families})
    assert payload_of({**empty, "families": []}).index["families"] == []
    no_texts = payload_of({**MADE, "tokens": empty["tokens"], "pieces": empty["pieces"], "texts": empty["texts"]})
    assert no_texts.index["token_views"] == {"wanted": 0, "included": 0}


def test_several_families_share_the_views() -> None:
    other = synthetic.make(n_documents=9, n_models=1, family="other", seed=5)
    made = {name: pl.concat([MADE[name], other[name]]) for name in ("tokens", "documents", "pieces", "texts")}
    made["families"] = MADE["families"] + other["families"]
    payload = payload_of(made, n_views=10)
    check(payload, made)
    assert payload.blocks["f0.documents"] == payload_of(MADE).blocks["f0.documents"]
    assert payload.blocks["f1.passages"] == payload_of(other).blocks["f0.passages"]


def test_frames_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ResultError, match="`pieces` lacks token"):
        payload_of({**MADE, "pieces": MADE["pieces"].filter(pl.col("token") < 1000)})
    with pytest.raises(ResultError, match="do not fit its text"):
        payload_of({**MADE, "texts": MADE["texts"].with_columns(pl.col("tokens").list.head(5))})
    with pytest.raises(ResultError, match="`documents` lacks"):
        payload_of({**MADE, "documents": MADE["documents"].head(1)})
    for wrong in (-1, "some", 1.5, True):
        with pytest.raises(PpldeltaError, match="token views"):
            payload_of(MADE, n_views=wrong)


def test_short_documents_are_listed_last() -> None:
    made = synthetic.make(n_documents=12, n_models=2, n_tokens=80)
    index = make_payload(**{name: made[name] for name in ("tokens", "documents", "pieces", "texts", "families")}).index
    (family,) = index["families"]
    names = made["documents"]["document"].unique(maintain_order=True).to_list()
    rows = [made["documents"].filter(document=names[k]) for k in family["token_documents"]]
    order = [(each["n_scored"].max() < SHORT, -each["delta"].abs().max()) for each in rows]
    assert order == sorted(order) and {short for short, _ in order} == {True, False}
