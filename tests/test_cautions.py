"""What is said of tokenizers that change a text, lack a pre-tokenizer, or are not the reference's, by altered files."""

from __future__ import annotations

import json
import sqlite3
import struct
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest

import ppldelta
from helpers.chat_models import with_template, with_text
from ppldelta import demo
from ppldelta.engine.info import ModelInfo, numbers_in, runs_of
from ppldelta.engine.native import Model
from ppldelta.engine.remote import RemoteModel
from ppldelta.models import identity
from ppldelta.run import cautions

TEXT = "the tide went out and the boats lay on their sides in the mud " * 4
QUIET = {"ref": demo.REFERENCE, "windows": "every", "progress": False}


def string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def with_replaced(path: Path, old: str, new: str) -> Path:
    """The demo's reference with another text of the same length in its head, where that stands first."""
    a, b = string(old.encode()), string(new.encode())
    data = demo.REFERENCE.read_bytes()
    assert len(a) == len(b) and a in data
    path.write_bytes(data.replace(a, b, 1))
    return path


def with_number(path: Path, key: str, value: int) -> Path:
    """The demo's reference with another value of a key that holds an unsigned number of 32 bits."""
    data = demo.REFERENCE.read_bytes()
    at = data.index(string(key.encode())) + 8 + len(key)
    assert struct.unpack_from("<I", data, at) == (4,)
    path.write_bytes(data[: at + 4] + struct.pack("<I", value) + data[at + 8 :])
    return path


def with_control(path: Path, tokens: list[int]) -> Path:
    """The demo's reference in which these tokens, and no others, are control tokens."""
    data = bytearray(demo.REFERENCE.read_bytes())
    key = string(b"tokenizer.ggml.token_type")
    at = data.index(key) + len(key)
    assert struct.unpack_from("<II", data, at) == (9, 5)
    (n,) = struct.unpack_from("<Q", data, at + 8)
    types = np.frombuffer(bytes(data[at + 16 : at + 16 + 4 * n]), np.int32).copy()
    types[types == 3] = 1
    types[tokens] = 3
    data[at + 16 : at + 16 + 4 * n] = types.tobytes()
    path.write_bytes(data)
    return path


def warnings_of(cmp: Path | list[Path], text: str = TEXT) -> list[str]:
    return ppldelta.score({"a": text}, cmp=cmp, **QUIET).warnings


@pytest.mark.parametrize("numbers", [[], [0], [0, 1, 2], [3, 5, 6, 7, 9], [0, 2], [*range(1000), 2000]])
def test_numbers_as_runs(numbers: list[int]) -> None:
    assert numbers_in(runs_of(np.array(numbers, np.int32))).tolist() == numbers
    assert len(runs_of(np.array(numbers, np.int32))) < 12


def test_what_a_model_says_of_its_vocabulary(tmp_path: Path) -> None:
    info = Model(demo.REFERENCE, vocab_only=True).info
    types = gguf.GGUFReader(demo.REFERENCE).fields["tokenizer.ggml.token_type"].contents()
    assert numbers_in(info.control or "").tolist() == [token for token, type in enumerate(types) if type == 3]
    assert (info.tokenizer, info.pre_tokenizer, info.chat_template_sha256) == ("gpt2", "llama-bpe", "")
    templated = Model(with_template(tmp_path / "t.gguf", "{{ messages }}"), vocab_only=True).info
    assert len(templated.chat_template_sha256 or "") == 64
    assert replace(templated, chat_template_sha256="") == info, "and nothing else"


# --- texts that do not survive ----------------------------------------------------------------------------------------


def test_a_text_that_its_tokens_do_not_spell_is_said(tmp_path: Path) -> None:
    """A vocabulary without the byte EA, with which characters such as U+A000 begin."""
    lacking = with_replaced(tmp_path / "lacking.gguf", "ê", "\x02\x03")
    files = {"good": TEXT, "one": f"the {chr(0xA000)} boats" + TEXT, "last": TEXT + chr(0xA000)}
    arguments = {"files": files, "ref": lacking, "cmp": demo.REFERENCE, "windows": "every", "progress": False}
    with pytest.raises(ppldelta.TokenizerMismatchError):
        ppldelta.score(**arguments)
    arguments["cmp"] = {"same": lacking}
    result = ppldelta.score(**arguments)
    (warning,) = result.warnings
    assert warning.startswith(
        "The tokens of `lacking` do not spell the text of 2 of 3 documents: "
        f"`last` (from byte {len(TEXT)} on, 1 byte becomes nothing), `one` (from byte 4 on, 1 byte becomes nothing); "
    )
    unknown = result.tokens.filter(result.tokens["byte_end"].is_null())["document"].unique().to_list()
    assert sorted(unknown) == ["last", "one"]
    assert ppldelta.plan(**arguments).warnings == result.warnings
    page = result.report(tmp_path / "r.html").read_text()
    assert warning in page.replace("<code>", "`").replace("</code>", "`")


def test_many_documents_take_one_sentence(tmp_path: Path) -> None:
    lacking = with_replaced(tmp_path / "lacking.gguf", "ê", "\x02\x03")
    files = {f"{i:03}": f"the {chr(0xA000)} boats {i}" + TEXT for i in range(100)}
    (warning,) = ppldelta.plan(files, lacking, lacking, windows="every", store=None, progress=False).warnings
    assert "of 100 of 100 documents: `000` (" in warning and "`004`" in warning and "`005`" not in warning
    assert " and 95 more; its tokenizer" in warning


# --- pre-tokenizers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [None, "default"])
def test_a_file_without_a_pre_tokenizer_is_said(named: str | None, tmp_path: Path) -> None:
    old = with_replaced(tmp_path / "old.gguf", "tokenizer.ggml.pre", "tokenizer.ggml.prx")
    if named:
        with_text(old, "tokenizer.ggml.pre", named, old.rename(tmp_path / "nameless.gguf"))
    (warning,) = warnings_of([old, demo.COMPARISONS[0]])
    assert warning.startswith("Of `old` the file names no pre-tokenizer (`tokenizer.ggml.pre` is missing or `default`)")
    (both,) = ppldelta.score({"a": TEXT}, old, {"b": old}, windows="every", progress=False).warnings
    assert both.startswith("Of `old`, `b` the files name no pre-tokenizer")


def test_other_tokens_for_lack_of_a_pre_tokenizer_are_explained(tmp_path: Path) -> None:
    old = with_replaced(tmp_path / "old.gguf", "tokenizer.ggml.pre", "tokenizer.ggml.prx")
    text = "it'S 1234567 AND\n\n  'LL " * 20
    with pytest.raises(ppldelta.TokenizerMismatchError, match="`old` splits `a` into other tokens") as caught:
        warnings_of(old, text)
    assert caught.value.hint.startswith("the comparison's file names no pre-tokenizer")
    with pytest.raises(ppldelta.TokenizerMismatchError) as caught:
        ppldelta.score({"a": text}, old, demo.REFERENCE, windows="every", progress=False)
    assert caught.value.hint.startswith("the reference's file names no pre-tokenizer")


def test_a_pre_tokenizer_that_llama_cpp_does_not_know_is_refused_with_the_cause(tmp_path: Path) -> None:
    unknown = with_replaced(tmp_path / "new.gguf", "llama-bpe", "llama-xyz")
    with pytest.raises(ppldelta.ModelError, match="unknown pre-tokenizer type: 'llama-xyz'") as caught:
        warnings_of(unknown)
    assert "does not know by which rule this vocabulary splits texts" in caught.value.hint
    (warning,) = warnings_of([unknown, demo.COMPARISONS[0]])
    assert "unknown pre-tokenizer" in warning and "convert the model again" in warning


def test_another_pre_tokenizer_is_said_if_the_tokens_are_the_same(tmp_path: Path) -> None:
    other = with_replaced(tmp_path / "other.gguf", "llama-bpe", "smaug-bpe")
    (warning,) = warnings_of(other)
    assert warning == (
        "`other` has the pre-tokenizer `smaug-bpe`, and `tiny-ref.Q8_0` has `llama-bpe`: both split these texts alike, "
        "though perhaps not every text."
    )


# --- special tokens and chat templates --------------------------------------------------------------------------------


def test_other_special_tokens_are_said(tmp_path: Path) -> None:
    eos = with_number(tmp_path / "eos.gguf", "tokenizer.ggml.eos_token_id", 5)
    own = Model(demo.REFERENCE, vocab_only=True).info
    before = numbers_in(own.control or "").tolist()
    control = with_control(tmp_path / "control.gguf", [*before[1:], 3800, 3801])
    warnings = warnings_of([eos, control])
    assert len(warnings) == 2
    assert (
        f"`eos` has other special tokens than `tiny-ref.Q8_0` (its end of a text is token 5 instead of token {own.eos}"
        in (warnings[0])
    )
    assert "`control` has other special tokens than `tiny-ref.Q8_0` (2 control tokens more (3800, 3801)" in warnings[1]
    assert all("no number of plain text depends on that" in warning for warning in warnings)


def test_other_chat_templates_are_said_in_one_sentence_for_all(tmp_path: Path) -> None:
    one, two = (with_template(tmp_path / f"{name}.gguf", name) for name in ("one", "two"))
    (warning,) = warnings_of([one, two, demo.COMPARISONS[0]])
    assert warning == (
        "`one`, `two` have a chat template, and `tiny-ref.Q8_0` has none: no number of plain text depends on the "
        "template, yet it is a sign of another base or of training for chat."
    )
    result = ppldelta.score(
        {"a": TEXT}, one, {"x": one, "y": two, "z": demo.REFERENCE}, windows="every", progress=False
    )
    assert result.warnings[0].startswith("`y` has another chat template than `one`: no number")
    assert result.warnings[1].startswith("`z` has no chat template, and `one` has one: no number")


def test_quants_and_adapters_of_a_model_give_no_warning() -> None:
    assert warnings_of(demo.COMPARISONS) == []


# --- stores of older versions -----------------------------------------------------------------------------------------


def test_old_notes_are_used_without_a_load_and_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cmp = with_template(tmp_path / "templated.gguf", "{{ messages }}")
    store = tmp_path / "store"
    monkeypatch.setattr(identity, "_SETTLED_NS", -1)  # the hash of a file that is so young would not be remembered
    first = ppldelta.score({"a": TEXT}, cmp=cmp, **QUIET, store=store)
    assert len(first.warnings) == 1
    with sqlite3.connect(store) as connection:
        for model, info in connection.execute("SELECT model, info FROM models").fetchall():
            known = {key: value for key, value in json.loads(info).items() if key not in LATER}
            assert len(known) == 13
            connection.execute("UPDATE models SET info = ? WHERE model = ?", (json.dumps(known), model))
    connection.close()
    monkeypatch.setattr(RemoteModel, "load", lambda self: pytest.fail(f"{self.label} is loaded"))
    monkeypatch.setattr(RemoteModel, "look", lambda self: pytest.fail(f"{self.label} is loaded"))
    again = ppldelta.score({"a": TEXT}, cmp=cmp, **QUIET, store=store)
    assert again.tokens.equals(first.tokens)
    assert again.warnings == []


LATER = ("tokenizer", "pre_tokenizer", "chat_template_sha256", "control")


def test_what_is_not_known_is_not_said() -> None:
    known = Model(demo.REFERENCE, vocab_only=True).info
    old: ModelInfo = replace(known, **dict.fromkeys(LATER))
    assert cautions.unlike(("a", known), [("b", old)]) == cautions.unlike(("a", old), [("b", known)]) == []
    assert cautions.no_pre_tokenizer([("a", old)]) == []


# --- how long tokens are ----------------------------------------------------------------------------------------------


def test_bytes_per_token_are_those_of_the_texts(tmp_path: Path) -> None:
    result = ppldelta.score({"a": TEXT, "b": "東京 " * 40}, cmp=demo.COMPARISONS[0], **QUIET)
    n_tokens = result.documents["n_tokens"].sum()
    expected = (len(TEXT) + 40 * 7) / n_tokens
    facts = [result.families[0].ref, *result.families[0].cmp]
    assert [each.bytes_per_token for each in facts] == [pytest.approx(expected)] * 2
    shown = f"{expected:.2f}\N{NO-BREAK SPACE}bytes per token"
    assert shown in repr(result)
    page = result.report(tmp_path / "r.html").read_text()
    assert f"{shown} of the documents" in page
    assert "<span>bytes/token" not in page and "bytes/token" not in page.partition("<script")[0]
    again = ppldelta.load(result.save(tmp_path / "out")).families[0]
    assert again.ref.bytes_per_token == result.families[0].ref.bytes_per_token
    planned = ppldelta.plan({"a": TEXT}, cmp=demo.COMPARISONS[0], **QUIET)
    assert "bytes per token)" in repr(planned)


def test_where_tokens_differ_in_length_the_table_has_them(tmp_path: Path) -> None:
    results = [ppldelta.score({"a": text * 40}, cmp=demo.COMPARISONS[0], **QUIET) for text in ("東京 ", "the boats ")]
    page = ppldelta.report(results, tmp_path / "r.html", same_bytes=False).read_text()
    assert "bytes/token" in page.partition("<script")[0]
