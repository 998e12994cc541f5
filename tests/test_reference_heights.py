"""Which reference predicts a text better: paired means of bits per byte, and a sentence that claims no more."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from helpers.bootstrap import literal
from ppldelta.analysis.differences import EACH, enough
from ppldelta.analysis.references import references
from ppldelta.reporting.references import finding
from ppldelta.schema import REFERENCES


def documents(**heights: list[float]) -> pl.DataFrame:
    """Families by their bits per byte of each document; they have 100, 200, … bytes, and two categories in turn."""
    n = len(next(iter(heights.values())))
    each = [(f"d{i:02}", "code" if i % 2 else "prose", 100 * (i + 1)) for i in range(n)]
    rows = [(name, "m", *each[i], bits[i]) for name, bits in heights.items() for i in range(n)]
    schema = {
        **dict.fromkeys(("family", "model", "document", "category"), pl.String()),
        **{"n_bytes": pl.UInt64(), "bpb_ref": pl.Float64()},
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def said(frame: pl.DataFrame) -> str:
    return "".join(piece.text for piece in finding(frame)).replace("\N{NO-BREAK SPACE}", " ")


def noisy(offset: float, n: int = 20, seed: int = 0) -> list[float]:
    values: list[float] = (1.0 + offset + 0.01 * np.random.default_rng(seed).normal(size=n)).tolist()
    return values


def test_the_difference_is_that_of_all_bits_by_all_bytes() -> None:
    a, b = noisy(0.3, seed=1), noisy(0.0, seed=2)
    frame = references(documents(a=a, b=b))
    assert frame.schema == REFERENCES
    assert frame["category"].to_list() == [None, "code", "prose"]
    n = np.arange(1, 21) * 100
    row = frame.row(0, named=True)
    expected = [(np.array(each) * n).sum() / n.sum() for each in (a, b)]
    assert [row["bpb_a"], row["bpb_b"]] == pytest.approx(expected, rel=1e-12)
    assert row["difference"] == pytest.approx(expected[0] - expected[1], rel=1e-12)
    assert 0 < row["low"] < row["difference"] < row["high"] and row["p"] < row["p_holm"] < 0.05
    turned = references(documents(b=b, a=a)).row(0, named=True)
    assert [turned["low"], turned["high"]] == pytest.approx([-row["high"], -row["low"]])
    assert said(references(documents(a=a, b=b))) == said(references(documents(b=b, a=a)))


def test_a_literal_bootstrap_gives_the_same_interval() -> None:
    a, b = noisy(0.004, seed=1), noisy(0.0, seed=2)
    row = references(documents(a=a, b=b)).row(0, named=True)
    n = np.arange(1, 21) * 100.0
    wanted = literal((np.array(a) - np.array(b)) * n, n, enough(3 * EACH, 20))
    assert 0.01 < wanted[-1] < 0.9
    assert [row[name] for name in ("difference", "low", "high", "p")] == pytest.approx(wanted, rel=1e-4)


def test_only_the_same_bytes_are_compared() -> None:
    both = documents(a=noisy(0.3), b=noisy(0.0))
    other = both.with_columns(n_bytes=pl.when(pl.col("family") == "b", document="d03").then(7).otherwise("n_bytes"))
    assert references(other).is_empty() and said(references(other)) == ""
    assert references(both.filter(family="a")).is_empty()
    shared = references(both.filter((pl.col("family") == "a") | (pl.col("document") < "d10")))
    assert shared["n_documents"].to_list() == [10, 5, 5]
    infinite = both.with_columns(bpb_ref=pl.when(document="d00").then(math.inf).otherwise("bpb_ref"))
    assert references(infinite)["n_documents"][0] == 19


def on_both(prose: float, code: float) -> list[float]:
    return [value + (code if i % 2 else prose) for i, value in enumerate(noisy(0.0, seed=3))]


def test_the_sentence_names_the_better_one_and_where_it_is_so() -> None:
    told = said(references(documents(old=noisy(0.0), new=on_both(0.04, -0.4))))
    assert told.startswith("new predicts this text better: 0.8") and " bits/byte against 0.99" in told
    assert " of old, difference 0.1" in told
    assert "; clearly on code (0.6" in told and "; old is better on prose (0.9" in told
    unclear = said(references(documents(old=noisy(0.0), new=on_both(0.14, -0.15))))
    assert unclear.startswith("Which reference predicts this text better cannot be told: ")
    assert "; new is clearly better on code (" in unclear and "; old is better on prose (" in unclear


def test_what_cannot_be_told_is_not_claimed() -> None:
    alike = said(references(documents(a=noisy(0.0, seed=4), b=noisy(0.0, seed=5))))
    assert alike.startswith("Which reference predicts this text better cannot be told: ") and "clearly" not in alike
    same = references(documents(a=noisy(0.0), b=noisy(0.0)))
    assert same["difference"].to_list() == [0.0] * 3 and "cannot be told" in said(same)
    few = said(references(documents(a=noisy(0.3, 4), b=noisy(0.0, 4))))
    assert few.endswith(": too few documents to tell which reference predicts this text better.")
    assert few.startswith("b 1.0")


def test_of_more_than_two_the_best_stands_beside_the_next() -> None:
    three = said(references(documents(a=noisy(0.5), b=noisy(0.0, seed=1), c=noisy(0.2, seed=2))))
    assert three.startswith("b predicts this text best of 3 references: 0.999 ") and " of c, difference 0.2" in three
    wild = [value + (3.0 if i % 2 else -1.5) for i, value in enumerate(noisy(0.5))]
    some = said(references(documents(a=wild, b=noisy(0.0, seed=1), c=noisy(0.2, seed=2))))
    assert some.startswith("b predicts this text better than c: 0.999 bits/byte against 1.199, difference 0.2")
    assert some.endswith("; over all it cannot be told from a.")
    none = said(references(documents(a=wild, b=noisy(0.0, seed=1), c=noisy(0.0, seed=2))))
    assert none.startswith("Which of 3 references predicts this text best cannot be told: ")
