"""The report's reader in headless Chromium: folded context, long lines, its place beside the plane, minimap, strips."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from helpers import synthetic
from helpers.browser import opened
from ppldelta.analysis.spans import best_spans
from ppldelta.result import Result

MADE = synthetic.make(n_documents=9, n_models=3, n_tokens=400)
NAMES = MADE["documents"]["document"].unique(maintain_order=True).to_list()
CENTRE = "document.getElementById('f0-documents').scrollIntoView({ behavior: 'instant', block: 'center' })"
PIECES = dict(MADE["pieces"].select("token", "piece").iter_rows())


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Result(**MADE).report(tmp_path_factory.mktemp("reader") / "report.html")


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    with opened(browser, report, viewport={"width": 1440, "height": 900}) as page:
        yield page


def open_document(page: Any, k: int, model: int = 0) -> pl.DataFrame:
    """Opens a document and gives its records under a model."""
    page.evaluate("([k, m]) => ppldelta.openDocument(0, k, { model: m })", [k, model])
    page.wait_for_function("(name) => document.getElementById('strip').textContent.startsWith(name)", arg=NAMES[k])
    return MADE["tokens"].filter(document=NAMES[k], model=f"model-{model}")


def test_the_reader_opens_at_the_first_scored_token_and_unfolds_the_context(page: Any) -> None:
    records = open_document(page, 3)
    first = "document.querySelector('#text .block span:not(.context)')"
    top, bottom = page.evaluate(
        f"[{first}.getBoundingClientRect().top, document.getElementById('text').getBoundingClientRect().bottom]"
    )
    assert top < bottom - 100
    fold = page.locator("#text .fold").first
    n = int(fold.get_attribute("aria-label").split()[0])
    assert records["pos"].min() - 40 < n < records["pos"].min(), "all of the context but its end"
    hidden = "document.querySelector('#text .folded').hidden"
    assert page.evaluate(hidden) is True
    (tokens,) = MADE["texts"].filter(document=NAMES[3])["tokens"].to_list()
    whole = b"".join(PIECES[token] for token in tokens).decode("utf-8", "replace")
    if "\N{REPLACEMENT CHARACTER}" not in whole:
        assert page.evaluate("document.getElementById('text').textContent") == whole
    fold.focus()
    page.keyboard.press("Enter")
    assert page.evaluate(hidden) is False and fold.get_attribute("aria-expanded") == "true"
    page.keyboard.press("Enter")
    assert page.evaluate(hidden) is True
    page.evaluate("ppldelta.openDocument(0, 3, { token: 5 })")  # a place inside
    page.wait_for_function("() => document.querySelector('#text .folded .at') !== null")
    assert page.evaluate(hidden) is False


def test_a_text_of_one_long_line_opens_in_blocks(browser: Any, tmp_path: Path) -> None:
    made = synthetic.make(n_documents=1, n_models=1, n_tokens=60_000)
    pieces = made["pieces"].with_columns(
        piece=pl.when(pl.col("piece") == b"\n").then(pl.lit(b" ")).otherwise(pl.col("piece"))
    )
    with opened(browser, Result(**{**made, "pieces": pieces}).report(tmp_path / "report.html")) as page:
        marks = "document.querySelectorAll('#text span').length"
        n_tokens = made["documents"]["n_tokens"][0]
        assert page.evaluate(marks) < 0.2 * n_tokens, "only what is near the view has marks"
        assert page.evaluate("document.getElementById('text').textContent.includes('\\n')") is False
        blocks = page.evaluate("document.querySelectorAll('#text .block').length")
        assert blocks > n_tokens / 2000
        last = made["tokens"].row(-1, named=True)
        page.evaluate("(pos) => ppldelta.openDocument(0, 0, { token: pos })", last["pos"])
        page.wait_for_function("() => document.querySelector('#text .at') !== null")
        box, mark = (page.locator(each).bounding_box() for each in ("#text", "#text .at"))
        assert box["y"] <= mark["y"] <= box["y"] + box["height"]
        assert f"position {last['pos']}" in page.locator("#detail").inner_text().replace(
            "\N{NARROW NO-BREAK SPACE}", ""
        )


@pytest.mark.parametrize("width", [1440, 1200, 800, 390])
def test_plane_and_reader_share_a_screen_where_there_is_room(browser: Any, report: Path, width: int) -> None:
    with opened(browser, report, viewport={"width": width, "height": 900}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == width
        open_document(page, 3)
        plane, text, detail = (page.locator(each).bounding_box() for each in ("#f0-documents", "#text", "#detail"))
        if width >= 1200:
            assert plane["x"] + plane["width"] < text["x"] and plane["y"] < text["y"] + text["height"]
            page.evaluate(CENTRE)
            plane, text = (page.locator(each).bounding_box() for each in ("#f0-documents", "#text"))
            assert text["y"] >= 0 and text["y"] + text["height"] <= 900 and 0 <= plane["y"] <= 600
        else:
            assert plane["y"] + plane["height"] <= text["y"]
        assert (detail["x"] >= text["x"] + text["width"]) == (width in (1440,))


def test_code_is_set_in_monospace_and_prose_is_not(page: Any) -> None:
    for name, mono in (("code/00000.txt", True), ("prose/00002.txt", False)):  # by their categories
        open_document(page, NAMES.index(name))
        family = page.evaluate("getComputedStyle(document.getElementById('text')).fontFamily")
        assert ("monospace" in family) == mono
        line = page.evaluate("""() => {
          const line = document.createElement('div');
          line.textContent = 'the quick brown fox jumps over the lazy dog and '.repeat(20);
          document.getElementById('text').append(line);
          const n = line.textContent.length / (line.clientHeight / parseFloat(getComputedStyle(line).lineHeight));
          line.remove();
          return n;
        }""")
        assert 60 <= line <= 92
    reasons = page.evaluate("""() => [
      ppldelta.text.codeBecause("a/b.py", "", []), ppldelta.text.codeBecause("a/b.txt", "", []),
      ppldelta.text.codeBecause("row:7", "", Array(9).fill({ text: "    x = 1\\n" })),
      ppldelta.text.codeBecause("row:7", "", Array(9).fill({ text: "Some words.\\n" })),
    ]""")
    assert [bool(each) for each in reasons] == [True, False, True, False]


def test_the_minimap_shows_heat_and_scrolls(page: Any) -> None:
    open_document(page, 3)
    page.wait_for_timeout(200)
    colored = """() => {
      const map = document.getElementById("minimap");
      const all = map.getContext("2d").getImageData(0, 0, map.width, map.height).data;
      let n = 0;
      for (let i = 0; i < all.length; i += 4) if (all[i + 3] && (Math.abs(all[i] - all[i + 1]) > 20)) n++;
      return n;
    }"""
    page.wait_for_function(f"() => ({colored})() > 100")
    assert page.evaluate("document.getElementById('text').scrollTop") == 0
    box = page.locator("#minimap").bounding_box()
    page.mouse.click(box["x"] + 8, box["y"] + box["height"] - 4)
    page.wait_for_function(
        "() => { const t = document.getElementById('text'); return t.scrollTop + t.clientHeight > t.scrollHeight - 4; }"
    )


def test_strips_show_each_model_that_is_not_hidden(page: Any) -> None:
    records = open_document(page, 3, 1)
    layers = "document.querySelector('#text .at').style.backgroundImage.split('linear-gradient').length - 1"
    best = records.sort("delta", descending=True).row(0, named=True)
    page.evaluate("(pos) => ppldelta.openDocument(0, 3, { model: 1, token: pos })", best["pos"])
    page.wait_for_function("() => document.querySelector('#text .at') !== null")
    assert page.evaluate(layers) == 0
    page.locator("[data-set=strips][data-value=on]").click()
    assert page.evaluate(layers) == 3
    assert "var(--gain)" in page.evaluate("document.querySelector('#text .at').style.backgroundImage")
    assert all(f"model-{m}" in page.locator("#strips-key").inner_text() for m in range(3))
    page.locator(".chip", has_text="model-0").first.click()
    assert page.evaluate(layers) == 2
    assert "model-0" not in page.locator("#strips-key").inner_text()
    assert page.locator(".findings li").first.is_hidden() and page.locator(".findings li").nth(1).is_visible()


def test_pointing_at_a_mark_previews_its_hottest_passage(page: Any) -> None:
    page.evaluate(CENTRE)
    page.wait_for_function("() => document.getElementById('f0-documents').data !== undefined")
    page.locator("#f0-documents .scatterlayer .points path").nth(2).hover(force=True)
    page.locator("#tip .quote").wait_for()
    name = page.locator("#tip b").inner_text()
    shades = page.locator("#tip .quote span").evaluate_all("(all) => all.map((each) => each.className[0])")
    assert 1 <= len(shades) <= 24 and {"g", "l"} & set(shades)
    (tokens,) = MADE["texts"].filter(document=name)["tokens"].to_list()
    text = b"".join(PIECES[token] for token in tokens).decode("utf-8", "replace")
    assert page.locator("#tip .quote").inner_text().split()[1] in text
    said = page.locator("#tip .tip-label").inner_text().replace("\N{MINUS SIGN}", "-").replace(" nats", "")
    total, gain, loss = (
        float(each.strip(", ")) for each in said.split(":")[1].replace("gain", "").replace("loss", "").split(",")
    )
    assert total == pytest.approx(gain - loss, abs=0.02) and gain >= 0 <= loss


def test_what_is_selected_fills_passages_tokens_and_their_titles(page: Any) -> None:
    name = NAMES[3]
    records = open_document(page, 3, 1)
    page.evaluate("ppldelta.state.set({ selection: { family: 0, documents: new Set([3]) }, selectionDrawn: 1 })")
    page.wait_for_function("() => document.querySelectorAll('.heading .within').length === 4")
    assert {each.strip() for each in page.locator(".heading .within").all_inner_texts()} == {f"in {name}"}
    delta = records["delta"].to_numpy()
    starts = np.diff(records["pos"].to_numpy(), prepend=-2) != 1
    for place, sign in (("best", 1), ("worst", -1)):
        sums = page.locator(f"#{place} b").all_inner_texts()
        found = [float(each.split()[0].replace("\N{MINUS SIGN}", "-")) for each in sums]
        wanted = [sign * each.sum for each in best_spans(sign * delta, starts, most=len(found))]
        assert len(found) > 3 and found[:3] == pytest.approx(wanted[:3], abs=0.04)
        assert {each for each in page.locator(f"#{place} code").all_inner_texts()} == {name}
    by_token = records.group_by("token").agg(pl.col("delta").sum(), n=pl.len()).sort("delta", descending=True)
    _, n, documents, total = page.locator("#gained tbody tr").first.locator("th, td").all_inner_texts()[:4]
    top = by_token.row(0, named=True)
    assert (int(n), documents) == (top["n"], "1") and float(total) == pytest.approx(top["delta"], abs=0.04)
    page.get_by_role("button", name="worst passage").click()
    assert page.locator("#detail .passage-sum").inner_text().startswith("worst passage 1 of")
    marked = "".join(page.locator("#text .passage").all_text_contents())
    assert marked and marked in page.locator("#text").text_content()
    page.locator(".copy-link").click()  # without leave to write to the clipboard the link is shown
    page.wait_for_function("() => document.querySelector('#detail [role=status]') !== null")
    assert "send the file, and the part of the link" in page.locator("#detail [role=status]").inner_text()
    assert page.locator("#theme-word").inner_text() == "Dark"
    page.locator("#theme").click()
    assert page.locator("#theme-word").inner_text() == "Light"
    shares = "[...document.querySelectorAll('.kind-shares')].map((each) => parseFloat(each.textContent))"
    page.locator("#kinds [data-value=share_gain]").click()
    page.wait_for_function("() => document.querySelector('.kinds-head').textContent.endsWith('part of all gain')")
    assert page.evaluate(shares) == sorted(page.evaluate(shares), reverse=True)
    named = page.locator("#kinds .findings li").nth(1).locator("em").all_inner_texts()
    page.locator("#kinds [data-value=delta]").click()
    page.wait_for_function("() => document.querySelector('.kinds-head').textContent.endsWith('documents last')")
    kinds = page.evaluate("[...document.querySelectorAll('.kind-name')].map((each) => each.firstChild.textContent)")
    places = [kinds.index(each) for each in named]
    assert places == sorted(places) or "loses" in page.locator("#kinds .findings li").nth(1).inner_text()
    page.locator("#moved-in button").click()
    page.wait_for_function("() => document.querySelectorAll('.heading .within').length === 0")
    assert page.locator("#readable").inner_text().startswith("Of the documents here, ")
    all_documents = MADE["tokens"].filter(model="model-1").group_by("token")
    most = (
        all_documents.agg(pl.col("delta").sum(), documents=pl.col("document").n_unique())
        .sort("delta")
        .row(-1, named=True)
    )
    assert page.locator("#gained tbody tr").first.locator("td").nth(1).inner_text() == str(most["documents"])


def test_a_category_leaves_its_own_passages(page: Any) -> None:
    page.locator("#best a").first.wait_for()
    page.locator("#category").select_option("=prose")
    page.wait_for_function("() => document.getElementById('best').innerText.includes('other categories')")
    assert all(each.startswith("prose/") for each in page.locator("#best code").all_inner_texts())
    assert page.locator("#best code").count() > 0


def test_headings_of_documents_name_their_unit(page: Any) -> None:
    heading = page.locator("#documents-table th", has_text="gain")
    assert "nats/token" in heading.inner_text()
    page.locator("[data-set=unit][data-value=bpb]").click()
    assert "bits/byte" in heading.inner_text()


def test_spans_have_strips_too(browser: Any, tmp_path: Path) -> None:
    made = synthetic.with_spans(MADE)
    with opened(browser, Result(**made).report(tmp_path / "report.html")) as page:
        page.locator("[data-set=strips][data-value=on]").click()
        images = page.locator("#text span").evaluate_all("(all) => all.map((each) => each.style.backgroundImage)")
        assert any("--gain" in each for each in images)
