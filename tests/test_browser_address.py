"""The view in the address of the report, in headless Chromium: a copied link opens it again, and Back undoes a step."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers import synthetic
from helpers.browser import opened
from ppldelta.result import Result

MADE = synthetic.make(n_documents=12, n_models=3, n_tokens=160)
NAMES = MADE["documents"]["document"].unique(maintain_order=True).to_list()

VIEW = """() => [
  ppldelta.state.unit, ppldelta.state.weighting, ppldelta.state.category, [...ppldelta.state.hidden].sort(),
  ppldelta.state.selection && [ppldelta.state.selection.family, ...ppldelta.state.selection.documents],
  ppldelta.state.open, ppldelta.state.focus, ppldelta.state.token, ppldelta.state.shade, ppldelta.state.strips,
  document.documentElement.dataset.theme ?? null,
  [...document.querySelectorAll('button[aria-pressed=true]')].map((button) => button.textContent.trim()),
  document.getElementById('strip').textContent, document.getElementById('detail').textContent,
]"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Result(**MADE).report(tmp_path_factory.mktemp("address") / "report.html")


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    with opened(browser, report) as page:
        yield page


def settled(page: Any) -> str:
    """The address once it says what was chosen."""
    page.wait_for_timeout(150)
    return str(page.evaluate("window.location.hash"))


def press(page: Any, name: str, value: str) -> None:
    page.locator(f"[data-set={name}][data-value={value}]").click()


def choose_all(page: Any) -> None:
    """Something other than the usual in every part of the address."""
    press(page, "unit", "bpb")
    press(page, "weighting", "documents")
    page.locator("#category").select_option("=prose")
    page.locator(".chip", has_text="model-1").first.click()
    page.evaluate("ppldelta.state.set({ selection: { family: 0, documents: new Set([2, 5, 11]) } })")
    page.evaluate("ppldelta.openDocument(0, 5, { model: 2 })")
    page.wait_for_function("(name) => document.getElementById('strip').textContent.startsWith(name)", arg=NAMES[5])
    press(page, "shade", "ref")
    press(page, "strips", "on")
    page.locator("[data-jump=loss]").click()
    page.locator("#theme").click()


def test_a_copied_link_opens_the_same_view(browser: Any, page: Any, report: Path) -> None:
    assert settled(page) == "", "the usual view needs no words"
    choose_all(page)
    address = settled(page)
    for part in ("unit=bpb", "weighting=documents", "category==prose", "hide=0.1", "select=0_2.3.6", "shade=ref"):
        assert part in address
    view = page.evaluate(VIEW)
    assert view[7] is not None and "prose" in view[11] and "bits/byte" in view[11] and NAMES[5] in view[12]
    with opened(browser, Path(report)) as other:
        assert other.evaluate(VIEW) != view
        other.goto(report.as_uri() + address)
        other.reload()
        other.wait_for_selector("html[data-drawn]", timeout=60_000)
        assert other.evaluate(VIEW) == view
        assert settled(other) == address
        assert other.locator("#category").input_value() == "=prose"
        assert other.locator("#selected").inner_text() == "3 documents selected"


def test_back_undoes_one_step_after_the_other_and_stays_in_the_page(page: Any) -> None:
    steps = [
        lambda: press(page, "unit", "bpb"),
        lambda: page.locator("#category").select_option("=code"),
        lambda: page.locator(".focus").first.select_option("0.2"),
        lambda: press(page, "shade", "cmp"),
        lambda: page.locator("[data-jump=gain]").click(),
        lambda: page.locator("#documents-table a").last.click(),
    ]
    views = [page.evaluate(VIEW)]
    for step in steps:
        step()
        settled(page)
        views.append(page.evaluate(VIEW))
    assert all(a != b for a, b in itertools.pairwise(views))
    length = page.evaluate("window.history.length")
    for before in reversed(views[:-1]):
        page.evaluate("window.history.back()")
        page.wait_for_function(f"(view) => JSON.stringify(({VIEW})()) === JSON.stringify(view)", arg=before)
    assert settled(page) == ""
    page.evaluate("window.history.forward()")
    page.wait_for_function("() => ppldelta.state.unit === 'bpb'")
    assert page.evaluate("window.history.length") == length


def test_tokens_gone_through_by_keys_are_one_step(page: Any) -> None:
    page.locator("#text").focus()
    before = page.evaluate("window.history.length")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    settled(page)
    assert page.evaluate("window.history.length") <= before + 2
    assert page.evaluate("ppldelta.state.token") is not None


def test_a_section_keeps_the_view(page: Any) -> None:
    press(page, "unit", "bpb")
    address = settled(page)
    page.locator(".links a", has_text="Passages").click()
    page.wait_for_function("() => Math.abs(document.getElementById('passages').getBoundingClientRect().top) < 120")
    assert settled(page) == address


@pytest.mark.parametrize(
    "hash_", ["read=9.9.9.9", "unit=feet&select=7_zz.1&hide=4.4_x&category=none&read=0.999", "select=&%E0%A4%A=1&read"]
)
def test_an_address_that_fits_nothing_opens_the_usual_view(browser: Any, report: Path, hash_: str) -> None:
    with opened(browser, report) as page:
        usual = page.evaluate(VIEW)
        page.goto(f"{report.as_uri()}#{hash_}")
        page.reload()
        page.wait_for_selector("html[data-drawn]", timeout=60_000)
        assert page.evaluate(VIEW) == usual
