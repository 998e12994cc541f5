"""Notebooks: what cells show of results, progress and errors, with ipywidgets and without them, light and dark."""

from __future__ import annotations

import re
import runpy
import traceback
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

import ppldelta
from ppldelta import _core
from ppldelta.cards.content import take
from ppldelta.cards.drawing import Page
from ppldelta.cards.layout import card
from ppldelta.reporting.notebook import variable
from ppldelta.reporting.theme import CHROME, DARK_OF_LIGHT

ROOT = Path(__file__).parents[1]
HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "ipywidgets":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hidden())
"""
RUN = """
import ppldelta
from ppldelta import demo
result = ppldelta.score(demo.CORPUS / "prose" / "being_early.txt", demo.REFERENCE, demo.COMPARISONS[::2])
"""
CELLS = (RUN, "ppldelta.score('nowhere', demo.REFERENCE, demo.COMPARISONS)")
MORE = (
    *("result", "result.report('page.html'); result", "result.figures.dark['models']"),
    "ppldelta.plan(demo.CORPUS / 'prose', demo.REFERENCE, demo.COMPARISONS[0], store=None, progress=False)",
    "ppldelta.loglikelihood(demo.REFERENCE, [('a<b', ' c')], progress=False)",
)


def executed(folder: Path, first: str, cells: tuple[str, ...]) -> list[list[Any]]:
    """What each cell of a notebook put out, `first` left out; nothing goes to stdout or stderr."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in (first, *cells)])
    resources = {"metadata": {"path": str(folder)}}
    client = nbclient.NotebookClient(
        notebook, timeout=300, allow_errors=True, kernel_name="python3", resources=resources
    )
    client.execute()
    found = [cell.outputs for cell in notebook.cells[1:]]
    assert [output for outputs in found for output in outputs if output.output_type == "stream"] == []
    return found


def check_run_and_failure(run: list[Any], failed: list[Any]) -> None:
    """Progress is one output, which ends without a bar; an error is its message and hint."""
    [progress] = run
    assert re.findall(r"^(\S+): \d+ tokens in \d:\d\d", progress.data["text/plain"], re.MULTILINE) == [
        *("tiny-ref.Q8_0", "tiny-code.Q8_0", "tiny-ref.Q2_K")
    ]
    assert "<progress" not in progress.data["text/html"]
    [error] = failed
    assert error.output_type == "error"
    assert [line.split(":")[0] for line in error.traceback] == ["CorpusError", "hint"]


def test_a_notebook_with_ipywidgets_is_quiet(tmp_path: Path) -> None:
    check_run_and_failure(*executed(tmp_path, "import ipywidgets", CELLS))


def test_a_notebook_without_ipywidgets_is_quiet_and_shows_what_it_is_asked_for(tmp_path: Path) -> None:
    run, failed, shown, reported, figure, plan, likelihood = executed(tmp_path, HIDE, CELLS + MORE)
    check_run_and_failure(run, failed)
    [output] = shown
    html = output.data["text/html"]
    assert "<svg" in html and "too few documents" in html and "result.report(" in html
    assert output.data["text/plain"].startswith("Compared with `tiny-ref.Q8_0`")
    assert '<a href="page.html"' in reported[0].data["text/html"]
    assert CHROME["surface"][1] in str(figure[0].data["application/vnd.plotly.v1+json"])
    assert "tokens/s" in plan[0].data["text/html"]
    assert "1 continuation under <code>tiny-ref.Q8_0</code>" in likelihood[0].data["text/html"]


def test_the_example_is_what_its_script_makes() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_notebook.py"))["cells"]()
    path = ROOT / "docs" / "notebook.ipynb"
    notebook = nbformat.read(path, as_version=4)
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in made], "run docs/make_notebook.py"
    assert path.stat().st_size < 500_000
    outputs = [(i, output) for i, cell in enumerate(notebook.cells) for output in cell.get("outputs", ())]
    assert [i for i, output in outputs if output.output_type == "error"] == [len(made) - 1]
    assert not [output for _, output in outputs if output.output_type == "stream"]
    assert not re.search(r"/(tmp|home|root|work)/", path.read_text(encoding="utf-8")), "paths of a machine"


def test_a_card_in_a_page_is_the_card(demo_result: ppldelta.Result) -> None:
    """Its colours are variables that fall back on the light ones, and its names those of no other card."""
    content = take(demo_result.families, demo_result.documents, demo_result.models, _core.__version__)
    svg = card(content, page=Page(variable, "one-", "one-"))
    names = re.findall(r'\bid="([^"]+)"', svg)
    assert len(names) > 50 and all(name.startswith("one-") for name in names)
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg)) <= set(names)
    assert not re.findall(r'(?:fill|stroke)="#', svg)
    light = re.sub(r"var\(--ppldelta-[0-9a-f]{6},(#[0-9a-f]{6})\)", r"\1", svg).replace("one-", "")
    assert light == card(content)
    html = demo_result._repr_html_()
    for each in re.findall(r"var\(--ppldelta-([0-9a-f]{6})", html):
        assert f"--ppldelta-{each}:{DARK_OF_LIGHT['#' + each]}" in html


def test_a_result_in_a_notebook_names_the_report_that_is_there(
    demo_result: ppldelta.Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = demo_result.save("out")
    result = ppldelta.load(folder)
    html = result._repr_html_()
    assert '<a href="out/report.html"' in html
    (folder / "report.html").unlink()
    assert "is not written yet" in result._repr_html_()
    [row] = result.summary.filter(model="tiny-ref.Q2_K").iter_rows(named=True)
    low, high = (f"{row[f'gain_{end}']:.3f}" for end in ("low", "high"))
    assert f"<small>{low} to {high}</small>" in html
    assert "693\N{NO-BREAK SPACE}kB" in html


def test_figures_are_dark_if_asked_for(demo_result: ppldelta.Result) -> None:
    light, dark = (
        str(figures["documents"].to_plotly_json()) for figures in (demo_result.figures, demo_result.figures.dark)
    )
    both = {each for pair in CHROME.values() for each in pair}
    in_light, in_dark = ({each for each in both if each in text} for text in (light, dark))
    assert in_dark == {DARK_OF_LIGHT[each] for each in in_light}
    assert list(demo_result.figures.dark) == list(demo_result.figures)
    assert demo_result.figures.dark["documents"].layout.title.text == demo_result.figures["documents"].layout.title.text


def test_an_error_is_its_message_and_hint_only_where_ipython_shows_it() -> None:
    error = ppldelta.ModelError("`a\x1b[31m` is no model", hint="name another")
    assert error._render_traceback_() == ["ModelError: `a\\x1b[31m` is no model", "hint: name another"]
    try:
        raise error
    except ppldelta.PpldeltaError:
        assert "Traceback" in traceback.format_exc()
