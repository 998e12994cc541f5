"""Which bytes of a document a token covers: the arithmetic, real vocabularies, and the columns of a run."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import gguf
import numpy as np
import polars as pl
import pytest

import ppldelta
from helpers import tiny_models
from ppldelta import demo
from ppldelta.engine.native import Model
from ppldelta.saved import folder as saved
from ppldelta.saved.run_file import Run
from ppldelta.text.spans import bounds_of_each, token_bounds

TEXTS = {
    "plain": "The boats lay on their sides in the mud, and the tide was out.",
    "letters of several bytes": "Grüße, 東京 – 👩‍👩‍👧 und «ёлка»\n\n",
    "spaces": "  \t two\n\n   three ",
    "one": "a",
}


def bounds_of(text: bytes, pieces: list[bytes]) -> np.ndarray | None:
    """Bounds where the tokens are these pieces."""
    distinct = sorted(set(pieces))
    tokens = np.array([3 * distinct.index(piece) for piece in pieces], np.int32)
    return token_bounds(text, tokens, np.arange(len(distinct), dtype=np.int32) * 3, distinct)


@pytest.mark.parametrize("added", [b"", b" "], ids=["as it is", "with a space before it"])
def test_tokens_cover_a_text_exactly_once(added: bytes) -> None:
    """Whatever the cuts are, within letters of several bytes too."""
    rng = np.random.default_rng(0)
    for n_bytes in (1, 2, 3, 10, 1000):
        for _ in range(50):
            text = added + rng.integers(97, 100, n_bytes, dtype=np.uint8).tobytes()
            ends = np.unique([0, len(text), *rng.integers(1, len(text), min(len(text) - 1, 300))])
            pieces = [text[a:b] for a, b in pairwise(ends)]
            own = text[len(added) :]
            bounds = bounds_of(own, pieces)
            assert bounds is not None and bounds.dtype == np.uint32
            assert (bounds[0], bounds[-1]) == (0, len(own))
            assert np.all(np.diff(bounds.astype(np.int64)) >= 0)
            covered = [own[a:b] for a, b in pairwise(bounds.tolist())]
            assert covered == [pieces[0][len(added) :], *pieces[1:]]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        (b"the tide", [b"the", b"tide"]),  # a space is missing
        (b"the tide", [b"The", b" tide"]),
        (b"the tide", [b"_the", b" tide"]),  # not a space
        (b"the tide", [b"the", b" tides"]),  # as long as with a space before it
        (b"the tide", [b"  the", b" tide"]),
        (b"the tide", [b"<unk>", b" tide"]),
    ],
)
def test_tokens_that_do_not_spell_the_text_cover_nothing_that_is_known(text: bytes, pieces: list[bytes]) -> None:
    assert bounds_of(text, pieces) is None


def test_spaces_that_a_vocabulary_puts_behind_special_tokens_cover_nothing() -> None:
    """As with Mistral's: `<s>` and `[INST]` are special, and what follows one is split as a text's beginning is."""
    text = b"[INST]Where to?[/INST] There.</s>"
    pieces = [b"[INST]", b" Where", b" to", b"?", b"[/INST]", b" ", b" There", b".", b"</s>"]
    bounds = bounds_of(text, pieces)
    assert bounds is not None
    covered = [text[a:b] for a, b in pairwise(bounds.tolist())]
    assert b"".join(covered) == text
    assert covered[:4] == [b"[INST]", b"Where", b" to", b"?"] and covered[-2:] == [b".", b"</s>"]
    assert bounds_of(text, [*pieces[:-1], b" /s>"]) is None


def test_no_tokens_cover_no_text() -> None:
    assert token_bounds(b"", np.empty(0, np.int32), np.empty(0, np.int32), []).tolist() == [0]
    assert token_bounds(b"a", np.empty(0, np.int32), np.empty(0, np.int32), []) is None


def bounds_by(model: Model, text: bytes) -> tuple[list[bytes], np.ndarray | None]:
    tokens = model.tokenize(text)
    distinct = np.unique(tokens)
    return model.pieces(tokens), token_bounds(text, tokens, distinct, model.pieces(distinct))


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_byte_level_vocabulary_spells_every_text(text: str) -> None:
    pieces, bounds = bounds_by(Model(demo.REFERENCE, vocab_only=True), text.encode())
    assert [text.encode()[a:b] for a, b in pairwise(bounds.tolist())] == pieces


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_sentencepiece_puts_a_space_before_a_text(text: str, tmp_path: Path) -> None:
    pieces, bounds = bounds_by(Model(sentencepiece(tmp_path / "spm.gguf"), vocab_only=True), text.encode())
    assert pieces[0][:1] == b" "
    covered = [text.encode()[a:b] for a, b in pairwise(bounds.tolist())]
    assert covered == [pieces[0][1:], *pieces[1:]]


def sentencepiece(path: Path) -> Path:
    """A vocabulary of that kind alone: a few words, and the 256 bytes for all that is in none of them."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(2048)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_head_count(1)
    words = ["▁", "t", "h", "e", "o", "th", "▁th", "▁the", "he", "ü", "▁t"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    kinds = [gguf.TokenType.UNKNOWN, *[gguf.TokenType.CONTROL] * 2, *[gguf.TokenType.BYTE] * 256]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(i) for i in range(len(tokens))])
    writer.add_token_types([*kinds, *[gguf.TokenType.NORMAL] * len(words)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    tiny_models.save(writer)
    return path


def test_every_byte_of_a_document_is_scored_once(tmp_path: Path) -> None:
    """With `windows="every"`; without BOS the first token is fed and not scored."""
    texts = {**TEXTS, "long": TEXTS["plain"] * 300}
    del texts["one"]  # a single token
    result = ppldelta.score(
        texts, demo.REFERENCE, demo.COMPARISONS[:2], windows="every", n_ctx=64, store=None, progress=False
    )
    pieces = dict(result.pieces.select("token", "piece").iter_rows())
    for (_, name), rows in result.tokens.group_by("model", "document"):
        text = texts[name].encode()
        rows = rows.sort("pos")
        starts, ends = rows["byte_start"].to_numpy(), rows["byte_end"].to_numpy()
        first = (
            0
            if result.families[0].ref.add_bos
            else len(pieces[result.texts.row(named=True, by_predicate=pl.col("document") == name)["tokens"][0]])
        )
        assert np.array_equal(starts, [first, *ends[:-1]])
        assert ends[-1] == len(text)
        assert [text[a:b] for a, b in zip(starts, ends, strict=True)] == [pieces[token] for token in rows["token"]]


def test_where_the_text_is_not_spelt_the_columns_are_null(monkeypatch: pytest.MonkeyPatch) -> None:
    from ppldelta.run import tokenization

    def lost(texts: list[bytes], *arguments: object) -> list[np.ndarray | None]:
        found = bounds_of_each(texts, *arguments)
        return [None if text == TEXTS["plain"].encode() else each for text, each in zip(texts, found, strict=True)]

    monkeypatch.setattr(tokenization, "bounds_of_each", lost)
    tokens = ppldelta.score(
        TEXTS, demo.REFERENCE, demo.COMPARISONS[0], windows="every", store=None, progress=False
    ).tokens
    for column in ("byte_start", "byte_end"):
        unknown = tokens.filter(pl.col(column).is_null())["document"].unique().to_list()
        assert unknown == ["plain"]


def test_a_folder_from_before_the_columns_is_read(demo_result: ppldelta.Result, tmp_path: Path) -> None:
    older = {name: columns for name, columns in saved.FRAMES["tokens"].items() if not name.startswith("byte_")}
    frames = {name: getattr(demo_result, name) for name in saved.FRAMES}
    frames["tokens"] = frames["tokens"].select(list(older))
    run = Run(version="0", families=demo_result.families, warnings=[])
    saved.write(tmp_path, frames, run, lambda path: path.write_text("a report"))
    tokens = ppldelta.load(tmp_path).tokens
    assert tokens.columns == demo_result.tokens.columns
    assert tokens.select(list(older)).equals(demo_result.tokens.select(list(older)))
    assert tokens["byte_start"].null_count() == tokens["byte_end"].null_count() == len(tokens)
