"""Rows of JSONL and Parquet files as documents, in a file alone and in a folder beside texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

import ppldelta
from helpers.tables import write_rows
from ppldelta.text import jsonl
from ppldelta.text.document import Document, Message
from ppldelta.text.documents import load_documents
from ppldelta.text.rows import FORMS

CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def test_rows_are_documents_in_their_order_beside_texts(tmp_path: Path) -> None:
    write_rows(tmp_path / "qa" / "b.jsonl", *({"text": f"row {i}"} for i in range(11)))
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "z.txt").write_text("last")
    documents, warnings = load_documents(tmp_path)
    assert [each.name for each in documents] == ["a.txt", *(f"qa/b.jsonl:{i}" for i in range(1, 12)), "z.txt"]
    assert documents[3] == Document("qa/b.jsonl:3", "qa", b"row 2") and not warnings


def test_each_column_has_its_place(tmp_path: Path) -> None:
    rows = [
        {"prompt": "Wie heißt", "completion": " er?", "id": "q1", "category": "de", "group": "g", "label": "comply"},
        {"text": "<s>", "special": True, "id": 7, "group": 3, "other": [1]},
        {"messages": [*CHAT[:1], {**CHAT[1], "weight": 1, "name": None}], "category": ""},
    ]
    (first, second, third), (warning,) = load_documents(write_rows(tmp_path / "sub" / "x.NDJSON", *rows))
    assert first == Document("q1", "de", "Wie heißt er?".encode(), 10, "g", "comply")
    assert second == Document("7", "", b"<s>", group="3", special=True)
    assert third == Document("x.NDJSON:3", "", b"", messages=(Message("user", "Hi"), Message("assistant", "Hello")))
    assert "`weight`" in warning and "name" not in warning


def test_parquet_holds_what_jsonl_holds(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "completion": "b", "messages": None, "id": "x", "group": 1, "label": None, "special": None},
        {"prompt": None, "completion": None, "messages": CHAT, "id": None, "group": 2, "label": "l", "special": None},
        {"prompt": "c", "completion": "d", "messages": None, "id": None, "group": None, "label": "m", "special": True},
    ]
    frame = pl.DataFrame(rows * 5000).with_columns(pl.col("label").cast(pl.Categorical), more=pl.lit(1.5))
    frame.write_parquet(tmp_path / "x.parquet", row_group_size=1000)
    write_rows(tmp_path / "x.jsonl", *rows * 5000)
    of_parquet, _ = load_documents(tmp_path / "x.parquet")
    of_jsonl, _ = load_documents(tmp_path / "x.jsonl")
    assert len(of_parquet) == 15000
    for one, other in zip(of_parquet, of_jsonl, strict=True):
        assert one.name == other.name.replace("jsonl", "parquet")
        assert (one.text, one.prompt_bytes, one.group, one.label, one.special, one.messages) == (
            (other.text, other.prompt_bytes, other.group, other.label, other.special, other.messages)
        )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text": "a', "is no JSON: unterminated string starting at column 10"),
        ('{"text" "a"}', "is no JSON: expecting ':' delimiter at column 9"),
        ("[1]", "is a list and no object"),
        ("7", "is a number and no object"),
        ('{"a": 1, "b": 2}', "has neither `text`, nor `prompt` and `completion`, nor `messages`, but `a` and `b`"),
        ("{}", "but no columns at all"),
        ('{"prompt": "a", "x": 1}', "line 3 has a `prompt`, but no `completion`."),
        ('{"completion": "a"}', "line 3 has a `completion`, but no `prompt`."),
        ('{"text": 3}', "has a number as `text`, where a text is wanted"),
        ('{"text": ""}', "has an empty `text`"),
        ('{"prompt": "a", "completion": ""}', "has an empty `completion`"),
        ('{"prompt": "", "completion": "a"}', "has an empty `prompt`"),
        ('{"text": "a", "prompt": "b"}', "has `prompt` and `text`, which exclude one another"),
        ('{"text": "a\\u0000"}', "has a NUL in `text`, at character 1"),
        ('{"text": "a\\ud800"}', "has half a surrogate pair in `text`, at character 1"),
        ('{"text": "a", "id": 1.5}', "has a number as `id`, where a text or a whole number is wanted"),
        ('{"text": "a", "group": true}', "has true as `group`"),
        ('{"text": "a", "special": "yes"}', "has a text as `special`"),
        ('{"text": "a", "n": ' + "9" * 5000 + "}", "is not read: "),
        ('{"text": ' + "[" * 100000, "nested too deeply"),
        ('{"messages": []}', "has an empty list as `messages`"),
        ('{"messages": [1]}', "has a number as message 1"),
        ('{"messages": [{"role": "user <s>", "content": "a"}]}', "has `user <s>` as `role` of message 1"),
        ('{"messages": [{"role": "user", "content": ["a"]}]}', "has a list as `content` of message 1"),
        ('{"messages": [{"role": "user", "content": "a"}]}', "ends with a message of `user`"),
        ('{"messages": [{"role": "assistant", "content": "a"}]}', "has a single message"),
    ],
)
def test_a_broken_row_is_left_out_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('\ufeff{"text": "good"}\n\n' + line + '\n{"text": "good too"}')
    documents, (warning,) = load_documents(path)
    assert [each.name for each in documents] == ["x.jsonl:1", "x.jsonl:4"]
    assert warning.startswith("1 row of `x.jsonl` is left out: line 3 ") and said in warning
    assert isinstance(warning, ppldelta.errors.LeftOut) and warning.names == ("x.jsonl:3",)


def test_lines_that_are_not_utf8_and_tables_that_are_not(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"text": "good"}\n{"text": "\xff"}\n')
    _, (warning,) = load_documents(tmp_path / "x.jsonl")
    assert "line 2 is not UTF-8, byte 0xff at byte offset 10 of the line" in warning
    (tmp_path / "x.jsonl").write_text('{"text": "good"}\n', encoding="utf-16")
    with pytest.raises(ppldelta.CorpusError, match="it is UTF-16, not UTF-8"):
        load_documents(tmp_path / "x.jsonl")


def test_a_line_of_any_length_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "_LONGEST_LINE", 100)
    good = json.dumps({"text": "x" * 88})
    assert len(good) == 100
    (tmp_path / "x.jsonl").write_text(f'{good}\n{good[:-2]}x"}}\n{json.dumps({"text": "y" * 10**6})}\n{good}')
    documents, (warning,) = load_documents(tmp_path / "x.jsonl")
    assert [each.name for each in documents] == ["x.jsonl:1", "x.jsonl:4"]
    assert "line 2 is 101 bytes long; at most 100 are read" in warning
    assert "line 3 is 1,000,012 bytes long" in warning


def test_many_broken_rows_are_one_warning(tmp_path: Path) -> None:
    _, (warning,) = load_documents(write_rows(tmp_path / "x.jsonl", {"text": "good"}, *range(1000)))
    assert warning.endswith("line 4 is a number and no object; and 997 more.") and len(warning) < 250
    with pytest.raises(ppldelta.CorpusError, match="none of its 1,000 rows is a document: line 1 is a number"):
        load_documents(write_rows(tmp_path / "x.jsonl", *range(1000)))
    with pytest.raises(ppldelta.CorpusError, match="it has no rows"):
        load_documents(write_rows(tmp_path / "x.jsonl"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[\n  {"text": "a"},\n  {"text": "b"}\n]', "it is one JSON array; write one object a line"),
        ('\ufeff[{"text": "a"}]', "it is one JSON array; write one object a line"),
        ('{\n  "text": "a"\n}', "it has an object over several lines; write one object a line"),
        ('{"messages": {"role": "user"}}', "its only row is no document: line 1 has an object as `messages`"),
        ("", "it has no rows"),
    ],
)
def test_a_table_without_rows_says_what_a_row_is(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(ppldelta.CorpusError) as error:
        load_documents(tmp_path)
    assert said in error.value.message
    assert error.value.hint == FORMS and "docs/prompts.md" in FORMS
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(ppldelta.CorpusError, match=r"docs/prompts.md\); a document is a UTF-8 text that is not empty"):
        load_documents(tmp_path)


def test_names_are_unique_and_found_fast(tmp_path: Path) -> None:
    write_rows(tmp_path / "x.jsonl", {"text": "a", "id": "q (2)"}, *({"text": "a", "id": "q"} for _ in range(20000)))
    documents, (warning,) = load_documents(tmp_path / "x.jsonl")
    assert len({each.name for each in documents}) == 20001
    assert documents[2].name == "q (3)", "`q (2)` is there"
    assert "it is called `q (3)`, and 19,998 other rows likewise" in warning


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (pl.DataFrame({"a": [1], "b": ["x"]}), "has neither `text`, .* its columns are `a`, `b`"),
        (pl.DataFrame({"prompt": ["x"]}), "it has a `prompt`, but no `completion`; its columns are `prompt`"),
        (pl.DataFrame({"text": [1.5]}), "its column `text` is of type Float64, where texts are wanted"),
        (pl.DataFrame({"text": ["x"], "id": [1.5]}), "`id` is of type Float64, where texts or whole numbers"),
        (pl.DataFrame({"messages": ["x"]}), "`messages` is of type String, where lists of `role` and `content`"),
        (pl.DataFrame({"text": ["x"], "special": ["x"]}), "`special` is of type String, where true or false"),
        (pl.DataFrame({"text": ["", None]}), "row 1 has an empty `text`; row 2 has neither"),
    ],
)
def test_what_a_parquet_file_lacks_is_said(tmp_path: Path, frame: pl.DataFrame, said: str) -> None:
    frame.write_parquet(tmp_path / "x.parquet")
    with pytest.raises(ppldelta.CorpusError, match=said):
        load_documents(tmp_path / "x.parquet")


def test_damaged_and_unreadable_tables(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(ppldelta.CorpusError, match="it cannot be read as Parquet"):
        load_documents(tmp_path / "x.parquet")
    pl.DataFrame({"text": ["x" * 1000] * 1000}).write_parquet(tmp_path / "whole.parquet")
    whole = bytearray((tmp_path / "whole.parquet").read_bytes())
    whole[4:40] = b"\xff" * 36
    (tmp_path / "x.parquet").write_bytes(whole)
    documents, warnings = load_documents(tmp_path)
    assert len(documents) == 1000 and "it cannot be read as Parquet" in warnings[0]
    (tmp_path / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    assert any("`gone.jsonl` is left out: it cannot be read" in warning for warning in load_documents(tmp_path)[1])


def test_reading_tells_how_far_it_is(tmp_path: Path) -> None:
    """The bytes of tables, also of those that are left out, and of nothing else."""
    rows = [{"text": f"row {i}"} for i in range(5000)]
    tables = [write_rows(tmp_path / "a.jsonl", *rows), tmp_path / "b.parquet", tmp_path / "c.jsonl"]
    pl.DataFrame(rows).write_parquet(tables[1])
    tables[2].write_text("no JSON\n" * 3)
    (tmp_path / "d.txt").write_text("a text")
    told: list[int] = []
    totals: list[int] = []

    @contextmanager
    def show(n_bytes: int) -> Iterator[Callable[[int], object]]:
        totals.append(n_bytes)
        yield told.append

    documents, _ = load_documents(tmp_path, show)
    assert len(documents) == 10_001
    assert totals == [sum(each.stat().st_size for each in tables)] == [sum(told)]
    assert len(told) > 5
