"""What tables and sentences say under each choice of a reader: the numbers of the frames, in the unit that is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from helpers import frames, synthetic
from helpers.blocks import decode
from ppldelta.analysis.steps import Ladder
from ppldelta.family import Family
from ppldelta.reporting import order, short_names, tables
from ppldelta.reporting.blocks import encode
from ppldelta.reporting.head import Head
from ppldelta.reporting.units import COLUMNS, DELTA, SHORT_UNITS, Choice
from ppldelta.reporting.views import Views, choices, key, make_views

MADE = synthetic.make(n_documents=24, n_models=6, n_tokens=40, kld=True)
(FAMILY,) = MADE["families"]
MODELS: pl.DataFrame = MADE["models"]
ALL = ("unit", "weighting", "category")


def head_of(family: Family, models: pl.DataFrame, *, headlined: bool = False) -> Head:
    """The head of a family whose quants are not compared with each other."""
    names = dict(zip(family.models, short_names.trimmed(family.models), strict=True))
    return Head(family, models, Ladder(MADE["documents"], {}), names=names, headlined=headlined)


def views(family: Family = FAMILY, models: pl.DataFrame = MODELS) -> Views:
    heads = [head_of(family, models)]
    colors = {(family.name, model): f"m{i}" for i, model in enumerate(family.models)}
    more: dict[str, Any] = dict(units=["nats", "bpb"], categories=frames.CATEGORIES, spans=False, bytes_per_token={})
    return make_views(heads, models, colors, **more)


@pytest.fixture(scope="module")
def block() -> dict[str, Any]:
    return decode(encode(views().block))[1]


@pytest.mark.parametrize("name", ["summary", "head"])
def test_a_table_has_the_numbers_of_each_choice(block: dict[str, Any], name: str) -> None:
    for choice in choices(ALL, ["nats", "bpb"], frames.CATEGORIES):
        table = block["tables"][name][key(choice, ALL)]
        titles = [title for title, *_ in table["columns"]]
        units = [unit for _, unit, *_ in table["columns"]]
        in_scope = pl.col("category").is_null() if choice.category is None else pl.col("category") == choice.category
        rows = MODELS.filter(in_scope, weighting=choice.weighting)
        assert [model for _, model, *_ in table["rows"]] == rows["model"].to_list()
        gain, _ = COLUMNS[choice.unit]
        for title, column in (("gain", gain), ("net", DELTA[choice.unit])):
            if title in titles:
                at = titles.index(title)
                assert units[at] == SHORT_UNITS[choice.unit]
                assert [cells[at][1] for *_, cells in table["rows"]] == rows[column].to_list()
    assert name != "head" or titles == ["model", "verdict", "net", "KL divergence", "size"]


def test_tables_follow_only_what_they_depend_on(block: dict[str, Any]) -> None:
    assert len(block["tables"]["summary"]) == 16
    assert set(block["tables"]["divergence"]) == {
        f"{weighting}/{scope}"
        for weighting in ("tokens", "documents")
        for scope in ("", *(f"={name}" for name in frames.CATEGORIES))
    }
    categories = block["tables"]["categories"]
    assert set(categories) == {
        f"{unit}/{weighting}" for unit in ("nats", "bpb") for weighting in ("tokens", "documents")
    }
    of = {(model, category) for _, model, category, _ in categories["bpb/documents"]["rows"]}
    assert of == {(model, name) for model in FAMILY.models for name in frames.CATEGORIES}


def test_few_models_have_sentences_and_many_a_row_each() -> None:
    many = views()
    assert not many.sentences and "head" in many.tables and "sentences" not in many.follows
    few = replace(FAMILY, cmp=FAMILY.cmp[:4])
    made = views(few, MODELS.filter(pl.col("model").is_in(few.models)))
    assert len(made.sentences) == 4 and "head" not in made.tables
    told = decode(encode(made.block))[1]["sentences"]
    assert set(told) == {key(choice, ALL) for choice in choices(ALL, ["nats", "bpb"], frames.CATEGORIES)}
    said = {choice: "".join(text for _, text in pieces[0][0]) for choice, pieces in told.items()}
    assert "nats/token" in said["nats/tokens/"] and "bits/byte" in said["bpb/tokens/"]
    assert (
        said["nats/tokens/=code"].startswith(f"{few.models[0]} predicts code ")
        and "prose" not in said["nats/tokens/=code"]
    )
    assert said["nats/tokens/"] != said["nats/documents/"]


def test_names_are_short_beside_their_families_and_whole_where_they_are_sorted() -> None:
    long = {model: f"SmolLM2-135M-Instruct.{name}.gguf" for model, name in zip(FAMILY.models, "abcdef", strict=True)}
    renamed = MODELS.with_columns(pl.col("model").replace(long))
    table = tables.summary(renamed, {(FAMILY.name, label): "" for label in long.values()})
    assert [(row[0].text, row[0].sort) for row in table.rows] == list(zip("abcdef", long.values(), strict=True))
    keys = [("f", "tiny-a.Q8_0"), ("f", "tiny-b.Q8_0")]
    assert list(short_names.in_families(keys).values()) == ["tiny-a.Q8_0", "tiny-b.Q8_0"]
    beside = [*keys, *(("g", label) for label in long.values())]
    assert list(short_names.in_families(beside).values()) == list("ab") + list("abcdef")


def test_quants_take_each_others_places_by_size() -> None:
    def of(*sizes: int | None, finetune: int = 2) -> list[str]:
        cmp = tuple(
            replace(each, size_bytes=size, kind="finetune" if i == finetune else "quant")
            for i, (each, size) in enumerate(zip(FAMILY.cmp, sizes, strict=False))
        )
        family = replace(FAMILY, cmp=cmp)
        rows = order.in_order(MODELS.filter(pl.col("model").is_in(family.models)), [family])
        assert rows.sort("model", maintain_order=True).equals(
            MODELS.filter(pl.col("model").is_in(family.models)).sort("model", maintain_order=True)
        )
        return [name[-1] for name in rows["model"].unique(maintain_order=True)]

    assert of(1, 3, 9, 2) == ["1", "3", "2", "0"], "the finetune stays where it is"
    assert of(3, 2, 9, 1) == of(1, 2, 9, 3) == of(1, 3, 9, None) == list("0123"), "in order, or of unknown size"


@pytest.mark.parametrize("choice", [Choice(), Choice(category="code")])
def test_a_verdict_is_better_or_worse_only_where_the_interval_leaves_out_0(choice: Choice) -> None:
    _, models = frames.make()
    (family,) = frames.families(models)
    head = head_of(family, models)
    for model in family.models:
        short, _ = head.verdict(model, choice)
        row = next(row for row in head.rows(model, choice) if row["category"] is None)
        if choice.category is not None:
            ways = {"better": row["delta_low"] > 0, "worse": row["delta_high"] < 0}
            assert ways.get(short, not any(ways.values()))
        for word, sign in (("better", 1), ("worse", -1)):
            named = short.split(f"{word}: ")[-1].split(";")[0].split(", ") if f"{word}: " in short else []
            for category in named:
                of = models.filter(model=model, category=category, weighting="tokens").row(0, named=True)
                assert sign * (of["delta_low"] if sign > 0 else of["delta_high"]) > 0


def test_below_a_card_that_tells_of_one_model_stands_what_the_card_does_not_say() -> None:
    _, models = frames.make()
    one = models.filter(model=models["model"][0])
    (family,) = frames.families(one)
    (model,) = family.models
    told, headlined = (head_of(family, one, headlined=each) for each in (False, True))
    verdict, below = ("".join(piece.text for piece in each.sentence(model, Choice())) for each in (told, headlined))
    assert " predicts " in verdict and " predicts " not in below and " gained " in below and "shows only" in below
    for choice in (Choice(category="code"), Choice(weighting="documents"), Choice("bpb")):
        assert headlined.sentence(model, choice) == told.sentence(model, choice), "the card does not say that"
