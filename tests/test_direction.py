"""The study of docs/direction.md: what its AUCs count, and what its items are made of."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

BENCH = Path(__file__).parent.parent / "bench"


@pytest.fixture(autouse=True)
def _modules_of_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])


def rows(n_items: int = 40, n_models: int = 3) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    right = rng.random(n_items) < 0.6
    n = n_items * n_models
    return pl.DataFrame(
        {
            "item": np.tile(np.arange(n_items), n_models),
            "model": np.repeat([f"Q{i}" for i in range(n_models)], n_items),
            "right_ref": np.tile(right, n_models),
            "right_cmp": rng.random(n) < 0.5,
            "closeness": np.tile(-rng.random(n_items), n_models),
            "task": "sums",
            "value": rng.integers(0, 8, n) / 4,
        }
    )


@pytest.mark.parametrize("question", ["flips", "lost", "won", "direction"])
def test_an_auc_counts_pairs_within_a_comparison(question: str) -> None:
    import direction_numbers

    frame = rows()
    among = {
        "flips": lambda ref, cmp: (True, ref != cmp),
        "lost": lambda ref, cmp: (ref, not cmp),
        "won": lambda ref, cmp: (not ref, cmp),
        "direction": lambda ref, cmp: (ref != cmp, cmp),
    }[question]
    draws = direction_numbers.draws_of(40, 2)
    found, n = direction_numbers.auc(frame, "value", question, draws)
    for weights, value in zip((np.ones(40), *draws), found, strict=True):
        above = pairs = 0.0
        for one, other in itertools.permutations(frame.iter_rows(named=True), 2):
            counts, asked = among(one["right_ref"], one["right_cmp"])
            counts_too, asked_too = among(other["right_ref"], other["right_cmp"])
            if one["model"] == other["model"] and counts and counts_too and asked and not asked_too:
                weight = weights[one["item"]] * weights[other["item"]]
                pairs += weight
                above += weight * ((one["value"] > other["value"]) + 0.5 * (one["value"] == other["value"]))
        assert value == pytest.approx(above / pairs)
    asked_for = [among(a, b) for a, b in frame.select("right_ref", "right_cmp").iter_rows()]
    assert n == sum(counts and asked for counts, asked in asked_for) > 5


def test_what_only_says_how_close_an_item_is_says_nothing_among_equally_close_items() -> None:
    import direction_numbers

    frame = rows(400).with_columns(pl.col("closeness").round(1))
    draws = direction_numbers.draws_of(400, 1)
    flips = (pl.col("closeness") > -0.5) & (pl.col("value") > 0.2)
    frame = frame.with_columns(pl.when(flips).then(~pl.col("right_ref")).otherwise("right_ref").alias("right_cmp"))
    plain, close = (
        direction_numbers.auc(frame, "closeness", "flips", draws, within=each)[0][0] for each in ("", "margin")
    )
    assert plain > 0.75
    assert close == pytest.approx(0.5, abs=0.1)


def test_items_have_one_right_answer_and_nothing_is_left_for_training_that_is_asked() -> None:
    import direction_items

    items, rest = direction_items.make()
    assert items == direction_items.make()[0]
    assert all(len(set(item.choices)) == 4 for item in items)
    assert all(each.startswith(" ") for item in items for each in item.choices)
    sums = [item for item in items if item.task == "sums"]
    asked = {tuple(map(int, item.context.splitlines()[-1].removesuffix(" =").split(" + "))) for item in sums}
    assert not asked & set(rest.sums)
    for item, (a, b) in zip(sums, (each.context.splitlines()[-1][:-2].split(" + ") for each in sums), strict=True):
        assert int(item.choices[item.right]) == int(a) + int(b)
    sentences = [item.context + item.choices[item.right] for item in items if item.task == "reference"]
    assert not any(sentence in passage for sentence in sentences for passage in rest.passages)
