"""Families with different tokenizers are compared on the bytes that all of them scored, and on no others."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from polars.testing import assert_frame_equal

import ppldelta
from helpers import facts
from ppldelta import schema
from ppldelta.analysis.common import agreeing, common_bytes
from ppldelta.cli import main
from ppldelta.merging import merge
from ppldelta.reporting import few
from ppldelta.result import Result, make_result

TEXT = "  Über den Wassern, unter den Brücken.".encode()


def cuts(rng: np.random.Generator, n: int, n_cuts: int) -> NDArray[np.int64]:
    return np.unique(np.concatenate([[0, n], rng.integers(1, n, n_cuts)])).astype(np.int64)


@pytest.mark.parametrize("seed", range(40))
def test_what_counts_covers_the_same_bytes_and_as_many_as_can_be(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(10, 200))
    bounds = []
    for _ in range(int(rng.integers(2, 4))):
        edges = cuts(rng, n, int(rng.integers(1, n)))
        scored = rng.random(len(edges) - 1) < 0.9
        bounds.append((edges[:-1][scored], edges[1:][scored]))
    counting, n_covered = agreeing(bounds)
    covered = [
        {byte for a, b, counts in zip(start, end, mine, strict=True) if counts for byte in range(a, b)}
        for (start, end), mine in zip(bounds, counting, strict=True)
    ]
    assert all(each == covered[0] for each in covered)
    assert len(covered[0]) == n_covered
    # the greatest such set, found another way: what lies between two places that no token crosses counts as a whole
    scored_by_all = set.intersection(*({x for a, b in zip(*each, strict=True) for x in range(a, b)} for each in bounds))
    places = [x for x in range(n + 1) if not any(crosses(x, each) for each in bounds)]
    expected = sum(b - a for a, b in pairwise(places) if set(range(a, b)) <= scored_by_all)
    assert n_covered == expected


def crosses(x: int, bounds: tuple[NDArray[np.int64], NDArray[np.int64]]) -> bool:
    """Whether a token has a byte on both sides of x."""
    return any(a < x < b for a, b in zip(*bounds, strict=True))


def family(
    name: str, sizes: list[int], *, space: bool = False, first: int = 1, text: bytes = TEXT, document: str = "a.txt"
) -> Result:
    """A family whose tokenizer cuts a text into tokens of these sizes, in bytes; the last token takes what is left.

    With `space`, the tokenizer puts a space before the text. The tokens before `first` are not scored.
    """
    edges = np.concatenate([[0], np.cumsum(sizes), [len(text)]])
    pieces = [text[a:b] for a, b in pairwise(edges)]
    if space:
        pieces[0] = b" " + pieces[0]
    n = len(pieces)
    rng = np.random.default_rng(len(sizes))
    logp = rng.normal(-3, 1, (2, n))
    edges = edges.tolist()
    values: dict[str, list[object]] = {
        **dict.fromkeys(schema.TOKENS, [None] * n),
        "family": [name] * n,
        "model": ["m"] * n,
        "document": [document] * n,
        "pos": list(range(n)),
        "token": list(range(n)),
        "byte_start": edges[:-1],
        "byte_end": edges[1:],
        "logp_ref": logp[0].tolist(),
        "logp_cmp": logp[1].tolist(),
        "delta": (logp[1] - logp[0]).tolist(),
    }
    tokens = pl.DataFrame([pl.Series(key, values[key], dtype=dtype) for key, dtype in schema.TOKENS.items()])
    corpus = {"family": [name], "document": [document], "category": [""], "n_tokens": [n]}
    return make_result(
        tokens.filter(pl.col("pos") >= first),
        pl.DataFrame({"family": [name] * n, "token": list(range(n)), "piece": pieces}, schema=schema.PIECES),
        pl.DataFrame(corpus, schema=schema.CORPUS),
        pl.DataFrame({"family": [name], "document": [document], "tokens": [list(range(n))]}, schema=schema.TEXTS),
        [facts.family(name, cmp=[facts.model("m")])],
        [],
    )


def test_families_stand_on_the_same_bytes() -> None:
    a = family("a", [3, 4, 8, 5, 7])
    b = family("b", [7, 4, 6, 3, 10], space=True, first=0)
    # without the first tokens a has 3-7 7-15 15-20 20-27 27-39, b has 7-11 11-17 17-20 20-30 30-39
    merged = merge([a, b])
    assert merged.documents["n_bytes"].to_list() == [len(TEXT) - 7] * 2
    kept = a.tokens.filter(pl.col("pos") >= 2)
    expected = kept["delta"].cast(pl.Float64).clip(lower_bound=0).sum() / len(kept)
    assert merged.documents["gain"][0] == pytest.approx(expected, abs=1e-6)
    assert merged.models["n_bytes"].unique().to_list() == [len(TEXT) - 7]
    assert merged.warnings == [
        f"The families are compared on the {len(TEXT) - 7} bytes that all of them scored, of {len(TEXT) - 3} of `a`, "
        f"{len(TEXT) - 7} of `b`."
    ]
    apart = merge([a, b], same_bytes=False)
    assert apart.warnings == []
    assert_frame_equal(apart.documents, pl.concat([a.documents, b.documents]))


def test_tokens_that_are_not_scored_by_another_family_do_not_count() -> None:
    a, b = family("a", [10, 10], first=0), family("b", [10, 10], first=1)
    common = common_bytes(*(pl.concat([getattr(a, name), getattr(b, name)]) for name in ("tokens", "texts", "pieces")))
    assert common.n_bytes == len(TEXT) - 10
    assert common.n_scored == {"a": len(TEXT), "b": len(TEXT) - 10}
    assert common.tokens.group_by("family", maintain_order=True).agg("pos")["pos"].to_list() == [[1, 2], [1, 2]]


def test_families_of_one_tokenizer_are_as_they_were() -> None:
    a, b = family("a", [5, 6]), family("b", [5, 6])
    merged = merge([a, b])
    assert merged.warnings == []
    assert_frame_equal(merged.documents, pl.concat([a.documents, b.documents]))


def test_spans_of_text_count_as_tokens_do_each_model_s_own() -> None:
    """`a` has a model with its tokens and one with spans of two of them; `b` has one byte less than the first span."""
    a, b = family("a", [3, 4, 8, 5, 7]), family("b", [7, 8, 12], first=1)
    pairs = a.tokens.filter(pl.col("pos").is_in([1, 3])).with_columns(
        pl.lit("spans", dtype=schema.NAMES).alias("model"),
        pl.lit(2, pl.UInt32()).alias("n_tokens_ref"),
        pl.lit(1, pl.UInt32()).alias("n_tokens_cmp"),
        pl.Series("byte_end", [15, 27], dtype=pl.UInt32()),
    )
    frames = {name: pl.concat([a.frames[name], b.frames[name]]) for name in ("texts", "pieces")}
    common = common_bytes(pl.concat([a.tokens, pairs, b.tokens]), **frames)
    # without the first tokens a/m has 3-39, a/spans 3-15 and 15-27, b 7-15, 15-27 and 27-39
    assert common.n_scored == {"a/m": len(TEXT) - 3, "a/spans": 24, "b": len(TEXT) - 7}
    assert common.n_bytes == 12
    left = common.tokens.group_by("family", "model", maintain_order=True).agg("pos")["pos"].to_list()
    assert left == [[3, 4], [3], [2]]


def test_other_texts_are_no_common_documents() -> None:
    a, b = family("a", [5, 6]), family("b", [5, 6], text=TEXT.replace(b"Br", b"br"))
    merged = merge([a, b])
    assert merged.warnings == [
        "The families have no byte in common that all of them scored: their numbers stand on different texts."
    ]
    assert_frame_equal(merged.documents, pl.concat([a.documents, b.documents]))
    shared = [family("a", [5, 6], document="b.txt"), family("b", [9], document="b.txt")]
    both = merge([*shared, family("c", [4], document="b.txt")])
    assert both.documents["document"].unique().to_list() == ["b.txt"]


def test_a_document_that_one_family_lacks_is_named() -> None:
    a = merge([family("a", [5, 6])])
    more = family("a", [5, 6], document="b.txt")
    frames = {name: pl.concat([frame, more.frames[name]]) for name, frame in a.frames.items() if name != "pieces"}
    both = Result(**frames, pieces=a.pieces, families=a.families)
    merged = merge([both, family("b", [11])])
    assert "1 document left out, since not all families have the same text of it: b.txt" in merged.warnings
    assert merged.left_out == {"document": ["b.txt"]}
    assert merged.texts["document"].to_list() == ["a.txt", "a.txt"]


def test_few_documents_are_said_to_have_no_interval(tmp_path: Path) -> None:
    page = family("a", [3, 4, 8]).report(tmp_path / "report.html").read_text()
    assert "1 document, too few for an interval" in page and few.note({"": 1}) == ""
    assert few.note({"=code": 3, "=prose": 7}) == (
        "Intervals of fewer than 10 documents are rough, of fewer than 5 there are none: code has 3, prose has 7."
    )
    assert ", of fewer than" not in few.note({"=prose": 7})


def test_the_report_says_how_many_bytes_there_are(tmp_path: Path) -> None:
    for result in (family("a", [3, 4, 8]), family("b", [7, 4])):
        result.save(tmp_path / result.families[0].name)
    folders = [str(tmp_path / name) for name in "ab"]
    assert main(["report", *folders, "-o", str(tmp_path / "both.html")]) == 0
    page = (tmp_path / "both.html").read_text()
    assert re.search(r"The families are compared on the \d+ bytes that all of them scored", page)
    assert 'class="warnings"' not in page, "which is a note"
    assert main(["report", *folders, "-o", str(tmp_path / "all.html"), "--all-bytes"]) == 0
    assert "bytes that all of them scored" not in (tmp_path / "all.html").read_text()
    ppldelta.report([ppldelta.load(folder) for folder in folders], tmp_path / "py.html", same_bytes=False)
    assert (tmp_path / "py.html").read_bytes() == (tmp_path / "all.html").read_bytes()
