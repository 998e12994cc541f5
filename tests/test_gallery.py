"""The figures of a result by name, and those that only it draws: they hold the numbers of the frames."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import polars as pl
import pytest

from helpers import synthetic
from ppldelta import ResultError
from ppldelta.cards.content import take
from ppldelta.merging import merge
from ppldelta.reporting.theme import LIGHT
from ppldelta.result import Result

MADE = synthetic.make(n_documents=12, n_models=3, n_tokens=60)
RESULT = Result(**MADE)


def of_models(figure: go.Figure) -> dict[str, go.Scatter]:
    return {trace.meta["model"]: trace for trace in figure.data if "model" in (trace.meta or {})}


def test_every_figure_is_made_when_it_is_asked_for() -> None:
    names = ["models", "models_bpb", "documents", "documents_bpb", "perplexities", "ratios", "size"]
    names += ["size_bpb", "bits_per_weight", "bits_per_weight_bpb", "corpus_convergence"]
    assert list(RESULT.figures) == names and len(RESULT.figures) == len(names)
    for name, figure in RESULT.figures.items():
        assert isinstance(figure, go.Figure) and figure.data, name
        assert len(figure.layout.title.text) > 12 and "tiny-ref.Q8_0" in figure.layout.title.subtitle.text
    assert "perplexities" in repr(RESULT.figures)
    with pytest.raises(ResultError, match=r"there is no figure `ratio`\nhint: did you mean `ratios`\?") as unknown:
        RESULT.figures["ratio"]
    assert all(f"`{name}`" in str(unknown.value) for name in names) and RESULT.figures.get("ratio") is None
    assert len(unknown.value._render_traceback_()) == 2, "in a notebook no frames"


def test_perplexities_of_every_document_on_logarithmic_axes() -> None:
    figure = RESULT.figures["perplexities"]
    drawn = {(model, x, y) for model, t in of_models(figure).items() for x, y in zip(t.x, t.y, strict=True)}
    assert drawn == set(RESULT.documents.select("model", "ppl_ref", "ppl_cmp").rows())
    for axis in (figure.layout.xaxis, figure.layout.yaxis):
        low, high = axis.range
        assert axis.type == "log"
        assert all(10**low < value < 10**high for trace in of_models(figure).values() for value in trace.x + trace.y)
        assert sum(low <= np.log10(tick) <= high for tick in axis.tickvals) >= 2


@pytest.mark.parametrize(("name", "column"), [("size", "size_bytes"), ("bits_per_weight", "bits_per_weight")])
def test_quality_against_size_draws_delta_and_joins_the_front(name: str, column: str) -> None:
    models = RESULT.models.with_columns(
        size_bytes=pl.col("model").replace_strict({"model-0": 4e9, "model-1": 2e9, "model-2": 3e9}).cast(pl.UInt64),
        bits_per_weight=pl.col("model").replace_strict({"model-0": 8.5, "model-1": 4.5, "model-2": 6.5}),
    )
    result = Result(**{**MADE, "models": models})
    figure = result.figures[name]
    rows = {row["model"]: row for row in result.summary.iter_rows(named=True)}
    sizes = dict(models.select("model", column).iter_rows())
    for model, trace in of_models(figure).items():
        assert trace.y[0] == rows[model]["delta"]
        assert trace.x[0] == pytest.approx(sizes[model] / (1e9 if column == "size_bytes" else 1))
    best_first = sorted(rows, key=lambda model: sizes[model])
    front = [m for i, m in enumerate(best_first) if all(rows[m]["delta"] > rows[o]["delta"] for o in best_first[:i])]
    lines = [trace for trace in figure.data if (trace.meta or {}).get("front")]
    assert [len(line.x) for line in lines] == ([len(front)] if len(front) > 1 else [])


def test_convergence_ends_at_the_documents_numbers() -> None:
    row = RESULT.documents.row(5, named=True)
    figure = RESULT.figures.convergence(row["document"], row["model"])
    curves = {trace.meta["curve"]: trace for trace in figure.data}
    assert curves["ratio"].y[-1] == pytest.approx(row["ppl_cmp"] / row["ppl_ref"])
    assert curves["sum"].y[-1] == pytest.approx(row["delta"] * row["n_scored"])
    assert max(curves["below"].y) <= 1 <= min(curves["above"].y)
    assert len(curves["ratio"].x) == row["n_scored"]
    with pytest.raises(ResultError, match="no tokens of `nothing`"):
        RESULT.figures.convergence("nothing", "model-0")


def test_convergence_of_all_models_has_a_line_and_areas_for_each() -> None:
    name = RESULT.documents["document"][0]
    figure = RESULT.figures.convergence(name)
    traces = {(trace.meta["model"], trace.meta["curve"], trace.fill): trace for trace in figure.data}
    for row in RESULT.documents.filter(document=name).iter_rows(named=True):
        line = traces[row["model"], "ratio", None]
        assert line.y[-1] == pytest.approx(row["ppl_cmp"] / row["ppl_ref"], rel=1e-5)
        assert list(traces[row["model"], "below", "tonexty"].y) == [min(value, 1) for value in line.y]
        assert list(traces[row["model"], "above", "tonexty"].y) == [max(value, 1) for value in line.y]
    lines = [trace for trace in figure.data if trace.meta["curve"] == "ratio"]
    assert len({trace.line.color for trace in lines}) == len(lines) == RESULT.documents["model"].n_unique()


def test_of_several_families_one_plane_holds_all_models_in_bits_per_byte() -> None:
    other = synthetic.make(n_documents=6, n_models=2, n_tokens=60, family="other", seed=1)
    frames = {
        name: pl.concat([MADE[name], other[name]]) for name in ("tokens", "documents", "models", "pieces", "texts")
    }
    figures = Result(**frames, families=[*MADE["families"], *other["families"]]).figures
    family = MADE["families"][0].name
    assert {f"{family}/models", "other/size", "shared"} <= set(figures)
    rows = frames["models"].filter(pl.col("category").is_null(), weighting="tokens")
    marks = [trace for trace in figures["shared"].data if "model" in (trace.meta or {})]
    drawn = {(trace.meta["family"], trace.meta["model"], trace.x[0], trace.y[0]) for trace in marks}
    assert drawn == set(rows.select("family", "model", "gain_bpb", "loss_bpb").rows())
    assert len({trace.marker.color for trace in marks}) == len(marks)


def test_colours_of_many_models_in_several_families() -> None:
    """Each model has one colour in every figure; beyond the last colour marks with a dark rim tell them apart."""
    parts = [synthetic.make(n_documents=3, n_models=7, n_tokens=30, family=name) for name in ("one", "other")]
    result = merge([Result(**each) for each in parts], same_bytes=False)
    looks: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for name in ("one/models", "other/models", "one/size", "other/size", "shared"):
        for trace in result.figures[name].data:
            about = trace.meta or {}
            if "model" in about and "markers" in (trace.mode or "") and isinstance(trace.marker.color, str):
                family = about.get("family", name.split("/")[0])
                looks.setdefault((family, about["model"]), set()).add((trace.marker.color, trace.marker.line.color))
    assert len(looks) == 14 and all(len(each) == 1 for each in looks.values())
    assert len({look for each in looks.values() for look in each}) == 14
    content = take(result.families, result.documents, result.models, "0")
    of_card = {(each.family.name, each.facts.label): {(each.color, LIGHT[each.rim])} for each in content.models}
    assert of_card == looks
