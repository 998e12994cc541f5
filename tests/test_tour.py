"""The tour of a run's own data: its steps agree with the frames, and a reader goes through them in the browser."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from helpers import synthetic
from helpers.browser import opened
from ppldelta.reporting.payload import make_payload
from ppldelta.result import Result

MADE = synthetic.make(n_documents=12, n_models=3, n_tokens=160)
FRAMES = ("tokens", "documents", "pieces", "texts", "families")


RINGED = """() => {
  const { state, index: { tour } } = ppldelta, { data } = document.querySelector("#tour .canvas"), ring = data.at(-1);
  const [gain, loss] = state.deltas(state.loaded.get(0), tour.document, tour.model, "nats");
  const marks = data.slice(0, -1).some(({ x }) => x?.includes(gain));
  return marks && ring.x[0] === gain && ring.y[0] === loss;
}"""


def tour_of(made: dict[str, Any], **more: Any) -> Any:
    return make_payload(**{name: made[name] for name in FRAMES}, **more).index["tour"]


def said(step: Any) -> str:
    return "".join(text for _, text in step["pieces"])


def test_it_leads_from_the_model_that_cancels_most_to_its_document_and_token() -> None:
    found = tour_of(MADE)
    rows = MADE["models"].filter(pl.col("category").is_null(), weighting="tokens")
    least = pl.min_horizontal("gain", "loss")
    chosen = rows.sort(least**2 / (pl.col("gain") + pl.col("loss")), descending=True).row(0, named=True)
    assert found["model"] == rows["model"].to_list().index(chosen["model"])
    first, split, document, token = map(said, found["steps"])
    for value in (chosen["ppl_ref"], chosen["ppl_cmp"]):
        assert f"{value:.4g}" in first
    assert chosen["model"] in first and f"{chosen['gain']:.3f}" in split and f"{chosen['loss']:.3f}" in split

    names = MADE["documents"]["document"].unique(maintain_order=True).to_list()
    mine = MADE["documents"].filter(model=chosen["model"]).sort(least, descending=True).row(0, named=True)
    assert names[found["document"]] == mine["document"] and mine["document"] in document
    assert f"{mine['gain']:.3f}" in document and f"{mine['loss']:.3f}" in document

    records = MADE["tokens"].filter(pl.col("document").cast(pl.String) == mine["document"], model=chosen["model"])
    pieces = dict(MADE["pieces"].select("token", "piece").iter_rows())
    word = [re.search(rb"\w{3}", pieces[token]) is not None for token in records["token"]]
    both = [pl.col("logp_ref"), pl.col("logp_ref") + pl.col("delta")]
    expected = (pl.max_horizontal(both) >= math.log(0.25)) & (pl.min_horizontal(both) >= math.log(1e-3))
    words = records.filter(pl.Series(word)).filter(expected)
    assert len(words) and "A token in it that one of the two models expected is" in token
    assert found["token"] in words["pos"]
    most = words.filter(pos=found["token"]).row(0, named=True)
    assert abs(most["delta"]) >= words["delta"].abs().max() / 2
    assert f"{abs(most['delta']):.2f} nats" in token
    assert f"{100 * math.exp(most['logp_ref']):.3g}" in token
    assert found["quote"]["sum"] == pytest.approx(most["delta"], abs=1e-5)
    delta = dict(records.select("pos", "delta").iter_rows())
    for sign, passage in zip((1, -1), found["passages"], strict=True):
        inside = [value for pos, value in delta.items() if passage["start"] <= pos <= passage["end"]]
        assert passage["n"] == len(inside) <= 24 and passage["sum"] == pytest.approx(sum(inside), abs=1e-4)
        assert sign * passage["sum"] >= max(sign * value for value in delta.values())


def test_it_says_of_which_category_the_mean_says_the_opposite() -> None:
    documents = MADE["documents"]
    up = pl.col("category") == "prose"
    least, most = pl.min_horizontal("gain", "loss"), pl.max_horizontal("gain", "loss") + 0.2
    moved = {"gain": pl.when(up).then(most).otherwise(least), "loss": pl.when(up).then(least).otherwise(most)}
    turned = documents.with_columns(**moved).with_columns(delta=pl.col("gain") - pl.col("loss"))
    clear, unclear = (MADE["models"].with_columns(delta_low=pl.lit(low), delta_high=pl.lit(0.3)) for low in (0.1, -0.1))
    found = tour_of({**MADE, "documents": turned}, models=clear)
    label = MADE["families"][0].models[found["model"]]
    mine = turned.filter(up, model=label).with_columns(part=pl.col("n_scored") / pl.col("n_scored").sum())
    delta = (mine["delta"] * mine["part"]).sum()
    assert found["turned"] == ["prose", pytest.approx(delta)]
    nll = (mine["ppl_ref"].log() * mine["part"]).sum()
    first = said(found["steps"][0])
    assert all(f"{math.exp(each):.4g}" in first for each in (nll, nll - delta)) and f"+{delta:.3f}" in first
    agreeing = documents.with_columns(gain=most, loss=least, delta=most - least)
    assert tour_of({**MADE, "documents": agreeing}, models=clear)["turned"] is None
    assert tour_of({**MADE, "documents": turned}, models=unclear)["turned"] is None, "the interval holds 0"


def test_where_no_word_was_expected_it_ends_at_the_token_that_moved_most() -> None:
    unlikely = [(pl.col(name) - 10).alias(name) for name in ("logp_ref", "logp_cmp")]
    tokens = MADE["tokens"].with_columns(unlikely)
    found = tour_of({**MADE, "tokens": tokens})
    names = MADE["documents"]["document"].unique(maintain_order=True).to_list()
    mine = tokens.filter(
        pl.col("document").cast(pl.String) == names[found["document"]],
        pl.col("model").cast(pl.String) == MADE["families"][0].models[found["model"]],
    )
    assert "Its token that moved most is" in said(found["steps"][3])
    assert found["token"] == mine.sort(pl.col("delta").abs(), descending=True)["pos"][0]


def test_of_quants_alone_it_follows_the_worst() -> None:
    (family,) = MADE["families"]
    quants = replace(family, cmp=tuple(replace(each, kind="quant") for each in family.cmp))
    one_sided = pl.col("model") == family.models[1]  # little of it cancels, and nobody moved as far
    moved = {"gain": pl.when(one_sided).then(0.1).otherwise(1.0), "loss": pl.when(one_sided).then(4.0).otherwise(1.0)}
    documents = MADE["documents"].with_columns(**moved)
    assert tour_of({**MADE, "documents": documents, "families": [quants]})["model"] == 1
    assert tour_of({**MADE, "documents": documents})["model"] != 1


@pytest.mark.parametrize("changed", ["no token views", "no texts", "one document", "one model", "spans"])
def test_it_has_the_steps_that_a_run_has_data_for(changed: str) -> None:
    made, more = MADE, {}
    if changed == "no token views":
        more = {"n_views": 0}
    elif changed == "no texts":
        made = {**MADE, "texts": MADE["texts"].clear()}
    elif changed == "spans":
        made = synthetic.with_spans(MADE)
    else:
        one = {"one document": {"n_documents": 1, "n_models": 2}, "one model": {"n_documents": 3, "n_models": 1}}
        made = synthetic.make(n_tokens=60, **one[changed])
    found = tour_of(made, **more)
    titles = [step["title"] for step in found["steps"]]
    assert titles[:3] == ["The mean hides it", "Split it", "The document"]
    assert (titles[3:] == ["The token"]) == (changed != "no token views")
    text = " ".join(map(said, found["steps"]))
    assert ("the one document" in text) == (changed == "one document")
    assert ("bits/byte" in text) == ("bits per byte" in text) == (changed == "spans")


def test_a_run_without_numbers_has_none() -> None:
    tokens = MADE["tokens"].with_columns(delta=pl.lit(np.nan, pl.Float32))
    documents = MADE["documents"].with_columns(gain=pl.lit(np.nan), loss=pl.lit(np.nan))
    assert (
        "tour"
        not in make_payload(**{**{name: MADE[name] for name in FRAMES}, "tokens": tokens, "documents": documents}).index
    )


def test_a_reader_goes_through_it_and_leaves_it(browser: Any, tmp_path: Any) -> None:
    with opened(browser, Result(**MADE).report(tmp_path / "report.html")) as page:
        offer, band = page.locator(".offer"), page.locator("#tour")
        assert not band.is_visible() and "4 steps" in offer.inner_text()
        top = page.locator("#models").bounding_box()["y"]
        offer.focus()
        page.keyboard.press("Enter")
        page.wait_for_function("() => location.hash === '#tour=1'")
        assert page.evaluate("document.activeElement.id") == "tour-title"
        assert page.locator(".tour-step.here h3").inner_text() == "The mean hides it"
        steps = page.evaluate("history.length")
        walk = page.locator(".tour-walk")
        for n, button in ((2, "Next"), (3, "ArrowRight"), (2, "ArrowLeft"), (1, "Back")):
            page.keyboard.press(button) if "Arrow" in button else walk.get_by_text(button).click()
            page.wait_for_function("(n) => location.hash === `#tour=${n}` && ppldelta.state.tour === n", arg=n)
            page.wait_for_timeout(60)  # what the steps' place on the screen says changes nothing
            assert page.evaluate("ppldelta.state.tour") == n and f"step {n} of 4" in walk.inner_text()
            if n == 3:
                facts = page.locator(".tour-step.here .passages .facts").all_inner_texts()
                assert ["gains" in facts[0], "loses" in facts[1]] == [True, True] and "\N{MINUS SIGN}" in facts[1]
        for n in (2, 3, 4):
            page.locator(".tour-step").nth(n - 1).evaluate(
                "(step) => step.scrollIntoView({ block: 'center', behavior: 'instant' })"
            )
            page.wait_for_function("(n) => location.hash === `#tour=${n}` && ppldelta.state.tour === n", arg=n)
            if n == 3:  # the ring lies on the document's mark
                assert page.evaluate(RINGED)
        assert page.evaluate("history.length") == steps, "steps that are scrolled through are one step of the address"
        page.emulate_media(media="print")
        assert not band.is_visible() and not offer.is_visible()
        page.emulate_media(media="screen")
        page.keyboard.press("Escape")
        page.wait_for_function("() => location.hash === ''")
        assert not band.is_visible() and page.evaluate("document.activeElement.className").startswith("plain offer")
        assert page.locator("#models").bounding_box()["y"] == pytest.approx(top, abs=4)
        page.goto(page.url.split("#")[0] + "#tour=4")
        page.reload()
        page.wait_for_selector("html[data-drawn]")
        assert offer.inner_text() == "Take the tour", "it is offered in so many words once"
        assert page.locator(".tour-step.here h3").inner_text() == "The token"
        page.locator("#tour a").click()
        page.wait_for_function("() => ppldelta.state.token === ppldelta.index.tour.token")
        page.set_viewport_size({"width": 390, "height": 844})
        page.wait_for_function("() => document.documentElement.scrollWidth <= 390")
