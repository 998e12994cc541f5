"""The pages in headless Chromium for readers of every kind: axe-core, contrast, keys, greyscale, characters unseen."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import ppldelta
from helpers import synthetic
from helpers.access import draw_all, too_faint, violations
from helpers.browser import opened
from ppldelta import demo
from ppldelta.merging import merge
from ppldelta.result import Result

WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


def plain(path: Path) -> Path:
    return Result(**synthetic.make(n_documents=9, n_models=3, n_tokens=160)).report(path)


def diverging(path: Path) -> Path:
    return Result(**synthetic.with_top(synthetic.make(n_documents=6, n_models=2, n_tokens=120, kld=True))).report(path)


def families(path: Path) -> Path:
    one, other = (Result(**synthetic.make(n_documents=6, n_models=2, n_tokens=80, family=name)) for name in "ab")
    return merge([one, other]).report(path)


def prompts(path: Path) -> Path:
    made = synthetic.make(n_documents=12, n_models=2, n_tokens=80)
    rank = pl.col("document").rank("dense") - 1
    labels = pl.when(rank % 2 == 0).then(pl.lit("comply")).otherwise(pl.lit("refuse"))
    grouped = made["documents"].with_columns(group=rank.floordiv(2).cast(pl.String), label=labels)
    return Result(**{**made, "documents": grouped}).report(path)


def look(path: Path) -> Path:
    text = "def add(a, b):\n    return a + b\n"
    return ppldelta.look(demo.REFERENCE, text, {"other": demo.COMPARISONS[2]}, columns=12, progress=False).html(path)


@pytest.mark.parametrize("make", [plain, diverging, families, prompts, look], ids=lambda make: make.__name__)
def test_axe_finds_nothing_and_texts_stand_out(browser: Any, tmp_path: Path, make: Callable[[Path], Path]) -> None:
    with opened(browser, make(tmp_path / "page.html"), viewport=WIDE) as page:
        if make is not look:
            page.evaluate("document.querySelectorAll('.kind').forEach((kind) => { kind.open = true; })")
            page.locator("[data-jump=gain]").click()
        for size, scheme in ((WIDE, "light"), (PHONE, "dark")):
            page.set_viewport_size(size)
            page.emulate_media(color_scheme=scheme)
            draw_all(page)
            assert size is PHONE or violations(page) == []
            assert too_faint(page) == []


def test_a_faint_text_and_a_nameless_button_are_found(browser: Any, tmp_path: Path) -> None:
    (path := tmp_path / "page.html").write_text(
        "<!doctype html><html lang=en data-drawn><title>t</title><main><h1>t</h1><button></button>"
        "<p style='color:#777;background:#888'>faint</p><svg><text y=20 fill=#ccc>faint</text></svg>"
    )
    with opened(browser, path) as page:
        assert any(each.startswith("button-name") for each in violations(page))
        assert len(too_faint(page)) == 2


MADE = synthetic.make(n_documents=9, n_models=2, n_tokens=160, rename={"model-1": "gpj\u202emodel"})


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A report whose texts hold a bidirectional control, a zero-width space, Arabic, Hebrew; a name holds one too."""
    used = MADE["texts"]["tokens"].explode().value_counts(sort=True).to_series().to_list()[:4]
    words = dict(zip(used, ("\u202e", "\u200b", " שלום", " مرحبا"), strict=True))
    pieces = [
        words[token].encode() if token in words else piece
        for token, piece in MADE["pieces"].select("token", "piece").iter_rows()
    ]
    made = {**MADE, "pieces": MADE["pieces"].with_columns(piece=pl.Series(pieces, dtype=pl.Binary))}
    path = Result(**made).report(tmp_path_factory.mktemp("access") / "report.html")
    with opened(browser, path, viewport=WIDE) as page:
        yield page


def test_every_mark_is_reached_by_keys_and_said(page: Any) -> None:
    said = "document.querySelector('main > p[role=status]').textContent"
    for name in ("f0-models", "f0-documents"):
        page.locator(f"#{name}").scroll_into_view_if_needed()
        page.wait_for_function("(id) => document.getElementById(id).tabIndex === 0", arg=name)
        n, reached = page.evaluate(
            """(id) => {
              const all = ppldelta.keys.marks(document.getElementById(id)), seen = new Set([all[0]]), open = [all[0]];
              for (let here; (here = open.pop()); ) {
                for (const key of ["ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown"]) {
                  const next = ppldelta.keys.reached(all, here, key);
                  if (next && !seen.has(next)) { seen.add(next); open.push(next); }
                }
              }
              return [all.length, seen.size];
            }""",
            name,
        )
        assert n == reached == (3 if name == "f0-models" else 18)
        page.keyboard.press("Tab")
        page.locator(f"#{name}").focus()
        assert page.locator(f"#{name} .keys").count() == 1, "the keys are said on focus"
        for key in ("ArrowRight", "ArrowRight", "ArrowUp"):
            page.keyboard.press(key)
            page.wait_for_function(f"() => {said} !== ''")
        assert page.locator(f"#{name} .cursor").count() == 1 and page.locator(f"#{name} .keys").count() == 0
        if name == "f0-models":
            page.keyboard.press("Escape")
            assert page.locator(f"#{name} .cursor").count() == 0 and page.evaluate(said) == ""
    document = page.evaluate(said).split(",")[0]
    assert document in MADE["documents"]["document"]
    page.keyboard.press("Enter")
    page.wait_for_function("(name) => document.getElementById('strip').textContent.startsWith(name)", arg=document)
    assert page.evaluate("document.activeElement.id") == "text"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "f0-documents"
    page.locator("#deselect").click()


def test_characters_that_cannot_be_seen_are_symbols(page: Any) -> None:
    whole = page.evaluate("document.documentElement.innerText")
    assert not set("\u202e\u200b\u2066") & set(whole)
    assert "gpj⟦RLO⟧model" in whole and "⟦RLO⟧" in page.locator("#text").text_content()
    page.evaluate("document.getElementById('text').scrollIntoView({ behavior: 'instant', block: 'center' })")
    page.locator("#text span", has_text="⟦RLO⟧").first.hover()
    assert "right-to-left override (U+202E)" in page.locator("#tip").inner_text()


def test_right_to_left_text_reads_right(page: Any) -> None:
    places = page.evaluate(
        """() => ["שלום", "مرحبا"].map((word) => {
          const line = ppldelta.format.element("div", { class: "quote", dir: "auto" }, word, " AB");
          document.getElementById("text").append(line);
          const at = (n) => {
            const range = document.createRange();
            range.setStart(line.childNodes[0], n);
            range.setEnd(line.childNodes[0], n + 1);
            return range.getBoundingClientRect().left;
          };
          const found = [at(0), at(1), getComputedStyle(line).direction];
          line.remove();
          return found;
        })"""
    )
    for first, second, direction in places:
        assert first > second and direction == "rtl"
    marks = page.locator("#text span", has_text="שלום")
    assert marks.count() > 0


def test_gain_and_loss_differ_without_colour(page: Any) -> None:
    """Of equal size, on a ground of one grey: a gain is flat, a loss has a mark."""
    page.evaluate("document.documentElement.style.filter = 'grayscale(1)'")
    for around in ("text", "quote", "scale", "key"):
        steps = [grey_steps(page, around, letter) for letter in ("g", "l")]
        assert steps[0] == 1 and steps[1] > 1, around
    sides = page.evaluate(
        """() => {
          const map = document.getElementById("minimap"), pen = map.getContext("2d");
          const n = { gl: 0, lr: 0 }, half = map.width / 2;
          const { data } = pen.getImageData(0, 0, map.width, map.height);
          for (let i = 0; i < data.length; i += 4) {
            const [r, g, , a] = data.slice(i, i + 4), x = (i / 4) % map.width;
            if (!a || Math.abs(r - g) < 25 || x === Math.floor(half)) continue;
            if (g > r && x < half - 1) n.gl++;
            if (r > g && x > half + 1) n.lr++;
          }
          return [n.gl, n.lr];
        }"""
    )
    assert sides == [0, 0], "gains stand right, losses left"
    page.evaluate("document.documentElement.style.filter = ''")


def grey_steps(page: Any, around: str, letter: str) -> int:
    """How many greys the middle column of an empty token, swatch or bar has, drawn in the page's own look."""
    page.evaluate(
        """([around, letter]) => {
          document.getElementById("probe")?.remove();
          const name = { g: "gain", l: "loss" }[letter];
          const blank = "\u00a0\u00a0\u00a0\u00a0";
          const part = {
            text: ["span", `${letter}4`], quote: ["span", `${letter}4`], scale: ["i", `${letter}4`], key: ["i", name],
          }[around];
          const outer = { text: "text", quote: "quote", scale: "scale", key: "kinds-key" }[around];
          const { element } = ppldelta.format;
          const inner = element(part[0], { class: part[1], style: "border:0;border-radius:0" }, blank);
          const place = "position:fixed;left:20px;top:20px;z-index:99;overflow:hidden;height:60px;width:120px";
          const style = `${place};padding:8px;background:white`;
          const probe = element("div", { id: "probe", class: outer, style }, inner);
          document.body.append(probe);
        }""",
        [around, letter],
    )
    box = page.locator("#probe > *").bounding_box()
    clip = {"x": box["x"] + box["width"] / 2, "y": box["y"] + 1, "width": 1, "height": box["height"] - 2}
    shot = page.screenshot(clip=clip)
    greys = page.evaluate(
        """async (data) => {
          const picture = await createImageBitmap(new Blob([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))]));
          const canvas = new OffscreenCanvas(picture.width, picture.height), pen = canvas.getContext("2d");
          pen.drawImage(picture, 0, 0);
          const { data: all } = pen.getImageData(0, 0, picture.width, picture.height);
          const found = Array.from({ length: all.length / 4 }, (_, i) => all[4 * i]).sort((a, b) => a - b);
          return found.filter((each, i) => i === 0 || each - found[i - 1] > 8).length;
        }""",
        base64.b64encode(shot).decode(),
    )
    page.evaluate("document.getElementById('probe').remove()")
    return int(greys)


def test_on_a_phone_links_names_and_the_sorted_column_are_in_view(page: Any) -> None:
    for width in (390, 360):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_function("(width) => document.documentElement.scrollWidth === width", arg=width)
        links = page.locator(".bar .links a")
        assert links.count() >= 4
        box = links.first.bounding_box()
        assert box["x"] >= 0 and box["height"] >= 24
        table = page.locator("#documents-table")
        table.get_by_role("button", name="ppl ref").evaluate("(button) => button.click()")
        table.get_by_role("button", name="net").evaluate("(button) => button.click()")
        inside, row = table.bounding_box(), table.locator("tbody tr:not([aria-hidden])").first
        cell, name = row.locator("td").last.bounding_box(), row.locator("th").bounding_box()
        assert name["x"] >= inside["x"] - 1 and name["x"] + name["width"] <= cell["x"] + 1
        assert cell["x"] + cell["width"] <= inside["x"] + inside["width"] + 1
        said = row.locator("th").inner_text()
        assert any(each in said for each in ("model-0", "gpj⟦RLO⟧model")) and any(
            each in said for each in ("code", "prose", "multilingual")
        )
    page.set_viewport_size(WIDE)


@pytest.mark.parametrize("width", [768, 1200, 1920])
def test_no_width_scrolls_sideways(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_function("(width) => document.documentElement.scrollWidth === width", arg=width)
    page.set_viewport_size(WIDE)


def test_paper_has_all_rows_or_says_how_many_and_the_whole_text(page: Any) -> None:
    rows = "document.querySelectorAll('#documents-table tbody tr:not([aria-hidden])').length"
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.evaluate(rows) == 18 and page.locator(".paper").inner_text() == ""
    blocks = "[...document.querySelectorAll('#text > .block')].every((each) => each.querySelector('span'))"
    assert page.evaluate(blocks), "each token has its colour"
    assert page.evaluate("document.getElementById('text').scrollHeight <= document.getElementById('text').clientHeight")
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")


def test_paper_says_how_many_rows_it_leaves_out(browser: Any, tmp_path: Path) -> None:
    made = synthetic.make(n_documents=210, n_models=2, n_tokens=40)
    with opened(browser, Result(**made).report(tmp_path / "report.html")) as page:
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media="print")
        assert page.locator(".paper").inner_text().startswith("The first 400 of 420 rows, sorted by net.")
