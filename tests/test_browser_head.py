"""The first screen of a page in headless Chromium: the card in each width, light and dark, as text and as a picture."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from helpers import synthetic
from helpers.browser import opened
from ppldelta.reporting.short import SHORT
from ppldelta.result import Result

TOKENS = synthetic.make(n_documents=9, n_models=3, n_tokens=80)
SCREEN = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Result(**TOKENS).report(tmp_path_factory.mktemp("head") / "report.html")


@pytest.fixture(scope="module")
def page(browser: Any, path: Path) -> Iterator[Any]:
    with opened(browser, path, viewport=SCREEN) as page:
        yield page


def shown(page: Any) -> list[str]:
    """The classes of the pictures that are in view."""
    return page.eval_on_selector_all(
        ".cover svg", "(all) => all.filter((e) => e.getClientRects().length).map((e) => e.className.baseVal)"
    )


def test_the_card_is_the_first_screen(page: Any) -> None:
    assert shown(page) == ["wide"]
    card, bar = page.locator(".cover svg.wide").bounding_box(), page.locator(".bar").bounding_box()
    assert card["width"] > 1100 and bar["y"] + bar["height"] <= SCREEN["height"]
    verdict = page.locator("h1").inner_text()
    page.locator(".cover svg.wide text").first.evaluate(
        "(text) => getSelection().selectAllChildren(text.closest('figure'))"
    )
    selected = "".join(page.evaluate("getSelection().toString()").split())
    assert "".join(verdict.split()) in selected, "the words on the card are text"
    page.evaluate("getSelection().removeAllRanges()")
    page.set_viewport_size(PHONE)
    assert shown(page) == ["narrow"]
    card = page.locator(".cover svg.narrow").bounding_box()
    assert card["y"] + card["height"] <= PHONE["height"]
    page.wait_for_function("(most) => document.documentElement.scrollWidth <= most", arg=PHONE["width"])
    page.set_viewport_size({"width": 768, "height": 1024})
    assert shown(page) == ["square"]
    page.set_viewport_size(SCREEN)


def test_the_card_is_light_and_dark_and_a_picture_of_its_own(page: Any) -> None:
    def saved(kind: str) -> bytes:
        with page.expect_download() as download:
            page.locator(f"[data-cover={kind}]").click()
        assert re.fullmatch(rf"card(-dark)?\.{kind}", download.value.suggested_filename)
        return Path(download.value.path()).read_bytes()

    grounds = []
    for _ in range(2):
        grounds.append(page.locator(".cover svg.wide > rect").first.evaluate("(e) => getComputedStyle(e).fill"))
        svg = saved("svg").decode()
        ElementTree.fromstring(svg)
        assert "var(" not in svg and "<text" not in svg and page.locator("h1").inner_text() in " ".join(svg.split())
        assert set(re.findall('href="#([^"]+)"', svg)) == set(re.findall('<path id="([^"]+)"', svg))
        page.locator("#theme").click()
    assert grounds[0] != grounds[1]
    assert struct.unpack(">II", saved("png")[16:24]) == (2400, 1350)


def test_the_command_is_copied(page: Any) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("[data-copy=repeat-0]").click()
    page.locator("[data-copy=repeat-0]", has_text="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#repeat-0").inner_text()


def cells(page: Any, table: str) -> list[list[str]]:
    """The rows of a table that are in view."""
    rows = page.locator(f"table[data-view={table}] tbody tr").all()
    return [row.locator("th, td").all_inner_texts() for row in rows if row.is_visible()]


def test_tables_and_sentences_follow_what_is_chosen(page: Any) -> None:
    def column(title: str) -> int:
        return page.locator("table[data-view=summary] th[scope=col]").all_inner_texts().index(title)

    models = TOKENS["models"]
    page.locator("table[data-view=summary] th button", has_text="gain").click()
    page.locator("[data-set=unit][data-value=bpb]").click()
    page.locator("[data-set=weighting][data-value=documents]").click()
    page.select_option("#category", "=code")
    page.wait_for_function("() => document.querySelector('.scope[data-view=summary]').textContent.includes('code')")
    assert page.locator(".scope[data-view=summary]").inner_text() == (
        "Only code, every document weighs the same; 3 documents, too few for an interval."
    )
    rows = models.filter(category="code", weighting="documents").sort("gain_bpb", descending=True)
    at = column("gain\nbits/byte")
    shown_values = [float(row[at].splitlines()[0]) for row in cells(page, "summary")]
    assert shown_values == pytest.approx(rows["gain_bpb"].to_list(), abs=6e-4), "in the order that was chosen before"
    assert [row[0] for row in cells(page, "summary")] == rows["model"].to_list()
    assert {row[1] for row in cells(page, "categories")} == {"code"}
    said = page.locator("#head .findings li").all_inner_texts()
    assert all(("predicts code" in each or " on code: " in each) and "bits/byte" in each for each in said)
    opens = page.evaluate("ppldelta.index.families[0].opens")
    assert page.locator("#passages select.focus").input_value() == f"0.{opens}"
    page.select_option("#passages select.focus", "0.0")
    page.locator("#models .chip").first.click()
    page.wait_for_function(
        "() => document.querySelectorAll('table[data-view=summary] tbody tr:not([hidden])').length === 2"
    )
    for name in ("summary", "categories"):
        assert "model-0" not in {row[0] for row in cells(page, name)}
    assert not page.locator("#head .findings li").first.is_visible()
    assert page.locator("#passages select.focus").input_value() == "0.1", "passages are those of a model that is shown"
    assert page.locator("figure:has(#f0-corpus_convergence) figcaption").inner_text().endswith(" · all documents")
    assert "·" not in page.locator("figure:has(#f0-models) figcaption").inner_text()
    assert (
        page.locator("#kinds .of-everything").is_visible()
        and not page.locator("#kinds .findings li").first.is_visible()
    )
    page.locator("#models .chip").first.click()
    page.select_option("#category", "")
    page.locator("[data-set=weighting][data-value=tokens]").click()
    page.locator("[data-set=unit][data-value=nats]").click()
    page.wait_for_function("() => document.querySelector('.scope[data-view=summary]').textContent.startsWith('All')")
    assert "nats/token" in page.locator("#head .findings").inner_text() and len(cells(page, "summary")) == 3
    column("gain\nnats/token")
    assert page.locator("figcaption .whole").count() == 0 and not page.locator("#kinds .of-everything").is_visible()


def test_short_documents_come_last_until_a_heading_is_clicked(page: Any) -> None:
    def shown_rows() -> list[tuple[int, float]]:
        rows = page.locator("#documents-table tbody tr:not([aria-hidden])").all()
        texts = [row.locator("th, td").all_inner_texts() for row in rows]
        return [(int(row[3]), float(row[8].replace("\N{MINUS SIGN}", "-"))) for row in texts]

    rows = shown_rows()
    is_short = [n < SHORT for n, _ in rows]
    assert any(is_short) and is_short == sorted(is_short)
    for which in (False, True):
        deltas = [delta for n, delta in rows if (n < SHORT) is which]
        assert deltas == sorted(deltas)
    faint = page.locator("#documents-table tbody tr.faint").count()
    assert (
        faint == sum(is_short) and f"fewer than {SHORT} scored tokens" in page.locator("#documents .about").inner_text()
    )
    page.locator("#documents-table th button", has_text="net").click()
    deltas = [delta for _, delta in shown_rows()]
    assert deltas == sorted(deltas) or deltas == sorted(deltas, reverse=True)
