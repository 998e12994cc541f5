"""The page as text: self-contained, escaped, the same bytes each time; its words and its numbers."""

from __future__ import annotations

import base64
import hashlib
import html
import html.parser
import itertools
import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from helpers import frames, synthetic
from helpers.blocks import decode
from ppldelta.reporting import sentences, tables
from ppldelta.reporting.overview import Judged, overview
from ppldelta.reporting.render import Page as Rendered
from ppldelta.reporting.render import script_json
from ppldelta.reporting.scripts import SCRIPTS
from ppldelta.result import Result
from ppldelta.wording import numbers

DOCUMENTS, MODELS = frames.make()
EVIL_DOCUMENT = "<img src=x onerror=alert(1)>.txt"
EVIL_MODEL = "</script><script>alert(1)</script>"
SIGNATURE = "ppldelta 0.1.0 | llama.cpp b6000 | windows=perplexity | n_ctx=2048"


class Page(html.parser.HTMLParser):
    """Elements with their attributes, and the text of each script and style."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[str, dict[str, str | None], str]] = []
        self.text = ""
        self._open: tuple[str, dict[str, str | None]] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = (tag, dict(attrs)) if tag in {"script", "style"} else None

    def handle_endtag(self, tag: str) -> None:
        self._open = None

    def handle_data(self, data: str) -> None:
        if self._open:
            self.raw.append((*self._open, data))
        else:
            self.text += data


def render(documents: pl.DataFrame = DOCUMENTS, models: pl.DataFrame = MODELS, **more: Any) -> str:
    return rendered(documents, models, **more).html


def rendered(documents: pl.DataFrame = DOCUMENTS, models: pl.DataFrame = MODELS, **more: Any) -> Rendered:
    return frames.page(documents, models, **{"signature": SIGNATURE, **more})


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render())


@pytest.fixture(scope="module")
def evil() -> Page:
    rename = {"code/00.txt": EVIL_DOCUMENT, "tiny-code.Q8_0": EVIL_MODEL, "prose": "<q>prose</q>"}
    documents, models = frames.make(rename=rename)
    return Page(render(documents, models, warnings=["<u>warning</u> on `<s>name</s>`"], signature="<u>signature</u>"))


def test_the_same_results_give_the_same_bytes() -> None:
    assert render() == render()


def test_nothing_is_loaded_from_anywhere(page: Page) -> None:
    addresses = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in {"src", "href", "action"}
    ]
    assert {address for address in addresses if not address.startswith("#")} == {"data:,"}
    styles = "".join(text for tag, _, text in page.raw if tag == "style")
    assert "url(" not in styles and "@import" not in styles


def test_only_scripts_that_the_policy_names_may_run(page: Page) -> None:
    (policy,) = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None and policy.startswith("default-src 'none';")
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    scripts = [text for tag, a, text in page.raw if tag == "script" and ("type" not in a or a.get("id") == "plotly")]
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts]
    assert directives["script-src"].split() == hashes
    assert len(scripts) == 1 + len(SCRIPTS)
    assert "'unsafe-eval'" not in policy
    assert "connect-src" not in directives, "falls back to 'none'"
    assert not re.search(r"https?:", policy)


def test_names_and_texts_are_escaped(evil: Page) -> None:
    assert not {"img", "q", "u", "s"} & {tag for tag, _ in evil.elements}
    for name in (EVIL_MODEL, "<q>prose</q>", "<u>warning</u>", "<s>name</s>", "<u>signature</u>"):
        assert name in evil.text
    assert sum(tag == "script" for tag, _ in evil.elements) == len(evil.raw) - 1  # one style
    blocks = [text for _, attributes, text in evil.raw if "type" in attributes and attributes.get("id") != "plotly"]
    assert len(blocks) > 4
    assert all(not set("<>&") & set(text) for text in blocks)
    (index,) = [text for _, attributes, text in evil.raw if attributes.get("id") == "index"]
    assert EVIL_MODEL in json.loads(index)["families"][0]["models"]


def test_script_json_is_the_same_json() -> None:
    value = {"a": "</script><!-- & \u2028\u2029 > é"}
    text = script_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(text) == value
    assert not set("<>&\u2028\u2029") & set(text)


def figures_of(page: Page) -> dict[str, Any]:
    (text,) = [text for _, a, text in page.raw if a.get("data-block") == "f0.figures"]
    return decode(text)[1]["figures"]


def test_every_figure_has_a_place_a_name_and_its_data_for_every_choice(page: Page) -> None:
    places = [a for _, a in page.elements if "canvas" in (a.get("class") or "").split()]
    assert [a["id"] for a in places] == [
        *("f0-models", "f0-size", "f0-documents", "f0-perplexities", "f0-corpus_convergence"),
        "convergence",
        *("f0-category-0", "f0-category-1", "f0-category-2", "f0-ratios"),
    ]
    assert all(a["aria-label"] for a in places)
    figures = figures_of(page)
    categories = ("", "=code", "=multilingual", "=prose")
    choices = itertools.product(("nats", "bpb"), ("linear", "root"), ("tokens", "documents"), categories)
    for unit, axes, weighting, category in choices:
        for place in places:
            name = place["data-figure"] or ""
            name = (
                name.replace("{unit}", unit)
                .replace("{axes}", axes)
                .replace("{weighting}", weighting)
                .replace("{category}", category)
            )
            assert figures[name]["layout"], name


def test_figures_of_a_choice_hold_the_rows_of_that_choice(page: Page) -> None:
    figure = figures_of(page)["models/bpb/linear/documents/=code"]
    rows = MODELS.filter(weighting="documents", category="code")
    drawn = {(t["meta"]["model"], t["x"][0], t["y"][0]) for t in figure["data"] if "model" in t.get("meta", {})}
    assert drawn == set(rows.select("model", "gain_bpb", "loss_bpb").rows())


def test_a_folder_holds_the_same_blocks_in_files() -> None:
    page, folder = Page(render()), rendered(folder=True)
    inside = {a["data-block"]: text for _, a, text in page.raw if "data-block" in a}
    assert folder.files == {f"data/{name}.js": f'ppldelta.put("{name}", "{text}");\n' for name, text in inside.items()}
    assert not any("data-block" in a for _, a, _ in Page(folder.html).raw)


def test_thousands_of_documents_need_no_webgl_and_no_wider_policy() -> None:
    many = pl.concat([DOCUMENTS.with_columns(document=pl.format("{}-" + str(i), "document")) for i in range(21)])
    assert many.height > 3000
    page = Page(render(many))
    (policy,) = [a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert "'unsafe-eval'" not in policy
    kinds = {t["type"] for t in figures_of(page)["documents/nats/linear/"]["data"]}
    assert kinds == {"scatter"}, "above some number of marks the page draws hexagons"


def test_headings_and_landmarks(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    tags = {tag for tag, _ in page.elements}
    assert {"header", "main", "footer", "caption"} <= tags
    assert ("html", {"lang": "en"}) in page.elements


def test_the_head_says_what_was_compared(page: Page) -> None:
    text = " ".join(page.text.split())
    assert "4 models against tiny-ref.Q8_0" in text
    assert "36 documents (12 code, 12 multilingual, 12 prose)" in text, "in the provenance; else the card says it"
    assert (
        "tiny-code.Q8_0 predicts code better (+0.21 nats/token, 95 % interval +0.14 to" in text
    )  # split() made plain spaces
    assert SIGNATURE in text


def test_several_families_have_a_row_each() -> None:
    other = frames.make(family="other", shifts={"other.Q4": frames.SHIFTS["tiny-code.Q8_0"]}, per_category=3)
    documents, models = pl.concat([DOCUMENTS, other[0]]), pl.concat([MODELS, other[1]])
    page = Page(render(documents, models))
    assert [a["id"] for _, a in page.elements if a.get("id", "").endswith("-documents")] == [
        "f0-documents",
        "f1-documents",
    ]
    assert "5 models against tiny-ref.Q8_0" in page.text
    assert any(a.get("id") == "shared" for _, a in page.elements)


def test_one_document_without_category_and_without_intervals() -> None:
    documents, models = frames.make(shifts={"m": frames.SHIFTS["tiny-code.Q8_0"]}, rename={"code": ""}, per_category=1)
    missing = [
        pl.lit(None, dtype=pl.Float64).alias(name) for name in models.columns if name.endswith(("_low", "_high"))
    ]
    keep = pl.col("category").is_null() | (pl.col("category") == "")
    page = Page(render(documents.filter(category=""), models.filter(keep).with_columns(missing)))
    assert "against the reference, on too few documents to tell better from worse" in page.text
    assert "predicts the text" not in page.text
    assert "1 document" in page.text


def sentence(rows: list[dict[str, Any]]) -> str:
    return "".join(piece.text for piece in sentences.finding(rows))


def row(category: str | None, delta: float, half: float = 0.01, model: str = "m") -> dict[str, Any]:
    return {
        "model": model, "category": category, "delta": delta, "delta_low": delta - half, "delta_high": delta + half,
    }  # fmt: skip


def test_a_sentence_says_better_worse_or_neither() -> None:
    text = sentence([row(None, -0.05), row("code", 0.31), row("prose", -0.22), row("poems", 0.002)])
    assert text.index("code better") < text.index("prose worse") < text.index("poems neither clearly better nor worse")
    assert "+0.31 nats/token, 95\N{NO-BREAK SPACE}% interval +0.30 to +0.32" in text
    assert text.endswith("Over all: \N{MINUS SIGN}0.050 (\N{MINUS SIGN}0.060 to \N{MINUS SIGN}0.040).")


@pytest.mark.parametrize(
    ("delta", "words"), [(0.1, "better than"), (-0.1, "worse than"), (0.0, "neither clearly better nor worse than")]
)
def test_a_sentence_about_a_single_category(delta: float, words: str) -> None:
    assert f"m predicts the text {words} the reference" in sentence([row(None, delta), row("", delta)])


def abouts(page: str) -> list[str]:
    """What the page says above its figures, without tags."""
    found = re.findall(r'<p class="about">(.*?)</p>', page, re.S)
    return [html.unescape(re.sub("<[^>]+>", "", each)) for each in found]


def test_every_explanation_has_at_most_two_sentences(tmp_path: Path) -> None:
    """What is said above a figure is short; all else stands behind "How to read this"."""
    parts = [synthetic.make(n_documents=8, n_models=2, n_tokens=40, kld=kld) for kld in (False, True)]
    results = [Result(**each) for each in (*parts, synthetic.with_spans(parts[0]))]
    pages = [render(), *(result.report(tmp_path / "page.html").read_text() for result in results)]
    for page in pages:
        found = abouts(page)
        assert len(found) >= 5
        for about in found:
            assert len(re.split(r"[.!?]\s+", about.strip())) <= 2, about


def test_without_an_interval_a_sentence_says_neither_better_nor_worse() -> None:
    few = {"delta_low": None, "delta_high": None}
    text = sentence([row(None, -0.05), row("code", 0.31), {**row("prose", -0.22), **few}, {**row("poems", 0.2), **few}])
    assert "code better (+0.31" in text and " worse" not in text
    assert "prose (\N{MINUS SIGN}0.22) and poems (+0.20) on too few documents to tell. Over all:" in text
    all_few = [{**each, **few} for each in (row(None, -0.05), row("code", 0.31), row("prose", -0.22))]
    alone = "m: \N{MINUS SIGN}0.050 nats/token against the reference, on too few documents to tell better from worse."
    assert sentence(all_few) == alone
    assert sentence([row(None, 0.2), *all_few[1:]]).startswith("m predicts the text better than the reference (+0.20")
    two = [Judged(name, [{**each, "model": name} for each in all_few]) for name in "ab"]
    assert "".join(piece.text for piece in overview(two)) == (
        "Too few documents to tell whether a and b predict the text better than the reference or worse."
    )


def test_a_sentence_about_many_categories_counts_the_rest() -> None:
    text = sentence([row(None, 0.1), *(row(f"c{i}", 0.1 + i / 10) for i in range(6))])
    assert "predicts c5 (" in text and "and 3 more categories better." in text and "c0" not in text


def test_a_sentence_about_numbers_that_are_not_finite() -> None:
    assert "not finite" in sentence([row(None, float("nan"))])


def test_a_sentence_about_the_divergence_names_its_interval() -> None:
    values = {"kld": 0.0123, "kld_low": 0.0111, "kld_high": 0.0135}
    values |= {"same_top": 0.934, "same_top_low": 0.93, "same_top_high": 0.938}
    text = "".join(piece.text for piece in sentences.divergence([{**row(None, 0.1), **values}]))
    assert "0.0123 nats/token (0.0111 to 0.0135)" in text
    assert "93.4\N{NO-BREAK SPACE}% (93.0 to 93.8) of the tokens" in text
    nothing = {name: None for name in values}
    assert sentences.divergence([{**row(None, 0.1), **nothing}]) == []
    few = {name: None if name.endswith(("low", "high")) else value for name, value in values.items()}
    assert "(" not in "".join(piece.text for piece in sentences.divergence([{**row(None, 0.1), **few}]))


def test_tables_have_divergences_where_there_are_any() -> None:
    made = synthetic.make(n_documents=15, n_models=2, n_tokens=60, kld=True)
    colors = {(made["families"][0].name, model): "m0" for model in made["families"][0].models}
    table = tables.divergence(made["models"], colors)
    rows = made["models"].filter(pl.col("category").is_null(), weighting="tokens")
    titles = [column.title for column in table.columns]
    for title, name in (("KL divergence", "kld"), ("same top", "same_top"), ("ppl ratio", "ppl_ratio")):
        cells = [cells[titles.index(title)] for cells in table.rows]
        assert [cell.sort for cell in cells] == rows[name].to_list() and all(" to " in cell.note for cell in cells)
    tail = [cell.sort for cell in table.rows[0][2:8]]
    assert tail == sorted(tail) == [rows[f"kld_{name}"][0] for name in ("p50", "p90", "p95", "p99", "p999", "max")]
    assert [column.title for column in tables.by_category(made["models"], colors).columns][-2:] == [
        "KL divergence",
        "same top",
    ]
    assert tables.divergence(MODELS, {("tiny", model): "m0" for model in frames.SHIFTS}).rows == []
    assert len(tables.by_category(MODELS, {("tiny", model): "m0" for model in frames.SHIFTS}).columns) == 11


def test_messages_mark_what_stands_between_backticks() -> None:
    assert [(p.text, p.kind) for p in sentences.marked("`a` is b")] == [("a", "name"), (" is b", "text")]
    assert [p.kind for p in sentences.marked("a ` b")] == ["text"]


def test_summary_holds_the_token_weighted_rows() -> None:
    colors = {("tiny", model): "m0" for model in frames.SHIFTS}
    table = tables.summary(MODELS, colors)
    titles = [column.title for column in table.columns]
    rows = MODELS.filter(pl.col("category").is_null(), weighting="tokens")
    for title, name in {"gain": "gain", "loss": "loss", "net": "delta"}.items():
        assert [cells[titles.index(title)].sort for cells in table.rows] == rows[name].to_list()
    assert "family" not in titles
    assert len(tables.by_category(MODELS, colors).rows) == 12
    assert tables.by_category(MODELS.filter(pl.col("category").is_null()), colors).rows == []


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (numbers.fixed(-0.0004, 3), "0.000"),
        (numbers.fixed(-1234.5, 1), "\N{MINUS SIGN}1\N{NARROW NO-BREAK SPACE}234.5"),
        (numbers.fixed(float("nan")), "\N{EN DASH}"),
        (numbers.fixed(None), "\N{EN DASH}"),
        (numbers.signed(0.25, 2), "+0.25"),
        (numbers.signed(0.0, 2), "0.00"),
        (numbers.signed(-0.25, 2), "\N{MINUS SIGN}0.25"),
        (numbers.perplexity(6.71734), "6.717"),
        (numbers.perplexity(15.2), "15.20"),
        (numbers.perplexity(12345.6), "12\N{NARROW NO-BREAK SPACE}346"),
        (numbers.significant(0.01234), "0.0123"),
        (numbers.significant(12.345), "12.3"),
        (numbers.significant(0.000456), "0.000456"),
        (numbers.significant(1.24e-6), "1.2e\N{MINUS SIGN}6"),
        (numbers.significant(0.0), "0.00"),
        (numbers.significant(None), "\N{EN DASH}"),
        (numbers.size(4_280_000_000), "4.28\N{NO-BREAK SPACE}GB"),
        (numbers.size(999_600), "1.00\N{NO-BREAK SPACE}MB"),
        (numbers.size(512), "512\N{NO-BREAK SPACE}B"),
        (numbers.params(4_020_000_000), "4.02\N{NO-BREAK SPACE}B"),
        (numbers.interval(None, 1.0), ""),
        (numbers.decimals(0.31, 0.002), 3),
        (numbers.decimals(0.0123), 4),
        (numbers.decimals(None, float("inf")), 3),
    ],
)
def test_numbers_are_written_with_care(written: object, expected: object) -> None:
    assert written == expected
