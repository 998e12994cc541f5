"""What repeats a result's numbers: hashes of the very texts, no folders of a machine, and words for every setting."""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace
from pathlib import Path

import polars as pl

from helpers import facts, synthetic
from ppldelta.family import Signature
from ppldelta.reporting.provenance import in_words, provenance
from ppldelta.result import Result
from ppldelta.run.settings import SETTINGS, ResolvedSettings

TOKENS = synthetic.make(n_documents=6, n_models=2, n_tokens=80)


def test_documents_bear_the_hash_of_their_text() -> None:
    [origin] = [provenance(TOKENS["families"][0], {n: v for n, v in TOKENS.items() if n != "families"}, "")]
    piece = dict(TOKENS["pieces"].select("token", "piece").iter_rows())
    texts = {name: b"".join(map(piece.get, tokens)) for _, name, tokens in TOKENS["texts"].iter_rows()}
    assert {each.name: each.sha256 for each in origin.documents} == {
        name: hashlib.sha256(text).hexdigest() for name, text in texts.items()
    }
    assert [each.role for each in origin.models] == ["reference", "comparison", "comparison"]


def test_a_space_before_a_text_and_a_text_that_is_not_spelt_are_told_apart() -> None:
    """SentencePiece's first token holds a space that the text lacks; without places of bytes nothing is known."""
    frames = {
        "pieces": pl.DataFrame({"family": ["f"] * 2, "token": [0, 1], "piece": [b" he", b"llo"]}),
        "texts": pl.DataFrame({"family": ["f"] * 2, "document": ["a", "b"], "tokens": [[0, 1]] * 2}),
        "tokens": pl.DataFrame({"family": ["f"] * 2, "document": ["a", "b"], "pos": [1, 1], "byte_start": [2, None]}),
        "documents": pl.DataFrame({"family": ["f"] * 2, "document": ["a", "b"]}),
    }
    reference = facts.model("f", path="/home/me/models/f.gguf", sha256="ab" * 32, size_bytes=10**9)
    origin = provenance(facts.family("f", reference, corpus="/home/me/corpus"), frames, "")
    assert [each.sha256 for each in origin.documents] == [hashlib.sha256(b"hello").hexdigest(), None]
    assert origin.models[0].name == "f.gguf" and origin.corpus == "corpus, 2 documents"
    assert "/home" not in repr(origin)


def test_every_setting_has_words() -> None:
    parts = [each.name for each in fields(ResolvedSettings) if SETTINGS[each.name].decides in ("numbers", "tokens")]
    parts = ["ppldelta", "llama.cpp", "patches", *parts, "backend", "kernels"]
    told = in_words(Signature.of(dict.fromkeys(parts, "1")))
    assert len(told) > 14 and all(text != value.split(" ")[0] for text, value in told)
    told = in_words(Signature.of({"n_ctx": 512, "max_windows": 1, "further": "x"}))
    assert told[1] == ("first window of 512 tokens of each document only", "max_windows 1")
    assert told[2] == ("further", "further x")


def test_the_page_has_the_command_the_files_and_the_settings(tmp_path: Path) -> None:
    (family,) = TOKENS["families"]
    known = [replace(each, sha256=f"{i}" * 64) for i, each in enumerate((family.ref, *family.cmp), 1)]
    family = replace(family, ref=known[0], cmp=tuple(known[1:]))
    page = Result(**{**TOKENS, "families": [family]}).report(tmp_path / "report.html").read_text()
    footer = page[page.index('<footer id="provenance">') :]
    assert "ppldelta score" in footer and 'data-copy="repeat-0"' in footer and f"--ref {family.ref.label}" in footer
    assert footer.count("<details") == 3 and "seed 0" in footer
    (_, name, tokens) = TOKENS["texts"].row(0)
    piece = dict(TOKENS["pieces"].select("token", "piece").iter_rows())
    hashes = [each.sha256 for each in (family.ref, *family.cmp)]
    hashes += [hashlib.sha256(b"".join(map(piece.__getitem__, tokens))).hexdigest()]
    assert all(each in footer for each in (*hashes, name, "n_ctx 512"))
