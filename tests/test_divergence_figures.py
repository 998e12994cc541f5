"""The figures of the KL divergence hold the numbers of the frames."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import plotly.graph_objects as go
import polars as pl
import pytest

from helpers import synthetic
from ppldelta.family import Family
from ppldelta.reporting import divergence, theme
from ppldelta.reporting.catalogue import FIGURES
from ppldelta.reporting.family_figures import FamilyFigures
from ppldelta.reporting.gallery import Figures
from ppldelta.reporting.units import Choice

MADE = synthetic.make(n_documents=12, n_models=3, n_tokens=60, kld=True)
CONFIDENCE = synthetic.confidence(MADE)
PLAIN = synthetic.make(n_documents=12, n_models=3, n_tokens=60)
OVERALL = MADE["models"].filter(pl.col("category").is_null(), weighting="tokens")


def gallery(made: dict[str, Any], confidence: pl.DataFrame | None = None) -> Figures:
    return Figures(made["families"], made["documents"], made["models"], made["tokens"], confidence)


def of_model(figure: go.Figure, model: str) -> list[go.Scatter]:
    return [trace for trace in figure.data if (trace.meta or {}).get("model") == model]


def test_only_results_with_divergences_have_the_figures() -> None:
    names = {"divergence", "document_divergence"}
    assert not (names | {"confidence"}) & set(gallery(PLAIN, CONFIDENCE.clear()))
    assert names <= set(gallery(MADE)) and "confidence" not in gallery(MADE)
    assert "confidence" not in gallery(MADE, CONFIDENCE.clear())
    assert names | {"confidence"} <= set(gallery(MADE, CONFIDENCE))
    plain = FamilyFigures(PLAIN["families"][0], PLAIN["documents"], PLAIN["models"])
    assert {each.name for each in FIGURES if not each.drawable(plain)} == names | {"confidence", "bits", "odds"}


def test_models_stand_at_their_mean_with_interval_and_tail() -> None:
    figure = gallery(MADE)["divergence"]
    order = []
    for row in OVERALL.iter_rows(named=True):
        label, tail, mark = of_model(figure, row["model"])
        assert mark.x[0] == row["kld"] and label.text[0] == row["model"]
        assert mark.x[0] + mark.error_x.array[0] == pytest.approx(row["kld_high"])
        assert mark.x[0] - mark.error_x.arrayminus[0] == pytest.approx(row["kld_low"])
        assert list(tail.x) == [row["kld_p50"], row["kld_p99"], row["kld_p999"]]
        assert f"{100 * row['same_top']:.1f}" in mark.customdata[0]
        order.append((mark.y[0], row["kld"]))
        low, high = figure.layout.xaxis.range
        assert all(10**low < x < 10**high for x in (*tail.x, row["kld_low"], row["kld_high"]))
    assert [kld for _, kld in sorted(order)] == sorted(kld for _, kld in order), "the nearest to the reference on top"
    assert figure.layout.xaxis.type == "log" and not figure.layout.shapes


def test_by_document_there_is_no_tail() -> None:
    made = FamilyFigures(MADE["families"][0], MADE["documents"], MADE["models"])
    figure = made.models_divergence(Choice(weighting="documents"))
    for model in made.style.colors:
        _, tail, mark = of_model(figure, model)
        assert len(tail.x) == 0 and mark.x[0] > 0


def test_the_noise_floor_is_a_line() -> None:
    figure = divergence.models_divergence(OVERALL, noise=1e-5)
    (line,) = figure.layout.shapes
    assert line.x0 == line.x1 == 1e-5
    assert 10 ** figure.layout.xaxis.range[0] < 1e-5, "it is in view"
    assert "noise floor" in {note.text for note in figure.layout.annotations}


def test_a_model_that_is_its_reference_has_no_mark_and_says_so() -> None:
    same = pl.col("model") == "model-1"
    names = [name for name in OVERALL.columns if name == "kld" or name.startswith("kld_")]
    rows = OVERALL.with_columns(pl.when(same).then(0.0).otherwise(pl.col(name)).alias(name) for name in names)
    traces = of_model(divergence.models_divergence(rows), "model-1")
    assert len(traces) == 2 and "no divergence at all" in traces[0].text[0]


def test_documents_stand_at_divergence_and_delta() -> None:
    figure = gallery(MADE)["document_divergence"]
    drawn = {(t.meta["model"], x, y) for t in figure.data for x, y in zip(t.x, t.y, strict=True)}
    assert drawn == set(MADE["documents"].select("model", "kld", "delta").rows())
    low, high = figure.layout.yaxis.range
    assert low < min(0, MADE["documents"]["delta"].min()) and max(0, MADE["documents"]["delta"].max()) < high
    assert "KL divergence" in figure.data[0].customdata[0]


def test_confidence_is_a_line_for_each_model_within_its_band() -> None:
    figure = gallery(MADE, CONFIDENCE)["confidence"]
    style = theme.Style.of(MADE["families"][0].models, ())
    for model in MADE["families"][0].models:
        band, line = of_model(figure, model)
        rows = CONFIDENCE.filter(model=model)
        assert list(line.y) == rows["kld"].to_list()
        assert list(line.x) == pytest.approx(((rows["bin_low"] + rows["bin_high"]) / 2).to_list())
        assert list(band.y) == rows["kld_high"].to_list() + rows["kld_low"].to_list()[::-1]
        assert line.line.color == style.colors[model]
    named = {note.name: note.y for note in figure.layout.annotations}
    assert set(named) == set(MADE["families"][0].models)
    assert len(set(named.values())) == len(named), "names stand apart"
    share = CONFIDENCE.filter(model="model-0")["n_scored"][0] / CONFIDENCE.filter(model="model-0")["n_scored"].sum()
    assert f"{100 * share:.0f}\N{NO-BREAK SPACE}% of the tokens" in of_model(figure, "model-0")[1].customdata[0]


def test_the_noise_floor_is_a_corner_of_the_planes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not [each for each in gallery(MADE)["models"].layout.shapes if each.name == "noise floor"]
    floor = SimpleNamespace(gain=0.01, loss=0.02, kld=1e-4, delta_max=0.5, n_scored=100)
    monkeypatch.setattr(Family, "noise_floor", property(lambda _: floor), raising=False)
    for name, unit in (("models", "nats"), ("models_bpb", "bpb"), ("documents", "nats"), ("documents_bpb", "bpb")):
        (corner,) = [each for each in gallery(MADE)[name].layout.shapes if each.name == "noise floor"]
        row = OVERALL.row(0, named=True)
        scale = 1.0 if unit == "nats" else row["n_scored"] / row["n_bytes"] / math.log(2)
        assert (corner.x0, corner.y0) == (0, 0)
        assert (corner.x1, corner.y1) == pytest.approx((0.01 * scale, 0.02 * scale))
    lines = [each for each in gallery(MADE)["divergence"].layout.shapes if each.x0 == each.x1]
    assert [each.x0 for each in lines] == [1e-4]
