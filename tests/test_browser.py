"""The report in headless Chromium, from a file: drawn, quiet, offline, and usable."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from helpers import frames, synthetic
from helpers.browser import open_page, opened
from ppldelta.result import Result
from ppldelta.wording import numbers

DOCUMENTS, MODELS = frames.make()
TOKENS = synthetic.make(n_documents=30, n_models=3, n_tokens=120)
DIVERGING = synthetic.with_top(synthetic.make(n_documents=12, n_models=2, n_tokens=120, kld=True))
SPANS = synthetic.with_spans(TOKENS)
EVIL_DOCUMENT = "<img src=x onerror=alert(1)>.txt"
EVIL_MODEL = "</script><script>alert(1)</script>"
EVIL = synthetic.make(
    n_documents=6, n_models=2, n_tokens=80, rename={"code/00000.txt": EVIL_DOCUMENT, "model-0": EVIL_MODEL}
)
POINTS = "#f0-documents .scatterlayer .points path"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four models with clear differences, without tokens."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    warnings = ["`prose/07.txt` is too short to score and was left out"]
    page = frames.page(DOCUMENTS, MODELS, signature="signature", warnings=warnings)
    path.write_text(page.html, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result with tokens, as one file."""
    return Result(**TOKENS).report(tmp_path_factory.mktemp("whole") / "report.html")


@pytest.fixture(scope="module")
def diverging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result with divergences, the most probable tokens, and how sure the reference was."""
    path = tmp_path_factory.mktemp("diverging") / "report.html"
    page = frames.page(**DIVERGING, confidence=synthetic.confidence(DIVERGING))
    path.write_text(page.html, encoding="utf-8")
    return path


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    with opened(browser, report) as page:
        for canvas in ("f0-models", "f0-documents"):
            show(page, canvas)  # below the card nothing is drawn yet
        page.evaluate("scrollTo(0, 0)")
        yield page


@pytest.fixture
def reader(browser: Any, whole: Path) -> Iterator[Any]:
    with opened(browser, whole) as page:
        yield page


def show(page: Any, canvas: str) -> None:
    """Brings a figure into view and waits until it is drawn."""
    page.locator(f"#{canvas}").scroll_into_view_if_needed()
    page.wait_for_function("(id) => document.getElementById(id).data !== undefined", arg=canvas)


def hovered(page: Any, point: Any) -> str:
    """What is shown while the pointer is over a mark."""
    point.scroll_into_view_if_needed()
    point.hover(force=True)
    page.locator("#tip").wait_for()
    return page.locator("#tip").inner_text()


def marks(page: Any, canvas: str = "f0-documents") -> int:
    """Documents that a figure shows."""
    return page.evaluate(
        "(id) => document.getElementById(id).data.filter((t) => t.meta?.marks && t.visible)"
        ".reduce((n, t) => n + t.x.length, 0)",
        canvas,
    )


def visible(page: Any, canvas: str, model: str) -> set[Any]:
    """The values of `visible` of a model's traces in a figure."""
    return set(
        page.evaluate(
            "([id, model]) => document.getElementById(id).data"
            ".filter((trace) => trace.meta?.model === model).map((trace) => trace.visible)",
            [canvas, model],
        )
    )


def test_every_document_is_a_point_with_the_numbers_of_the_frame(page: Any) -> None:
    show(page, "f0-documents")
    for unit, gain, loss in (("nats", "gain", "loss"), ("bpb", "gain_bpb", "loss_bpb")):
        page.locator(f"[data-set=unit][data-value={unit}]").click()
        page.wait_for_function(
            "(unit) => document.getElementById('f0-documents').layout.uirevision.includes(unit)", arg=unit
        )
        drawn = page.evaluate(
            "document.getElementById('f0-documents').data.filter((t) => t.meta?.marks)"
            ".flatMap((t) => Array.from(t.x, (x, i) => [t.meta.model, x, t.y[i]]))"
        )
        rows = DOCUMENTS.select("model", gain, loss).rows()
        assert len(drawn) == len(rows)
        for (model, x, y), row in zip(drawn, rows, strict=True):
            assert (model, x, y) == (row[0], pytest.approx(row[1], rel=1e-6), pytest.approx(row[2], rel=1e-6))
    assert page.locator(POINTS).count() == DOCUMENTS.height
    order = page.evaluate("document.getElementById('f0-documents').data.map((t) => Boolean(t.meta?.contour))")
    assert True in order and order == sorted(order), "contours lie above the marks"


def test_every_figure_is_drawn_when_it_comes_into_view(page: Any) -> None:
    for canvas in page.locator(".canvas").all():
        if canvas.is_visible():  # without tokens there is no curve
            show(page, canvas.get_attribute("id"))
            assert canvas.locator(".main-svg").count() > 0


def test_scripts_write_numbers_as_python_does(page: Any) -> None:
    values = [0.0, -0.0004, 0.31, -1234.6, 99.95, 999.96, 1234567.0, 1e-9]
    got = page.evaluate(
        "(values) => values.map((v) => [ppldelta.format.fixed(v, 3), ppldelta.format.signed(v, 2),"
        " ppldelta.format.perplexity(Math.abs(v)), ppldelta.format.significant(v), ppldelta.format.decimals(v)])",
        values,
    )
    for value, each in zip(values, got, strict=True):
        expected = [numbers.fixed(value, 3), numbers.signed(value, 2), numbers.perplexity(abs(value))]
        assert each == [*expected, numbers.significant(value), numbers.decimals(value)], value
    logs = [0.0, -1e-4, -0.5, -7.5, -9.0, -11.687, -30.0]
    assert page.evaluate("(all) => all.map(ppldelta.format.probability)", logs) == list(map(numbers.probability, logs))
    assert numbers.probability(logs[-2]).replace("\N{NARROW NO-BREAK SPACE}", " ") == "1 in 119 000"


def test_hover_names_the_document(page: Any) -> None:
    show(page, "f0-documents")
    text = hovered(page, page.locator(POINTS).first)
    row = DOCUMENTS.row(0, named=True)
    assert row["document"] in text and row["model"] in text and "perplexity" in text
    assert f"gain {row['gain']:.3f}" in text


def test_a_click_on_the_legend_hides_the_model_everywhere(page: Any) -> None:
    model = "tiny-spanish.Q8_0"
    figures = ("f0-models", "f0-documents", "f0-perplexities", "f0-category-1", "f0-ratios")
    for figure in figures:
        show(page, figure)
        assert visible(page, figure, model) == {True}
    chip = page.locator(".chip", has_text=model).first
    chip.click()
    assert set(page.locator(".chip", has_text=model).evaluate_all("(all) => all.map((e) => e.ariaPressed)")) == {
        "false"
    }
    for figure in figures:
        page.locator(f"#{figure}").scroll_into_view_if_needed()
        page.wait_for_function(
            "([id, model]) => document.getElementById(id).data.every((t) => t.meta?.model !== model || !t.visible)",
            arg=[figure, model],
        )
    assert marks(page) == DOCUMENTS.filter(DOCUMENTS["model"] != model).height
    assert page.locator("#rows").inner_text() == f"{DOCUMENTS['document'].n_unique()} documents × 3 models"
    chip.press("Enter")
    page.locator("#f0-models").scroll_into_view_if_needed()
    page.wait_for_function("() => document.getElementById('f0-models').data.every((t) => t.visible !== false)")
    chip.dblclick()
    page.wait_for_function("() => document.querySelectorAll('#models .chip[aria-pressed=true]').length === 1")
    assert chip.get_attribute("aria-pressed") == "true"


def test_a_category_filters_planes_table_and_models(page: Any) -> None:
    show(page, "f0-documents")
    before = page.evaluate("document.getElementById('f0-models').data.find((t) => t.meta?.model).x[0]")
    page.locator("button.mark", has_text="prose").click()
    prose = DOCUMENTS.filter(category="prose")
    page.wait_for_function(
        "(n) => document.getElementById('f0-documents').data.filter((t) => t.meta?.marks)"
        ".reduce((all, t) => all + t.x.length, 0) === n",
        arg=prose.height,
    )
    assert f"{prose['document'].n_unique()} documents" in page.locator("#rows").inner_text()
    assert page.locator("#category").input_value() == "=prose"
    page.locator("#f0-models").scroll_into_view_if_needed()
    page.wait_for_function(
        "(x) => document.getElementById('f0-models').data.find((t) => t.meta?.model).x[0] !== x", arg=before
    )
    row = MODELS.filter(weighting="tokens", category="prose").row(0, named=True)
    after = page.evaluate("document.getElementById('f0-models').data.find((t) => t.meta?.model).x[0]")
    assert after == pytest.approx(row["gain"])
    page.locator("#category").select_option("")
    page.wait_for_function("() => document.querySelector('button.mark[aria-pressed=true]') === null")


def test_the_weighting_switches_the_models_plane(page: Any) -> None:
    page.locator("[data-set=weighting][data-value=documents]").click()
    rows = MODELS.filter(MODELS["category"].is_null(), weighting="documents")
    page.wait_for_function(
        "(x) => Math.abs(document.getElementById('f0-models').data.find((t) => t.meta?.model).x[0] - x) < 1e-9",
        arg=rows["gain"][0],
    )


def test_square_roots_fit_far_and_near_and_a_hidden_model_lets_the_plane_zoom(page: Any) -> None:
    at = "document.getElementById('f0-models').data.find((t) => t.meta?.model)"
    page.locator("#f0-models").scroll_into_view_if_needed()
    gain = page.evaluate(f"{at}.x[0]")
    end = page.evaluate("document.getElementById('f0-models').layout.xaxis.range[1]")
    page.locator("[data-set=axes][data-value=root]").click()
    page.wait_for_function(f"(x) => Math.abs({at}.x[0] ** 2 - x) < 1e-9", arg=gain)
    page.locator("[data-set=axes][data-value=linear]").click()
    rows = MODELS.filter(MODELS["category"].is_null(), weighting="tokens")
    far = rows.with_columns(far=pl.max_horizontal("gain_high", "loss_high")).sort("far")["model"]
    for model in far[1:]:
        page.locator("#models .chip", has_text=model).first.click()
    page.wait_for_function(
        "(end) => document.getElementById('f0-models').layout.xaxis.range[1] < end", arg=end, timeout=10_000
    )
    row = rows.filter(model=far[0]).row(0, named=True)
    end = page.evaluate("document.getElementById('f0-models').layout.xaxis.range[1]")
    assert end > max(row["gain_high"], row["loss_high"]), "what is shown is whole"


def test_a_lasso_selects_documents_everywhere(page: Any) -> None:
    show(page, "f0-documents")
    page.evaluate("Plotly.relayout('f0-documents', {dragmode: 'select'})")
    box = page.locator(POINTS).first.bounding_box()
    page.mouse.move(box["x"] - 12, box["y"] - 12)
    page.mouse.down()
    page.mouse.move(box["x"] + 24, box["y"] + 24, steps=5)
    page.mouse.up()
    page.locator(".selected").wait_for()
    n = int(page.locator("#selected").inner_text().split()[0])
    assert 0 < n < DOCUMENTS["document"].n_unique()
    assert page.locator("#rows").inner_text().startswith(f"{n} document")
    page.locator("#f0-models").scroll_into_view_if_needed()
    page.wait_for_function("() => document.getElementById('f0-models').data.some((t) => t.meta?.selected)")
    page.locator("#deselect").click()
    page.wait_for_function("() => document.querySelector('.selected').hidden")
    page.wait_for_function("() => !document.getElementById('f0-models').data.some((t) => t.meta?.selected)")
    assert f"{DOCUMENTS['document'].n_unique()} documents" in page.locator("#rows").inner_text()


def test_the_table_of_documents_sorts_finds_and_scrolls(page: Any) -> None:
    table = page.locator("#documents-table")
    delta = table.locator("tbody tr:not([aria-hidden]) td:last-child")
    lowest = DOCUMENTS["delta"].min()
    assert delta.first.inner_text().replace("\N{MINUS SIGN}", "-") == f"{lowest:.3f}"
    table.get_by_role("button", name="net").click()
    assert delta.first.inner_text() == f"+{DOCUMENTS['delta'].max():.3f}"
    assert table.locator("tbody tr").count() < DOCUMENTS.height, "only what is in view is in the page"
    table.evaluate("(box) => { box.scrollTop = box.scrollHeight; }")
    page.wait_for_function(
        "(text) => document.querySelector('#documents-table tbody').innerText.includes(text)",
        arg=f"{lowest:.3f}".replace("-", "\N{MINUS SIGN}"),
    )
    page.locator("#find").fill("code/03")
    page.wait_for_function("() => document.getElementById('rows').textContent.startsWith('1 document ×')")
    assert set(table.locator("th.document").all_inner_texts()) == {"code/03.txt"}
    page.locator("#find").fill("Spanish CODE/")
    page.wait_for_function("() => document.getElementById('rows').textContent === '12 documents'")
    assert set(table.locator("td.model").all_inner_texts()) == {"tiny-spanish.Q8_0"}


def test_tables_are_saved_as_csv(page: Any) -> None:
    """In each unit, with a row for the reference, under names that say what was chosen."""

    def saved(button: str) -> tuple[str, pl.DataFrame]:
        with page.expect_download() as download:
            page.locator(button).first.click()
        text = Path(download.value.path()).read_text("utf-8-sig")
        assert text.isascii() and "-" in text
        return download.value.suggested_filename, pl.read_csv(io.StringIO(text))

    name, table = saved("#documents-csv")
    assert name == "documents.csv"
    by = ["document", "model"]
    wanted = ["gain", "loss", "delta", "gain_bpb", "bpb_ref", "bpb_cmp"]
    same = table.join(DOCUMENTS.select(*by, *(pl.col(each).alias(f"wanted {each}") for each in wanted)), on=by)
    assert len(same) == DOCUMENTS.height
    heads = ["gain (nats/token)", "loss (nats/token)", "net (nats/token)", "gain (bits/byte)"]
    for head, column in zip(
        [*heads, *(f"bits per byte of the {m}" for m in ("reference", "model"))], wanted, strict=True
    ):
        assert (same[head] - same[f"wanted {column}"]).abs().max() < 1e-5
    page.select_option("#category", "=prose")
    page.locator("[data-set=weighting][data-value=documents]").click()
    page.locator("[data-set=unit][data-value=bpb]").click()
    page.wait_for_function("document.querySelector('.scope[data-view=summary]').textContent.includes('prose')")
    name, table = saved("[data-file='models.csv']")
    assert name == "models-prose-by-document.csv"
    rows = MODELS.filter(category="prose", weighting="documents").sort("model")
    reference, table = table.filter(role="reference"), table.filter(role="comparison").sort("model")
    for words, unit, end in itertools.product(("gain", "net"), ("nats/token", "bits/byte"), ("", "_low", "_high")):
        column = {"net": "delta"}.get(words, words) + ("_bpb" if unit == "bits/byte" else "") + end
        assert table[f"{words}{end.replace('_', ' ')} ({unit})"].to_list() == rows[column].to_list()
    assert table["size of the tensors (bytes)"].to_list() == rows["size_bytes"].to_list()
    assert reference["model"].to_list() == [frames.REFERENCE] and reference["net (nats/token)"].to_list() == [0]
    assert reference["perplexity of the model"].to_list() == [rows["ppl_ref"][0]]


def test_figures_are_saved_as_pictures(page: Any) -> None:
    for kind, start in (("PNG", b"\x89PNG"), ("SVG", b"<svg")):
        page.locator("#f0-models").hover()
        with page.expect_download() as download:
            page.locator(f"#f0-models .modebar-btn[data-title='Save as {kind}']").click()
        assert Path(download.value.path()).read_bytes().startswith(start)


@pytest.mark.parametrize("name", ["models", "documents", "ratios"])
def test_a_saved_figure_stands_alone(page: Any, name: str) -> None:
    """It has a title, a legend of models (and categories, where documents are), and says what it rests on."""
    page.locator(f"#f0-{name}").scroll_into_view_if_needed()
    page.locator(f"#f0-{name} .main-svg").first.wait_for()
    said = []
    if name == "models":
        page.locator("[data-set=unit][data-value=bpb]").click()
        page.select_option("#category", "=prose")
        said = ["every byte weighs the same", "12 documents", "on prose"]
    page.locator(f"#f0-{name}").hover()
    with page.expect_download() as download:
        page.locator(f"#f0-{name} .modebar-btn[data-title='Save as SVG']").click()
    n = MODELS["model"].n_unique()
    named = {"models": f"{n}-models-prose-bits-per-byte"}
    assert download.value.suggested_filename == f"{named.get(name, f'{n}-models-{name}')}.svg"
    svg = Path(download.value.path()).read_text("utf-8")
    assert all(each in svg for each in said) and "36 documents (12 code" in svg
    sentence = {
        "models": "Gain against loss of each",
        "documents": "Gain against loss of every",
        "ratios": "Mean ratios of",
    }
    assert sentence[name] in svg
    legend = set(re.findall(r'class="legendtext"[^>]*>([^<]+)<', svg))
    lines = {"95 % interval", "half and 9/10 of documents"}
    assert legend - lines == {*MODELS["model"], *(frames.CATEGORIES if name == "documents" else ())}
    drawn = {"models": {"95 % interval"}, "documents": {"half and 9/10 of documents"}, "ratios": {"95 % interval"}}
    assert lines & legend == drawn[name]
    if name == "documents":
        category = frames.CATEGORIES[0]
        others = [f"0/{m}" for m in range(1, MODELS["model"].n_unique())]
        page.evaluate("([category, all]) => ppldelta.state.set({ category, hidden: new Set(all) })", [category, others])
        with page.expect_download() as download:
            page.locator(f"[data-picture=f0-{name}]").click()
        first = re.sub(r"[\W_]+", "-", page.evaluate("ppldelta.index.families[0].models[0]").lower())
        assert download.value.suggested_filename == f"{first}-documents-{category}.png"
        assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")
    assert f"reference {frames.REFERENCE}" in svg and "ppldelta 0.1.0" in svg


def test_a_click_on_a_heading_sorts_the_table(page: Any) -> None:
    table = page.locator("table").first
    button = table.locator("thead button", has_text="gain")
    heading = table.locator("thead th", has_text="gain")
    column = [text.split("\n")[0] for text in table.locator("thead th").all_inner_texts()].index("gain")

    def values() -> list[float]:
        return [
            float(cell.get_attribute("data-sort"))
            for cell in table.locator(f"tbody tr > :nth-child({column + 1})").all()
        ]

    button.click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert values() == sorted(values(), reverse=True)
    button.click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert values() == sorted(values())
    table.locator("thead button", has_text="model").first.click()
    names = table.locator("tbody th span").all_inner_texts()
    assert names == sorted(names)
    assert heading.get_attribute("aria-sort") == "none"


def test_the_mode_bar_offers_nothing_that_sends_data_away(page: Any) -> None:
    show(page, "f0-documents")
    for canvas, n in (("f0-models", 5), ("f0-documents", 7)):
        titles = page.evaluate(
            "(id) => [...document.querySelectorAll(`#${id} .modebar-btn`)].map((e) => e.dataset.title)", canvas
        )
        assert len(titles) == n
        assert not any(word in title.lower() for title in titles for word in ("share", "cloud", "edit", "plotly"))


def test_planes_stand_side_by_side_where_there_is_room(page: Any) -> None:
    left, right = (page.locator(f"#f0-{name}").bounding_box() for name in ("documents", "perplexities"))
    assert left["y"] == right["y"] and left["x"] + left["width"] < right["x"]
    size = page.viewport_size
    page.set_viewport_size({"width": 1920, "height": 900})
    short = """(all) => all.filter((pair) => pair.children.length > 1).map((pair) =>
        pair.getBoundingClientRect().right - pair.lastElementChild.getBoundingClientRect().right)"""
    assert set(page.eval_on_selector_all(".pair", short)) == {0}, "no row ends before the page does"
    page.set_viewport_size(size)


def colors(page: Any) -> tuple[str, str, str]:
    return tuple(
        page.evaluate(
            "[getComputedStyle(document.body).backgroundColor,"
            " document.getElementById('f0-models')._fullLayout.paper_bgcolor,"
            " document.getElementById('f0-models').data.find((t) => t.meta?.model).marker.color]"
        )
    )


def test_dark_mode_differs_follows_the_system_and_prints_light(browser: Any, report: Path) -> None:
    with opened(browser, report, color_scheme="dark") as page:
        show(page, "f0-models")
        dark = colors(page)
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        printed = colors(page)
        page.evaluate("window.dispatchEvent(new Event('afterprint'))")
        assert colors(page) == dark
        page.emulate_media(color_scheme="light")
        page.wait_for_function(f"() => getComputedStyle(document.body).backgroundColor != '{dark[0]}'")
        page.wait_for_function(f"() => document.getElementById('f0-models')._fullLayout.paper_bgcolor != {dark[1]!r}")
        light = colors(page)
        assert all(a != b for a, b in zip(dark, light, strict=True))
        assert printed[1:] == light[1:]
        page.locator("#theme").click()
        page.wait_for_function(f"() => getComputedStyle(document.body).backgroundColor == '{dark[0]}'")


def test_a_phone_scrolls_only_down(browser: Any, whole: Path) -> None:
    with opened(browser, whole, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        above, below = (page.locator(f"#f0-{name}").bounding_box() for name in ("documents", "perplexities"))
        assert above["y"] + above["height"] <= below["y"] and above["x"] == below["x"]
        assert above["width"] > 280
        assert page.locator(".bar").bounding_box()["height"] < 60


def test_a_click_on_a_mark_opens_the_document(reader: Any) -> None:
    show(reader, "f0-documents")
    point = reader.locator(POINTS).nth(2)
    name = hovered(reader, point).splitlines()[0]
    point.click(force=True)
    reader.wait_for_function("(name) => document.getElementById('strip').textContent.startsWith(name)", arg=name)
    reader.wait_for_function("() => document.getElementById('tokens').getBoundingClientRect().top < 200")
    assert reader.locator("#selected").inner_text() == "1 document selected"


def open_document(page: Any, k: int) -> str:
    name = TOKENS["documents"]["document"].unique(maintain_order=True)[k]
    page.locator("#document").select_option(f"0.{k}")
    page.wait_for_function("(name) => document.getElementById('strip').textContent.startsWith(name)", arg=name)
    return name


def test_the_text_is_the_document_and_each_token_has_its_delta(reader: Any) -> None:
    name = open_document(reader, 3)
    pieces = dict(TOKENS["pieces"].select("token", "piece").iter_rows())
    (text,) = TOKENS["texts"].filter(document=name)["tokens"].to_list()
    raw = b"".join(pieces[token] for token in text)
    shown = reader.evaluate("document.getElementById('text').textContent")
    whole = raw.decode("utf-8", "replace")
    if "\N{REPLACEMENT CHARACTER}" not in whole:
        assert shown == whole
    records = TOKENS["tokens"].filter(document=name, model="model-1")
    reader.locator(".focus").first.select_option("0.1")
    best = records.sort("delta", descending=True).row(0, named=True)
    reader.locator("[data-jump=gain]").click()
    detail = reader.locator("#detail").inner_text()
    assert f"position {best['pos']}" in detail and "gain no. 1 of" in detail
    delta = float(detail.split("delta ")[1].split(" ")[0].replace("\N{MINUS SIGN}", "-"))
    assert delta == pytest.approx(best["delta"], abs=2e-3)
    assert "g" in reader.locator("#text .at").get_attribute("class")
    worst = records.sort("delta").row(0, named=True)
    reader.locator("[data-jump=loss]").click()
    assert f"position {worst['pos']}" in reader.locator("#detail").inner_text()
    reader.locator("[data-jump=back]").click()
    assert f"position {best['pos']}" in reader.locator("#detail").inner_text()
    reader.locator("#text").press("l")
    assert f"position {worst['pos']}" in reader.locator("#detail").inner_text()


def test_split_characters_are_one_and_whitespace_shows_on_demand(reader: Any) -> None:
    halves = {2 * i for i in range(len(synthetic.SPLIT))}
    texts = TOKENS["texts"]["tokens"].to_list()
    k = next(k for k, text in enumerate(texts) if any(t in halves for t in text[:-1]))
    open_document(reader, k)
    shown = reader.evaluate("document.getElementById('text').textContent")
    assert any(each in shown for each in synthetic.SPLIT)
    assert "\N{REPLACEMENT CHARACTER}" not in shown and " " in shown
    reader.locator("#whitespace").check()
    assert "·" in reader.evaluate("document.getElementById('text').textContent")
    assert " " not in reader.evaluate("document.getElementById('text').textContent")


def test_colours_switch_to_surprisal_and_the_curve_follows_the_model(reader: Any) -> None:
    open_document(reader, 4)
    shades = (
        "[...new Set([...document.querySelectorAll('#text span')].map((e) => e.className[0] ?? ''))].sort().join('')"
    )
    assert set(reader.evaluate(shades)) >= {"c", "g", "l"}
    reader.locator("[data-set=shade][data-value=ref]").click()
    assert set(reader.evaluate(shades)) == {"c", "s"}
    show(reader, "convergence")
    end = "document.getElementById('convergence').data.find((t) => t.meta?.curve === 'sum').y.at(-1)"
    for m in (0, 2):
        reader.locator(".focus").first.select_option(f"0.{m}")
        name = reader.locator("#document option:checked").inner_text()
        row = TOKENS["documents"].filter(document=name, model=f"model-{m}").row(0, named=True)
        reader.wait_for_function(f"(sum) => Math.abs({end} - sum) < 0.05", arg=row["delta"] * row["n_scored"])


def test_passages_lead_to_their_place(reader: Any) -> None:
    best = reader.locator("#best a").first
    best.wait_for()
    name = best.locator("code").inner_text()
    start = int(best.get_attribute("href").split(".")[-1])
    best.click()
    reader.wait_for_function("(name) => document.getElementById('strip').textContent.startsWith(name)", arg=name)
    reader.wait_for_function("() => document.querySelector('#text .at') !== null")
    assert f"position {start}" in reader.locator("#detail").inner_text().replace("\N{NARROW NO-BREAK SPACE}", "")
    assert reader.locator("#gained tbody tr").count() > 5 and reader.locator("#lost tbody tr").count() > 5
    # the address opens the same place again
    reader.reload()
    reader.wait_for_selector("html[data-drawn]", timeout=60_000)
    reader.wait_for_function("(name) => document.getElementById('strip').textContent.startsWith(name)", arg=name)


@pytest.mark.parametrize("size", [(1440, 900), (390, 844)], ids=["desk", "phone"])
def test_divergences_are_drawn_sorted_and_read(browser: Any, diverging: Path, size: tuple[int, int]) -> None:
    narrow = size[0] < 600
    context = {"has_touch": True, "is_mobile": True} if narrow else {}
    with opened(browser, diverging, viewport={"width": size[0], "height": size[1]}, **context) as page:
        for canvas in ("f0-divergence", "f0-confidence", "f0-document_divergence"):
            show(page, canvas)
            assert page.locator(f"#{canvas} .scatterlayer .trace").count() >= 2
        assert page.evaluate("document.documentElement.scrollWidth") == size[0]
        assert marks(page, "f0-document_divergence") == DIVERGING["documents"].height
        assert "KL divergence from the reference" in page.locator(".findings").inner_text()
        # the table of documents
        largest = DIVERGING["documents"].sort("kld", descending=True).row(0, named=True)
        page.locator("#documents-table").get_by_role("button", name="KL divergence").click()
        row = page.locator("#documents-table tbody tr:not([aria-hidden])").first.inner_text()
        assert largest["document"] in row and numbers.significant(largest["kld"]) in row
        # a token
        page.locator("#document").select_option(label=largest["document"])
        page.wait_for_function(
            "(name) => document.getElementById('strip').textContent.startsWith(name)", arg=largest["document"]
        )
        page.locator(".focus").first.select_option("0.1")
        records = DIVERGING["tokens"].filter(document=largest["document"], model="model-1")
        worst = records.sort("kld", descending=True).row(0, named=True)
        page.locator("[data-set=shade][data-value=kld]").click()
        classes = "[...new Set([...document.querySelectorAll('#text span')].map((e) => e.className[0] ?? ''))].join('')"
        assert set(page.evaluate(classes)) <= {"c", "k"}
        page.locator("[data-jump=kld]").click()
        detail = page.locator("#detail").inner_text()
        assert f"position {worst['pos']}" in detail
        assert f"rank {worst['rank_ref']} → {worst['rank_cmp']}" in detail
        assert (", same top token" if worst["same_top"] else ", the top token ") in detail
        assert f"KL divergence {numbers.significant(worst['kld'])} nats" in detail
        known = dict(DIVERGING["pieces"].select("token", "piece").iter_rows())
        for side in ("ref", "cmp"):
            word = known[worst[f"top_tokens_{side}"][0]].decode("utf-8", "replace").strip()
            assert "\N{REPLACEMENT CHARACTER}" in word or word in detail
        # the lists
        for name in ("divergent", "tail"):
            link = page.locator(f"#{name} a").first
            link.click()
            page.wait_for_function(
                "(name) => document.getElementById('strip').textContent.startsWith(name)",
                arg=link.locator("code").inner_text(),
            )
            page.wait_for_function("() => document.querySelector('#text .at') !== null")


def test_a_page_without_divergences_says_nothing_of_them(reader: Any) -> None:
    show(reader, "f0-documents")
    assert "KL" not in reader.locator("body").inner_text()
    reader.locator("#text span:not(.context)").first.hover()
    assert "KL" not in reader.locator("#tip").inner_text()
    assert reader.locator("[data-jump=kld], [data-value=kld], #divergent, #f0-divergence").count() == 0


@pytest.fixture
def spans(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """A result with `align="bytes"`: spans of several tokens under model-0, single tokens under the others."""
    with opened(browser, Result(**SPANS).report(tmp_path / "report.html")) as page:
        yield page


def test_a_span_is_one_mark_and_says_how_many_tokens_each_model_needs(spans: Any) -> None:
    name = open_document(spans, 3)
    pieces = dict(SPANS["pieces"].select("token", "piece").iter_rows())
    (text,) = SPANS["texts"].filter(document=name)["tokens"].to_list()
    spans.locator(".focus").first.select_option("0.0")
    records = SPANS["tokens"].filter(document=name, model="model-0").sort("delta", descending=True)
    best = records.filter(pl.col("n_tokens_ref") == 2).row(0, named=True)
    first = records.row(0, named=True)
    spans.locator("[data-jump=gain]").click()
    tokens = text[first["pos"] : first["pos"] + first["n_tokens_ref"]]
    shown = b"".join(pieces[token] for token in tokens).decode("utf-8", "replace")
    if "\N{REPLACEMENT CHARACTER}" not in shown:
        spans.wait_for_function("() => document.querySelector('#text .at')?.innerText.trim()")
        assert spans.locator("#text .at").inner_text().strip() == shown.strip()
    detail = spans.locator("#detail").inner_text()
    assert f"position {first['pos']}" in detail and f"gain no. 1 of {len(records)} spans" in detail
    spans.evaluate("(pos) => { window.location.hash = `#read=0.3.0.${pos}`; }", best["pos"])
    spans.wait_for_function("(pos) => document.getElementById('detail').innerText.includes(`position ${pos}`)",
                            arg=best["pos"])  # fmt: skip
    assert "reference 2 tokens, model 3 tokens" in spans.locator("#detail").inner_text()
    assert "reference 2 tokens, model 3 tokens" in hovered(spans, spans.locator("#text .at"))
    strip = spans.locator("#strip").inner_text()
    assert f"{len(records)} spans hold {records['n_tokens_ref'].sum()} of the reference’s" in strip
    assert f"and {records['n_tokens_cmp'].sum()} of the model’s" in strip


def test_each_model_has_its_own_spans(spans: Any) -> None:
    name = open_document(spans, 3)
    n_marks = "document.querySelectorAll('#text span:not(.context)').length"
    n = {}
    for m in (0, 1):
        spans.locator(".focus").first.select_option(f"0.{m}")
        spans.wait_for_function("(m) => document.getElementById('strip').innerText.includes(`model-${m}`)", arg=m)
        n[m] = spans.evaluate(n_marks)
        rows = SPANS["tokens"].filter(document=name, model=f"model-{m}")
        assert f"{len(rows)} spans" in spans.locator("#strip").inner_text()
    assert n[0] < 0.7 * n[1]
    whole = "document.getElementById('text').textContent"
    before = spans.evaluate(whole)
    spans.locator(".focus").first.select_option("0.0")
    spans.wait_for_function(f"(n) => {n_marks} === n", arg=n[0])
    assert spans.evaluate(whole) == before, "the text is the same under every model"


def test_spans_are_told_in_bits_per_byte(spans: Any) -> None:
    show(spans, "f0-models")
    row = SPANS["models"].filter(pl.col("category").is_null(), model="model-0", weighting="tokens").row(0, named=True)
    x = spans.evaluate("document.getElementById('f0-models').data.find((t) => t.meta?.model === 'model-0').x[0]")
    assert x == pytest.approx(row["gain_bpb"])
    assert spans.locator("[data-set=unit]").all_inner_texts() == ["bits/byte"]
    show(spans, "f0-bits")
    heads = spans.locator("#documents-table th[scope=col]").all_inner_texts()
    assert {"spans", "bpb ref", "bpb model"} <= set(heads) and not any("ppl" in each for each in heads)
    said = spans.locator("header").inner_text() + spans.locator("main").inner_text()
    assert "nats/token" not in said
    assert "erplexit" not in said
    document = SPANS["documents"].filter(model="model-0").row(0, named=True)
    spans.locator("#find").fill(document["document"])
    spans.wait_for_function("() => document.getElementById('rows').textContent.startsWith('1 document ×')")
    cells = spans.locator("#documents-table tbody tr", has_text="model-0").first.locator("td.number").all_inner_texts()
    assert cells[1] == f"{document['bpb_ref']:.3f}" and cells[0] == str(document["n_scored"])


def test_passages_of_spans_lead_to_their_place(spans: Any) -> None:
    best = spans.locator("#best a").first
    best.wait_for()
    assert "spans in" in best.inner_text() or "span in" in best.inner_text()
    mark = best.locator("mark").inner_text()
    best.click()
    spans.wait_for_function("() => document.querySelector('#text .at') !== null")
    assert mark.strip().startswith(spans.locator("#text .at").inner_text().strip()[:4])


def test_the_folder_form_loads_its_data_when_it_is_needed(browser: Any, tmp_path: Path) -> None:
    index = Result(**TOKENS).report(tmp_path / "report", tokens="all")
    assert index == tmp_path / "report" / "index.html"
    asked: list[str] = []
    page = browser.new_context(viewport={"width": 1360, "height": 900}).new_page()
    page.on("request", lambda request: asked.append(request.url.rsplit("/", 1)[-1]))
    page.goto(index.as_uri())
    page.wait_for_selector("html[data-drawn]", timeout=60_000)
    assert "f0.d7.js" not in asked
    open_document(page, 7)
    assert "f0.d7.js" in asked
    assert page.locator("#text span").count() > 50
    page.context.close()


def test_ten_thousand_documents_under_ten_models_in_one_file(browser: Any, tmp_path: Path) -> None:
    made = synthetic.make(n_documents=10_000, n_models=10, n_tokens=60)
    path = Result(**made).report(tmp_path / "report.html")
    assert path.stat().st_size <= 25e6
    page, trouble = open_page(browser, path)
    assert page.locator("#rows").inner_text().replace("\N{NARROW NO-BREAK SPACE}", "") == "10000 documents × 10 models"
    assert page.locator("#documents-table tbody tr").count() < 60
    show(page, "f0-documents")
    assert marks(page) < 2000, "hexagons"
    assert page.locator("#f0-documents").get_attribute("data-dense") == "true"
    in_hexagons = "document.getElementById('f0-documents').data.some((t) => t.meta?.contour && t.visible)"
    assert page.evaluate(in_hexagons), "contours stay"
    assert page.locator("#f0-documents").get_attribute("data-marks") == "100000"
    said = "document.querySelector('main > p[role=status]').textContent"
    page.locator("#f0-documents").focus()
    for _ in range(20):  # to a hexagon of several documents
        page.keyboard.press("ArrowRight")
        if " marks of " in page.evaluate(said):
            break
    before = page.evaluate(said)
    n = before.split(" marks of ")[1].split(" document")[0]
    assert "most of these marks are of model-" in before and "about gain " in before
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "documents-table" and page.evaluate(said) == ""
    assert page.locator("#selected").inner_text().startswith(f"{n} document")
    page.keyboard.press("Escape")
    page.wait_for_function(f"(before) => {said} === before", arg=before)
    assert page.evaluate("document.activeElement.id") == "f0-documents"
    tenth = "{ family: 0, documents: new Set(Array.from({ length: 1000 }, (_, i) => 10 * i)) }"
    chosen = page.evaluate(
        f"""async () => {{
          ppldelta.state.set({{ selection: {tenth}, selectionDrawn: 1 }});
          await ppldelta.plots.drawAgain(() => false);
          const drawn = document.getElementById("f0-documents").data.filter((trace) => trace.meta?.marks);
          return drawn.flatMap(({{ selectedpoints, marker }}) => selectedpoints.map((n) => marker.symbol[n]));
        }}"""
    )
    assert 10 < len(chosen) < 2000 and set(chosen) == {"hexagon2"}, "many selected documents are hexagons too"
    assert page.locator("#document option").count() >= 200
    assert [each for each in trouble if "GPU stall" not in each] == []
    page.context.close()


def test_hostile_names_and_texts_are_only_text(browser: Any, tmp_path: Path) -> None:
    attack = b"</script><script>alert(2)</script><img src=x onerror=alert(3)>"
    tokens = EVIL["texts"]["tokens"][0].to_list()
    pieces = EVIL["pieces"].with_columns(
        piece=pl.when(pl.col("token") == tokens[-1]).then(pl.lit(attack)).otherwise(pl.col("piece"))
    )
    path = Result(**{**EVIL, "pieces": pieces}).report(tmp_path / "report.html")
    with opened(browser, path) as page:
        assert page.locator("img").count() == 0
        assert page.locator(".chip", has_text=EVIL_MODEL).count() >= 4
        show(page, "f0-documents")
        text = hovered(page, page.locator(POINTS).first)
        assert EVIL_DOCUMENT in text and EVIL_MODEL in text
        page.locator("#document").select_option(label=EVIL_DOCUMENT)
        page.wait_for_function(
            "(name) => document.getElementById('strip').textContent.startsWith(name)", arg=EVIL_DOCUMENT
        )
        assert attack.decode() in page.evaluate("document.getElementById('text').textContent")
        page.locator(".focus").first.select_option("0.1")
        page.locator("[data-jump=gain]").click()
        assert page.locator("img").count() == 0


def test_the_policy_stops_the_network_and_foreign_scripts(browser: Any, report: Path) -> None:
    page, _ = open_page(browser, report)
    assert page.evaluate("fetch('https://example.org/').then(() => 'loaded', () => 'refused')") == "refused"
    ran = page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.ran = true";
          document.body.append(script);
          return window.ran ?? false;
        }"""
    )
    assert ran is False
    page.context.close()


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents in groups of two, with completions of both labels."""
    labelled = TOKENS["documents"].with_columns(
        pl.col("document").rank("dense").sub(1).floordiv(2).cast(pl.String).alias("group"),
        pl.when(pl.col("document").rank("dense") % 2 == 1)
        .then(pl.lit("comply"))
        .otherwise(pl.lit("refuse"))
        .alias("label"),
    )
    return Result(**{**TOKENS, "documents": labelled}).report(tmp_path_factory.mktemp("prompts") / "report.html")


def test_a_click_on_a_prompt_opens_its_completion(browser: Any, prompts: Path) -> None:
    with opened(browser, prompts) as page:
        show(page, "f0-odds")
        assert page.evaluate("document.getElementById('f0-odds').data.map((trace) => trace.x.length)") == [15, 15, 15]
        names = page.evaluate("document.getElementById('f0-odds').data[1].customdata[4][1]")
        page.evaluate(
            """() => {
            const canvas = document.getElementById("f0-odds"), trace = canvas.data[1];
            canvas.emit("plotly_click", { points: [{ data: trace, curveNumber: 1, customdata: trace.customdata[4] }] });
            }"""
        )
        page.wait_for_function(
            "(names) => names.includes(document.querySelector('#document').selectedOptions[0].textContent.trim())",
            arg=names,
        )
        companions = page.locator("#companions")
        assert companions.inner_text().startswith(f"Completion 1 of {len(names)} of this prompt")
        assert companions.get_by_role("button", name="previous").is_disabled()
        companions.get_by_role("button", name="next").click()
        page.wait_for_function(
            "(name) => document.querySelector('#document').selectedOptions[0].textContent.trim() === name", arg=names[1]
        )
        assert companions.inner_text().startswith(f"Completion 2 of {len(names)} of this prompt")
        link = page.locator("#prompts tbody a").first
        family, k, model = map(int, link.get_attribute("href").removeprefix("#read=").split("."))
        link.click()
        page.wait_for_function("(value) => document.querySelector('#document').value === value", arg=f"{family}.{k}")
        assert page.evaluate("ppldelta.state.focus.model") == model
        corners = "#f0-odds .annotation:visible"
        shown = page.locator(corners).count()
        page.locator("#prompts .chip").first.click()
        page.wait_for_function("(n) => document.querySelectorAll('#f0-odds .annotation').length < n", arg=shown)
        assert page.locator(corners).count() == shown - 8, "a bullet and a number in each corner"


def test_a_page_without_groups_says_nothing_of_prompts(reader: Any) -> None:
    assert reader.locator("#prompts").count() == reader.locator("#f0-odds").count() == 0
    assert "Prompts" not in reader.locator("nav.bar").inner_text()
