"""Kinds of tokens: each rule on texts that a person would sort the same way, whole characters, chunks, and the sums."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import ppldelta
from helpers import synthetic
from ppldelta import schema
from ppldelta.analysis import kinds as module
from ppldelta.analysis.characters import FIRST_SCRIPT, MARK, N_CLASSES, SCRIPTS, SYMBOL, classes
from ppldelta.analysis.corrections import false_discovery_rate
from ppldelta.analysis.kind_sums import kinds, kinds_by_family
from ppldelta.analysis.kinds import KINDS, RULES, WHITE, Pieces, token_kinds

MADE = synthetic.make(n_documents=24, n_models=2)


def sort(*texts: list[bytes]) -> list[str]:
    """The kinds of the tokens of some texts."""
    pieces = sorted({piece for text in texts for piece in text})
    tokens = np.array([pieces.index(piece) for text in texts for piece in text], np.int64)
    offsets = np.cumsum([0, *map(len, texts)])
    return [KINDS[kind] for kind in token_kinds(tokens, offsets, Pieces.of(pieces))]


def kind(before: str, piece: str, after: str = "") -> str:
    """The kind of one token in its text."""
    return sort([part.encode() for part in (before, piece, after) if part])[bool(before)]


@pytest.mark.parametrize(
    ("wanted", "before", "piece", "after"),
    [
        ("indentation", "if x:\n", "    ", "return"),
        ("indentation", "if x:", "\n    ", "return"),
        ("indentation", "", "\t", "x"),
        ("line breaks", "end.", "\n\n", "Next"),
        ("line breaks", "end.", " \n", "Next"),
        ("spaces", "a", "  ", "b"),
        ("Cyrillic", "он ", "сказал", ""),
        ("Cyrillic", "", "я1", ""),
        ("Chinese characters", "", "日本", ""),
        ("kana", "日本", "の", ""),
        ("Hangul", "", "한국", ""),
        ("other scripts", "", "ქართული", ""),
        ("hex digits", "id 4f", "3a", "9"),
        ("hex digits", "0x", "ff", ","),
        ("hex digits", "#", "fafafa", ";"),
        ("identifiers", "in ", "2d", " space"),
        ("digits", "in ", "1987", "."),
        ("digits", "#", "12", ""),
        ("starts of words", "a ", "decade", " of"),
        ("starts of words", "a ", "face", " and"),
        ("identifiers", "set n", "_ctx", " = 1"),
        ("identifiers", "call ", "print", "(x)"),
        ("identifiers", "the ", "self", ".path"),
        ("identifiers", "is ", "camel", "Case"),
        ("identifiers", "is ", "utf", "8"),
        ("starts of words", "at the ", "end", ". Then"),
        ("accented words", "la ", "mi", "é"),
        ("capitals", "the ", "NASA", " and"),
        ("names", "then ", "Peter", " came"),
        ("names", "and, ", "Pet", "er"),
        ("names", "and Pet", "er", " came"),
        ("starts of words", "It ended. ", "Then", " he"),
        ("starts of words", "", "Then", " he"),
        ("starts of words", "line\n", "Then", " he"),
        ("starts of words", "then ", "I", " came"),
        ("starts of words", "the", " house", " is"),
        ("insides of words", "under", "stand", "ing"),
        ("insides of words", "don", "'t", " go"),
        ("brackets and operators", "x ", "):\n", "y"),
        ("brackets and operators", "x ", "+=", "y"),
        ("brackets and operators", "", "____", ""),
        ("symbols and emoji", "so ", "🙂", ""),
        ("symbols and emoji", "so ", "→", " x"),
        ("punctuation", "so", ".\n", "Then"),
        ("punctuation", "", "«", "x"),
        ("other", "so", "\x00", ""),
    ],
)
def test_rules(wanted: str, before: str, piece: str, after: str) -> None:
    assert kind(before, piece, after) == wanted


def test_parts_of_a_character_count_as_the_whole_of_it() -> None:
    assert sort([b"\xd0", b"\x96", b" \xe6", b"\xbc\xa2", b" \xf0\x9f", b"\x99\x82"]) == [
        *("Cyrillic", "Cyrillic"),
        *("Chinese characters", "Chinese characters"),
        *("symbols and emoji", "symbols and emoji"),
    ]
    assert sort([b"a", b"\xff", b"", b"b"]) == ["starts of words", "other", "other", "starts of words"]


def test_texts_know_nothing_of_each_other() -> None:
    assert sort([b"then "], [b"Peter"], [], [b"  ", b"x"])[1:] == ["starts of words", "indentation", "starts of words"]


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    line = [b"if", b" Peter", b" (", b"0", b"x", b"ff", b"):", b"\n", b"    ", b"re", b"turn", b"\n"]
    texts = [line * 30, [b"a"], [], line * 7]
    whole = sort(*texts)
    for chunk in (1, 5, 100):
        monkeypatch.setattr(module, "_CHUNK", chunk)
        assert sort(*texts) == whole
    assert len(set(whole)) > 6


def test_every_rule_is_told_and_every_script_has_a_kind() -> None:
    assert len(KINDS) == len(RULES) < 256 and set(SCRIPTS) < set(KINDS)
    assert N_CLASSES <= 32, "the classes of a token's characters are bits of a uint32"
    assert {"indentation", "line breaks", "spaces"} == set(KINDS[:WHITE])
    found = classes(np.array([0x436, 0x2E, 0x1F642, 0x436], np.uint32)).tolist()
    assert found == [FIRST_SCRIPT, MARK, SYMBOL, FIRST_SCRIPT]


def test_sums_are_those_of_the_tokens() -> None:
    made = MADE
    by_family = kinds_by_family(made["texts"], made["pieces"])
    found = kinds(made["tokens"], by_family)
    assert found.schema == pl.Schema(schema.KINDS)
    read = by_family[made["families"][0].name]
    size = dict(made["pieces"].select("token", pl.col("piece").bin.size()).iter_rows())
    for model in made["families"][0].models:
        by_kind: dict[str, list[tuple[float, int]]] = {}
        for row in made["tokens"].filter(pl.col("model") == model).iter_rows(named=True):
            name = KINDS[read.kinds[read.begins[row["document"]] + row["pos"]]]
            by_kind.setdefault(name, []).append((row["delta"], size[row["token"]]))
        mine = found.filter(model=model)
        assert mine["kind"].to_list() == [name for name in KINDS if name in by_kind]
        gained = sum(max(delta, 0) for each in by_kind.values() for delta, _ in each)
        for row in mine.iter_rows(named=True):
            delta = np.array([each for each, _ in by_kind[row["kind"]]], np.float64)
            n_bytes = sum(n for _, n in by_kind[row["kind"]])
            assert (row["n_scored"], row["n_bytes"]) == (len(delta), n_bytes)
            assert row["delta"] == pytest.approx(delta.mean(), abs=1e-9)
            assert row["delta"] == pytest.approx(row["gain"] - row["loss"], abs=1e-9)
            assert row["delta_bpb"] == pytest.approx(delta.sum() / np.log(2) / n_bytes, abs=1e-9)
            assert row["share_gain"] == pytest.approx(delta.clip(0).sum() / gained, abs=1e-9)
            known = row["delta_low"] is not None
            assert known or row["n_scored"] < 100
            assert not known or row["delta_low"] <= row["delta"] <= row["delta_high"]
        assert mine["share_gain"].sum() == pytest.approx(1) == mine["share_loss"].sum()


def test_spans_have_the_kind_of_their_first_token_that_is_no_white_space() -> None:
    pieces = pl.DataFrame({"family": "f", "token": [0, 1, 2], "piece": [b"  ", b"42", b"x"]}, schema=schema.PIECES)
    texts = pl.DataFrame({"family": "f", "document": "d", "tokens": [[2, 0, 1, 2]]}, schema=schema.TEXTS)
    read = kinds_by_family(texts, pieces)["f"]
    at, n = np.array([0, 1, 1, 1]), np.array([1, 1, 2, 3])
    assert [KINDS[each] for each in read.at(at, n)] == ["starts of words", "spaces", "digits", "digits"]


def test_without_texts_there_are_no_kinds() -> None:
    for lacking in ({"texts": MADE["texts"].clear()}, {"pieces": MADE["pieces"].with_columns(piece=pl.lit(b""))}):
        found = kinds(
            MADE["tokens"], kinds_by_family(**{**{name: MADE[name] for name in ("texts", "pieces")}, **lacking})
        )
        assert found.is_empty() and found.schema == pl.Schema(schema.KINDS)
    some = MADE["texts"].head(6)
    of_some = MADE["tokens"].filter(pl.col("document").cast(pl.String).is_in(some["document"].to_list()))
    found = kinds(MADE["tokens"], kinds_by_family(some, MADE["pieces"]))
    assert found["n_scored"].sum() == len(of_some)


def test_what_is_called_clear_is_rarely_so_by_chance() -> None:
    """A model that moved nothing is called clear in no more than the promised part of the runs, with 12 documents."""
    rng = np.random.default_rng(1)
    made = synthetic.make(n_documents=12, n_models=1, n_tokens=200)
    read = kinds_by_family(made["texts"], made["pieces"])
    wrong = 0
    for _ in range(20):
        shift = rng.normal(0, 0.1, 12)
        place = made["tokens"]["document"].to_physical().to_numpy().astype(int) % 12
        delta = (shift[place] + rng.normal(0, 0.5, len(place))).astype(np.float32)
        found = kinds(made["tokens"].with_columns(delta=pl.Series(delta)), read, n_resamples=500)
        wrong += bool((found["p_fdr"] < 0.05).any())
    assert wrong <= 4


def test_false_discovery_rate() -> None:
    found = false_discovery_rate(np.array([0.04, np.nan, 0.01, 0.03, 0.5]))
    np.testing.assert_allclose(found, [0.04 * 4 / 3, np.nan, 0.04, 0.04 * 4 / 3, 0.5])


def test_the_demo_says_the_evident_thing(demo_result: ppldelta.Result, tmp_path: Path) -> None:
    found = {(row["model"], row["kind"]): row for row in demo_result.kinds.iter_rows(named=True)}
    code = {name: row["delta"] for (model, name), row in found.items() if model == "tiny-code.Q8_0"}
    assert min(code["identifiers"], code["indentation"], code["brackets and operators"]) > 0
    assert max(code["accented words"], code["Cyrillic"], code["names"]) < 0
    demo_result.save(tmp_path / "out")
    assert ppldelta.load(tmp_path / "out").kinds.equals(demo_result.kinds)
