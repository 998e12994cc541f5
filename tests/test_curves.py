"""How numbers settle along the documents: curves end at the models' numbers; intervals are those of resampling."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from helpers import frames
from ppldelta.analysis.curves import MOST_PLACES, running_documents
from ppldelta.reporting.convergence import corpus

DOCUMENTS, MODELS = frames.make()


@pytest.mark.parametrize("bits", [False, True])
def test_the_curve_of_documents_ends_at_the_models_numbers(bits: bool) -> None:
    curve = running_documents(DOCUMENTS, bits=bits)
    for (model,), rows in DOCUMENTS.group_by("model", maintain_order=True):
        summed = float((rows["delta"] * rows["n_scored"]).sum())
        wanted = -summed / math.log(2) / rows["n_bytes"].sum() if bits else math.exp(-summed / rows["n_scored"].sum())
        own = curve.filter(model=model)
        assert own["value"][-1] == pytest.approx(wanted)
        assert own["n_scored"][-1] == rows["n_scored"].sum()
        assert own["low"][:4].null_count() == 4 and own["low"][-1] < own["value"][-1] < own["high"][-1]


def test_its_interval_is_that_of_resampled_documents() -> None:
    rng = np.random.default_rng(1)
    n, delta = rng.integers(50, 500, 400), rng.normal(0.1, 0.3, 400)
    rows = DOCUMENTS.filter(model=DOCUMENTS["model"][0]).head(1).drop("n_scored", "delta")
    made = pl.concat([rows] * 400).with_columns(n_scored=pl.Series(n), delta=pl.Series(delta))
    low, high = running_documents(made).select("low", "high").row(-1)
    picked = rng.integers(0, 400, (4000, 400))
    ratios = np.exp(-(delta * n)[picked].sum(axis=1) / n[picked].sum(axis=1))
    assert (low, high) == pytest.approx(tuple(np.quantile(ratios, [0.025, 0.975])), rel=0.01)


def test_many_documents_leave_few_places_with_both_ends() -> None:
    rows = DOCUMENTS.filter(model=DOCUMENTS["model"][0])
    many = pl.concat([rows] * (2000 // rows.height + 1))
    curve = running_documents(many)
    assert curve.height <= MOST_PLACES + 2
    assert (curve["n_documents"][0], curve["n_documents"][-1]) == (1, many.height)


def test_areas_lie_on_their_side_of_one_and_each_model_has_a_line() -> None:
    figure = corpus(running_documents(DOCUMENTS))
    by_role = {(trace.meta["model"], trace.meta["curve"]): trace for trace in figure.data}
    for model in frames.SHIFTS:
        line = by_role[model, "ratio"]
        wanted = running_documents(DOCUMENTS).filter(model=model)["value"].to_list()
        assert list(line.y) == wanted
        assert list(by_role[model, "below"].y) == [min(value, 1) for value in wanted]
        assert list(by_role[model, "above"].y) == [max(value, 1) for value in wanted]
    assert {note.text for note in figure.layout.annotations} >= set(frames.CATEGORIES)


def test_intervals_are_bands_of_a_few_models_and_bars_of_many() -> None:
    curve = running_documents(DOCUMENTS)
    of_few = {trace.meta["curve"] for trace in corpus(curve).data}
    assert {"low", "high"} <= of_few and "end" not in of_few
    one = curve.filter(model=curve["model"][0])
    many = pl.concat([one.with_columns(model=pl.lit(name)) for name in "abcde"])
    traces = corpus(many).data
    assert not {"low", "high"} & {trace.meta["curve"] for trace in traces}
    ends = [trace for trace in traces if trace.meta["curve"] == "end"]
    assert [trace.meta["model"] for trace in ends] == list("abcde")
    last = one.row(-1, named=True)
    for trace in ends:
        assert trace.y[0] == last["value"] and trace.x[0] > last["n_documents"]
        assert trace.y[0] + trace.error_y.array[0] == pytest.approx(last["high"])
        assert trace.y[0] - trace.error_y.arrayminus[0] == pytest.approx(last["low"])
