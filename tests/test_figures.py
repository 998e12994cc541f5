"""What the figures hold equals the frames; names stay text; colours can be told apart."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import plotly.graph_objects as go
import polars as pl
import pytest

from helpers import frames
from ppldelta.analysis.contours import outlines
from ppldelta.analysis.density import density_grid
from ppldelta.reporting import figures, hover, labels, marks, short_names, theme, units
from ppldelta.reporting.ratios import mean_ratios
from ppldelta.reporting.sketch import Sketch

DOCUMENTS, MODELS = frames.make()
OVERALL = MODELS.filter(pl.col("category").is_null(), weighting="tokens")
BY_DOCUMENT = MODELS.filter(weighting="documents")
UNITS = [("nats", "gain", "loss"), ("bpb", "gain_bpb", "loss_bpb")]

HOSTILE = ["<img src=x onerror=alert(1)>.txt", "</script><script>alert(1)</script>", "<b>a</b>&lt;%{x}", "$x^2$", ""]


def of_model(figure: go.Figure, model: str, kind: type = go.Scatter) -> list[go.Scatter]:
    return [trace for trace in figure.data if isinstance(trace, kind) and (trace.meta or {}).get("model") == model]


def shown(text: str) -> str:
    """What plotly writes for a text: `<br>` breaks the line, three entities stand for characters."""
    text = text.replace("<br>", "")
    assert "<" not in text.replace("<b>", "").replace("</b>", "")
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


@pytest.mark.parametrize(("unit", "gain", "loss"), UNITS)
def test_documents_plane_draws_the_rows_of_the_frame(unit: units.Unit, gain: str, loss: str) -> None:
    figure = figures.documents_plane(DOCUMENTS, unit=unit).figure()
    symbols = theme.Style.of((), frames.CATEGORIES).symbols
    category = {symbol: name for name, symbol in symbols.items()}
    drawn = {
        (trace.meta["model"], category[symbol], x, y)
        for trace in figure.data
        for x, y, symbol in zip(trace.x, trace.y, trace.marker.symbol, strict=True)
    }
    assert drawn == set(DOCUMENTS.select("model", "category", gain, loss).rows())
    assert sum(len(trace.x) for trace in figure.data) == DOCUMENTS.height
    assert units.UNITS[unit] in figure.layout.xaxis.title.text
    assert units.UNITS[unit] in figure.layout.yaxis.title.text


def test_documents_plane_shows_every_point_and_names_every_model_once() -> None:
    figure = figures.documents_plane(DOCUMENTS).figure()
    assert figure.layout.xaxis.range[1] > DOCUMENTS["gain"].max()
    assert figure.layout.yaxis.range[1] > DOCUMENTS["loss"].max()
    named = [trace.name for trace in figure.data if trace.showlegend is not False]
    assert named == DOCUMENTS["model"].unique(maintain_order=True).to_list()


def test_a_model_has_one_colour_and_a_category_one_symbol() -> None:
    figure = figures.documents_plane(DOCUMENTS).figure()
    colors = {(trace.meta["model"], trace.marker.color) for trace in figure.data}
    assert len(colors) == len({color for _, color in colors}) == len(frames.SHIFTS)
    for trace in figure.data:
        categories = DOCUMENTS.filter(model=trace.meta["model"])["category"]
        pairs = set(zip(categories, trace.marker.symbol, strict=True))
        assert len(pairs) == len({symbol for _, symbol in pairs}) == len(frames.CATEGORIES)


def test_the_page_gets_the_same_traces_without_marks() -> None:
    for whole, bare in (
        (figures.documents_plane(DOCUMENTS).figure(), figures.documents_plane(DOCUMENTS, filled=False).figure()),
        (figures.perplexities(DOCUMENTS).figure(), figures.perplexities(DOCUMENTS, filled=False).figure()),
    ):
        assert whole.layout == bare.layout
        for full, empty in zip(whole.data, bare.data, strict=True):
            assert full.x and empty.x is None and empty.marker.symbol is None and empty.hovertemplate is None
            assert full.meta == empty.meta and full.marker.color == empty.marker.color
            assert full.marker.size and empty.marker.size is None, "both follow the tokens"


def test_hover_of_a_document_says_its_numbers() -> None:
    row = DOCUMENTS.row(0, named=True)
    figure = figures.documents_plane(DOCUMENTS).figure()
    text = shown(figure.data[0].customdata[0])
    for part in (row["document"], row["model"], row["category"], f"{row['gain']:.3f}", f"{row['n_scored']} scored"):
        assert part in text


@pytest.mark.parametrize("axes", ["linear", "root"])
def test_contours_lie_over_the_marks_at_the_levels_of_the_density(axes: units.Axes) -> None:
    rows = DOCUMENTS.filter(model="tiny-code.Q8_0")
    density = density_grid(rows["gain"].to_numpy(), rows["loss"].to_numpy())
    assert density is not None
    figure = figures.documents_plane(DOCUMENTS, densities={"tiny-code.Q8_0": density}, axes=axes).figure()
    contours = [trace for trace in figure.data if trace.meta.get("contour")]
    assert list(figure.data[-2:]) == contours, "what comes later is drawn above"
    for trace, level in zip(contours, sorted(density.levels), strict=True):
        wanted = [x for ring in outlines(density.x, density.y, density.z, level) for x, _ in [*ring, ring[0]]]
        drawn = [x if axes == "linear" else x**2 for x in trace.x if x is not None]
        np.testing.assert_allclose(drawn, wanted, rtol=2e-3)


@pytest.mark.parametrize("draw", [figures.documents_plane, figures.models_plane])
def test_gain_equals_loss_stands_at_45_degrees(draw: Callable[..., Sketch]) -> None:
    layout = draw(DOCUMENTS if draw is figures.documents_plane else OVERALL).figure().layout
    assert layout.xaxis.range == layout.yaxis.range
    assert (layout.yaxis.scaleanchor, layout.yaxis.scaleratio, layout.xaxis.constrain) == ("x", 1, "domain")


def test_square_roots_stand_where_the_ticks_say() -> None:
    figure = figures.models_plane(OVERALL, axes="root").figure()
    for row in OVERALL.iter_rows(named=True):
        (trace,) = of_model(figure, row["model"])
        assert (trace.x[0] ** 2, trace.y[0] ** 2) == pytest.approx((row["gain"], row["loss"]))
        assert (trace.x[0] + trace.error_x.array[0]) ** 2 == pytest.approx(row["gain_high"])
        assert (trace.y[0] - trace.error_y.arrayminus[0]) ** 2 == pytest.approx(row["loss_low"])
    axis = figure.layout.xaxis
    assert len(axis.tickvals) >= 4
    for at, text in zip(axis.tickvals, axis.ticktext, strict=True):
        assert at**2 == pytest.approx(float(text))


def test_marks_grow_with_tokens_and_short_documents_are_faint() -> None:
    n = pl.Series("n_scored", [10, *[1000] * (DOCUMENTS.height - 2), 10**6], dtype=DOCUMENTS.schema["n_scored"])
    rows = DOCUMENTS.with_columns(n)
    traces = figures.documents_plane(rows).figure().data
    sizes = [size for trace in traces for size in trace.marker.size]
    opacities = [each for trace in traces for each in trace.marker.opacity]
    assert (sizes[0], sizes[1], sizes[-1]) == marks.SIZES
    assert [each == marks.OPACITIES[0] for each in opacities] == [True, *[False] * (rows.height - 1)]


@pytest.mark.parametrize(("unit", "gain", "loss"), UNITS)
def test_models_plane_draws_means_and_intervals(unit: units.Unit, gain: str, loss: str) -> None:
    figure = figures.models_plane(OVERALL, unit=unit).figure()
    for row in OVERALL.iter_rows(named=True):
        (trace,) = of_model(figure, row["model"])
        assert (trace.x[0], trace.y[0]) == (row[gain], row[loss])
        assert trace.x[0] + trace.error_x.array[0] == pytest.approx(row[f"{gain}_high"])
        assert trace.x[0] - trace.error_x.arrayminus[0] == pytest.approx(row[f"{gain}_low"])
        assert trace.y[0] + trace.error_y.array[0] == pytest.approx(row[f"{loss}_high"])
        assert trace.y[0] - trace.error_y.arrayminus[0] == pytest.approx(row[f"{loss}_low"])
    (reference,) = [trace for trace in figure.data if trace.name == "reference"]
    assert (reference.x[0], reference.y[0]) == (0, 0)


def test_lines_of_equal_difference_are_where_they_say() -> None:
    figure = figures.models_plane(OVERALL).figure()
    ends = {(note.x, note.y): note.text for note in figure.layout.annotations}
    lines = [shape for shape in figure.layout.shapes if shape.type == "line" and (shape.x1, shape.y1) in ends]
    assert len(lines) >= 4
    for line in lines:
        net = float(ends[line.x1, line.y1].replace("\N{MINUS SIGN}", "-"))
        assert line.x0 - line.y0 == pytest.approx(net)
        assert line.x1 - line.y1 == pytest.approx(net)


def test_mean_ratios_draw_both_ratios_over_all_and_by_category() -> None:
    figure = mean_ratios(BY_DOCUMENT)
    for model, column in itertools.product(frames.SHIFTS, ("ppl_gain", "ppl_loss")):
        (trace,) = [trace for trace in of_model(figure, model) if trace.meta["column"] == column]
        assert list(trace.x) == BY_DOCUMENT.filter(model=model)[column].to_list()
    low, high = figure.layout.xaxis.range
    assert low < BY_DOCUMENT["ppl_gain_low"].min() and high > BY_DOCUMENT["ppl_loss_high"].max()


def test_what_is_missing_or_not_finite_is_left_out() -> None:
    nothing = [
        pl.lit(None, dtype=pl.Float64).alias(name) for name in OVERALL.columns if name.endswith(("_low", "_high"))
    ]
    figure = figures.models_plane(OVERALL.with_columns(*nothing)).figure()
    (trace,) = of_model(figure, "tiny-code.Q8_0")
    assert trace.error_x.visible is False
    broken = OVERALL.with_columns(pl.when(model="tiny-code.Q8_0").then(math.nan).otherwise("gain").alias("gain"))
    figure = figures.models_plane(broken).figure()
    assert of_model(figure, "tiny-code.Q8_0") == []
    assert math.isfinite(figure.layout.xaxis.range[1])
    mean_ratios(BY_DOCUMENT.with_columns(pl.lit(math.nan).alias("ppl_gain")))


def test_a_model_against_itself_lies_on_the_reference() -> None:
    zero = [pl.lit(0.0).alias(name) for name in OVERALL.columns if name.startswith(("gain", "loss", "delta"))]
    figure = figures.models_plane(OVERALL.head(1).with_columns(*zero)).figure()
    (trace,) = of_model(figure, "tiny-code.Q8_0")
    assert (trace.x[0], trace.y[0]) == (0, 0)
    assert figure.layout.xaxis.range[1] > 0


@pytest.mark.parametrize("name", HOSTILE)
def test_names_stay_text(name: str) -> None:
    rename = {"tiny-code.Q8_0": name, "code": name}
    documents, models = frames.make(rename={**rename, "code/00.txt": name}, per_category=2)
    for figure in (
        figures.documents_plane(documents).figure(),
        figures.models_plane(models.filter(pl.col("category").is_null(), weighting="tokens")).figure(),
        mean_ratios(models.filter(weighting="documents")),
    ):
        for trace in of_model(figure, name):
            assert shown(trace.name) == name
            assert all(name in shown(text) for text in trace.customdata)
            assert [shown(text) for text in trace.text or ()] in ([], [""], [short_names.crop(name)])
    assert shown(hover.literal(name * 9, width=10)) == name * 9


def test_figures_are_the_same_each_time() -> None:
    assert (
        figures.documents_plane(DOCUMENTS).figure().to_json() == figures.documents_plane(DOCUMENTS).figure().to_json()
    )


def test_names_on_a_plane_do_not_cover_each_other() -> None:
    points = [(0.1, 0.1), (0.105, 0.1), (0.11, 0.1), (0.5, 0.5)]
    places = labels.place(
        points, ["model-a", "model-b", "model-c", "far"], [(*p, *p) for p in points], (1, 1), below_zero=0
    )
    near = [place for place in places[:3] if place]
    assert len(set(near)) == len(near)
    assert places[3] is not None


def test_shortened_names_keep_what_tells_them_apart() -> None:
    names = [f"Qwen3.5-4B-Instruct-{part}.uncensored.Q8_0" for part in ("heretic", "abliterated")]
    assert short_names.shorten(names) == ["heretic", "abliterated"]
    assert short_names.shorten(["a.Q8_0", "b.Q8_0"]) == ["a.Q8_0", "b.Q8_0"]
    assert len(short_names.crop("x" * 99)) == short_names.LONGEST


def linear(color: str) -> np.ndarray:
    """Linear-light sRGB of `#rrggbb`."""
    channels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def contrast(a: str, b: str) -> float:
    """WCAG 2 contrast ratio."""
    dark, light = sorted(linear(color) @ [0.2126, 0.7152, 0.0722] for color in (a, b))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_colours_can_be_seen_and_told_apart(mode: int) -> None:
    surface = theme.CHROME["surface"][mode]
    colors = [pair[mode] for pair in theme.MODEL_COLORS]
    assert all(contrast(color, surface) >= 2.99 for color in colors)
    for role in ("ink", "muted"):
        assert contrast(theme.CHROME[role][mode], theme.CHROME["page"][mode]) >= 4.5
    # Machado, Oliveira and Fernandes (2009), severity 1: deuteranopia and protanopia, on linear light
    for matrix in (
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    ):
        seen = [np.cbrt(np.clip(np.array(matrix) @ linear(color), 0, 1)) for color in colors]
        assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 0.05
    assert len(theme.DARK_OF_LIGHT) == len(theme.CHROME) + len(theme.MODEL_COLORS), "a light colour stands twice"


@pytest.mark.parametrize("draw", [figures.documents_plane, figures.models_plane])
def test_the_noise_floor_is_a_region_from_zero(draw: Callable[..., Sketch]) -> None:
    rows = DOCUMENTS if draw is figures.documents_plane else OVERALL
    figure = draw(rows, floor=(0.02, 0.03)).figure()
    [region] = [shape for shape in figure.layout.shapes if shape.name == "noise floor"]
    assert (region.type, region.layer) == ("rect", "below")
    assert (region.x0, region.y0, region.x1, region.y1) == (0, 0, 0.02, 0.03)
    [name] = [each for each in figure.layout.annotations if each.text == "noise floor"]
    assert (name.x, name.y) == (0.01, 0.03), "it points at the region"
    for floor in (None, (math.nan, 0.1)):
        assert "noise floor" not in str(draw(rows, floor=floor).figure().layout)
    assert draw(rows, floor=(9.0, 0.1)).figure().layout.xaxis.range[1] > 9, "it is whole"


def test_names_at_the_ends_of_lines_stand_apart() -> None:
    assert labels.apart([0.1, 0.11, 0.12, 0.9], 0.1, 0, 1) == pytest.approx([0.1, 0.2, 0.3, 0.9])
    assert labels.apart([0.95, 0.96], 0.1, 0, 1) == pytest.approx([0.9, 1.0]), "and stay inside"
