"""Quants are told as quants: damage, divergence, what bytes buy; no front of gain and loss, and nothing is best."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from helpers import frames, synthetic
from ppldelta import schema
from ppldelta.analysis.front import pareto_front
from ppldelta.analysis.steps import Ladder, Standing, Step
from ppldelta.family import Family
from ppldelta.reporting import quants
from ppldelta.reporting.overview import Judged, overview
from ppldelta.reporting.sizes import value_against_size
from ppldelta.result import Result

SIZES = {"model-0": 1_000_000_000, "model-1": 2_500_000_000, "model-2": 4_000_000_000}


def told(family: Family, *labels: str) -> Family:
    """The family, in which these comparisons are quants and the others finetunes."""
    kinds = {label: "quant" if label in labels else "finetune" for label in family.models}
    cmp = tuple(replace(each, kind=kinds[each.label], kind_reason="Because.") for each in family.cmp)
    return replace(family, cmp=cmp)


def made(*labels: str, divergence: bool = False) -> Result:
    """A synthetic result of three models with sizes, of which some are quants."""
    parts = synthetic.make(n_documents=18, n_models=3, n_tokens=60)
    models = parts["models"].with_columns(
        size_bytes=pl.col("model").replace_strict(SIZES).cast(pl.UInt64),
        bits_per_weight=pl.col("model").replace_strict({label: size / 5e8 for label, size in SIZES.items()}),
    )
    if divergence:
        models = models.with_columns(
            kld=pl.col("damage") / 3, kld_low=pl.col("damage") / 4, kld_high=pl.col("damage") / 2, kld_p99=pl.lit(0.5),
            same_top=pl.lit(0.913), same_top_low=pl.lit(0.9), same_top_high=pl.lit(0.92),
        )  # fmt: skip
    return Result(**{**parts, "models": models, "families": [told(parts["families"][0], *labels)]})


def fronts(figure: Any) -> list[list[str]]:
    return [[name for _, name in trace.customdata] for trace in figure.data if (trace.meta or {}).get("front")]


def words(figure: Any) -> str:
    return " ".join(note.text for note in figure.layout.annotations)


def sentence(rows: list[dict[str, Any]], standing: Standing | None = None) -> str:
    text = "".join(piece.text for piece in quants.finding(rows, standing))
    return text.replace("\N{NO-BREAK SPACE}", " ")


def row(category: str | None, damage: float, **more: Any) -> dict[str, Any]:
    known = {"model": "m", "category": category, "size_bytes": 105_000_000, "bits_per_weight": 6.27, "kld": None}
    ends = {"damage": damage, "damage_low": damage - 0.01, "damage_high": damage + 0.01}
    in_bits = {name.replace("damage", "damage_bpb"): value / 4 for name, value in ends.items()}
    return {**known, **ends, **in_bits, "kld_p99": None, "same_top": None, **more}


def test_a_sentence_says_size_damage_and_where() -> None:
    text = sentence([row(None, 0.1), row("code", 0.2), row("prose", 0.05), row("poems", 0.1)])
    assert text == (
        "m (105 MB, 6.27 bits per weight) does 0.100 nats/token of damage (95 % interval 0.090 to 0.110), "
        "most to code 0.200 (0.190 to 0.210) and least to prose 0.0500 (0.0400 to 0.0600)."
    )
    alike = sentence([row(None, 0.1), row("code", 0.105), row("prose", 0.1)])
    assert "in no category clearly more or less than in all others" in alike
    two = sentence([row(None, 0.1), row("code", 0.2), row("prose", 0.05), row("poems", 0.06)])
    assert "most to code" in two and "least" not in two, "prose and poems overlap"
    assert "categor" not in sentence([row(None, 0.1), row("", 0.1)])
    assert "not finite" in sentence([row(None, float("nan"))])
    assert sentence([row(None, 0.1, size_bytes=None)]).startswith("m does 0.100 nats/token of damage")
    few = row(None, 0.1, damage_low=None, damage_high=None)
    assert "0.100 nats/token of damage (too few documents for an interval)." in sentence([few])


def test_in_bits_per_byte_damage_is_too() -> None:
    rows = [row(None, 0.5), row("code", 0.6), row("prose", 0.4)]
    text = "".join(piece.text for piece in quants.finding(rows, None, "bpb")).replace("\N{NO-BREAK SPACE}", " ")
    assert text.endswith(
        "does 0.125 bits/byte of damage (95 % interval 0.122 to 0.128), most to code 0.150 (0.147 to 0.152) "
        "and least to prose 0.100 (0.098 to 0.103)."
    )
    null = dict.fromkeys(("damage_bpb", "damage_bpb_low", "damage_bpb_high"))
    rows = [row(each, 0.4, gain_bpb=0.05, loss_bpb=0.075, **null) for each in (None, "code", "prose")]
    old = "".join(piece.text for piece in quants.finding(rows, None, "bpb"))  # of a result that an older version saved
    assert old.endswith("does 0.125 bits/byte of damage.")
    both = [Judged(name, rows, quant=True, unit="bpb") for name in "ab"]
    assert "the least damage, 0.125 bits/byte" in "".join(piece.text for piece in overview(both))


def test_a_sentence_says_the_divergence_where_it_is_known() -> None:
    known = dict(kld=0.02, kld_low=0.01, kld_high=0.03, kld_p99=0.31, same_top=0.913)
    text = sentence([row(None, 0.1, **known, same_top_low=0.9, same_top_high=0.92)])
    assert text.endswith(
        " Its KL divergence is 0.0200 (0.0100 to 0.0300), at one token in a hundred above 0.31; "
        "it finds the same token most probable at 91.3 % (90.0 to 92.0 %) of the tokens."
    )
    assert "KL" not in sentence([row(None, 0.1)])


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (
            Step("a", "m", 12_000_000, 0.06, 0.05, 0.07),
            "12.0 MB larger than a and saves 0.0600 (0.0500 to 0.0700) of damage",
        ),
        (Step("a", "m", 12_000_000, 0.06, 0.05, 0.07), ", 0.00500 (0.00417 to 0.00583) for each MB."),
        (Step("a", "m", 2_000_000_000, 0.06, 0.05, 0.07), ", 0.0300 (0.0250 to 0.0350) for each GB."),
        (Step("a", "m", 12_000_000, 0.01, -0.01, 0.03), "does not clearly save damage, +0.0100 (−0.0100 to +0.0300)."),
        (Step("a", "m", 12_000_000, -0.03, -0.04, -0.02), "and yet does 0.0300 (0.0200 to 0.0400) more damage."),
        (
            Step("a", "m", 12_000_000, 0.06, None, None),
            "saves 0.0600 (too few documents for an interval) of damage, 0.00500 for each MB.",
        ),
    ],
)
def test_a_sentence_says_what_its_bytes_buy(step: Step, words: str) -> None:
    assert words in sentence([row(None, 0.1)], Standing(step, step, "other", None))


def test_words_say_how_a_quant_stands_beside_the_next_and_the_best() -> None:
    worse, better = Step("a", "m", 10**6, -0.056, -0.07, -0.04), Step("a", "m", 10**6, 0.056, 0.04, 0.07)
    unclear, far = Step("a", "m", 10**6, 0.01, -0.02, 0.04), Step("b", "m", 10**7, -0.2, -0.3, -0.1)
    rows = [row(None, 0.1)]
    assert quants.verdict(rows, Standing(worse, far, "z", ("z",))) == (
        "larger and worse than a: +0.0560 (+0.0400 to +0.0700)",
        "b, smaller, does 0.200 less",
    )
    assert quants.verdict(rows, Standing(better, better, "m", ("m",))) == (
        "less damage than a: −0.0560 (−0.0700 to −0.0400)",
        "the least damage; nothing smaller ties with it",
    )
    assert quants.verdict(rows, Standing(unclear, unclear, "m", ("a", "m")))[0].startswith("not clearly other than a: ")
    assert quants.verdict(rows, Standing(unclear, unclear, "m", ("a", "m")))[1].endswith(
        "a, smaller, cannot be told from it"
    )
    assert quants.verdict(rows, Standing(better, better, "z", ("m", "z")))[1] == (
        "the smallest that cannot be told from z, the best"
    )
    assert quants.verdict(rows, Standing(None, None, "z", ("z",))) == ("the smallest", "")
    few = Standing(Step("a", "m", 10**6, 0.056, None, None), None, "m", None)
    assert quants.verdict(rows, few) == ("against a: −0.0560", "")
    alone = [*rows, row("code", 0.2), row("prose", 0.05), row("poems", 0.06)]
    assert quants.verdict(alone, None) == ("most to code", "")
    text = sentence(rows, Standing(worse, far, "m", ("b", "m")))
    assert "Against b, the best of the smaller ones, it does 0.200 (0.100 to 0.300) more. " in text
    assert text.endswith("It does the least damage, but b is the smallest that cannot be told from it.")


@pytest.mark.parametrize("category", [None, "code"])
def test_steps_are_those_of_the_differences(category: str | None) -> None:
    result = made(*SIZES)
    found = result.differences.filter(
        pl.col("category").is_null() if category is None else pl.col("category") == category, metric="damage"
    )
    differences = {
        (a, b): ends for a, b, *ends in found.select("model_a", "model_b", "difference", "low", "high").rows()
    }
    standings = Ladder(result.documents, SIZES).standings(category=category)
    assert list(standings) == list(SIZES) and standings["model-0"].after is standings["model-0"].beside is None
    for label, standing in list(standings.items())[1:]:
        for step in (standing.after, standing.beside):
            assert step is not None and step.larger == label
            assert step.more_bytes == SIZES[label] - SIZES[step.smaller]
            ends = (step.saved, step.low, step.high)
            assert ends == pytest.approx(differences[step.smaller, label], rel=1e-3, abs=1e-6)
    rows = result.models.filter(
        pl.col("category").is_null() if category is None else pl.col("category") == category, weighting="tokens"
    )
    (least,) = {standing.least for standing in standings.values()}
    assert least == rows.sort("damage")["model"][0]
    assert standings["model-2"].after and standings["model-2"].after.smaller == "model-1"


def test_steps_have_the_unit_and_the_weighting_that_are_chosen() -> None:
    result = made(*SIZES)
    ladder = Ladder(result.documents, SIZES)
    for unit, column in (("nats", "damage"), ("bpb", "damage_bpb")):
        for weighting in ("tokens", "documents"):
            rows = result.models.filter(pl.col("category").is_null(), weighting=weighting)
            damage = dict(rows.select("model", column).rows())
            step = ladder.standings(unit, weighting)["model-1"].after
            assert step and step.saved == pytest.approx(damage["model-0"] - damage["model-1"])


def test_steps_leave_out_what_cannot_be_compared() -> None:
    result = made(*SIZES)
    two = Ladder(result.documents, {**SIZES, "model-1": None}).standings()
    assert list(two) == ["model-0", "model-2"]
    assert Ladder(result.documents, {"model-0": 5}).standings() == {}
    assert Ladder(result.documents, dict.fromkeys(SIZES, 5)).standings() == {}
    lacking = result.documents.filter(
        (pl.col("model") != "model-1") | (pl.col("document") != result.documents["document"][0])
    )
    assert list(Ladder(lacking, SIZES).standings()) == ["model-0", "model-2"]
    few = result.documents.filter(pl.col("document").is_in(result.documents["document"].unique().sort()[:3]))
    standing = Ladder(few, SIZES).standings()["model-1"]
    assert standing.after and standing.after.low is None and standing.tied is None


def test_quants_have_no_front_of_gain_and_loss_and_nothing_is_best() -> None:
    figures = made(*SIZES).figures
    for name in ("models", "models_bpb", "documents"):
        assert "better ↘" not in words(figures[name]) and "gain = loss" in words(figures[name])
        assert not [shape for shape in figures[name].layout.shapes if shape.type == "path"], "no half is tinted"
    assert fronts(figures["models"]) == []
    others = made().figures
    assert "better ↘" in words(others["models"]) and "damage" not in others
    assert fronts(others["models"])


def test_a_front_of_finetunes_does_not_ask_quants() -> None:
    result = made("model-1")
    (alone,) = fronts(made().figures["models"]) or [[]]
    assert all("model-1" not in front for front in fronts(result.figures["models"]))
    assert "better ↘" in words(result.figures["models"]) and alone
    drawn = {trace.meta["model"] for trace in result.figures["size"].data if "model" in (trace.meta or {})}
    assert drawn == {"model-0", "model-2"}
    assert "damage" not in result.figures, "a plane of one mark"


@pytest.mark.parametrize(("name", "column", "size"), [("damage", "damage", 1e-9), ("quant_divergence", "kld", None)])
def test_quants_stand_against_their_size_with_their_front(name: str, column: str, size: float | None) -> None:
    result = made(*SIZES, divergence=True)
    rows = result.models.filter(pl.col("category").is_null(), weighting="tokens")
    figure = result.figures[name]
    x = rows["size_bytes"] * size if size else rows["bits_per_weight"]
    marks = {trace.meta["model"]: trace for trace in figure.data if "model" in (trace.meta or {})}
    for at, model in enumerate(rows["model"]):
        assert (marks[model].x[0], marks[model].y[0]) == pytest.approx((x[at], rows[column][at]))
        assert marks[model].error_y.array[0] == pytest.approx(rows[f"{column}_high"][at] - rows[column][at])
    on_front = rows.filter(pl.Series(pareto_front(x, rows[column])))["model"].to_list()
    assert [sorted(each) for each in fronts(figure)] == ([sorted(on_front)] if len(on_front) > 1 else [])
    assert "predicts better" not in figure.layout.yaxis.title.text
    assert "quant_divergence" not in made(*SIZES).figures


def page(result: Result, families: list[Family] | None = None) -> str:
    html = frames.page(result.documents, result.models, families=families or result.families, version="1").html
    return " ".join(html.split("<script")[0].replace("&nbsp;", " ").split())


def test_the_page_tells_each_kind_in_its_words() -> None:
    whole, mixed, none = (page(made(*labels)) for labels in (SIZES, ["model-1"], []))
    assert "Lower right is better" not in whole and "in the corner" in whole and " of damage" in whole
    assert (
        "Lower right is better, and for quants the corner" in mixed and " of damage" in mixed and "predicts " in mixed
    )
    main = none.replace("Q", "").split("<main>")[1].split("<footer>")[0]
    assert "Lower right is better." in none and "quant" not in main
    assert mixed.count("gain + loss: how far") == whole.count("gain + loss: how far") == 2, "a column of both tables"
    assert "gain + loss: how far" not in none
    assert "<code>model-1</code>: Because." in mixed, "the decision is shown"
    quants_and_one = made("model-1", "model-2")
    (family,) = quants_and_one.families
    alike = page(quants_and_one, [replace(family, ref=replace(family.ref, size_bytes=1_000_000_000))])
    said = "The models that are no quants and the reference are of one size, 1.00 GB: there is no plane of quality"
    assert said in alike
    assert 'id="f0-size"' not in alike and "of one size" not in whole + none
    assert "is the only quant: a damage of" in mixed and "is the only quant" not in whole + none
    for html, places in ((whole, ["damage"]), (mixed, ["size"]), (none, ["size"])):
        assert [name for name in ("size", "damage") if f'id="f0-{name}"' in html] == places


def test_the_table_of_a_terminal_has_the_damage_of_quants() -> None:
    assert "damage" in made("model-1").summary.columns and "damage" not in made().summary.columns


def test_eight_quants_of_like_size_have_names_and_the_axis_begins_near_them() -> None:
    known = {**dict.fromkeys(schema.MODELS), "family": "f", "weighting": "tokens"}
    made = [("Q8_0", 145, 0.02), ("Q6_K", 138, 0.05), ("Q5_K_M", 112, 0.09), ("Q5_0", 110, 0.1)]
    made += [("Q4_K_M", 105, 0.16), ("Q4_0", 104, 0.18), ("IQ4_XS", 103, 0.17), ("Q3_K_M", 93, 0.4)]
    rows = [known | {"model": name, "size_bytes": mb * 10**6, "damage": damage} for name, mb, damage in made]
    figure = value_against_size(pl.DataFrame(rows, schema=schema.MODELS), value="damage").figure()
    named = {trace.text[0]: trace for trace in figure.data if trace.text}
    assert sorted(named) == sorted(name for name, *_ in made)
    assert 80 < figure.layout.xaxis.range[0] < 93
    near = [(named[name].textposition.split()[-1], named[name].y[0]) for name in ("IQ4_XS", "Q4_0", "Q4_K_M")]
    assert near[0][0] == "left" and near[1][0] == near[2][0] == "right", "those beside each other turn away"
    front = ["Q3_K_M", "Q4_K_M", "Q8_0"]
    figure = value_against_size(pl.DataFrame(rows, schema=schema.MODELS), value="damage", front=front).figure()
    rates = {(t.meta["above"], t.meta["model"]): t.text[0] for t in figure.data if "above" in (t.meta or {})}
    assert {key: text.replace("\N{NO-BREAK SPACE}", " ") for key, text in rates.items()} == {
        ("Q3_K_M", "Q4_K_M"): "\N{MINUS SIGN}0.24 for 12.0 MB",
        ("Q4_K_M", "Q8_0"): "\N{MINUS SIGN}0.14 for 40.0 MB",
    }
